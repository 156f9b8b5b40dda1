"""Each joint's name beside it, where it hides no other name, as far as there is room.

Coordinates are pixels of the image that is drawn on, as in `drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from blippose.drawing import PREDICTED, Style, fit_line_width
from blippose.pose import JOINTS, Pose

_LEAST_SIZE, _SHARE = 9, 0.022  # px; of the side of a square image of the same area
_STEPS = 6  # lines that a name may be moved up or down

_Box = tuple[float, float, float, float]  # left, top, right, bottom


def draw_joint_names(
    image: UInt8[np.ndarray, "h w 3"], pose: Pose, style: Style = PREDICTED
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of `image` with the names of the valid joints that lie in it, in their colours."""
    canvas = Image.fromarray(image).copy()
    draw = ImageDraw.Draw(canvas)
    size = max(_LEAST_SIZE, round(_SHARE * math.sqrt(image.shape[0] * image.shape[1])))
    font = ImageFont.load_default(size=size)
    rim = max(1, size // 8)
    gap = 2 * fit_line_width(image.shape[:2], pose)
    taken: list[_Box] = []
    for joint in _inside(pose, canvas.size):
        x, y = pose.xy[joint].tolist()
        width = draw.textlength(JOINTS[joint], font) + 2 * rim
        box = _free_box(_boxes(x, y, width, size * 1.2, gap), canvas.size, taken)
        taken.append(box)
        draw.text(
            (box[0] + rim, (box[1] + box[3]) / 2),
            JOINTS[joint],
            style.color(joint),
            font,
            anchor="lm",
            stroke_width=rim,
            stroke_fill=style.outline_color,
        )
    return np.array(canvas)


def _inside(pose: Pose, size: tuple[int, int]) -> Iterator[int]:
    """Joints that the image shows, from the top down."""
    for joint in np.argsort(pose.xy[:, 1]).tolist():
        x, y = pose.xy[joint]
        if -0.5 <= x < size[0] and -0.5 <= y < size[1]:  # NaN is not
            yield joint


def _boxes(x: float, y: float, width: float, height: float, gap: float) -> Iterator[_Box]:
    """Where a name may stand: right or left of its joint, the nearest first."""
    for step in sorted(range(-_STEPS, _STEPS + 1), key=abs):
        top = y - height / 2 + step * height
        for left in (x + gap, x - gap - width):
            yield left, top, left + width, top + height


def _free_box(boxes: Iterator[_Box], size: tuple[int, int], taken: Sequence[_Box]) -> _Box:
    """The first box within the image that meets no other, else the first, moved into it."""
    every = list(boxes)
    for box in every:
        if _is_inside(box, size) and not any(_meet(box, other) for other in taken):
            return box
    return _moved_inside(every[0], size)


def _is_inside(box: _Box, size: tuple[int, int]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1]


def _moved_inside(box: _Box, size: tuple[int, int]) -> _Box:
    left = max(0.0, min(box[0], size[0] - (box[2] - box[0])))
    top = max(0.0, min(box[1], size[1] - (box[3] - box[1])))
    return left, top, left + box[2] - box[0], top + box[3] - box[1]


def _meet(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
