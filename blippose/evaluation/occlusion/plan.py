"""Which discs are looked through: of whose joints, of which radius, and where their controls lie.

A radius is told in head sizes, MPII's measure of a person, so that one number fits people near
and far. Discs are round in the image; a stretched input shows them as ellipses, whose radius in
input px is the geometric mean of the two.
Every disc comes from (seed, person, joint), so that what is asked later is what was asked before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from blippose.counted import counted
from blippose.data import PoseDataset
from blippose.errors import UserError
from blippose.evaluation.targets import Targets
from blippose.geometry import Crop
from blippose.images import shown_size
from blippose.occlusion import Body, Picture, disc_area
from blippose.pose import NUM_JOINTS
from blippose.release_images import opened

# Of a disc: over the joint, elsewhere on the body, off the body.
PLACES = ("hidden", "on body", "off body")


@dataclass(frozen=True)
class Settings:
    """What is hidden.

    Args:
        radius: of the discs, in head sizes. The first is looked at joint by joint, all of them
            make the curve.
        fill: what stands in a disc, as `blippose.occlusion.covered` takes it.
        curve_joints: joints of each image that the other radii hide; the next image's are others.
        seed: of the images, the controls' places and the noise.
    """

    radius: tuple[float | int, ...] = (1.0, 0.25, 0.5, 2.0)
    fill: str = "mean"
    curve_joints: int = 4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """The discs of N persons, R radii, 16 joints and the three `PLACES`."""

    settings: Settings
    targets: Targets
    pictures: tuple[Picture, ...]
    head_input: Float[np.ndarray, " persons"]  # head size in input px
    center: Float[np.ndarray, "persons radii 16 3 2"]  # NaN where nothing is hidden
    area: Int[np.ndarray, "persons radii 16"]  # pixels that each disc hides

    @property
    def radius_input(self) -> Float[np.ndarray, "persons radii"]:
        """Radius of the discs in input px."""
        radius: Float[np.ndarray, "persons radii"]
        radius = self.head_input[:, None] * np.array(self.settings.radius, dtype=np.float64)
        return radius

    @property
    def asked(self) -> Bool[np.ndarray, "persons radii 16 3"]:
        """Which discs there are."""
        return np.asarray(np.isfinite(self.center).all(axis=-1))

    def check_compared(self) -> None:
        """Refuse a first radius at which nothing can be compared, before anything is asked.

        Raises:
            UserError: no disc of it has room for both of its controls.
        """
        if not self.asked[:, 0].all(axis=-1).any():
            raise UserError(
                f"radius={self.settings.radius[0]:g}: no disc of so many head sizes has room for "
                f"both of its controls in {counted(len(self.targets), 'image')}; name a smaller "
                "radius, or more images"
            )

    def fingerprint(self) -> str:
        """A hash of every disc."""
        told = hashlib.sha256(repr(self.pictures).encode())
        told.update(self.center.tobytes())
        told.update(self.area.tobytes())
        return told.hexdigest()

    def draw(self, *place: int) -> np.random.Generator:
        """The draw of a place, which is the same whatever else is looked at."""
        person, *rest = place
        return np.random.default_rng((self.settings.seed, int(self.targets.index[person]), *rest))

    def hidden_of(self, person: int) -> Iterator[tuple[int, int]]:
        """(radius, joint): every joint at the first radius, some at the others."""
        seen = self.targets.valid[person]
        seen = seen & self.pictures[person].holds(self.targets.xy_input[person])
        for radius in range(len(self.settings.radius)):
            joints = (
                range(NUM_JOINTS) if radius == 0 else _turn(person, self.settings.curve_joints)
            )
            yield from ((radius, joint) for joint in joints if seen[joint])


def plan_of(dataset: PoseDataset, input_size: int, settings: Settings) -> Plan:
    """The plan for every person of a data set.

    Raises:
        UserError: an image cannot be read.
    """
    targets = Targets.of(dataset, input_size)
    pictures = tuple(
        _picture(dataset.images / name, dataset[i].crop)
        for i, name in enumerate(targets.image_names)
    )
    return planned(targets, pictures, settings)


def planned(targets: Targets, pictures: tuple[Picture, ...], settings: Settings) -> Plan:
    """The plan for persons in pictures. A joint that the input does not show is not hidden."""
    shape = (len(targets), len(settings.radius), NUM_JOINTS)
    center, area = np.full((*shape, len(PLACES), 2), np.nan), np.zeros(shape, dtype=np.int64)
    plan = Plan(settings, targets, pictures, head_in_input(targets), center, area)
    for person in range(len(targets)):
        xy, head_size = targets.xy_input[person], float(plan.head_input[person])
        body = Body(pictures[person], xy, head_size)
        for radius, joint in plan.hidden_of(person):
            size, draw = float(plan.radius_input[person, radius]), plan.draw(person, joint)
            center[person, radius, joint] = _centers(body, joint, size, draw)
            area[person, radius, joint] = disc_area(pictures[person], xy[joint], size)
    return plan


def _centers(
    body: Body, joint: int, radius: float, draw: np.random.Generator
) -> Float[np.ndarray, "3 2"]:
    """Of the disc over the joint and of its controls; NaN where there is no room for one."""
    centers = [body.xy_input[joint], body.place_on(joint, radius, draw)]
    centers.append(body.place_off(radius, draw))
    return np.array([(np.nan, np.nan) if center is None else center for center in centers])


def chosen_persons(targets: Targets, num: int, seed: int) -> list[int]:
    """Positions of `num` persons with a head size, in order: of as many videos as there are.

    Frames of one video resemble each other, so that a second one is taken when every video has
    given its first.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(np.flatnonzero(targets.head_size > 0))
    rounds: dict[int, int] = {}
    ranked = []
    for rank, position in enumerate(order.tolist()):
        video = int(targets.video[position])
        turn = rounds.get(video, 0) if video >= 0 else 0
        rounds[video] = turn + 1
        ranked.append((turn, rank, position))
    return sorted(position for _, _, position in sorted(ranked)[:num])


def head_in_input(targets: Targets) -> Float[np.ndarray, " persons"]:
    """Head sizes in input px, by the mean of the two scales of a stretched input."""
    scale = targets.input_size / np.sqrt(targets.crop[:, 2] * targets.crop[:, 3])
    head: Float[np.ndarray, " persons"] = targets.head_size * scale
    return head


def _turn(person: int, num: int) -> Sequence[int]:
    """`num` joints, evenly spaced by id, that move on by one from person to person.

    >>> _turn(0, 4), _turn(1, 4)
    ([0, 4, 8, 12], [1, 5, 9, 13])
    """
    return [(person + i * NUM_JOINTS // num) % NUM_JOINTS for i in range(num)]


def _picture(path: Path, crop: Crop) -> Picture:
    with opened(path) as image:
        return Picture.of(crop, *shown_size(image))
