"""Captions out of BLIP, free-running: the model reads its own tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat
from blippose.pose import NUM_JOINTS

# Source: OPENAI_CLIP_MEAN and OPENAI_CLIP_STD, which BlipImageProcessor uses.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class InputFrame:
    """What a checkpoint must say of its coordinates, so that nobody scales them wrong."""

    input_size: int
    num_bins: int | None
    resize: str
    crop: str


@final
class ClipNormalization(nn.Module):
    """Pixels as BLIP wants them: from 0..1, normalised by CLIP's mean and deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)

    def forward(
        self, image: UInt8[Tensor, "batch 3 size size"]
    ) -> Float[Tensor, "batch 3 size size"]:
        """The image, in the module's precision."""
        return (image.to(self.mean.dtype) / 255 - self.mean) / self.std


def caption_length(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> int:
    """Tokens of the longest caption of sixteen joints, with [DEC] and [SEP]."""
    widest = max(
        range(caption_format.bins), key=lambda number: len(tokenizer.tokenize(str(number)))
    )
    xy_input = caption_format.dequantize(np.full((NUM_JOINTS, 2), widest))
    return len(tokenizer(caption_format.encode(xy_input)).input_ids)


@torch.no_grad()
def generate_free(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    pixel_values: Float[Tensor, "batch 3 size size"],
    max_length: int,
) -> list[str]:
    """Greedy captions by Hugging Face's `generate`, nothing constrained.

    Args:
        blip: the model, in evaluation mode.
        tokenizer: the model's.
        pixel_values: normalised images.
        max_length: tokens with [DEC] and [SEP]; the class default of 21 would cut a pose short.
    """
    tokens = blip.generate(
        pixel_values=pixel_values,
        max_new_tokens=max_length - 1,
        do_sample=False,
        num_beams=1,
        use_cache=True,
    )
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)
