"""Discs that hide a part of a model's input: where they lie, their pixels, what fills them.

Coordinates are pixels of the square input, the centre of the first one at 0; discs are round in
the image that it shows. Beside a disc over a joint stand its controls, which hide as many pixels.
Knows nothing of models or answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, UInt8

from blippose.geometry import Crop
from blippose.pose import SKELETON

FILLS = ("mean", "noise", "black")
# What is body and no bone: the sides and diagonals of the trunk, between shoulders and hips.
_TRUNK = ((12, 13), (2, 3), (12, 2), (13, 3), (12, 3), (13, 2))
# A pixel this near to a bone or the trunk, in head sizes, may show the person. Limbs are thinner;
# clothes, hands and feet reach beyond their joints.
BODY_REACH = 0.6
_ROUNDING = 1e-6  # px


@dataclass(frozen=True)
class Picture:
    """The rectangle of the input that shows the image: what is not padding.

    Columns `left` to `right` - 1 and rows `top` to `bottom` - 1 of a `size` x `size` input.
    `stretch` is how much wider an image pixel became than high: with it a disc is round in the
    image, whatever the input did to the image's proportions.
    """

    left: int
    top: int
    right: int
    bottom: int
    size: int
    stretch: float = 1.0

    @staticmethod
    def of(crop: Crop, width: int, height: int) -> Picture:
        """The pixels that an image of that size fills wholly.

        >>> Picture.of(Crop(0.0, -100.0, 400.0, 400.0, 96), 400, 200)  # padding above and below
        Picture(left=0, top=24, right=96, bottom=72, size=96, stretch=1.0)
        """
        borders = crop.to_input(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])) + 0.5
        left, top = np.ceil(borders[0] - _ROUNDING).clip(0, crop.size).astype(int).tolist()
        right, bottom = np.floor(borders[1] + _ROUNDING).clip(0, crop.size).astype(int).tolist()
        return Picture(left, top, right, bottom, crop.size, crop.height / crop.width)

    def mask(self) -> Bool[np.ndarray, "size size"]:
        """True where the input shows the image."""
        mask = np.zeros((self.size, self.size), dtype=bool)
        mask[self.top : self.bottom, self.left : self.right] = True
        return mask

    def even(self, xy_input: Float[np.ndarray, "*any 2"]) -> Float[np.ndarray, "*any 2"]:
        """Input pixels in the image's proportions: a distance there is as in the image.

        An area keeps its size, so that a radius is still one in input pixels.
        """
        root = math.sqrt(self.stretch)
        even: Float[np.ndarray, "*any 2"] = xy_input * np.array([1 / root, root])
        return even

    def distance(
        self, xy_input: Float[np.ndarray, "*any 2"], center: Float[np.ndarray, "2"]
    ) -> Float[np.ndarray, "*any"]:
        """Distance from a point, `even`."""
        return np.asarray(np.linalg.norm(self.even(xy_input - center), axis=-1))

    def holds(
        self, xy_input: Float[np.ndarray, "*any 2"], margin: float | int = 0
    ) -> Bool[np.ndarray, "*any"]:
        """Whether points lie in it, `margin` px, `even`, or more from its border."""
        low = self.even(np.array([self.left, self.top]) - 0.5) + margin
        high = self.even(np.array([self.right, self.bottom]) - 0.5) - margin
        xy = self.even(xy_input)
        return np.asarray(((xy >= low) & (xy <= high)).all(axis=-1))


def disc_area(picture: Picture, center: Float[np.ndarray, "2"], radius: float | int) -> int:
    """How many pixels of the picture have their centre within `radius` px of `center`; 1 or more.

    A disc that is smaller than a pixel hides the nearest one.
    """
    away = picture.distance(_pixels(picture.size), center)
    return max(1, int((picture.mask() & (away <= radius)).sum()))


def disc(
    picture: Picture, center: Float[np.ndarray, "2"], area: int
) -> Bool[np.ndarray, "size size"]:
    """The `area` pixels of the picture nearest to `center`: a disc, cut at the picture's border.

    Discs of one area hide equally many pixels wherever they lie. Of equally near pixels those
    above and to the left come first.
    """
    away = picture.distance(_pixels(picture.size), center)
    # Rounded, or the last bits would order pixels that are equally near.
    away = np.where(picture.mask(), away.round(6), np.inf)
    nearest = np.argsort(away, axis=None, kind="stable")[:area]
    mask = np.zeros(away.size, dtype=bool)
    mask[nearest] = np.isfinite(away.flat[nearest])
    return mask.reshape(away.shape)


@dataclass(frozen=True, eq=False)
class Body:
    """One person in a picture, and where discs find room on the body and off it.

    Args:
        picture: what is shown.
        xy_input: the true joints, NaN where one is not annotated: bones to it are not known.
        head_size: px, `even`.
    """

    picture: Picture
    xy_input: Float[np.ndarray, "16 2"]
    head_size: float

    def place_on(
        self, joint: int, radius: float | int, draw: np.random.Generator
    ) -> Float[np.ndarray, "2"] | None:
        """The centre of a disc elsewhere on the body; None where there is no room.

        A point of the skeleton, drawn by length of bone, whose disc lies in the picture and does
        not touch the disc of that radius over the joint.
        """
        points = self._bone_points
        is_apart = self.picture.distance(points, self.xy_input[joint]) > 2 * radius
        return _drawn(points[is_apart & self.picture.holds(points, radius)], draw)

    def place_off(
        self, radius: float | int, draw: np.random.Generator
    ) -> Float[np.ndarray, "2"] | None:
        """The centre of a disc off the body; None where there is no room.

        A pixel, drawn evenly, whose disc lies in the picture and keeps `BODY_REACH` head sizes
        from every bone and from the trunk.
        """
        pixels = _pixels(self.picture.size)
        is_apart = self._pixel_distance > radius + BODY_REACH * self.head_size
        return _drawn(pixels[is_apart & self.picture.holds(pixels, radius)], draw)

    def distance(self, xy_input: Float[np.ndarray, "*any 2"]) -> Float[np.ndarray, "*any"]:
        """Distance of points from the nearest bone or side of the trunk, px, `even`."""
        start, end = (self.picture.even(ends) for ends in self._bones)
        step = end - start  # (S, 2)
        length = np.maximum((step**2).sum(axis=-1), np.finfo(float).tiny)
        points = self.picture.even(xy_input)[..., None, :]
        along = ((points - start) * step).sum(axis=-1) / length  # (..., S)
        nearest = start + along.clip(0, 1)[..., None] * step
        away = np.linalg.norm(points - nearest, axis=-1)
        return np.asarray(away.min(axis=-1, initial=np.inf))

    @cached_property
    def _pixel_distance(self) -> Float[np.ndarray, "size size"]:
        return self.distance(_pixels(self.picture.size))

    @cached_property
    def _bones(self) -> tuple[Float[np.ndarray, "bones 2"], Float[np.ndarray, "bones 2"]]:
        """Ends of the bones and of the sides of the trunk, where both are annotated."""
        ends = np.array([(self.xy_input[a], self.xy_input[b]) for a, b in (*SKELETON, *_TRUNK)])
        known = ends[np.isfinite(ends).all(axis=(1, 2))]  # (S, 2, 2)
        return known[:, 0], known[:, 1]

    @cached_property
    def _bone_points(self) -> Float[np.ndarray, "points 2"]:
        """Points along every bone, a pixel or less apart."""
        lines = [
            np.linspace(start, end, 1 + math.ceil(float(np.linalg.norm(end - start))))
            for start, end in zip(*self._bones, strict=True)
        ]
        return np.concatenate(lines) if lines else np.empty((0, 2))


def covered(
    image: UInt8[np.ndarray, "size size 3"],
    mask: Bool[np.ndarray, "size size"],
    picture: Picture,
    fill: str,
    draw: np.random.Generator,
) -> UInt8[np.ndarray, "size size 3"]:
    """A copy of an input with other pixels where the mask is.

    Args:
        image: RGB.
        mask: what is hidden.
        picture: where the input shows the image.
        fill: "mean" is the mean colour of the picture, "noise" a colour drawn evenly for each
            pixel, "black" is black.
        draw: of the noise.
    """
    hidden = image.copy()
    if fill == "mean":
        hidden[mask] = image[picture.mask()].mean(axis=0).round().astype(np.uint8)
    elif fill == "noise":
        hidden[mask] = draw.integers(0, 256, (int(mask.sum()), 3), dtype=np.uint8)
    else:
        hidden[mask] = 0
    return hidden


def _pixels(size: int) -> Float[np.ndarray, "size size 2"]:
    """The x and y of each pixel's centre."""
    place = np.arange(size, dtype=np.float64)
    return np.stack(np.meshgrid(place, place), axis=-1)


def _drawn(
    places: Float[np.ndarray, "places 2"], draw: np.random.Generator
) -> Float[np.ndarray, "2"] | None:
    return places[int(draw.integers(len(places)))] if len(places) else None
