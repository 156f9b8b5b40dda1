"""BLIP's feed-forward layers, holding less: what lies in between is four times as wide as a token.

In training they keep what goes into their activation and not what comes out, which is the largest
tensor of a layer, and the cheapest to have again in the backward pass: of what a layer of the
vision tower keeps a quarter, of its time a fiftieth, and every number is the same to the bit.
Without gradients a processor does some tokens at a time: what lies in between is small enough then
for the heap to have it at hand, where large tensors are fresh pages of the kernel each time.
Weights, their names and what a model saves stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipMLP
from transformers.models.blip.modeling_blip_text import BlipTextLayer

from blippose.recast import recast

_TOKENS_AT_ONCE = 1024  # whose activations are 3 MB of the tiny model, 12 of base


def hold_less(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """`blip` itself, whose feed-forward layers hold less from now on."""
    return recast(blip, {BlipMLP: _VisionFeedForward, BlipTextLayer: _TextLayer})


@final
class _VisionFeedForward(BlipMLP):
    """Of a patch."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return _in_parts(self._of_tokens, hidden_states)

    def _of_tokens(self, states: Tensor) -> Tensor:
        return _activated(self.activation_fn, self.fc2, self.fc1(states))


@final
class _TextLayer(BlipTextLayer):  # type: ignore[no-untyped-call]  # a base is not annotated
    """Of a token."""

    def feed_forward_chunk(self, attention_output: Tensor) -> Tensor:
        return _in_parts(self._of_tokens, attention_output)

    def _of_tokens(self, attention_output: Tensor) -> Tensor:
        within, out = self.intermediate, self.output
        states = _activated(within.intermediate_act_fn, out.dense, within.dense(attention_output))
        normalized: Tensor = out.LayerNorm(out.dropout(states) + attention_output)
        return normalized


# Plain types, as in `sdpa.attend`.
def _in_parts(layer: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """What `layer` makes of each token: of some at a time, on a processor without gradients.

    On a GPU each part would have to be launched, and under autocast each would cast the weights.

    Args:
        layer: of tokens that know nothing of each other.
        states: float[..., width], the tokens.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return layer(states)
    tokens = states.shape[:-1]
    is_small = tokens.numel() <= _TOKENS_AT_ONCE
    if is_small or states.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return layer(states)
    parts = torch.split(states.flatten(0, -2), _TOKENS_AT_ONCE)
    return torch.cat([layer(part) for part in parts]).view(*tokens, -1)


def _activated(activation: Any, project: Any, states: Tensor) -> Tensor:
    """`project(activation(states))`, of which a product with frozen weights keeps nothing anyway.

    A compiler decides by itself what it computes again.
    """

    def forward(states: Tensor) -> Tensor:
        projected: Tensor = project(activation(states))
        return projected

    is_kept = torch.is_grad_enabled() and any(w.requires_grad for w in project.parameters())
    if not is_kept or torch.compiler.is_compiling():
        return forward(states)
    # The backward pass runs `forward` until it has what the product kept: the activation alone.
    again: Tensor = checkpoint(forward, states, use_reentrant=False, preserve_rng_state=False)
    return again
