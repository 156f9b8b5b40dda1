"""Pixels of random views, a batch at a time, on the device that the batch is on.

What is drawn, and where the joints come to lie, stands in `blippose.augmentation`. What becomes of
one sample does not depend on the others in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own convention

from blippose.augmentation import View
from blippose.geometry import PADDING_RGB

_GREY = (0.299, 0.587, 0.114)  # of red, green, blue. Source: ITU-R 601, as Pillow's "L".


class Views(NamedTuple):
    """Samples, and how they are to be seen."""

    image: UInt8[Tensor, "batch size size 3"]  # as it was cut
    to_sample: Float[Tensor, "batch 2 3"]  # from pixels of the view to those of the sample
    color: Float[Tensor, "batch 3"]  # factors of brightness, contrast, saturation
    erased: Int[Tensor, "batch 4"]  # left, top, right, bottom, in pixels of the view

    @staticmethod
    def of(image: UInt8[np.ndarray, "batch size size 3"], views: Sequence[View]) -> Views:
        """Those of a batch."""
        corners = np.tile([0.0, 0.0, 1.0], (len(views), 1, 1))
        matrices = np.concatenate([np.stack([view.matrix for view in views]), corners], axis=1)
        to_sample = np.linalg.inv(matrices)[:, :2]
        return Views(
            torch.from_numpy(image),
            torch.from_numpy(to_sample).float(),
            torch.from_numpy(np.stack([view.color for view in views])).float(),
            torch.from_numpy(np.stack([view.erased for view in views])),
        )


@torch.no_grad()
def seen(views: Views) -> UInt8[Tensor, "batch 3 size size"]:
    """The pixels of the views."""
    pixels = views.image.permute(0, 3, 1, 2).contiguous().float()  # (B, 3, S, S), 0 to 255
    pixels = _colored_(_moved(pixels, views.to_sample), views.color)
    return _erased(pixels, views.erased).round_().to(torch.uint8)


def _moved(
    pixels: Float[Tensor, "batch 3 size size"], to_sample: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch 3 size size"]:
    """Each pixel from where it comes from, bilinear; padding where that is outside."""
    size, padding = pixels.shape[-1], _padding(pixels)
    at = torch.arange(size, device=pixels.device, dtype=pixels.dtype)
    # grid_sample counts from -1 to 1, from the first outer border to the last.
    at_sample = to_sample * (2 / size)
    at_sample[..., 2] += 1 / size - 1
    per_x, per_y, shift = at_sample[:, None, None].unbind(-1)  # (B, 1, 1, 2) each
    grid = torch.addcmul(per_y * at[:, None, None] + shift, per_x, at[:, None])  # (B, S, S, 2)
    return F.grid_sample(pixels - padding, grid, align_corners=False).add_(padding)


def _colored_(
    pixels: Float[Tensor, "batch 3 size size"], color: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch 3 size size"]:
    """As Pillow's ImageEnhance: towards black, towards the mean grey, towards each pixel's.

    In place: to ask for memory costs more than to multiply.
    """
    brightness, contrast, saturation = color[..., None, None, None].unbind(1)  # (B, 1, 1, 1)
    pixels.mul_(brightness).clamp_(0, 255)
    # A sum of whole numbers is the same in any order.
    mean = _grey(pixels).round_().mean((1, 2, 3), keepdim=True, dtype=torch.float64).float()
    pixels.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 255)
    grey = _grey(pixels)
    return pixels.sub_(grey).mul_(saturation).add_(grey).clamp_(0, 255)


def _grey(pixels: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch 1 size size"]:
    red, green, blue = pixels.unbind(1)
    return (_GREY[0] * red + _GREY[1] * green + _GREY[2] * blue)[:, None]


def _erased(
    pixels: Float[Tensor, "batch 3 size size"], erased: Int[Tensor, "batch 4"]
) -> Float[Tensor, "batch 3 size size"]:
    left, top, right, bottom = erased[..., None, None, None].unbind(1)  # (B, 1, 1, 1)
    at = torch.arange(pixels.shape[-1], device=pixels.device)
    columns, rows = (left <= at) & (at < right), (top <= at) & (at < bottom)  # (B, 1, 1, S)
    return torch.where(columns & rows.mT, _padding(pixels), pixels)


def _padding(pixels: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(PADDING_RGB, device=pixels.device, dtype=pixels.dtype)[:, None, None]
