"""The sixteen MPII joints: names, order, skeleton, mirror pairs, and one frozen pose.

Knows nothing of captions, files, models or frames: the variable that holds a pose names its frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

# MPII id order. Source: http://human-pose.mpi-inf.mpg.de, "annopoints.point.id".
JOINTS: tuple[str, ...] = (
    "right ankle",
    "right knee",
    "right hip",
    "left hip",
    "left knee",
    "left ankle",
    "pelvis",
    "thorax",
    "upper neck",
    "head top",
    "right wrist",
    "right elbow",
    "right shoulder",
    "left shoulder",
    "left elbow",
    "left wrist",
)
NUM_JOINTS = len(JOINTS)

# Joint ids from the torso outwards: each after the one that it hangs on, right before left.
TORSO_OUTWARDS = (6, 7, 8, 9, 2, 3, 12, 13, 1, 4, 11, 14, 0, 5, 10, 15)

# Bones as (joint, joint) ids, from the torso outwards.
SKELETON: tuple[tuple[int, int], ...] = (
    (6, 7),
    (7, 8),
    (8, 9),
    (6, 2),
    (2, 1),
    (1, 0),
    (6, 3),
    (3, 4),
    (4, 5),
    (7, 12),
    (12, 11),
    (11, 10),
    (7, 13),
    (13, 14),
    (14, 15),
)


def _mirrored(name: str) -> str:
    side, _, part = name.partition(" ")
    return {"right": f"left {part}", "left": f"right {part}"}.get(side, name)


# MIRROR[j] is the joint that joint j becomes when the image is flipped left to right.
MIRROR: tuple[int, ...] = tuple(JOINTS.index(_mirrored(name)) for name in JOINTS)


@dataclass(frozen=True, eq=False)
class Pose:
    """Sixteen joints of one person in MPII id order.

    A joint that is not `valid` (absent from the annotation, or missing from a caption) has NaN
    for both coordinates, so that no one can use it by mistake.
    """

    xy: Float[np.ndarray, "16 2"]
    valid: Bool[np.ndarray, "16"]

    @staticmethod
    def of(xy: Float[np.ndarray, "16 2"]) -> Pose:
        """A pose whose valid joints are those with finite coordinates.

        Raises:
            ValueError: another number of joints.
        """
        xy = np.asarray(xy, dtype=np.float64)
        if xy.shape != (NUM_JOINTS, 2):
            raise ValueError(f"a pose of shape {xy.shape}: expected {(NUM_JOINTS, 2)}")
        valid = np.isfinite(xy).all(axis=-1)
        return Pose(np.where(valid[:, None], xy, np.nan), valid)

    def enlarged(self, factor: float | int | Float[np.ndarray, "2"]) -> Pose:
        """In pixels of an image made `factor` times as large, by width and height."""
        return Pose.of((self.xy + 0.5) * factor - 0.5)
