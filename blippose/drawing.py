"""Skeletons on images; everything comes back as an array.

Coordinates are pixels of the image that is drawn on, 0-based, the centre of the first pixel at 0;
they may lie outside of it. Knows nothing of files, frames, captions or models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from blippose.pose import JOINTS, SKELETON, Pose

RGB = tuple[int, int, int]
# beartype, which checks in the tests, does not take an int for a float.
Number = float | int

_MAX_SUPERSAMPLING = 4
_MAX_LAYER_SIDE = 4096  # px; a larger figure is smooth enough with less supersampling


@dataclass(frozen=True)
class Style:
    """How a skeleton looks.

    Args:
        right: colour of the person's right arm and leg.
        left: colour of the left ones.
        torso: colour of what has no side.
        thickness: of limbs, in line widths.
        dot: radius of joints, in line widths.
        outline: dark rim, in line widths, that sets it off from any background.
    """

    right: RGB
    left: RGB
    torso: RGB
    thickness: float = 1.0
    dot: float = 0.95
    outline: float = 0.35
    outline_color: RGB = (16, 18, 22)

    def color(self, *joints: int) -> RGB:
        """The colour of a joint, or of the bone between two."""
        sides = {JOINTS[joint].split()[0] for joint in joints}
        if "right" in sides:
            return self.right
        return self.left if "left" in sides else self.torso


# Orange and blue stay apart for colour-blind readers, which the usual green and red do not.
PREDICTED = Style(right=(255, 140, 26), left=(46, 168, 255), torso=(222, 110, 255))
# The same sides, so that a left/right swap shows, but nearly white on whatever was predicted.
TRUE = Style(
    right=(255, 212, 150),
    left=(165, 216, 255),
    torso=(255, 255, 255),
    thickness=0.55,
    dot=0.6,
    outline=0.25,
)


def draw_poses(
    image: UInt8[np.ndarray, "h w 3"],
    poses: Sequence[Pose],
    style: Style = PREDICTED,
    line_width: Number | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of `image` with a skeleton for each pose; joints that are not valid are left out.

    Args:
        image: RGB.
        poses: in pixels of `image`.
        style: colours and proportions.
        line_width: px; None fits it to the image and the person.
    """
    canvas = Image.fromarray(image).copy()
    for pose in poses:
        width = fit_line_width(image.shape[:2], pose) if line_width is None else line_width
        _draw_pose(canvas, pose, style, width)
    return np.array(canvas)


def draw_comparison(
    image: UInt8[np.ndarray, "h w 3"], pred: Pose, target: Pose
) -> UInt8[np.ndarray, "h w 3"]:
    """The predicted skeleton, and on top of it the true one, thin and pale."""
    width = fit_line_width(image.shape[:2], target if target.valid.any() else pred)
    # Broader than alone, so that it shows on both sides of a true limb that it meets.
    predicted = draw_poses(image, [pred], PREDICTED, 1.5 * width)
    return draw_poses(predicted, [target], TRUE, width)


def fit_line_width(shape: tuple[int, int], pose: Pose) -> float:
    """A line width, px, that suits an image of (height, width) and a person of that extent."""
    of_image = 0.007 * math.sqrt(shape[0] * shape[1])
    if pose.valid.sum() < 2:
        return max(1.0, of_image)
    extent = float(np.ptp(pose.xy[pose.valid], axis=0).max())
    return max(1.0, min(of_image, 0.03 * extent))


def _draw_pose(canvas: Image.Image, pose: Pose, style: Style, width: Number) -> None:
    """Draw on a supersampled layer just large enough, and lay it on the canvas."""
    reach = math.ceil(width * (max(style.thickness / 2, style.dot) + style.outline)) + 1
    box = _visible_box(pose, canvas.size, reach)
    if box is None:
        return
    left, top, right, bottom = box
    size = right - left, bottom - top
    factor = max(1, min(_MAX_SUPERSAMPLING, _MAX_LAYER_SIDE // max(size)))
    layer = Image.new("RGBA", (size[0] * factor, size[1] * factor), (*style.outline_color, 0))
    xy_layer = (pose.xy + 0.5 - (left, top)) * factor
    _draw_skeleton(layer, xy_layer, style, width * factor)
    layer = layer.resize(size, Image.Resampling.BOX)
    canvas.paste(layer, (left, top), layer)


def _visible_box(
    pose: Pose, size: tuple[int, int], reach: int
) -> tuple[int, int, int, int] | None:
    """The part of the image that the drawing touches, or None where it touches none."""
    if not pose.valid.any():
        return None
    xy = pose.xy[pose.valid]
    low = np.maximum(np.floor(xy.min(axis=0)) - reach, 0)
    high = np.minimum(np.ceil(xy.max(axis=0)) + 1 + reach, size)
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _draw_skeleton(
    layer: Image.Image, xy: Float[np.ndarray, "16 2"], style: Style, width: Number
) -> None:
    draw = ImageDraw.Draw(layer)
    rim = style.outline * width
    # All rims first, so that none cuts through a limb that is already drawn.
    for grown, rimmed in ((rim, True), (0.0, False)):
        for a, b in SKELETON:
            color = style.outline_color if rimmed else style.color(a, b)
            _draw_limb(draw, xy[a], xy[b], style.thickness * width / 2 + grown, color)
        for joint, point in enumerate(xy):
            color = style.outline_color if rimmed else style.color(joint)
            _draw_dot(draw, point, style.dot * width + grown, color)


def _draw_limb(
    draw: ImageDraw.ImageDraw,
    start: Float[np.ndarray, "2"],
    end: Float[np.ndarray, "2"],
    radius: Number,
    color: RGB,
) -> None:
    segment = _clipped(start, end, draw.im.size, radius)
    if segment is None:
        return
    start, end = segment
    _draw_dot(draw, start, radius, color)
    _draw_dot(draw, end, radius, color)
    length = float(np.hypot(*(end - start)))
    if length == 0:
        return
    side = np.array([start[1] - end[1], end[0] - start[0]]) * (radius / length)
    corners = [start + side, end + side, end - side, start - side]
    draw.polygon([(float(x), float(y)) for x, y in corners], fill=color)


def _clipped(
    start: Float[np.ndarray, "2"],
    end: Float[np.ndarray, "2"],
    size: tuple[int, int],
    margin: Number,
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]] | None:
    """The part of a segment near the layer, or None. Pillow loses limbs that end beyond 32 bits.

    Source: Liang and Barsky, "A New Concept and Method for Line Clipping", 1984.
    """
    step = end - start
    if not np.isfinite(step).all():
        return None
    low, high = -2 * margin, np.array(size) + 2 * margin
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.sort([(low - start) / step, (high - start) / step], axis=0)
    inside = (start >= low) & (start <= high)
    bounds[:, step == 0] = np.where(inside, [[-np.inf], [np.inf]], np.nan)[:, step == 0]
    enter, leave = max(0.0, bounds[0].max()), min(1.0, bounds[1].min())
    if not enter <= leave:
        return None
    return start + enter * step, start + leave * step


def _draw_dot(
    draw: ImageDraw.ImageDraw, center: Float[np.ndarray, "2"], radius: Number, color: RGB
) -> None:
    x, y = float(center[0]), float(center[1])
    width, height = draw.im.size
    # NaN, a joint that is not valid, fails every comparison.
    if -radius <= x <= width + radius and -radius <= y <= height + radius:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
