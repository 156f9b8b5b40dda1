"""What a model sees and in which frame it speaks: pixels normalised, coordinates named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from blippose.caption import CaptionFormat
from blippose.geometry import check_fill

# Source: OPENAI_CLIP_MEAN and OPENAI_CLIP_STD, which BlipImageProcessor uses.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_IN_CACHE = 2**20  # values of float32 that a core's caches hold: two images of 384 px


@dataclass(frozen=True)
class InputFrame:
    """What a checkpoint must say of its coordinates, so that nobody scales them wrong.

    Args:
        input_size, num_bins: of `CaptionFormat`.
        resize: how images fill the input.
        crop: what part of an image does.
        order: of `CaptionFormat`; records that do not say it are in MPII's.
        location_tokens: of `CaptionFormat`; records that do not say it write digits.

    Raises:
        UserError: a way to fill the input that there is not.
    """

    input_size: int
    num_bins: int | None
    resize: str
    crop: str
    order: str = "mpii"
    location_tokens: bool = False

    def __post_init__(self) -> None:
        check_fill(self.resize, self.crop)

    @staticmethod
    def of(caption_format: CaptionFormat, resize: str, crop: str) -> InputFrame:
        """The frame of captions of this format."""
        return InputFrame(resize=resize, crop=crop, **asdict(caption_format))

    @property
    def caption_format(self) -> CaptionFormat:
        """Of the captions."""
        return CaptionFormat(*(getattr(self, field.name) for field in fields(CaptionFormat)))

    def record(self) -> dict[str, Any]:
        """As files keep it: what is as it always was is left out, so that old records are equal.

        >>> InputFrame(384, None, "stretch", "full").record()
        {'input_size': 384, 'num_bins': None, 'resize': 'stretch', 'crop': 'full'}
        """
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }

    def difference(self, record: Mapping[str, Any]) -> str:
        """What of it is otherwise in a record, for people; empty where nothing is.

        >>> InputFrame(96, None, "letterbox", "full").difference(
        ...     InputFrame(96, None, "stretch", "full").record()
        ... )
        'resize is stretch there and letterbox here'
        """
        both = (
            (f.name, record.get(f.name, f.default), getattr(self, f.name)) for f in fields(self)
        )
        return ", ".join(
            f"{name} is {there} there and {here} here"
            for name, there, here in both
            if there != here
        )


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
        """The image, in the module's precision.

        Raises:
            ValueError: pixels that are no bytes: of 0..1 nearly nothing would be left.
        """
        if image.dtype != torch.uint8:
            raise ValueError(f"an image of {image.dtype}: expected uint8, 0 to 255")
        pixels = torch.empty_like(image, dtype=self.mean.dtype)
        at_once = len(image)
        if image.device.type == "cpu":  # four steps over what its cache holds, not over all
            at_once = _IN_CACHE // image.shape[1:].numel()
        parts = (torch.split(batch, max(1, at_once)) for batch in (image, pixels))
        for part, normalized in zip(*parts, strict=True):
            normalized.copy_(part).div_(255).sub_(self.mean).div_(self.std)
        return pixels
