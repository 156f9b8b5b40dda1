"""A second look: an image is asked about again where the first answer found the person.

The part of the image round the person, cut from the image itself and not from the small input, is
stretched to the model's whole input. What is said of it is read back into the input: of each joint
and axis the distribution over numbers, drawn together by as much as the part was enlarged. The
first answer says where to look, and no more. Where it lacks a joint the second look is as wide as
the first.

Source: DeepPose, Toshev and Szegedy 2014, whose later stages look at parts of the image in detail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from blippose.decoding.views import AskedView
from blippose.geometry import Crop

Look = Callable[[AskedView], Float[Tensor, "batch patch width"]]
CutParts = Callable[[Sequence[Crop]], UInt8[np.ndarray, "batch size size 3"]]
SeePixels = Callable[[UInt8[Tensor, "batch 3 size size"]], Float[Tensor, "batch patch width"]]


@dataclass(frozen=True, eq=False)
class Closer:
    """How a batch of images is looked at again.

    Args:
        wholes: what the inputs show of the images.
        cut: the inputs of other parts of them.
        see: what the vision tower says of inputs.
        device: where it is asked.
    """

    wholes: Sequence[Crop]
    cut: CutParts
    see: SeePixels
    device: torch.device

    def __call__(self, xy_input: Float[np.ndarray, "batch 16 2"]) -> CloseUps:
        """The parts round poses, in pixels of the inputs."""
        parts = [
            whole.close_up(whole.to_img(xy))
            for whole, xy in zip(self.wholes, xy_input, strict=True)
        ]
        pixels = self.inputs(parts)

        def look(view: AskedView) -> Float[Tensor, "batch patch width"]:
            return self.see(view.of(pixels))

        return CloseUps(tuple(self.wholes), tuple(parts), look)

    def inputs(self, parts: Sequence[Crop]) -> UInt8[Tensor, "batch 3 size size"]:
        """Parts of the images as the vision tower is shown them."""
        return torch.from_numpy(self.cut(parts)).permute(0, 3, 1, 2).to(self.device)


@dataclass(frozen=True, eq=False)
class CloseUps:
    """Parts of a batch of images, to be looked at.

    Args:
        wholes: what the inputs show of the images.
        parts: what the close-ups show.
        look: what the vision tower says of views of the close-ups.
    """

    wholes: tuple[Crop, ...]
    parts: tuple[Crop, ...]
    look: Look

    def read_back(
        self, log_probability: Float[Tensor, "batch 16 2 number"], bin_px: float
    ) -> Float[Tensor, "batch 16 2 number"]:
        """What is said of close-ups, as it is to be read in the inputs.

        A number stands for all places of its bin: its probability is spread over as much of the
        input as the bin covers there, and each place's part is shared by the two numbers that it
        lies between. So means stay where they are, and what is alike everywhere stays alike. On
        an axis that is shown whole nothing changes, and what is NaN stays NaN.

        Args:
            log_probability: of every number, x before y.
            bin_px: width of a bin, input pixels.
        """
        bins = np.arange(log_probability.shape[-1])
        xy_part = (np.stack([bins, bins], axis=-1) + 0.5) * bin_px - 0.5  # (N, 2), of each bin
        every = zip(self.wholes, self.parts, strict=True)
        xy_input = np.stack([whole.to_input(part.to_img(xy_part)) for whole, part in every])
        place = ((xy_input + 0.5) / bin_px - 0.5).swapaxes(1, 2)  # (B, 2, N), in the input's bins
        width = np.diff(place[..., :2])[..., None]  # of a close-up's bin, in the input's
        away = bins[:, None] - place[..., None, :]  # (B, 2, to, from)
        share = (_triangle_below(away + width / 2) - _triangle_below(away - width / 2)) / width
        share[np.isclose(place, bins, rtol=0, atol=1e-6).all(axis=-1)] = np.eye(len(bins))
        share /= share.sum(axis=-2, keepdims=True)  # of a bin that reaches over the border
        shares = torch.from_numpy(share).to(log_probability)
        by_axis = log_probability.exp().transpose(1, 2)  # (B, 2, 16, from)
        with torch.autocast(log_probability.device.type, enabled=False):  # which would round
            return (by_axis @ shares.mT).transpose(1, 2).log()


def _triangle_below(at: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """The part below `at` of a triangle of area 1 that stands on -1 to 1."""
    at = at.clip(-1, 1)
    return np.asarray(0.5 + at - at * np.abs(at) / 2)


LookAgain = Callable[[Float[np.ndarray, "batch 16 2"]], CloseUps]  # round poses, input pixels
