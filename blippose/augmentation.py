"""Random views of a training sample: pixels and joints move together.

Every draw comes from the generator that is passed in, so that (seed, epoch, index) decides it.
Joints never leave the input: the view is shrunk and shifted as far as that takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageEnhance

from blippose.errors import UserError
from blippose.geometry import PADDING_RGB
from blippose.pose import MIRROR, Pose


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from the sample.

    Args:
        flip: probability of a mirrored view; left and right joints change names with it.
        rotate: largest rotation either way, degrees.
        scale: largest change of size, as a factor: 1.3 draws from [1 / 1.3, 1.3].
        shift: largest shift either way, as a share of the input.
        color: largest relative change of brightness, contrast and saturation.

    Raises:
        UserError: a value out of its range.
    """

    flip: float = 0.5
    rotate: float = 5.0
    scale: float = 1.15
    shift: float = 0.08
    color: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise UserError(f"augmentation.flip={self.flip}: expected 0 to 1")
        for name, least in (("rotate", 0), ("scale", 1), ("shift", 0), ("color", 0)):
            value = getattr(self, name)
            if not least <= value < np.inf:
                raise UserError(f"augmentation.{name}={value}: expected {least} or more")

    def __call__(
        self, image: UInt8[np.ndarray, "size size 3"], pose: Pose, rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "size size 3"], Pose]:
        """A view of the image and the pose in it, both in the input frame."""
        if rng.random() < self.flip:
            image, pose = flip(image, pose)
        view = self._affine(pose, image.shape[0], rng)
        moved = Pose.of(pose.xy @ view[:, :2].T + view[:, 2])
        pixels = _warp(Image.fromarray(image), view)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            pixels = enhance(pixels).enhance(1 + self.color * rng.uniform(-1, 1))
        return np.asarray(pixels), moved

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


def flip(
    image: UInt8[np.ndarray, "size size 3"], pose: Pose
) -> tuple[UInt8[np.ndarray, "size size 3"], Pose]:
    """The mirror image, in which a right wrist is a left one. Its own inverse."""
    order = list(MIRROR)
    mirrored = np.stack([image.shape[1] - 1 - pose.xy[:, 0], pose.xy[:, 1]], axis=-1)
    return np.ascontiguousarray(image[:, ::-1]), Pose.of(mirrored[order])


def _about_middle(
    linear: Float[np.ndarray, "2 2"], shift: Float[np.ndarray, "2"], size: int
) -> Float[np.ndarray, "2 3"]:
    middle = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, middle + shift - linear @ middle])


def _warp(image: Image.Image, view: Float[np.ndarray, "2 3"]) -> Image.Image:
    """The image under a map of its coordinates. PIL asks for the inverse, from corners (+0.5)."""
    inverse = np.linalg.inv(view[:, :2])
    offset = inverse @ (-view[:, 2] - 0.5) + 0.5
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        tuple(np.column_stack([inverse, offset]).ravel()),
        Image.Resampling.BILINEAR,
        fillcolor=PADDING_RGB,
    )
