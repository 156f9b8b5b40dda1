"""Test views: an image is asked about several times, and the answers are averaged.

Each is the image moved by a quarter of a vision patch, or its mirror image moved so: the tower
cuts the same picture into other patches, and errs otherwise. A mirror image in its place would be
cut where the image is. For each joint and axis the distributions over numbers are read back into
the image and averaged, and the most likely number is written; with a mirror image moved by 2 px:

    left wrist, x:  p(left wrist at x) + p(right wrist at size - 1 - (x + 2), of the other view)

A joint that some of the captions have not is that of the others.

Source: HRNet, Sun et al. 2019, whose FLIP_TEST averages heat maps of image and mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from blippose.errors import UserError
from blippose.geometry import PADDING_RGB
from blippose.pose import MIRROR

NUMBERS_OF_VIEWS = (1, 2, 4)


@dataclass(frozen=True)
class AskedView:
    """How an image is shown: moved, then mirrored.

    Args:
        right: by how many input pixels it is moved.
        down: likewise.
        is_mirrored: whether its mirror image is shown.
    """

    right: int = 0
    down: int = 0
    is_mirrored: bool = False

    def of(self, image: UInt8[Tensor, "batch 3 size size"]) -> UInt8[Tensor, "batch 3 size size"]:
        """The view; what comes in from outside of the image is padding."""
        if self.right or self.down:
            image = _moved(image, self.right, self.down)
        return image.flip(-1) if self.is_mirrored else image

    def pose(self, xy_input: Float[np.ndarray, "16 2"], size: int) -> Float[np.ndarray, "16 2"]:
        """Where a pose of the image stands in the view, under the names that it has there.

        Args:
            xy_input: the pose, pixels of the input.
            size: side of the input.
        """
        xy: Float[np.ndarray, "16 2"] = np.add(xy_input, (self.right, self.down))
        return xy[list(MIRROR)] * (-1, 1) + (size - 1, 0) if self.is_mirrored else xy

    def read_back(
        self, log_probability: Float[Tensor, "batch 16 2 number"], bin_px: float
    ) -> Float[Tensor, "batch 16 2 number"]:
        """What is said of views, as it is to be read in the images.

        Of a mirror image left and right joints change names, and x counts from the other border:
        pixel x is size - 1 - x there, and bin x is bins - 1 - x. A number whose place lies outside
        of a view is impossible. What is NaN, as a joint is that the caption has not, stays NaN.

        Args:
            log_probability: of every number, x before y.
            bin_px: width of a bin, input pixels. Between two bins it is shared out.
        """
        x, y = log_probability.unbind(dim=2)
        if self.is_mirrored:
            x, y = x[:, list(MIRROR)].flip(-1), y[:, list(MIRROR)]
        return torch.stack(
            [_behind(x, self.right / bin_px), _behind(y, self.down / bin_px)], dim=2
        )


def asked_views(num_views: int, patch_px: int) -> tuple[AskedView, ...]:
    """The views of an image; of one or two the first is the image itself.

    Four stand at the corners of a square of half a patch, so that images, and mirror images, are
    moved to either side alike. Twice as many, with the other two of each, were hardly better.

    Args:
        num_views: one of `NUMBERS_OF_VIEWS`.
        patch_px: side of a vision patch, input pixels.
    """
    step = max(1, patch_px // 4)
    if num_views == 4:
        return (
            AskedView(step, step),
            AskedView(-step, -step),
            AskedView(step, -step, is_mirrored=True),
            AskedView(-step, step, is_mirrored=True),
        )
    return (AskedView(), AskedView(step, step, is_mirrored=True))[:num_views]


def check_test_views(num_views: int) -> None:
    """See that so many can be asked.

    Raises:
        UserError: they cannot.
    """
    if isinstance(num_views, bool) or num_views not in NUMBERS_OF_VIEWS:
        known = ", ".join(map(str, NUMBERS_OF_VIEWS))
        raise UserError(f"decoding.test_views={num_views}: expected one of {known}")


def averaged(
    answers: Sequence[Float[Tensor, "batch 16 2 number"]],
) -> Float[Tensor, "batch 16 2 number"]:
    """The logarithm of the mean probability among the answers that name a joint; sums to 1.

    NaN of a joint that none names.
    """
    stacked = torch.stack(tuple(answers))  # (V, B, 16, 2, N)
    names = ~stacked.isnan().any(dim=(-1, -2), keepdim=True)
    total = stacked.masked_fill(~names, -torch.inf).logsumexp(dim=0)
    # At a border a view has no place for some: what is left of the answers is all there is.
    return total.log_softmax(dim=-1).masked_fill(~names.any(dim=0), torch.nan)


def most_likely(
    log_probability: Float[Tensor, "batch 16 2 number"],
) -> tuple[Int[Tensor, "batch 16 2"], Tensor]:
    """The best number of each axis, and which joints have numbers at all: (batch, 16)."""
    valid = ~log_probability.isnan().any(dim=-1).any(dim=-1)
    return log_probability.nan_to_num(nan=-torch.inf).argmax(dim=-1), valid


def _moved(
    image: UInt8[Tensor, "batch 3 size size"], right: int, down: int
) -> UInt8[Tensor, "batch 3 size size"]:
    size = image.shape[-1]
    padding = torch.tensor(PADDING_RGB, dtype=image.dtype, device=image.device)
    moved = padding[:, None, None].expand_as(image).clone()
    to_x, to_y = (slice(max(0, by), size + min(0, by)) for by in (right, down))
    from_x, from_y = (slice(max(0, -by), size + min(0, -by)) for by in (right, down))
    moved[..., to_y, to_x] = image[..., from_y, from_x]
    return moved


def _behind(
    log_probability: Float[Tensor, "batch 16 number"], bins: float
) -> Float[Tensor, "batch 16 number"]:
    """Of each number what stands so many bins behind it."""
    whole = math.floor(bins)
    near, far = (_shifted(log_probability, whole + more) for more in (0, 1))
    if (part := bins - whole) == 0:
        return near
    return torch.logaddexp(near + math.log1p(-part), far + math.log(part))


def _shifted(
    log_probability: Float[Tensor, "batch 16 number"], bins: int
) -> Float[Tensor, "batch 16 number"]:
    last = log_probability.shape[-1] - 1
    at = torch.arange(last + 1, device=log_probability.device) + bins
    is_outside = (at < 0) | (at > last)
    return log_probability[..., at.clamp(0, last)].masked_fill(is_outside, -torch.inf)
