"""What the model says of the planned discs: asked in batches, kept as it goes, arrays with axes.

A model is anything that says poses of images. In a part file stand batches of poses; when all are
there, they become `occlusion.npz`, whose arrays' axes are named in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from blippose.evaluation import parts
from blippose.evaluation.keyed_arrays import load_keyed
from blippose.evaluation.occlusion.plan import PLACES, Plan
from blippose.evaluation.stored_predictions import joints, xy_of
from blippose.occlusion import covered, disc
from blippose.pose import JOINTS, NUM_JOINTS
from blippose.progress import tracked
from blippose.whole_file import whole_file

# Poses in the input frame of a batch of inputs (RGB), NaN where a joint did not parse.
Says = Callable[[UInt8[np.ndarray, "batch size size 3"]], Float[np.ndarray, "batch 16 2"]]
_Look = tuple[int, tuple[int, int, int] | None]  # person; radius, joint and place, or nothing

AXES = {
    "xy_input": ("image", "radius", "hidden", "place", "measured", "xy"),
    "clean_xy_input": ("image", "measured", "xy"),
    "true_xy_input": ("image", "measured", "xy"),
    "mean_pose_input": ("measured", "xy"),
    "center_input": ("image", "radius", "hidden", "place", "xy"),
    "area_px": ("image", "radius", "hidden"),
    "radius_input": ("image", "radius"),
    "radius_heads": ("radius",),
    "image": ("image",),
    "video": ("image",),
    "place": ("place",),
    "joint": ("hidden or measured",),
}


@dataclass(frozen=True, eq=False)
class Occluded:
    """What was said with nothing hidden and with each disc, of the persons of a plan."""

    plan: Plan
    mean_pose: Float[np.ndarray, "16 2"]  # of training, input px; stands in for what did not parse
    clean: Float[np.ndarray, "persons 16 2"]
    hidden: Float[np.ndarray, "persons radii 16 3 16 2"]  # NaN where not asked, or not parsed


def looks(plan: Plan) -> list[_Look]:
    """Each input that is asked for: a person's clean one, then those with a disc."""
    every: list[_Look] = []
    for person in range(len(plan.targets)):
        every.append((person, None))
        places = np.argwhere(plan.asked[person]).tolist()
        every += [(person, (radius, joint, place)) for radius, joint, place in places]
    return every


def inputs(
    plan: Plan, images: Callable[[int], UInt8[np.ndarray, "size size 3"]], some: Sequence[_Look]
) -> UInt8[np.ndarray, "batch size size 3"]:
    """The inputs of some looks, from the clean one of each person."""
    return np.stack([_input(plan, images(person), person, where) for person, where in some])


def _input(
    plan: Plan,
    image: UInt8[np.ndarray, "size size 3"],
    person: int,
    where: tuple[int, int, int] | None,
) -> UInt8[np.ndarray, "size size 3"]:
    if where is None:
        return image
    radius, joint, place = where
    picture = plan.pictures[person]
    area = int(plan.area[person, radius, joint])
    mask = disc(picture, plan.center[person, radius, joint, place], area)
    return covered(image, mask, picture, plan.settings.fill, plan.draw(person, *where))


def stored_answers(
    path: Path,
    origin: Mapping[str, Any],
    plan: Plan,
    mean_pose: Float[np.ndarray, "16 2"],
    images: Callable[[int], UInt8[np.ndarray, "size size 3"]],
    says: Says,
    batch_size: int,
    *,
    progress: bool,
) -> tuple[Occluded | None, bool]:
    """What `says` makes of every look, kept in `path`; and whether what was there is used again.

    Several processes share the work, as in `parts.kept`: of them the first gets the answers.

    Raises:
        UserError: another process is at it in that folder.
    """
    every = looks(plan)
    batches = parts.batches(len(every), batch_size)
    task = {
        **origin,
        "study": "occlusion",
        "settings": vars(plan.settings),
        "indices": plan.targets.index.tolist(),
        "discs": plan.fingerprint(),
        "batch_size": batch_size,
    }
    key = json.dumps(task)

    def ask(number: int) -> list[Any]:
        some = [every[i] for i in batches[number]]
        return [joints(xy) for xy in says(inputs(plan, images, some))]

    def save(answered: list[Any]) -> None:
        rows = [row for batch in answered for row in batch]
        _save(path, key, _placed(plan, mean_pose, every, rows))

    return parts.kept(
        path,
        json.loads(key),
        len(batches),
        lambda: load_keyed(path, key, partial(_occluded, plan)),
        ask,
        partial(tracked, description="captions of hidden joints, batches", shown=progress),
        save,
    )


def _placed(
    plan: Plan, mean_pose: Float[np.ndarray, "16 2"], every: Sequence[_Look], rows: Sequence[Any]
) -> Occluded:
    """The rows at their places in the arrays."""
    num = len(plan.targets)
    clean = np.full((num, NUM_JOINTS, 2), np.nan)
    hidden = np.full((*plan.asked.shape, NUM_JOINTS, 2), np.nan)
    for (person, where), row in zip(every, rows, strict=True):
        xy = xy_of(row)
        if where is None:
            clean[person] = xy
        else:
            hidden[(person, *where)] = xy
    return Occluded(plan, mean_pose, clean, hidden)


def _save(path: Path, key: str, answers: Occluded) -> None:
    plan = answers.plan
    true = np.where(plan.targets.valid[..., None], plan.targets.xy_input, np.nan)
    arrays: dict[str, Any] = {
        "xy_input": answers.hidden,
        "clean_xy_input": answers.clean,
        "true_xy_input": true,
        "mean_pose_input": answers.mean_pose,
        "center_input": plan.center,
        "area_px": plan.area,
        "radius_input": plan.radius_input,
        "radius_heads": np.array(plan.settings.radius, dtype=np.float64),
        "image": np.array(plan.targets.image_names),
        "video": plan.targets.video,
        "place": np.array(PLACES),
        "joint": np.array(JOINTS),
    }
    with whole_file(path) as partial_path:
        np.savez_compressed(
            partial_path, **arrays, axes=np.array(json.dumps(AXES)), key=np.array(key)
        )


def _occluded(plan: Plan, kept: Mapping[str, Any]) -> Occluded:
    return Occluded(plan, kept["mean_pose_input"], kept["clean_xy_input"], kept["xy_input"])
