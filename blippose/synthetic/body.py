"""A dressed person: torso, limbs, clothes and head round a posed skeleton."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from blippose.synthetic.figure import SIDES, Build, Matrix, Point, Skeleton
from blippose.synthetic.head import head
from blippose.synthetic.mesh import Mesh, ellipsoid, join, joint_of, limb, tube
from blippose.synthetic.outfit import Colour, Outfit


def dress(skeleton: Skeleton, build: Build, outfit: Outfit) -> Mesh:
    """The person's surface."""
    parts = [_torso(skeleton, build, outfit), _neck(skeleton, build, outfit)]
    parts += [*head(skeleton, build, outfit), *_front(skeleton, build, outfit)]
    for side in SIDES:
        parts += [*_arm(skeleton, build, outfit, side), *_leg(skeleton, build, outfit, side)]
    if outfit.skirt:
        parts.append(_skirt(skeleton, build, outfit))
    return join(parts)


def _torso_rings(
    skeleton: Skeleton, build: Build, outfit: Outfit
) -> tuple[Float[np.ndarray, "ring 3"], Float[np.ndarray, "ring 3"], Float[np.ndarray, "ring 3"]]:
    pelvis, waist, chest = (skeleton.frames[name] for name in ("pelvis", "waist", "chest"))
    thorax, girth = joint_of(skeleton, "thorax"), build.girth * (1.07 if outfit.is_loose else 1.0)
    low = pelvis[:, 1] * 0.35 * build.torso
    middle = low + waist[:, 1] * 0.175 * build.torso
    high = low + waist[:, 1] * 0.35 * build.torso
    wide, hips = build.shoulders * build.chest, build.hips + 0.028 * build.girth
    rows = [
        (pelvis[:, 1] * -0.055, pelvis, 0.45 * hips, 0.035 * girth),
        (pelvis[:, 1] * -0.025, pelvis, 0.95 * hips, 0.055 * girth),
        (pelvis[:, 1] * 0.02, pelvis, 1.03 * hips, 0.06 * girth),
        (low, pelvis, 0.9 * hips * (1.06 if outfit.is_loose else 1), 0.052 * girth),
        (middle, waist, 0.42 * (hips + wide), 0.051 * girth),
        (high, waist, 0.82 * wide, 0.056 * girth),
        (thorax - chest[:, 1] * 0.05, chest, 0.9 * wide, 0.06 * girth),
        (thorax - chest[:, 1] * 0.012, chest, 1.02 * build.shoulders, 0.05 * girth),
        (thorax + chest[:, 1] * 0.02, chest, 0.78 * build.shoulders, 0.038 * girth),
        (thorax + chest[:, 1] * 0.04, chest, 0.38 * build.shoulders, 0.031 * girth),
    ]
    centres = np.stack([row[0] for row in rows])
    across = np.stack([frame[:, 0] * width for _, frame, width, _ in rows])
    forwards = np.stack([frame[:, 2] * depth for _, frame, _, depth in rows])
    return centres, across, forwards


def _torso(skeleton: Skeleton, build: Build, outfit: Outfit) -> Mesh:
    rings = _torso_rings(skeleton, build, outfit)
    keys = np.arange(len(rings[0]))
    fine = np.linspace(0, len(keys) - 1, 2 * len(keys) - 1)
    centres, across, forwards = (
        np.stack([np.interp(fine, keys, ring[:, axis]) for axis in range(3)], axis=1)
        for ring in rings
    )
    colours = np.where(fine[:, None] < 2.5, np.array(outfit.trousers), np.array(outfit.shirt))
    if outfit.stripes:
        colours[5::2] = 0.35 * np.array(outfit.shirt) + 0.65 * np.array(outfit.accent)
    return tube(centres, across, forwards, colours, sides=20)


def _front(skeleton: Skeleton, build: Build, outfit: Outfit) -> list[Mesh]:
    """Neck opening and buttons, zip or print on the chest; the back stays plain."""
    centres, across, forwards = _torso_rings(skeleton, build, outfit)
    keys = np.arange(len(centres))

    def patch(side: float, height: float, width: float, tall: float, colour: Colour) -> Mesh:
        corners = []
        for du, dv in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            phi, ring = side + du * width, height + dv * tall
            centre, x, z = (
                np.array([np.interp(ring, keys, rows[:, axis]) for axis in range(3)])
                for rows in (centres, across, forwards)
            )
            corners.append(centre + 1.03 * (np.sin(phi) * x + np.cos(phi) * z))
        return Mesh(np.array([corners]), np.array([colour]), np.array([0.02]))

    designs: dict[int, list[tuple[float, float, float, float]]] = {
        0: [(0.0, height, 0.06, 0.11) for height in (3.2, 3.9, 4.6, 5.3, 6.0, 6.7, 7.4)],
        1: [(0.0, 5.9 + dv, 0.42 - 0.5 * abs(dv), 0.13) for dv in (-0.5, -0.25, 0.0, 0.25, 0.5)],
        2: [(0.0, 6.4, 0.55, 0.2), (0.0, 5.5, 0.45, 0.2)],
        3: [(0.0, 5.4, 0.05, 2.3)],
        4: [(-0.25, 5.8, 0.1, 0.75), (0.25, 5.8, 0.1, 0.75), (0.25, 6.45, 0.28, 0.15)],
    }
    patches = [patch(*place, outfit.accent) for place in designs[outfit.front]]
    patches.append(patch(0.0, 8.1, 0.35, 0.5, outfit.skin))
    return [*patches, patch(0.0, 2.6, 0.16, 0.14, (0.75, 0.7, 0.55))]


def _neck(skeleton: Skeleton, build: Build, outfit: Outfit) -> Mesh:
    frame, thorax = skeleton.frames["neck"], joint_of(skeleton, "thorax")
    upper = joint_of(skeleton, "upper neck")
    t = np.array([-0.1, 0.4, 0.8, 1.5])[:, None]
    centres = thorax + t * (upper - thorax)
    radius = np.array([0.042, 0.032, 0.029, 0.03])[:, None] * build.girth**0.6
    colours = np.tile(outfit.skin, (4, 1))
    return tube(centres, radius * frame[:, 0], radius * frame[:, 2], colours)


def _arm(skeleton: Skeleton, build: Build, outfit: Outfit, side: str) -> list[Mesh]:
    upper, fore = skeleton.frames[f"{side} upper arm"], skeleton.frames[f"{side} forearm"]
    g, wrist = build.girth, joint_of(skeleton, f"{side} wrist")
    loose = 0.009 if outfit.is_loose else 0.005
    left = 1 if side == "left" else -1
    arm = (outfit.skin, outfit.shirt)
    palm = wrist - fore[:, 1] * 0.038
    thumb = wrist + fore @ np.array([-0.012 * left, -0.03, 0.022])
    return [
        limb(
            joint_of(skeleton, f"{side} shoulder"),
            upper,
            build.upper_arm,
            (0.037 * g, 0.032 * g, 0.025 * g),
            *arm,
            outfit.sleeve,
            loose,
        ),
        limb(
            joint_of(skeleton, f"{side} elbow"),
            fore,
            build.forearm,
            (0.026 * g, 0.026 * g, 0.017 * g),
            *arm,
            outfit.sleeve - 1,
            loose,
        ),
        ellipsoid(palm, fore, (0.014, 0.048, 0.026), outfit.skin, 8, 6),
        ellipsoid(thumb, fore, (0.009, 0.024, 0.01), outfit.skin, 6, 5),
    ]


def _leg(skeleton: Skeleton, build: Build, outfit: Outfit, side: str) -> list[Mesh]:
    thigh, shank = skeleton.frames[f"{side} thigh"], skeleton.frames[f"{side} shank"]
    foot, g = skeleton.frames[f"{side} foot"], build.girth
    loose = 0.012 if outfit.is_loose else 0.005
    leg = (outfit.skin, outfit.trousers)
    ankle = joint_of(skeleton, f"{side} ankle")
    return [
        limb(
            joint_of(skeleton, f"{side} hip"),
            thigh,
            build.thigh,
            (0.056 * g, 0.054 * g, 0.038 * g),
            *leg,
            outfit.leg,
            loose,
        ),
        limb(
            joint_of(skeleton, f"{side} knee"),
            shank,
            build.shank,
            (0.039 * g, 0.039 * g, 0.023 * g),
            *leg,
            outfit.leg - 1,
            loose,
        ),
        _shoe(ankle, foot, build, outfit),
    ]


def _shoe(ankle: Point, foot: Matrix, build: Build, outfit: Outfit) -> Mesh:
    """A shoe from heel to toe, its sole in another colour."""
    z = np.array([-0.34, -0.3, -0.1, 0.2, 0.5, 0.66, 0.7]) * build.foot
    wide = np.array([0.3, 0.8, 0.9, 0.95, 1.1, 0.8, 0.2]) * 0.028
    high = np.array([0.3, 1.0, 1.15, 0.95, 0.6, 0.45, 0.1]) * 0.033
    base = -0.035
    centres = ankle + z[:, None] * foot[:, 2] + (base + high - 0.01)[:, None] * foot[:, 1]
    mesh = tube(
        centres,
        wide[:, None] * foot[:, 0],
        -high[:, None] * foot[:, 1],
        np.tile(outfit.shoes, (7, 1)),
    )
    below = (mesh.quads.mean(axis=1) - ankle) @ foot[:, 1] < base
    return Mesh(
        mesh.quads, np.where(below[:, None], np.array(outfit.sole), mesh.colours), mesh.bias
    )


def _skirt(skeleton: Skeleton, build: Build, outfit: Outfit) -> Mesh:
    """A skirt from the waist to above the knees, as wide as the legs need."""
    pelvis = skeleton.frames["pelvis"]
    hips = [joint_of(skeleton, f"{side} hip") for side in SIDES]
    knees = [joint_of(skeleton, f"{side} knee") for side in SIDES]
    t = np.array([-0.25, 0.0, 0.3, 0.6, 0.8])[:, None]
    lines = [hip + t.clip(0) * (knee - hip) for hip, knee in zip(hips, knees, strict=True)]
    centres = (lines[0] + lines[1]) / 2 - t.clip(max=0) * 0.3 * pelvis[:, 1]
    down = knees[0] + knees[1] - hips[0] - hips[1]
    spread = (lines[1] - lines[0]) / 2
    across = spread + pelvis[:, 0] * (0.056 + 0.03 * t) * build.girth
    forwards = np.cross(pelvis[:, 0], -down / (np.linalg.norm(down) + 1e-9))
    depth = (0.074 + 0.03 * t.clip(0)) * build.girth
    return tube(centres, -across, depth * forwards, np.tile(outfit.trousers, (5, 1)), sides=20)
