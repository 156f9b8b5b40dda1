"""Poses to be drawn, and a grey image to draw them on."""

from __future__ import annotations

import numpy as np

from blippose.pose import JOINTS, Pose


def grey(height: int = 100, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def pose_of(**joints: tuple[float, float]) -> Pose:
    xy = np.full((16, 2), np.nan)
    for name, point in joints.items():
        xy[JOINTS.index(name.replace("_", " "))] = point
    return Pose.of(xy)


def standing(scale: float = 1.0) -> Pose:
    """A whole figure within 160 x 100 px."""
    points = [
        *((70, 92), (70, 75), (72, 58), (86, 58), (90, 75), (90, 92)),
        *((79, 57), (80, 26), (80, 20), (80, 8)),
        *((45, 50), (55, 38), (68, 28), (92, 28), (105, 38), (115, 50)),
    ]
    return Pose.of(np.array(points, dtype=float) * scale)
