"""BLIP with layers of ours in place of transformers': equal but for rounding.

Faster attention (`sdpa.py`), and feed-forward layers and norms that keep less (`feed_forward.py`).
Weights, their names and what a model saves stay as they are.
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


OWN: Mapping[type[nn.Module], type[nn.Module]] = {
    BlipAttention: VisionAttention,
    BlipTextSelfAttention: TextAttention,
    BlipMLP: VisionFeedForward,
    BlipTextLayer: TextLayer,
    BlipEncoderLayer: _VisionLayer,
}


def with_own_layers(
    blip: BlipForConditionalGeneration, own: Mapping[type[nn.Module], type[nn.Module]] = OWN
) -> BlipForConditionalGeneration:
    """`blip` itself, whose layers are ours from now on.

    Args:
        blip: what is changed in place.
        own: for a layer's very class (not its base) the subclass that it gets, which has no
            constructor, as none is called.
    """
    for module in blip.modules():
        if other := own.get(type(module)):
            module.__class__ = other
    return blip
