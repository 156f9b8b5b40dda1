"""The usual MPII evaluation of a file of predictions, and the variants that others print.

Ground truth is `gt_valid.mat`, 2,958 persons; predictions are a .mat with `preds` [N, 16, 2],
1-based pixels of the original image, as HRNet and its heirs write it. Figures are shares, 0 to 1.

Source: HRNet, lib/dataset/mpii.py, `evaluate`. It divides the error by the head size before it
compares, counts a person whose head size is 0 as missed, and prints as "Mean@0.1" the entry 11 of
0, 0.01, 0.02..., which is 0.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.io import loadmat

from blippose.errors import UserError, first_line
from blippose.evaluation import cautions
from blippose.evaluation.intervals import LEVEL, Bootstrap, Estimate
from blippose.metrics.functional import GROUPS
from blippose.pose import JOINTS, NUM_JOINTS

_HEAD_SHARE = 0.6  # of the head box's diagonal. Source: HRNet, `SC_BIAS`
_UNSCORED = (JOINTS.index("pelvis"), JOINTS.index("thorax"))
_SCORED = [joint for joint in range(NUM_JOINTS) if joint not in _UNSCORED]
_CURVE = np.arange(51) / 100


@dataclass(frozen=True)
class Variant:
    """How the figures are made; the defaults are the usual way.

    Args:
        weighted: the mean counts each joint by its annotated persons; else each alike.
        strict: a hit is nearer than the threshold; else it may lie on it.
        tenth: the threshold behind "0.1"; HRNet's is 0.11.
    """

    weighted: bool = True
    strict: bool = False
    tenth: float = 0.1


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotated persons of a ground-truth file, in 1-based image pixels."""

    xy: Float[np.ndarray, "persons 16 2"]
    valid: Bool[np.ndarray, "persons 16"]
    head_size: Float[np.ndarray, " persons"]


def score_file(
    preds: Path, gt: Path, variant: Variant | None = None, samples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """What the evaluation gives for a file of predictions, as JSON has it.

    Args:
        preds: the file, with `preds`.
        gt: a file like MPII's gt_valid.mat.
        variant: of the figures.
        samples: draws of the persons for the intervals: the files do not name their images.
        seed: of the draws.

    Raises:
        UserError: a file that cannot be read, or arrays that do not belong together.
    """
    truth, xy = read_truth(gt), read_preds(preds)
    if len(xy) != len(truth.xy):
        raise UserError(
            f"preds={preds}: {len(xy):,} persons, but gt={gt} has {len(truth.xy):,}; expected the "
            "same persons in the same order"
        )
    return score(xy, truth, variant or Variant(), samples, seed)


def score(
    preds: Float[np.ndarray, "persons 16 2"],
    truth: Truth,
    variant: Variant,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """PCKh at 0.5 and "0.1" and the area under the curve to 0.5, with MPII's groups.

    Prediction and truth may both be 0-based as well; `warnings` suspects that one alone is. A
    joint that is NaN is missed. The area is by the trapezoid rule over 0, 0.01 .. 0.5, divided by
    0.5: HRNet gives none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.linalg.norm(preds - truth.xy, axis=-1) / truth.head_size[:, None]
    draws = Bootstrap.of(np.arange(len(preds)), samples, seed)
    per_joint = {
        "pckh_0.5": draws.ratio(_hits(error, truth.valid, 0.5, variant.strict), truth.valid),
        "pckh_0.1": draws.ratio(
            _hits(error, truth.valid, variant.tenth, variant.strict), truth.valid
        ),
        "pckh_auc": draws.ratio(_area(error, truth.valid, variant.strict), truth.valid),
    }
    counts = draws.total(truth.valid) if variant.weighted else None
    offset = _offset(preds, truth)
    warning = cautions.counted_from_zero(offset, draws)
    return {
        "mean": {name: _mean(e, counts).interval().as_dict() for name, e in per_joint.items()},
        "groups": {name: _groups(estimate) for name, estimate in per_joint.items()},
        "per_joint": {name: estimate.named(JOINTS) for name, estimate in per_joint.items()},
        "variant": asdict(variant),
        "num_persons": len(preds),
        "num_joints": int(truth.valid[:, _SCORED].sum()),
        "num_missing": int((truth.valid & ~np.isfinite(preds).all(-1))[:, _SCORED].sum()),
        "median_offset_px": _median(offset),
        "interval": {"level": LEVEL, "unit": "person", "samples": samples, "seed": seed},
        "warnings": [] if warning is None else [{"kind": "counted from 0", "text": warning}],
    }


def _offset(
    preds: Float[np.ndarray, "persons 16 2"], truth: Truth
) -> Float[np.ndarray, "persons 14 2"]:
    """Of the joints that are scored, px, to the right and down; NaN of those that are missing."""
    known = truth.valid & np.isfinite(preds).all(axis=-1)
    offset = np.where(known[..., None], preds, np.nan) - truth.xy
    return np.asarray(offset[:, _SCORED])


def _median(offset: Float[np.ndarray, "persons 14 2"]) -> dict[str, float] | None:
    """Of each axis; None where every joint is missing."""
    if np.isnan(offset).all():
        return None
    x, y = np.nanmedian(offset, axis=(0, 1)).tolist()
    return {"x": x, "y": y}


def _hits(
    error: Float[np.ndarray, "persons 16"],
    valid: Bool[np.ndarray, "persons 16"],
    threshold: float,
    strict: bool,
) -> Bool[np.ndarray, "persons 16"]:
    """Annotated joints within the threshold; NaN is no hit."""
    return valid & ((error < threshold) if strict else (error <= threshold))


def _area(
    error: Float[np.ndarray, "persons 16"], valid: Bool[np.ndarray, "persons 16"], strict: bool
) -> Float[np.ndarray, "persons 16"]:
    """Of each joint of each person, under its own curve, which is 0 and then 1."""
    curve = [_hits(error, valid, threshold, strict) for threshold in _CURVE.tolist()]
    area: Float[np.ndarray, "persons 16"] = np.trapezoid(np.array(curve, float), _CURVE, axis=0)
    return np.asarray(area / _CURVE[-1])


def _mean(per_joint: Estimate, counts: Estimate | None) -> Estimate:
    """Over the fourteen joints without pelvis and thorax; NaN where one was never annotated.

    Each joint counts as often as it is annotated, or all alike without `counts`.
    """
    shares = per_joint[_SCORED]
    if counts is None:
        return Estimate(np.asarray(shares.value.mean()), shares.draws.mean(axis=-1))
    value, draws = (
        (share * weight).sum(axis=-1) / weight.sum(axis=-1)
        for share, weight in (
            (shares.value, counts.value[_SCORED]),
            (shares.draws, counts.draws[:, _SCORED]),
        )
    )
    return Estimate(np.asarray(value), draws)


def _groups(per_joint: Estimate) -> dict[str, dict[str, float]]:
    """The columns of MPII's tables: the plain mean of left and right."""
    groups = {}
    for name, members in GROUPS.items():
        sides = per_joint[list(members)]
        mean = Estimate(np.asarray(sides.value.mean()), sides.draws.mean(axis=-1))
        groups[name] = mean.interval().as_dict()
    return groups


def read_preds(path: Path) -> Float[np.ndarray, "persons 16 2"]:
    """`preds` of a file in HRNet's layout.

    Raises:
        UserError: it cannot be read, or is not of that layout.
    """
    xy = _array(_read(path, "preds"), "preds", f"preds={path}")
    if xy.ndim != 3 or xy.shape[1:] != (NUM_JOINTS, 2):
        raise UserError(
            f"preds={path}: `preds` is {_shape(xy)}; expected [N, {NUM_JOINTS}, 2] in 1-based "
            "pixels of the original image, as HRNet writes it"
        )
    return xy


def read_truth(path: Path) -> Truth:
    """The persons of a file like MPII's usual `gt_valid.mat`.

    Raises:
        UserError: it cannot be read, or is not of that layout.
    """
    record = _read(path, "gt")
    names = ("pos_gt_src", "jnt_missing", "headboxes_src")
    xy, missing, boxes = (_array(record, name, f"gt={path}") for name in names)
    num_persons = xy.shape[-1] if xy.ndim else 0
    wanted = ((NUM_JOINTS, 2, num_persons), (NUM_JOINTS, num_persons), (2, 2, num_persons))
    for name, array, shape in zip(names, (xy, missing, boxes), wanted, strict=True):
        if array.shape != shape:
            raise UserError(
                f"gt={path}: `{name}` is {_shape(array)}; expected {_shape(np.empty(shape))}, as "
                "in MPII's gt_valid.mat"
            )
    return Truth(
        xy=np.moveaxis(xy, 2, 0),
        valid=missing.T == 0,
        head_size=np.linalg.norm(boxes[1] - boxes[0], axis=0) * _HEAD_SHARE,
    )


def _read(path: Path, key: str) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"{key}={path}: no such file; expected a .mat")
    try:
        record: Mapping[str, Any] = loadmat(path)
    # Damaged files make scipy raise almost anything.
    except Exception as error:
        raise UserError(
            f"{key}={path}: cannot be read as a .mat before version 7.3 ({first_line(error)}); "
            "scipy.io.savemat writes one"
        ) from error
    return record


def _array(record: Mapping[str, Any], name: str, file: str) -> Float[np.ndarray, "..."]:
    if name not in record:
        held = ", ".join(key for key in record if not key.startswith("__")) or "nothing"
        raise UserError(f"{file}: holds no `{name}`, but {held}")
    array = np.asarray(record[name])
    if array.dtype.kind not in "fiub":
        raise UserError(f"{file}: `{name}` is {array.dtype}; expected numbers")
    return array.astype(np.float64)


def _shape(array: Float[np.ndarray, "..."]) -> str:
    return f"[{', '.join(map(str, array.shape))}]"
