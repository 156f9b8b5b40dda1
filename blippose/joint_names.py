"""Each joint's name beside it, or at the end of a line where it would stand as near to another.

Names cover no other name and no joint, as far as there is room. Coordinates are pixels of the
image that is drawn on, as in `drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from blippose.drawing import PREDICTED, Style, fit_line_width
from blippose.pose import JOINTS, SKELETON, Pose

_LEAST_SIZE, _SHARE = 9, 0.022  # px; of the side of a square image of the same area
_CLEAR = 0.6  # of the way to any other joint: as near must a name be to its own, or have a line
_ANGLES, _RINGS = 24, 40  # places of a name with a line; rings are 3/4 of its height apart
_MOST = 80  # of the nearest free places are compared
_SAMPLES = 16  # points that stand for a line or a limb
# What makes a place worse, in heights of a name that it might rather lie farther away.
_LIMB, _NEAR_JOINT, _CROSSING = 0.25, 3.0, 12.0

_Boxes = Float[np.ndarray, "box 4"]  # left, top, right, bottom
_Points = Float[np.ndarray, "*any 2"]


@dataclass(frozen=True)
class Name:
    """Where a joint's name stands.

    Args:
        joint: its id.
        box: left, top, right, bottom of its ink and rim.
        line: from the joint to the box; None where it stands right beside the joint.
    """

    joint: int
    box: Float[np.ndarray, "4"]
    line: Float[np.ndarray, "2 2"] | None = None


def draw_joint_names(
    image: UInt8[np.ndarray, "h w 3"], pose: Pose, style: Style = PREDICTED
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of `image` with the names of the valid joints that lie in it, in their colours."""
    canvas = Image.fromarray(image).copy()
    draw = ImageDraw.Draw(canvas)
    size = max(_LEAST_SIZE, round(_SHARE * math.sqrt(image.shape[0] * image.shape[1])))
    font = ImageFont.load_default(size=size)
    rim = max(1, size // 8)
    widths = {joint: draw.textlength(name, font) + 2 * rim for joint, name in enumerate(JOINTS)}
    gap = 2 * fit_line_width(image.shape[:2], pose)
    names = place_names(pose, canvas.size, widths, 1.2 * size, gap)
    for name in names:
        if name.line is not None:
            _draw_line(draw, name.line, max(1, size // 10), style, name.joint)
    for name in names:
        draw.text(
            (name.box[0] + rim, (name.box[1] + name.box[3]) / 2),
            JOINTS[name.joint],
            style.color(name.joint),
            font,
            anchor="lm",
            stroke_width=rim,
            stroke_fill=style.outline_color,
        )
    return np.array(canvas)


def place_names(
    pose: Pose, size: tuple[int, int], widths: Mapping[int, float], height: float, gap: float
) -> list[Name]:
    """Where the names of the joints stand that an image of (width, height) `size` shows.

    Args:
        pose: in pixels of the image.
        size: of the image.
        widths: of each joint's name, px.
        height: of a name, px.
        gap: between a joint and its name, px.
    """
    joints = list(_inside(pose, size))
    names: list[Name] = []
    left: list[int] = []
    for joint in joints:  # names beside their joints first: they have but a few places
        boxes = _beside(pose.xy[joint], widths[joint], height, gap)
        room = _Room(pose, joint, size, names)
        fits = room.is_free(boxes) & room.is_clear(boxes)
        if fits.any():
            worth = np.where(fits, room.limbs_below(boxes), np.inf)
            names.append(Name(joint, boxes[int(worth.argmin())]))
        else:
            left.append(joint)
    for joint in left:
        boxes = _around(pose.xy[joint], widths[joint], height)
        names.append(_Room(pose, joint, size, names).best(boxes, height))
    return names


@dataclass(frozen=True)
class _Room:
    """What stands in the way of a joint's name."""

    pose: Pose
    joint: int
    size: tuple[int, int]
    names: Sequence[Name]

    @property
    def others(self) -> Float[np.ndarray, "joint 2"]:
        """The other joints."""
        xy = np.delete(self.pose.xy, self.joint, axis=0)
        return np.asarray(xy[np.isfinite(xy).all(axis=1)])

    def is_free(self, boxes: _Boxes) -> Bool[np.ndarray, " box"]:
        """Whether boxes lie in the image, on no other name, line or joint."""
        inside = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= self.size).all(axis=1)
        lines = [_along(name.line) for name in self.names if name.line is not None]
        points = np.concatenate([self.others, *lines])
        return np.asarray(inside & ~self._meets(boxes) & (_count_in(boxes, points) == 0))

    def is_clear(self, boxes: _Boxes) -> Bool[np.ndarray, " box"]:
        """Whether nobody would take the names for another joint's."""
        if not len(self.others):
            return np.ones(len(boxes), dtype=bool)
        own = _distance(boxes, self.pose.xy[self.joint][None])[:, 0]
        return np.asarray(own <= _CLEAR * _distance(boxes, self.others).min(axis=1))

    def limbs_below(self, boxes: _Boxes) -> Float[np.ndarray, " box"]:
        """How much of the skeleton the names would cover."""
        limbs = [_along(self.pose.xy[[a, b]]) for a, b in SKELETON]
        return _count_in(boxes, np.concatenate(limbs))

    def best(self, boxes: _Boxes, height: float) -> Name:
        """The name at the end of a line, where it is near and nothing is confused."""
        xy = self.pose.xy[self.joint]
        free = boxes[self.is_free(boxes)][:_MOST]
        if not len(free):  # no room: at least whole
            extent = boxes[0, 2:] - boxes[0, :2]
            corner = np.clip(boxes[0, :2], 0, np.maximum(0, self.size - extent))
            free = np.concatenate([corner, corner + extent])[None]
        ends = np.clip(xy, free[:, :2], free[:, 2:])
        lines = np.stack([np.broadcast_to(xy, ends.shape), ends], axis=1)
        cost = np.linalg.norm(ends - xy, axis=1) / height
        cost += _LIMB * self.limbs_below(free)
        cost += _NEAR_JOINT * self._passes_joint(lines, height / 2)
        cost += _CROSSING * self._crossings(lines)
        chosen = int(cost.argmin())
        return Name(self.joint, free[chosen], lines[chosen])

    def _meets(self, boxes: _Boxes) -> Bool[np.ndarray, " box"]:
        if not self.names:
            return np.zeros(len(boxes), dtype=bool)
        taken = np.stack([name.box for name in self.names])
        before = boxes[:, None, :2] < taken[None, :, 2:]
        behind = taken[None, :, :2] < boxes[:, None, 2:]
        return np.asarray(np.any(np.all(before & behind, axis=2), axis=1))

    def _passes_joint(
        self, lines: Float[np.ndarray, "box 2 2"], reach: float
    ) -> Bool[np.ndarray, " box"]:
        """Whether lines come nearer to another joint than they are at their own."""
        if not len(self.others):
            return np.zeros(len(lines), dtype=bool)
        away = np.linalg.norm(_along(lines)[:, :, None] - self.others, axis=-1)  # (box, point, j)
        start = np.minimum(np.linalg.norm(self.pose.xy[self.joint] - self.others, axis=1), reach)
        return np.asarray(np.any(away < 0.8 * start, axis=(1, 2)))

    def _crossings(self, lines: Float[np.ndarray, "box 2 2"]) -> Float[np.ndarray, " box"]:
        """How many names and lines are crossed."""
        points, total = _along(lines), np.zeros(len(lines))
        for name in self.names:
            low, high = name.box[:2], name.box[2:]
            total += np.any(np.all((points >= low) & (points <= high), axis=2), axis=1)
            if name.line is not None:
                total += _cross(lines, name.line)
        return total


def _draw_line(
    draw: ImageDraw.ImageDraw, line: Float[np.ndarray, "2 2"], width: int, style: Style, joint: int
) -> None:
    ends = [(float(x), float(y)) for x, y in line]
    draw.line(ends, fill=style.outline_color, width=width + 2)
    draw.line(ends, fill=style.color(joint), width=width)


def _inside(pose: Pose, size: tuple[int, int]) -> Iterator[int]:
    """Joints that the image shows, from the top down."""
    for joint in np.argsort(pose.xy[:, 1]).tolist():
        x, y = pose.xy[joint]
        if -0.5 <= x < size[0] and -0.5 <= y < size[1]:  # NaN is not
            yield joint


def _beside(xy: Float[np.ndarray, "2"], width: float, height: float, gap: float) -> _Boxes:
    """Right of a joint, left, below, above."""
    x, y = xy
    corners = [
        (x + gap, y - height / 2),
        (x - gap - width, y - height / 2),
        (x - width / 2, y + gap),
        (x - width / 2, y - gap - height),
    ]
    return np.array([(left, top, left + width, top + height) for left, top in corners])


def _around(xy: Float[np.ndarray, "2"], width: float, height: float) -> _Boxes:
    """In rings round a joint, the nearest first."""
    angle = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    reach = 0.75 * height * np.arange(1, _RINGS + 1)[:, None, None]
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    half = np.array([width, height]) / 2
    middle = (xy + direction * (reach + half)).reshape(-1, 2)
    return np.concatenate([middle - half, middle + half], axis=1)


def _along(lines: Float[np.ndarray, "*any 2 2"]) -> Float[np.ndarray, "*any point 2"]:
    """Points on lines, ends included."""
    share = np.linspace(0, 1, _SAMPLES)[:, None]
    return lines[..., :1, :] * (1 - share) + lines[..., 1:, :] * share


def _count_in(boxes: _Boxes, points: _Points) -> Float[np.ndarray, " box"]:
    """How many points lie in each box; NaN in none."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    inside = np.all((points >= low) & (points <= high), axis=2)
    return np.asarray(np.sum(inside, axis=1), dtype=float)


def _distance(boxes: _Boxes, points: _Points) -> Float[np.ndarray, "box point"]:
    """From the nearest part of each box to each point."""
    nearest = np.clip(points, boxes[:, None, :2], boxes[:, None, 2:])
    return np.asarray(np.linalg.norm(points - nearest, axis=2))


def _cross(
    lines: Float[np.ndarray, "box 2 2"], other: Float[np.ndarray, "2 2"]
) -> Bool[np.ndarray, " box"]:
    """Whether lines cross another: the ends of each lie on both sides of the other."""
    a, b = lines[:, 0], lines[:, 1]
    c, d = np.broadcast_to(other[0], a.shape), np.broadcast_to(other[1], a.shape)
    sides = _side(a, b, c) * _side(a, b, d) < 0
    return np.asarray(sides & (_side(c, d, a) * _side(c, d, b) < 0))


def _side(
    start: Float[np.ndarray, "box 2"], end: Float[np.ndarray, "box 2"], xy: _Points
) -> Float[np.ndarray, " box"]:
    """Above 0 on one side of a line, below on the other."""
    along, to = end - start, xy - start
    return np.asarray(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0])
