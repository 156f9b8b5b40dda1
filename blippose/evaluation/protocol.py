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
    head_size: Float[np.ndarray, "persons"]


def score_file(preds: Path, gt: Path, variant: Variant | None = None) -> dict[str, Any]:
    """What the evaluation gives for a file of predictions, as JSON has it.

    Raises:
        UserError: a file that cannot be read, or arrays that do not belong together.
    """
    truth, xy = read_truth(gt), read_preds(preds)
    if len(xy) != len(truth.xy):
        raise UserError(
            f"preds={preds}: {len(xy):,} persons, but gt={gt} has {len(truth.xy):,}; expected the "
            "same persons in the same order"
        )
    return score(xy, truth, variant or Variant())


def score(
    preds: Float[np.ndarray, "persons 16 2"], truth: Truth, variant: Variant
) -> dict[str, Any]:
    """PCKh at 0.5 and "0.1" with MPII's groups, and the area under the curve to 0.5.

    Prediction and truth may both be 0-based as well. A joint that is NaN is missed. The area is by
    the trapezoid rule over 0, 0.01 .. 0.5, divided by 0.5: HRNet gives none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.linalg.norm(preds - truth.xy, axis=-1) / truth.head_size[:, None]
    per_joint = {
        "pckh_0.5": _per_joint(error, truth.valid, 0.5, variant.strict),
        "pckh_0.1": _per_joint(error, truth.valid, variant.tenth, variant.strict),
    }
    curve = [
        _mean(_per_joint(error, truth.valid, threshold, variant.strict), truth.valid, variant)
        for threshold in _CURVE.tolist()
    ]
    means = {name: _mean(shares, truth.valid, variant) for name, shares in per_joint.items()}
    return {
        "mean": {**means, "pckh_auc": float(np.trapezoid(curve, _CURVE)) / 0.5},
        "groups": {name: _groups(shares) for name, shares in per_joint.items()},
        "per_joint": {
            name: dict(zip(JOINTS, shares.tolist(), strict=True))
            for name, shares in per_joint.items()
        },
        "variant": asdict(variant),
        "num_persons": len(preds),
        "num_joints": int(truth.valid[:, _SCORED].sum()),
        "num_missing": int((truth.valid & ~np.isfinite(preds).all(-1))[:, _SCORED].sum()),
    }


def _per_joint(
    error: Float[np.ndarray, "persons 16"],
    valid: Bool[np.ndarray, "persons 16"],
    threshold: float,
    strict: bool,
) -> Float[np.ndarray, "16"]:
    """Share of annotated persons with a hit, NaN of a joint that no one has annotated."""
    hits = (error < threshold) if strict else (error <= threshold)  # NaN is no hit
    with np.errstate(invalid="ignore"):
        shares: Float[np.ndarray, "16"] = (hits & valid).sum(0) / valid.sum(0)
    return shares


def _mean(
    shares: Float[np.ndarray, "16"], valid: Bool[np.ndarray, "persons 16"], variant: Variant
) -> float:
    """Over the fourteen joints without pelvis and thorax; NaN where one was never annotated."""
    counts = valid.sum(0)[_SCORED].astype(np.float64)
    weights = counts if variant.weighted else np.ones_like(counts)
    return float((shares[_SCORED] * weights).sum() / weights.sum()) if counts.any() else np.nan


def _groups(shares: Float[np.ndarray, "16"]) -> dict[str, float]:
    """The columns of MPII's tables: the plain mean of left and right."""
    return {name: float(shares[list(members)].mean()) for name, members in GROUPS.items()}


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
