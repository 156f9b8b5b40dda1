"""Flip test: an image and its mirror image are both asked, and answer together.

For each joint and axis the two distributions over numbers are averaged, and the most likely number
is written:

    left wrist, x:  p(image's left wrist at x) + p(mirror image's right wrist at size - 1 - x)

A joint that only one of the two captions has is that caption's.

Source: HRNet, Sun et al. 2019, FLIP_TEST, which averages heat maps.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blippose.pose import MIRROR


def mirrored(
    log_probability: Float[Tensor, "batch 16 2 number"],
) -> Float[Tensor, "batch 16 2 number"]:
    """What is said of mirror images, as it is to be read in the images; its own inverse.

    Left and right joints change names, and x counts from the other border: pixel x is size - 1 - x
    there, and bin x is bins - 1 - x.
    """
    x, y = log_probability[:, list(MIRROR)].unbind(dim=2)
    return torch.stack([x.flip(-1), y], dim=2)


def averaged(
    one: Float[Tensor, "batch 16 2 number"], other: Float[Tensor, "batch 16 2 number"]
) -> Float[Tensor, "batch 16 2 number"]:
    """The logarithm of the mean of two probabilities; where one is NaN, the other."""
    mean = torch.logaddexp(one, other) - math.log(2)
    return torch.where(one.isnan(), other, torch.where(other.isnan(), one, mean))


def most_likely(
    log_probability: Float[Tensor, "batch 16 2 number"],
) -> tuple[Int[Tensor, "batch 16 2"], Tensor]:
    """The best number of each axis, and which joints have numbers at all: (batch, 16)."""
    valid = ~log_probability.isnan().any(dim=-1).any(dim=-1)
    return log_probability.nan_to_num(nan=-torch.inf).argmax(dim=-1), valid
