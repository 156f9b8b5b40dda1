"""A jointed 3-D person: random build, joint angles with limits, forward kinematics.

Body frame: x to the person's left, y up, z forwards; lengths in units of stature. Knows nothing
of cameras, colours or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from blippose.pose import JOINTS, NUM_JOINTS

# Joint angles in degrees; 0 is standing upright with hanging arms.
# Ranges: normal active motion, rounded and widened for athletes; the root is free.
_TRUNK_LIMITS = {
    "pitch": (-180.0, 180.0),  # whole body forwards
    "roll": (-180.0, 180.0),  # whole body to its right
    "bend": (-30.0, 80.0),  # spine forwards
    "lean": (-35.0, 35.0),  # spine to the right
    "twist": (-45.0, 45.0),  # chest to the left
    "nod": (-45.0, 45.0),  # head forwards
    "tilt": (-30.0, 30.0),  # head to the right
    "turn": (-70.0, 70.0),  # head to the left
}
_LIMB_LIMITS = {
    "shoulder flex": (-50.0, 180.0),  # arm forwards and up
    "shoulder abduct": (-20.0, 175.0),  # arm outwards and up
    "shoulder twist": (-90.0, 80.0),  # positive turns the elbow pit inwards
    "elbow": (0.0, 150.0),
    "hip flex": (-30.0, 125.0),  # thigh forwards and up
    "hip abduct": (-15.0, 75.0),  # thigh outwards
    "hip twist": (-45.0, 40.0),  # positive turns the toes inwards
    "knee": (0.0, 150.0),
    "ankle": (-25.0, 50.0),  # toes down
}
SIDES = ("right", "left")
LIMITS: dict[str, tuple[float, float]] = _TRUNK_LIMITS | {
    f"{side} {name}": limits for side in SIDES for name, limits in _LIMB_LIMITS.items()
}
Angles = dict[str, float]
Point = Float[np.ndarray, "3"]
Matrix = Float[np.ndarray, "3 3"]


@dataclass(frozen=True)
class Build:
    """Bone lengths and girths of one person, in units of stature."""

    torso: float  # pelvis to thorax
    neck: float  # thorax to upper neck
    head: float  # upper neck to head top
    shoulders: float  # half the distance of the shoulder joints
    hips: float  # half the distance of the hip joints
    upper_arm: float
    forearm: float
    thigh: float
    shank: float
    foot: float
    girth: float  # factor on every radius
    chest: float  # factor on the torso's width above the waist


@dataclass(frozen=True)
class Skeleton:
    """Joint positions and the frame of every rigid part (columns: left, up, forwards)."""

    joints: Float[np.ndarray, "16 3"]
    frames: dict[str, Matrix]


def sample_build(rng: np.random.Generator) -> Build:
    """A random adult, or now and then a child, whose head is larger.

    Source: means as Drillis & Contini (Body Segment Parameters, 1966), arms and head fitted to
    MPII's joint definitions.
    """
    is_child = rng.random() < 0.1
    jitter = 1 + 0.05 * rng.standard_normal(10).clip(-2, 2)
    child = np.array([1, 0.85, 1.35, 0.95, 1, 0.93, 0.93, 0.9, 0.9, 0.95]) if is_child else 1.0
    mean = np.array([0.283, 0.06, 0.14, 0.108, 0.055, 0.172, 0.15, 0.242, 0.235, 0.125])
    girth = np.clip(rng.normal(1.0, 0.12), 0.8, 1.35)
    values = [*(mean * jitter * child), girth, rng.uniform(0.88, 1.08)]
    return Build(*(float(value) for value in values))


def limit(angles: Angles) -> Angles:
    """All angles of LIMITS, 0 where absent, each within its range."""
    return {name: float(np.clip(angles.get(name, 0.0), *LIMITS[name])) for name in LIMITS}


def mirror(angles: Angles) -> Angles:
    """The same pose with left and right exchanged."""
    swapped = {"left": "right", "right": "left"}
    signed = {"roll": -1, "lean": -1, "twist": -1, "tilt": -1, "turn": -1}

    def name_of(name: str) -> str:
        side, _, part = name.partition(" ")
        return f"{swapped[side]} {part}" if side in swapped else name

    return {name_of(name): signed.get(name, 1) * value for name, value in angles.items()}


def rotation(axis: str, degrees: float) -> Matrix:
    """The right-handed rotation about "x", "y" or "z"."""
    radians = np.deg2rad(degrees)
    c, s = float(np.cos(radians)), float(np.sin(radians))
    rows = {
        "x": [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]],
        "y": [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]],
        "z": [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]],
    }
    return np.array(rows[axis])


def pose_skeleton(build: Build, angles: Angles, yaw: float = 0.0) -> Skeleton:
    """Forward kinematics, pelvis at the origin; `yaw` (degrees) turns the person to her left."""
    angles = limit(angles)
    joints = np.zeros((NUM_JOINTS, 3))
    frames: dict[str, Matrix] = {}
    _pose_trunk(build, angles, yaw, joints, frames)
    for side in SIDES:
        _pose_arm(build, angles, side, joints, frames)
        _pose_leg(build, angles, side, joints, frames)
    return Skeleton(joints, frames)


def _pose_trunk(
    build: Build,
    angles: Angles,
    yaw: float,
    joints: Float[np.ndarray, "16 3"],
    frames: dict[str, Matrix],
) -> None:
    pelvis = rotation("y", yaw) @ _tilt(angles["pitch"], angles["roll"], 0.0)
    half = _tilt(angles["bend"] / 2, angles["lean"] / 2, angles["twist"] / 2)
    waist, chest = pelvis @ half, pelvis @ half @ half
    neck = chest @ _tilt(angles["nod"] / 2, angles["tilt"] / 2, angles["turn"] / 2)
    head = chest @ _tilt(angles["nod"], angles["tilt"], angles["turn"])
    frames |= {"pelvis": pelvis, "waist": waist, "chest": chest, "neck": neck, "head": head}
    spine = (0.35 * pelvis + 0.35 * waist + 0.3 * chest)[:, 1] * build.torso
    joints[JOINTS.index("thorax")] = spine
    upper_neck = spine + neck[:, 1] * build.neck
    joints[JOINTS.index("upper neck")] = upper_neck
    joints[JOINTS.index("head top")] = upper_neck + head[:, 1] * build.head


def _pose_arm(
    build: Build,
    angles: Angles,
    side: str,
    joints: Float[np.ndarray, "16 3"],
    frames: dict[str, Matrix],
) -> None:
    flex, abduct = angles[f"{side} shoulder flex"], angles[f"{side} shoulder abduct"]
    left = 1 if side == "left" else -1
    chest = frames["chest"]
    # The collar bone lifts the shoulder joint when the arm goes above the horizontal.
    lift = 0.035 * max(0.0, max(flex, abduct) - 60) / 120
    offset = np.array([left * (build.shoulders - 0.4 * lift), lift - 0.006, 0.0])
    upper = (
        chest
        @ rotation("x", -flex)
        @ rotation("z", left * abduct)
        @ rotation("y", -left * angles[f"{side} shoulder twist"])
    )
    fore = upper @ rotation("x", -angles[f"{side} elbow"])
    shoulder = joints[JOINTS.index("thorax")] + chest @ offset
    elbow = shoulder - upper[:, 1] * build.upper_arm
    joints[JOINTS.index(f"{side} shoulder")] = shoulder
    joints[JOINTS.index(f"{side} elbow")] = elbow
    joints[JOINTS.index(f"{side} wrist")] = elbow - fore[:, 1] * build.forearm
    frames |= {f"{side} upper arm": upper, f"{side} forearm": fore}


def _pose_leg(
    build: Build,
    angles: Angles,
    side: str,
    joints: Float[np.ndarray, "16 3"],
    frames: dict[str, Matrix],
) -> None:
    left = 1 if side == "left" else -1
    pelvis = frames["pelvis"]
    thigh = (
        pelvis
        @ rotation("x", -angles[f"{side} hip flex"])
        @ rotation("z", left * angles[f"{side} hip abduct"])
        @ rotation("y", -left * angles[f"{side} hip twist"])
    )
    shank = thigh @ rotation("x", angles[f"{side} knee"])
    hip = pelvis[:, 0] * left * build.hips
    knee = hip - thigh[:, 1] * build.thigh
    joints[JOINTS.index(f"{side} hip")] = hip
    joints[JOINTS.index(f"{side} knee")] = knee
    joints[JOINTS.index(f"{side} ankle")] = knee - shank[:, 1] * build.shank
    foot = shank @ rotation("x", angles[f"{side} ankle"])
    frames |= {f"{side} thigh": thigh, f"{side} shank": shank, f"{side} foot": foot}


def _tilt(forwards: float, right: float, left_turn: float) -> Matrix:
    turned: Matrix = rotation("y", left_turn) @ rotation("x", forwards) @ rotation("z", right)
    return turned
