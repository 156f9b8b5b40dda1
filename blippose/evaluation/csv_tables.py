"""The report's numbers as two tables for other programs: a row a joint, a row an image."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blippose.evaluation.targets import Answers, Targets
from blippose.metrics.sums import MEAN_JOINTS
from blippose.pose import JOINTS

_THRESHOLDS = (1, 5, 25)  # px
_PCKH = 0.5  # x head size
_ENDS = {"": "value", "_low": "low", "_high": "high"}  # suffixes of columns
IMAGE_COLUMNS = (
    *("index", "image", "video", "answer", "joints", "parsed", "mae", "epe"),
    *(f"acc_{px}px" for px in _THRESHOLDS),
    *("epe_img", "pckh_0.5", "head_size", "worst_joint", "worst_distance", "caption"),
)


def per_joint_csv(per_joint: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> str:
    """Who answered, the joint's MPII id and name, and its metrics; empty where there is none.

    Each metric is followed by the ends of its interval, such as `mae`, `mae_low`, `mae_high`.
    """
    names = list(next(iter(next(iter(per_joint.values())).values())))
    rows = (
        [row, JOINTS.index(joint), joint]
        + [_plain(cells[name][end]) for name in names for end in _ENDS.values()]
        for row, joints in per_joint.items()
        for joint, cells in joints.items()
    )
    columns = [name + suffix for name in names for suffix in _ENDS]
    return _csv(["answer", "joint_id", "joint", *columns], rows)


def per_image_csv(targets: Targets, answers: Sequence[Answers]) -> str:
    """IMAGE_COLUMNS of each person and each way of answering.

    Distances in input pixels, `_img` in image pixels. Shares are of the annotated joints, a joint
    that did not parse is a miss; `mae` and `epe` are of those that parsed.
    """
    rows = (
        _image_row(targets, answer, position)
        for answer in answers
        for position in range(len(targets))
    )
    return _csv(IMAGE_COLUMNS, rows)


def _image_row(targets: Targets, answer: Answers, position: int) -> list[Any]:
    valid = targets.valid[position]
    offset = (answer.xy_input[position] - targets.xy_input[position])[valid]
    distance = np.linalg.norm(offset, axis=-1)
    xy_img = targets.to_img(answer.xy_input)[position]
    all_img = np.linalg.norm(xy_img - targets.xy_img[position], axis=-1)
    distance_img, scored = all_img[valid], all_img[list(MEAN_JOINTS)][valid[list(MEAN_JOINTS)]]
    parsed, head_size = np.isfinite(distance), float(targets.head_size[position])
    within = [float((distance <= px).mean()) if valid.any() else math.nan for px in _THRESHOLDS]
    worst = int(np.nanargmax(distance)) if parsed.any() else None
    return [
        int(targets.index[position]),
        targets.image_names[position],
        "" if targets.video[position] < 0 else int(targets.video[position]),
        answer.name,
        int(valid.sum()),
        int(parsed.sum()),
        *map(_plain, (_mean(np.abs(offset[parsed])), _mean(distance[parsed]), *within)),
        *map(_plain, (_mean(distance_img[parsed]), _pckh(scored, head_size), head_size)),
        "" if worst is None else np.array(JOINTS)[valid][worst],
        "" if worst is None else _plain(float(distance[worst])),
        "" if answer.captions is None else answer.captions[position],
    ]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _pckh(distance_img: np.ndarray, head_size: float) -> float:
    """Of one person's annotated joints, as in the report without pelvis and thorax.

    NaN without a head box.
    """
    if not head_size > 0 or not distance_img.size:
        return math.nan
    return float((distance_img <= _PCKH * head_size).mean())


def _plain(value: float | None) -> str:
    """Six significant digits, or nothing."""
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
