"""Surfaces made of coloured quadrilaterals: tubes, limbs, ellipsoids and boxes.

Body frame as in `figure`; normals point outwards, so that faces turned away can be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from blippose.pose import JOINTS
from blippose.synthetic.figure import Matrix, Point, Skeleton
from blippose.synthetic.outfit import Colour

NUM_SIDES = 12  # quadrilaterals round a limb


@dataclass(frozen=True)
class Mesh:
    """Quadrilaterals, the colour of each, and a depth bias that lifts decals off a surface."""

    quads: Float[np.ndarray, "quad 4 3"]
    colours: Float[np.ndarray, "quad 3"]
    bias: Float[np.ndarray, " quad"]

    def moved(self, scale: Point, shift: Point) -> Mesh:
        """The mesh with every corner at scale * corner + shift."""
        return Mesh(self.quads * scale + shift, self.colours, self.bias * abs(scale[2]))


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh of many."""
    return Mesh(
        np.concatenate([mesh.quads for mesh in meshes]),
        np.concatenate([mesh.colours for mesh in meshes]),
        np.concatenate([mesh.bias for mesh in meshes]),
    )


def box(centre: Point, frame: Matrix, size: Point, colour: Colour, cells: int = 5) -> Mesh:
    """A cuboid with its faces cut into cells, so that depth order holds beside a person."""
    steps = np.linspace(-0.5, 0.5, cells + 1)
    u, v = np.meshgrid(steps, steps, indexing="ij")
    faces = []
    for axis in range(3):
        for sign in (-0.5, 0.5):
            grid = np.zeros((cells + 1, cells + 1, 3))
            grid[..., axis], grid[..., axis - 2], grid[..., axis - 1] = sign, u, v
            quads = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=2)
            faces.append(quads.reshape(-1, 4, 3)[:, :: 1 if sign > 0 else -1])
    quads = centre + (np.concatenate(faces) * size) @ frame.T
    return Mesh(quads, np.tile(colour, (len(quads), 1)), np.zeros(len(quads)))


def tube(
    centres: Float[np.ndarray, "ring 3"],
    across: Float[np.ndarray, "ring 3"],
    forwards: Float[np.ndarray, "ring 3"],
    colours: Float[np.ndarray, "ring 3"],
    sides: int = NUM_SIDES,
) -> Mesh:
    """Elliptical rings joined to a tube; ring k's colour fills the strip from k to k + 1.

    `across` and `forwards` are the rings' half axes. With rings running up along
    forwards x across, normals point outwards.
    """
    phi = np.arange(sides) * (2 * np.pi / sides)
    rings = (
        centres[:, None]
        + np.sin(phi)[:, None] * across[:, None]
        + np.cos(phi)[:, None] * forwards[:, None]
    )
    turned = np.roll(rings, -1, axis=1)
    quads = np.stack([rings[:-1], turned[:-1], turned[1:], rings[1:]], axis=2)
    strip = np.repeat(colours[: len(centres) - 1], sides, axis=0)
    return Mesh(quads.reshape(-1, 4, 3), strip, np.zeros(len(strip)))


def limb(
    start: Point,
    frame: Matrix,
    length: float,
    radii: tuple[float, float, float],
    skin: Colour,
    cloth: Colour,
    covered: float,
    looseness: float = 0.006,
) -> Mesh:
    """A round limb from its upper joint down; `radii` at the start, a third and the end."""
    first, _, last = radii
    hem = min(covered, 1.0) * length
    along = [-0.92 * first, -0.55 * first, 0.0, length / 3, 0.7 * length, length]
    along += [length + 0.55 * last, length + 0.92 * last]
    if 0 < covered < 1:
        along += [hem - 1e-4, hem + 1e-4]
    t = np.sort(np.array(along))
    radius = np.interp(t, [0, length / 3, length], radii)
    radius = np.where(t < 0, np.sqrt(np.maximum(first**2 - t**2, 0)), radius)
    past = np.maximum(t - length, 0)
    radius = np.where(past > 0, np.sqrt(np.maximum(last**2 - past**2, 0)), radius)
    is_cloth = (t < hem) if covered < 1 else np.full(len(t), True)
    radius = radius + looseness * is_cloth * (radius > 0.5 * last)
    colours = np.where(is_cloth[:, None], np.array(cloth), np.array(skin))
    centres = start - t[:, None] * frame[:, 1]
    # Rings run downwards, so the half axis is turned round to keep normals outwards.
    return tube(centres, -radius[:, None] * frame[:, 0], radius[:, None] * frame[:, 2], colours)


def ellipsoid(
    centre: Point,
    frame: Matrix,
    radii: tuple[float, float, float],
    colour: Colour,
    sides: int = NUM_SIDES,
    rings: int = 7,
) -> Mesh:
    """An ellipsoid with half axes along left, up and forwards of `frame`."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rings)
    centres = centre + (np.sin(angle) * radii[1])[:, None] * frame[:, 1]
    girth = np.cos(angle)[:, None]
    return tube(
        centres,
        girth * radii[0] * frame[:, 0],
        girth * radii[2] * frame[:, 2],
        np.tile(colour, (rings, 1)),
        sides,
    )


def joint_of(skeleton: Skeleton, name: str) -> Point:
    """The position of a joint by its MPII name."""
    point: Point = skeleton.joints[JOINTS.index(name)]
    return point
