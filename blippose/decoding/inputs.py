"""What a model sees and in which frame it speaks: pixels normalised, coordinates named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

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
        # In place on the copy: to ask for memory costs more than to divide.
        pixels: Tensor = image.to(self.mean.dtype).div_(255).sub_(self.mean).div_(self.std)
        return pixels
