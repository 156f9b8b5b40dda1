"""A sheet of pictures: where the model does best, as it mostly does, and worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from blippose.contact_sheet import contact_sheet, pose_tile
from blippose.evaluation.intervals import units
from blippose.evaluation.targets import Answers, Targets
from blippose.pose import Pose
from blippose.release_images import shown

_COLUMNS = 4


def write_overlays(
    path: Path, images: Path, targets: Targets, answers: Answers, title: str, subtitle: str
) -> None:
    """Four of the best, of the median and of the worst persons: predicted and true skeletons.

    Of each kind of different videos, as far as there are: frames of one show one mistake again.

    Args:
        path: PNG to write.
        images: folder of the release's images.
        targets: the truth.
        answers: of the model.
        title: of the sheet.
        subtitle: what it is of.
    """
    error = person_error(targets, answers)
    unit, of_unit = units(targets.video)
    chosen = list(ranked(error, of_unit, _COLUMNS))
    if unit == "video":
        title = f"{title}; of each kind, different videos"  # the line below it is full
    xy_img = targets.to_img(answers.xy_input)
    tiles = [_tile(images, targets, xy_img, position) for _, position in chosen]
    labels = [_label(rank, targets, answers, position) for rank, position in chosen]
    sheet = contact_sheet(tiles, labels, columns=_COLUMNS, title=title, subtitle=subtitle)
    Image.fromarray(sheet).save(path)


def person_error(targets: Targets, answers: Answers) -> Float[np.ndarray, " persons"]:
    """Mean distance of each person's annotated joints, input px; a missing joint counts the input.

    A joint that did not parse is the side of the input off, so that silence is ranked as worst.
    """
    distance = np.linalg.norm(answers.xy_input - targets.xy_input, axis=-1)
    distance = np.where(np.isnan(distance), float(targets.input_size), distance)
    num = targets.valid.sum(axis=1)
    total = np.where(targets.valid, distance, 0.0).sum(axis=1)
    error: Float[np.ndarray, " persons"] = np.where(num, total / np.maximum(num, 1), np.nan)
    return error


def ranked(
    error: Float[np.ndarray, " persons"], unit: Int[np.ndarray, " persons"], num: int
) -> Iterator[tuple[str, int]]:
    """`num` positions of the best, of the middle and of the worst, none twice, with their rank.

    Of each kind, one of each unit comes first.

    >>> list(ranked(np.array([3.0, 1.0, 2.0]), np.array([0, 1, 2]), 1))
    [('best', 1), ('median', 2), ('worst', 0)]
    """
    order = [int(position) for position in np.argsort(error) if np.isfinite(error[position])]
    third = max(1, len(order) // 3)
    last = len(order) - third
    middle = sorted(range(third, last), key=lambda place: abs(2 * place - len(order) + 1))
    sections = {
        "best": order[:third],
        "median": [order[place] for place in middle],
        "worst": order[third:][::-1][:third],
    }
    for rank, candidates in sections.items():
        yield from ((rank, position) for position in _spread(candidates, unit)[: min(num, third)])


def _spread(order: Sequence[int], unit: Int[np.ndarray, " persons"]) -> list[int]:
    """Positions in their order, those of a unit that has been before at the end."""
    seen: set[int] = set()
    first: list[int] = []
    again: list[int] = []
    for position in order:
        (again if unit[position] in seen else first).append(position)
        seen.add(int(unit[position]))
    return first + again


def _tile(
    images: Path, targets: Targets, xy_img: Float[np.ndarray, "persons 16 2"], position: int
) -> UInt8[np.ndarray, "h w 3"]:
    pixels = np.asarray(shown(images / targets.image_names[position]))
    target = np.where(targets.valid[position, :, None], targets.xy_img[position], np.nan)
    return pose_tile(pixels, Pose.of(xy_img[position]), Pose.of(target))


def _label(rank: str, targets: Targets, answers: Answers, position: int) -> str:
    distance = np.linalg.norm(answers.xy_input[position] - targets.xy_input[position], axis=-1)
    known = distance[targets.valid[position] & np.isfinite(distance)]
    num_missing = int(targets.valid[position].sum()) - len(known)
    error = f"EPE {known.mean():.1f} px" if len(known) else "no joint parsed"
    missing = f", {num_missing} joints missing" if num_missing and len(known) else ""
    return f"{rank}: {error}{missing}\n{targets.image_names[position]}"
