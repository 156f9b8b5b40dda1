"""Two frames and the map between them: the image, and the model's square input.

`xy_img` are original image pixels, `xy_input` pixels of the input; both 0-based, x right, y down,
the centre of the first pixel at 0. A `Crop` is the rectangle of the image that fills the input.
Each map stands beside its inverse. Knows nothing of joints or captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from blippose.errors import UserError

# Outside of the image a crop shows CLIP's mean colour, which is 0 after normalisation.
# Source: OPENAI_CLIP_MEAN x 255.
PADDING_RGB = (123, 117, 104)
MARGIN = 0.08  # round a close-up's pose, of its longer side
_CLOSEST = 4  # times that a close-up enlarges either side, at most
_ROUNDING = 1e-6  # input pixels; a border that floating point moved is still whole


class Resize(StrEnum):
    """How an image fills the square input."""

    STRETCH = "stretch"  # as BlipImageProcessor does: the aspect ratio is lost
    LETTERBOX = "letterbox"  # the longer side fits, the rest is padding


CROPS = ("full", "person")  # what part of the image fills the input


def check_fill(resize: str, crop: str, group: str = "") -> None:
    """Refuse a way to fill the input that there is not.

    Args:
        resize: one of `Resize`.
        crop: one of `CROPS`.
        group: before their names in the message, as "data.".

    Raises:
        UserError: it is neither of `Resize` nor of `CROPS`.
    """
    if resize not in tuple(Resize):
        raise UserError(f"{group}resize={resize!r}: expected one of {', '.join(Resize)}")
    if crop not in CROPS:
        raise UserError(f"{group}crop={crop!r}: expected one of {', '.join(CROPS)}")


def to_img(xy_input: Any, corner: Any, extent: Any, size: int) -> Any:
    """Input pixels to image pixels.

    Args:
        xy_input: (*any, 2), an array or a tensor.
        corner: (2,), or for each person, of the rectangle of the image that fills the input.
        extent: likewise, its width and height.
        size: of the input.
    """
    return (xy_input + 0.5) * extent / size + corner - 0.5


def to_input(xy_img: Any, corner: Any, extent: Any, size: int) -> Any:
    """Image pixels to input pixels: the inverse of `to_img`."""
    return (xy_img + 0.5 - corner) * size / extent - 0.5


@dataclass(frozen=True)
class Crop:
    """The rectangle of an image that fills the `size` x `size` input, in continuous image pixels.

    The rectangle has its corner at (left, top), where the image's own corner is (0, 0) and the
    centre of its first pixel (0.5, 0.5); it may reach beyond the image.
    """

    left: float
    top: float
    width: float
    height: float
    size: int

    @staticmethod
    def of_image(width: int, height: int, size: int, resize: Resize = Resize.STRETCH) -> Crop:
        """The whole image."""
        if resize is Resize.STRETCH:
            return Crop(0.0, 0.0, float(width), float(height), size)
        side = float(max(width, height))
        return Crop((width - side) / 2, (height - side) / 2, side, side, size)

    @staticmethod
    def of_person(center_img: tuple[float, float], scale: float, size: int) -> Crop:
        """A square of 200 x scale x 1.25 px round a person. Source: MPII's objpos and scale."""
        side = 200.0 * scale * 1.25
        x, y = center_img[0] + 0.5, center_img[1] + 0.5
        return Crop(x - side / 2, y - side / 2, side, side, size)

    def close_up(
        self, xy_img: Float[np.ndarray, "joint 2"], margins: Sequence[float] = (MARGIN,) * 4
    ) -> Crop:
        """The part of this crop round a pose, stretched to the same input: a closer look.

        No side is shorter than a quarter of this crop's. Where a joint is not known, and may lie
        anywhere, it is all of this crop.

        Args:
            xy_img: the pose, image pixels.
            margins: left, top, right and bottom of it, shares of its longer side.

        Source: DeepPose, Toshev and Szegedy 2014, which looks again, in more detail, round what
        it found.
        """
        if not np.isfinite(xy_img).all():
            return self
        first, last = xy_img.min(axis=0) + 0.5, xy_img.max(axis=0) + 0.5
        around = np.reshape(margins, (2, 2)) * (last - first).max()
        first, last = first - around[0], last + around[1]
        extent = np.clip(last - first, self._extent / _CLOSEST, self._extent)
        corner = (first + last - extent) / 2
        corner = np.clip(corner, self._corner, self._corner + self._extent - extent)
        (left, top), (width, height) = corner.tolist(), extent.tolist()
        return Crop(left, top, width, height, self.size)

    def to_input(self, xy_img: Float[np.ndarray, "*any 2"]) -> Float[np.ndarray, "*any 2"]:
        """Image pixels to input pixels."""
        xy_input: Float[np.ndarray, "*any 2"]
        xy_input = to_input(np.asarray(xy_img), self._corner, self._extent, self.size)
        return xy_input

    def to_img(self, xy_input: Float[np.ndarray, "*any 2"]) -> Float[np.ndarray, "*any 2"]:
        """Input pixels to image pixels."""
        xy_img: Float[np.ndarray, "*any 2"]
        xy_img = to_img(np.asarray(xy_input), self._corner, self._extent, self.size)
        return xy_img

    def cut(self, image: Image.Image) -> UInt8[np.ndarray, "size size 3"]:
        """The input's pixels: PIL bicubic, as BlipImageProcessor's PIL backend.

        Where the crop reaches beyond the image, an input pixel that the image does not fill
        wholly is padding, so that every pixel lies exactly where `to_input` says.
        """
        rgb = image.convert("RGB")
        per_pixel = self._extent / self.size  # image pixels an input pixel
        first = (0 - self._corner) / per_pixel  # the image's borders in the input
        last = (np.array(rgb.size) - self._corner) / per_pixel
        x0, y0 = np.ceil(first - _ROUNDING).clip(0, self.size).astype(int).tolist()
        x1, y1 = np.floor(last + _ROUNDING).clip(0, self.size).astype(int).tolist()
        x0, x1 = _at_least_one((x0, x1), (first[0], last[0]), self.size)
        y0, y1 = _at_least_one((y0, y1), (first[1], last[1]), self.size)
        if x1 <= x0 or y1 <= y0:
            return np.full((self.size, self.size, 3), PADDING_RGB, dtype=np.uint8)
        borders = self._corner + np.array([[x0, y0], [x1, y1]]) * per_pixel
        box = tuple(borders.clip(0, rgb.size).ravel().tolist())
        part = rgb.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=box)
        if part.size == (self.size, self.size):
            return np.asarray(part)
        canvas = Image.new("RGB", (self.size, self.size), PADDING_RGB)
        canvas.paste(part, (x0, y0))
        return np.asarray(canvas)

    @property
    def _corner(self) -> Float[np.ndarray, "2"]:
        return np.array([self.left, self.top])

    @property
    def _extent(self) -> Float[np.ndarray, "2"]:
        return np.array([self.width, self.height])


def _at_least_one(
    ends: tuple[int, int], border: tuple[float, float], size: int
) -> tuple[int, int]:
    """Input pixels, on one axis, of an image from `border` to `border`.

    An image that is thinner than one pixel of the input is shown in one all the same.

    >>> _at_least_one((48, 48), (47.9, 48.1), 96), _at_least_one((40, 50), (39.5, 50.2), 96)
    ((48, 49), (40, 50))
    """
    first, last = border
    if ends[1] > ends[0] or last - first >= 1 or last <= 0 or first >= size:
        return ends
    place = min(max(int((first + last) / 2), 0), size - 1)
    return place, place + 1
