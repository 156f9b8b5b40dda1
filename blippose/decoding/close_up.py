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
        pixels = torch.from_numpy(self.cut(parts)).permute(0, 3, 1, 2).to(self.device)

        def look(view: AskedView) -> Float[Tensor, "batch patch width"]:
            return self.see(view.of(pixels))

        return CloseUps(tuple(self.wholes), tuple(parts), look)


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

        A number's probability goes to the two numbers that its place lies between, so that the
        mean stays where it is. What is NaN stays NaN.

        Args:
            log_probability: of every number, x before y.
            bin_px: width of a bin, input pixels.
        """
        num_bins = log_probability.shape[-1]
        bins = np.arange(num_bins)
        xy_part = (np.stack([bins, bins], axis=-1) + 0.5) * bin_px - 0.5  # (N, 2), of each bin
        xy_input = [
            whole.to_input(part.to_img(xy_part))
            for whole, part in zip(self.wholes, self.parts, strict=True)
        ]
        at = (np.stack(xy_input) + 0.5) / bin_px - 0.5  # (B, N, 2), in bins of the input
        place = torch.from_numpy(at.clip(0, num_bins - 1)).to(log_probability).mT  # (B, 2, N)
        target = torch.arange(num_bins).to(place)
        share = (1 - (place[..., None, :] - target[:, None]).abs()).clamp(
            min=0
        )  # (B, 2, to, from)
        return torch.einsum("batf,bjaf->bjat", share, log_probability.exp()).log()


LookAgain = Callable[[Float[np.ndarray, "batch 16 2"]], CloseUps]  # round poses, input pixels
