"""Random views of a training sample: what is drawn, and where the joints come to lie.

Every draw comes from the generator that is passed in, so that (seed, epoch, index) decides it,
whatever else is in the batch. Joints never leave the input: the view is shrunk and shifted as far
as that takes. Pixels follow in `blippose.views`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from blippose.errors import UserError
from blippose.pose import MIRROR, Pose

# Share of the input that is erased, and height over width. Source: RandomErasing of torchvision.
_ERASED_AREA, _ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
_NUM_DRAWN = 13  # numbers that decide a view


@dataclass(frozen=True, eq=False)
class View:
    """How one sample is seen.

    Args:
        matrix: from input pixels of the sample to those of the view, (x, y, 1) to (x, y).
        is_mirrored: whether left and right joints have changed names.
        color: factors of brightness, contrast and saturation, in the order in which they act.
        erased: left, top, right, bottom of what is painted over, in pixels of the view; the last
            two are not part of it, so that nothing is where they are the first two.
    """

    matrix: Float[np.ndarray, "2 3"]
    is_mirrored: bool
    color: Float[np.ndarray, "3"]
    erased: Int[np.ndarray, "4"]

    def pose(self, pose: Pose) -> Pose:
        """The pose as it lies in the view."""
        xy = pose.xy @ self.matrix[:, :2].T + self.matrix[:, 2]
        return Pose.of(xy[list(MIRROR)] if self.is_mirrored else xy)


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from the sample.

    Args:
        flip: probability of a mirrored view; left and right joints change names with it.
        rotate: largest rotation either way, degrees.
        scale: largest change of size, as a factor: 1.3 draws from [1 / 1.3, 1.3].
        shift: largest shift either way, as a share of the input.
        color: largest relative change of brightness, contrast and saturation.
        erase: probability that a rectangle of 2 to 33 % of the input is painted over.

    Raises:
        UserError: a value out of its range.
    """

    flip: float = 0.5
    rotate: float = 5.0
    scale: float = 1.15
    shift: float = 0.08
    color: float = 0.1
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "color", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augmentation.{name}={getattr(self, name)}: expected 0 to 1")
        for name, least in (("rotate", 0), ("scale", 1), ("shift", 0)):
            value = getattr(self, name)
            if not least <= value < np.inf:
                raise UserError(f"augmentation.{name}={value}: expected {least} or more")

    def draw(self, pose: Pose, size: int, rng: np.random.Generator) -> View:
        """A view of a sample of `size` x `size` pixels with this pose in it."""
        # At once, as each call costs more than its number.
        flip, erase, *shares = rng.random(_NUM_DRAWN).tolist()
        is_mirrored = flip < self.flip
        xy = pose.xy[pose.valid] - (size - 1) / 2  # from the middle
        if is_mirrored:
            xy[:, 0] = -xy[:, 0]
        matrix = self._affine(xy, size, shares[:4])
        if is_mirrored:
            matrix = np.column_stack([-matrix[:, 0], matrix[:, 1], matrix @ [size - 1, 0, 1]])
        color = 1 + self.color * (2 * np.array(shares[4:7]) - 1)
        erased = _rectangle(size, shares[7:]) if erase < self.erase else (0, 0, 0, 0)
        return View(matrix, is_mirrored, color, np.array(erased))

    def _affine(
        self, xy: Float[np.ndarray, "joint 2"], size: int, shares: Sequence[float]
    ) -> Float[np.ndarray, "2 3"]:
        """A map of input coordinates: rotation and scale round the middle, then a shift.

        Scale and shift are drawn among those that keep all joints in view. To draw any and to cut
        it off would put a joint on the very border of every sixth view.
        """
        turned, scaled, *shifted = shares
        angle = math.radians((2 * turned - 1) * self.rotate)
        sine, cosine = math.sin(angle), math.cos(angle)
        turn, middle = np.array([[cosine, -sine], [sine, cosine]]), np.full(2, (size - 1) / 2)
        smallest, largest = 1 / self.scale, self.scale
        first, last = np.full(2, -self.shift * size), np.full(2, self.shift * size)
        if len(xy):
            xy = xy @ turn.T
            least, most = xy.min(axis=0), xy.max(axis=0)
            largest = min(largest, (size - 1) / max(float((most - least).max()), 1e-6))
            smallest = min(smallest, largest)
        scale = smallest * (largest / smallest) ** scaled
        if len(xy):
            high = middle - scale * most
            low = np.minimum(-middle - scale * least, high)
            first, last = np.clip(first, low, high), np.clip(last, low, high)
        shift = first + (last - first) * np.array(shifted)
        linear = scale * turn
        return np.column_stack([linear, middle + shift - linear @ middle])


def _rectangle(size: int, shares: Sequence[float]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a rectangle anywhere inside."""
    area = _ERASED_AREA[0] + shares[0] * (_ERASED_AREA[1] - _ERASED_AREA[0])
    ratio = _ERASED_RATIO[0] * (_ERASED_RATIO[1] / _ERASED_RATIO[0]) ** shares[1]
    width = min(size, round(size * math.sqrt(area / ratio)))
    height = min(size, round(size * math.sqrt(area * ratio)))
    left, top = round(shares[2] * (size - width)), round(shares[3] * (size - height))
    return left, top, left + width, top + height


def mirror(size: int) -> Float[np.ndarray, "2 3"]:
    """The map to the mirror image, which is its own inverse."""
    return np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]])
