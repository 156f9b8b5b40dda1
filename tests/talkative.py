"""BLIPs whose captions depend on all that they may depend on, though nothing was learned."""

from __future__ import annotations

import torch
from torch import nn
from transformers import BlipForConditionalGeneration

_MOST_TOKENS = 256


def make_talkative(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """Weights so large that what is said depends on the image and on what was said before."""
    _draw(blip)
    return blip


def make_talkative_at_length(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """The same for captions of up to 256 tokens; in float64, without ties."""
    generator = _draw(blip)
    embeddings = blip.text_decoder.bert.embeddings
    width = embeddings.word_embeddings.embedding_dim
    embeddings.position_embeddings = nn.Embedding(_MOST_TOKENS, width)
    embeddings.position_embeddings.weight.data.normal_(generator=generator)
    embeddings.position_ids = torch.arange(_MOST_TOKENS)[None]
    return blip.double()


def _draw(blip: BlipForConditionalGeneration) -> torch.Generator:
    generator = torch.Generator().manual_seed(2)
    for weight in blip.parameters():
        if weight.dim() > 1:
            weight.data = 0.4 * torch.randn(weight.shape, generator=generator)
    return generator
