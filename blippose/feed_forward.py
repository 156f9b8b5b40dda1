"""BLIP's feed-forward layers, which keep what goes into their activation and not what comes out.

That is the largest tensor of a layer, and the cheapest to have again in the backward pass: of what
a layer of the vision tower keeps a quarter, of its time a fiftieth. Weights, their names and
what a model saves stay as they are, and every number is the same to the bit.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipMLP
from transformers.models.blip.modeling_blip_text import BlipTextLayer

from blippose.recast import recast


def recompute_activations(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """`blip` itself, whose feed-forward layers keep the activation's input alone from now on."""
    return recast(blip, {BlipMLP: _VisionFeedForward, BlipTextLayer: _TextLayer})


@final
class _VisionFeedForward(BlipMLP):
    """Of a patch."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return _activated(self.activation_fn, self.fc2, self.fc1(hidden_states))


@final
class _TextLayer(BlipTextLayer):  # type: ignore[no-untyped-call]  # a base is not annotated
    """Of a token."""

    def feed_forward_chunk(self, attention_output: Tensor) -> Tensor:
        within, out = self.intermediate, self.output
        states = _activated(within.intermediate_act_fn, out.dense, within.dense(attention_output))
        normalized: Tensor = out.LayerNorm(out.dropout(states) + attention_output)
        return normalized


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
