"""BLIP's feed-forward blocks without what is cheap to make again: the output of their GELU.

It is the largest tensor of a block, four widths of each token, and its product keeps it for the
gradient of its weights beside the input, which the GELU itself keeps. Made again in the backward
pass it is the same to the last bit. Weights, their names and what a model saves stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipMLP
from transformers.models.blip.modeling_blip_text import BlipTextLayer


def use_lean_mlps(blip: BlipForConditionalGeneration) -> None:
    """Have the blocks of both towers keep the input of their GELU alone."""
    for module in blip.modules():
        if type(module) is BlipMLP:
            module.__class__ = _VisionMLP
        elif type(module) is BlipTextLayer:
            module.__class__ = _TextLayer


@final
class _VisionMLP(BlipMLP):
    """The class of a module is set to this one, so there is no constructor."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return _then(self.fc1(hidden_states), self.activation_fn, self.fc2)


@final
class _TextLayer(BlipTextLayer):  # type: ignore[no-untyped-call]  # not annotated
    def feed_forward_chunk(self, attention_output: Tensor) -> Tensor:
        block, output = self.intermediate, self.output
        states = block.dense(attention_output)
        states = _then(states, block.intermediate_act_fn, output.dense)
        normed: Tensor = output.LayerNorm(output.dropout(states) + attention_output)
        return normed


def _then(inner: Tensor, activation: Callable[[Tensor], Tensor], project: nn.Module) -> Tensor:
    """`project(activation(inner))`, which keeps `inner` for the gradients of both."""
    active = activation(inner)
    hooks: Any = nullcontext()
    if active.requires_grad and not torch.compiler.is_compiling():  # inductor does so by itself
        hooks = _made_again(active, inner.detach(), activation)
    with hooks:
        projected: Tensor = project(active)
    return projected


def _made_again(
    active: Tensor, inner: Tensor, activation: Callable[[Tensor], Tensor]
) -> saved_tensors_hooks:
    """Where `active` would be kept, its shape is, and `inner`."""
    place, size = active.data_ptr(), active.numel()

    def pack(saved: Tensor) -> Tensor | torch.Size:
        is_active = saved.data_ptr() == place and saved.numel() == size
        return saved.shape if is_active else saved

    def unpack(packed: Tensor | torch.Size) -> Tensor:
        return packed if isinstance(packed, Tensor) else activation(inner).view(packed)

    return saved_tensors_hooks(pack, unpack)
