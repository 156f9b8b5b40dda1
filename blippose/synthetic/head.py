"""The head of a dressed person: skull, hair, face and what is worn on it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from blippose.synthetic.figure import Build, Matrix, Point, Skeleton
from blippose.synthetic.mesh import Mesh, ellipsoid, joint_of
from blippose.synthetic.outfit import Colour, Outfit


def head(skeleton: Skeleton, build: Build, outfit: Outfit) -> list[Mesh]:
    """Skull with hair, face and ears; hair style, cap."""
    frame, size = skeleton.frames["head"], build.head
    centre, radii = _skull(skeleton, build)
    bare = skull(skeleton, build, outfit)
    local = (bare.quads.mean(axis=1) - centre) @ frame / np.array(radii)
    has_hair = _hair_mask(local, outfit.hair_style)
    is_cap = outfit.hair_style == 3
    covering = np.array(outfit.accent if is_cap else outfit.hair)
    colours = np.where(has_hair[:, None], covering, bare.colours)
    if is_cap:
        colours[has_hair & (local[:, 1] < 0.3)] = outfit.hair
    grown = np.where(has_hair[:, None, None], 1.05, 1.0)
    parts = [Mesh(centre + (bare.quads - centre) * grown, colours, bare.bias)]
    parts += _face(centre, frame, radii, outfit)
    return parts + _hair_parts(centre, frame, radii, size, outfit)


def skull(skeleton: Skeleton, build: Build, outfit: Outfit) -> Mesh:
    """The head without hair, ears and nose: what its box is drawn round."""
    centre, radii = _skull(skeleton, build)
    return ellipsoid(centre, skeleton.frames["head"], radii, outfit.skin, sides=20, rings=15)


def _skull(skeleton: Skeleton, build: Build) -> tuple[Point, tuple[float, float, float]]:
    """Its centre, and half axes to the left, up and forwards.

    Seen upright from the front, neck to head top is 0.8 of the diagonal of its box, as in MPII.
    """
    frame, size = skeleton.frames["head"], build.head
    centre = joint_of(skeleton, "upper neck") + frame @ np.array([0, 0.49, 0.1]) * size
    return centre, (0.36 * size, 0.51 * size, 0.43 * size)


def _hair_mask(local: Float[np.ndarray, "quad 3"], style: int) -> Bool[np.ndarray, " quad"]:
    _, y, z = local.T
    if style == 4:
        return np.zeros(len(local), dtype=bool)
    back = (z < -0.05) & (y > -0.55)
    sides = (z < 0.35) & (y > (-0.5 if style == 1 else 0.05))
    brow = 0.3 if style == 3 else 0.55
    mask: Bool[np.ndarray, " quad"] = back | sides | (y > brow)
    return mask


def _face(
    centre: Point, frame: Matrix, radii: tuple[float, float, float], outfit: Outfit
) -> list[Mesh]:
    skin = np.array(outfit.skin)
    lips: Colour = tuple((skin * [0.85, 0.5, 0.5]).tolist())
    shadow: Colour = tuple((skin * 0.85).tolist())

    def decal(x: float, y: float, w: float, h: float, colour: Colour, lift: float) -> Mesh:
        corners = np.array([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)])
        depth = np.sqrt(np.maximum(1 - (corners**2).sum(axis=1), 0))
        points = np.column_stack([corners, depth]) * np.array(radii) * (1.02 + lift)
        return Mesh((centre + points @ frame.T)[None], np.array([colour]), np.array([0.02 + lift]))

    # Five short pieces along a curve: a smile.
    parts = [decal(0.1 * k, -0.48 + 0.02 * k * k, 0.06, 0.04, lips, 0.0) for k in range(-2, 3)]
    for side in (-1, 1):
        parts.append(decal(side * 0.36, 0.08, 0.15, 0.1, (0.96, 0.96, 0.95), 0.0))
        parts.append(decal(side * 0.36, 0.08, 0.075, 0.1, (0.12, 0.09, 0.08), 0.01))
        parts.append(decal(side * 0.37, 0.33, 0.17, 0.025, outfit.hair, 0.0))
        ear = centre + frame @ np.array(
            [side * radii[0] * 1.02, -0.02 * radii[1], -0.1 * radii[2]]
        )
        parts.append(ellipsoid(ear, frame, (0.008, 0.018, 0.012), shadow, 8, 5))
    nose = centre + frame @ np.array([0, -0.12 * radii[1], 1.0 * radii[2]])
    parts.append(ellipsoid(nose, frame, (0.009, 0.017, 0.014), outfit.skin, 8, 5))
    return parts


def _hair_parts(
    centre: Point,
    frame: Matrix,
    radii: tuple[float, float, float],
    size: float,
    outfit: Outfit,
) -> list[Mesh]:
    if outfit.hair_style == 1:
        at = centre + frame @ np.array([0, -0.5 * radii[1], -0.6 * radii[2]])
        return [ellipsoid(at, frame, (radii[0] * 1.1, 0.62 * size, 0.03), outfit.hair)]
    if outfit.hair_style == 2:
        at = centre + frame @ np.array([0, -0.1 * radii[1], -1.25 * radii[2]])
        return [ellipsoid(at, frame, (0.02, 0.055, 0.022), outfit.hair)]
    if outfit.hair_style == 3:
        at = centre + frame @ np.array([0, 0.38 * radii[1], 0.95 * radii[2]])
        return [ellipsoid(at, frame, (0.8 * radii[0], 0.007, 0.045), outfit.accent)]
    return []
