"""Random views of a training sample: what is drawn, and where the joints come to lie.

Every draw comes from the generator that is passed in, so that (seed, epoch, index) decides it,
whatever else is in the batch. Joints never leave the input: the view is shrunk and shifted as far
as that takes. Pixels follow in `blippose.views`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from blippose.errors import UserError
from blippose.pose import MIRROR, Pose

# Share of the input that is erased, and height over width. Source: RandomErasing of torchvision.
_ERASED_AREA, _ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)


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
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augmentation.{name}={getattr(self, name)}: expected 0 to 1")
        for name, least in (("rotate", 0), ("scale", 1), ("shift", 0), ("color", 0)):
            value = getattr(self, name)
            if not least <= value < np.inf:
                raise UserError(f"augmentation.{name}={value}: expected {least} or more")

    def draw(self, pose: Pose, size: int, rng: np.random.Generator) -> View:
        """A view of a sample of `size` x `size` pixels with this pose in it."""
        is_mirrored = bool(rng.random() < self.flip)
        first = mirror(size) if is_mirrored else np.eye(2, 3)
        seen = View(first, is_mirrored, np.ones(3), np.zeros(4, dtype=np.int64)).pose(pose)
        then = self._affine(seen, size, rng)
        matrix = then @ np.vstack([first, (0.0, 0.0, 1.0)])
        color = 1 + self.color * rng.uniform(-1, 1, 3)
        return View(matrix, is_mirrored, color, self._rectangle(size, rng))

    def _affine(self, pose: Pose, size: int, rng: np.random.Generator) -> Float[np.ndarray, "2 3"]:
        """A map of input coordinates: rotation and scale round the middle, then a shift."""
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate))
        scale = np.exp(rng.uniform(-1, 1) * np.log(self.scale))
        shift = rng.uniform(-self.shift, self.shift, 2) * size
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if not pose.valid.any():
            return _about_middle(scale * turn, shift, size)
        xy = (pose.xy[pose.valid] - (size - 1) / 2) @ turn.T
        span = float(np.ptp(xy, axis=0).max())
        scale = min(scale, (size - 1) / max(span, 1e-6))
        low = -(size - 1) / 2 - scale * xy.min(axis=0)
        high = (size - 1) / 2 - scale * xy.max(axis=0)
        return _about_middle(scale * turn, np.clip(shift, np.minimum(low, high), high), size)

    def _rectangle(self, size: int, rng: np.random.Generator) -> Int[np.ndarray, "4"]:
        """What is erased, anywhere inside."""
        is_erased, area = rng.random() < self.erase, rng.uniform(*_ERASED_AREA)
        ratio, place = np.exp(rng.uniform(*np.log(_ERASED_RATIO))), rng.random(2)
        extent = (size * np.sqrt(area * np.array([1 / ratio, ratio]))).round().clip(0, size)
        corner = (place * (size - extent)).round()
        rectangle: Int[np.ndarray, "4"] = np.concatenate([corner, corner + extent]).astype(int)
        return rectangle * is_erased


def mirror(size: int) -> Float[np.ndarray, "2 3"]:
    """The map to the mirror image, which is its own inverse."""
    return np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]])


def _about_middle(
    linear: Float[np.ndarray, "2 2"], shift: Float[np.ndarray, "2"], size: int
) -> Float[np.ndarray, "2 3"]:
    middle = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, middle + shift - linear @ middle])
