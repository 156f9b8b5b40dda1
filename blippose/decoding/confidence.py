"""How sure the model is of each joint, and where between two bins: from how likely each number is.

The raw confidence of a joint is the probability that the model itself gives to a truth within
`CONFIDENCE_PX` pixels of what it says: the mass of p(x) p(y) in that disc, in its square input.
`calibration` makes of it how often that comes true.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blippose.caption import CaptionFormat

CONFIDENCE_PX = 5.0  # of the model's input, ends included: the metric acc_5px asks the same
_PEAK_BINS = 3  # to either side of what was written: three deviations of the soft targets


def mass_within(
    log_probability: Float[Tensor, "*joint 2 number"],
    xy_input: Float[Tensor, "*joint 2"],
    caption_format: CaptionFormat,
    radius: float = CONFIDENCE_PX,
) -> Float[Tensor, "*joint"]:
    """The probability that lies in a disc, 0 to 1; 0 of a joint that is NaN.

    Args:
        log_probability: of every number, x before y.
        xy_input: the middle of the disc, input pixels.
        caption_format: of the numbers.
        radius: of the disc, input pixels; its edge belongs to it.
    """
    bin_px = caption_format.bin_px
    near, at_input = _near(xy_input, caption_format, math.ceil(radius / bin_px) + 1)
    probability = _at(log_probability, near).exp()
    if (parts := round(bin_px)) > 1:  # a bin of many pixels lies in the disc with a part of it
        offsets = ((torch.arange(parts) + 0.5) / parts - 0.5) * bin_px
        at_input = (at_input[..., None] + offsets.to(at_input)).flatten(-2)
        probability = probability.repeat_interleave(parts, dim=-1) / parts
    away = at_input - xy_input[..., None]  # (*, 2, W), px
    squares = away[..., 0, :, None] ** 2 + away[..., 1, None, :] ** 2  # (*, W, W)
    inside = squares <= radius**2 * (1 + 1e-6)  # False of NaN
    mass = probability[..., 0, :, None] * probability[..., 1, None, :]
    return torch.where(inside, mass, 0).sum(dim=(-1, -2)).clamp(0, 1)


def expected_xy(
    log_probability: Float[Tensor, "*joint 2 number"],
    xy_input: Float[Tensor, "*joint 2"],
    caption_format: CaptionFormat,
) -> Float[Tensor, "*joint 2"]:
    """The mean of what the model holds for likely round the number that it wrote, input pixels.

    Within `_PEAK_BINS` bins to either side: farther peaks are other opinions. NaN stays NaN.
    """
    near, at_input = _near(xy_input, caption_format, _PEAK_BINS)
    mean = at_input.mul(_at(log_probability, near).softmax(dim=-1)).sum(dim=-1)
    # What was written stays where nothing near it has a probability, and NaN stays NaN.
    return torch.where(xy_input.isnan() | mean.isnan(), xy_input, mean.to(xy_input.dtype))


def _near(
    xy_input: Float[Tensor, "*joint 2"], caption_format: CaptionFormat, reach: int
) -> tuple[Int[Tensor, "*joint 2 near"], Float[Tensor, "*joint 2 near"]]:
    """The bins up to `reach` from a place, also such as are none, and their input pixels."""
    bin_px = caption_format.bin_px
    middle = ((xy_input.nan_to_num() + 0.5) / bin_px - 0.5).round().long()  # (*, 2), a bin
    near = middle[..., None] + torch.arange(-reach, reach + 1, device=middle.device)  # (*, 2, W)
    return near, (near + 0.5) * bin_px - 0.5


def _at(
    log_probability: Float[Tensor, "*joint 2 number"], numbers: Tensor
) -> Float[Tensor, "*joint 2 near"]:
    """Of these numbers; -inf where there is none, and where the model was not asked."""
    last = log_probability.shape[-1] - 1
    found = log_probability.gather(-1, numbers.clamp(0, last))
    return found.masked_fill((numbers < 0) | (numbers > last), -torch.inf)
