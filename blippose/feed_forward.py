"""BLIP's feed-forward layers, holding less: what lies in between is four times as wide as a token.

In training on a processor they keep what goes into their activation and not what comes out, which
is the largest tensor of a layer, and the cheapest to have again in the backward pass: of what a
layer of the vision tower keeps a quarter, of its time a fiftieth.
Without gradients a processor does some tokens at a time: what lies in between is small enough then
for the heap to have it at hand, where large tensors are fresh pages of the kernel each time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import final

import torch
from torch import Tensor, nn
from transformers.models.blip.modeling_blip import BlipMLP
from transformers.models.blip.modeling_blip_text import BlipTextLayer

from blippose.computed_again import projected

_TOKENS_AT_ONCE = 1024  # whose activations are 3 MB of the tiny model, 12 of base


@final
class VisionFeedForward(BlipMLP):
    """Of a patch."""

    def forward(self, hidden_states: Tensor, norm: nn.Module | None = None) -> Tensor:
        """As the stock layer's, of `norm(hidden_states)` where a norm is given."""
        return _in_parts(partial(self._of_tokens, norm or nn.Identity()), hidden_states)

    def _of_tokens(self, norm: nn.Module, states: Tensor) -> Tensor:
        return projected(self.fc2, self.activation_fn, projected(self.fc1, norm, states))


@final
class TextLayer(BlipTextLayer):  # type: ignore[no-untyped-call]  # a base is not annotated
    """Of a token."""

    def feed_forward_chunk(self, attention_output: Tensor) -> Tensor:
        """As the stock layer's."""
        return _in_parts(self._of_tokens, attention_output)

    def _of_tokens(self, attention_output: Tensor) -> Tensor:
        within, out = self.intermediate, self.output
        inner = within.dense(attention_output)
        states = projected(out.dense, within.intermediate_act_fn, inner)
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
