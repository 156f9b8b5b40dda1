"""BLIP with layers of ours in place of transformers': equal but for rounding.

Attention is faster (`sdpa.py`); feed-forward layers and norms keep less in training on a processor
(`feed_forward.py`, `computed_again.py`). Weights, their names and what a model saves stay as they
are. Attention and feed-forward layers of the vision tower are given what is not normed yet, and
its norm; what is computed again calls forward hooks of norms and activations twice a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn
from transformers import BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipAttention, BlipEncoderLayer, BlipMLP
from transformers.models.blip.modeling_blip_text import BlipTextLayer, BlipTextSelfAttention

from blippose.feed_forward import TextLayer, VisionFeedForward
from blippose.sdpa import TextAttention, VisionAttention


@final
class _VisionLayer(BlipEncoderLayer):  # type: ignore[no-untyped-call]  # a base is not annotated
    """Of the vision tower, whose norms are computed again by what follows each."""

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        states = hidden_states
        attended, _ = self.self_attn(hidden_states=states, norm=self.layer_norm1, **kwargs)
        states = attended + states
        output: Tensor = self.mlp(states, norm=self.layer_norm2) + states
        return output


_OWN: Mapping[type[nn.Module], type[nn.Module]] = {
    BlipAttention: VisionAttention,
    BlipTextSelfAttention: TextAttention,
    BlipMLP: VisionFeedForward,
    BlipTextLayer: TextLayer,
}


def with_own_layers(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """`blip` itself, whose layers are ours from now on; those of a user's own classes stay."""
    for module in blip.modules():
        if own := _OWN.get(type(module)):
            module.__class__ = own  # no constructor is called: it has its weights
    for module in blip.modules():
        if type(module) is BlipEncoderLayer and _takes_norms(module):
            module.__class__ = _VisionLayer
    return blip


def _takes_norms(layer: BlipEncoderLayer) -> bool:
    """Others would leave out the norm that they are given, or know no such argument."""
    is_ours: bool = isinstance(layer.self_attn, VisionAttention)
    return is_ours and isinstance(layer.mlp, VisionFeedForward)
