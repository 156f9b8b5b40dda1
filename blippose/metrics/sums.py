"""What one batch adds to each metric: a sum in float64 and a count.

A metric is `ratio(sum, count)`. `functional` divides at once; `pose_metrics` adds over batches and
processes first, so both have one home for the arithmetic. Formulas and edge cases stand in
`functional`. No value is read back to the CPU here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blippose.pose import JOINTS

Sums: TypeAlias = tuple[Float[Tensor, "*shape"], Int[Tensor, "*shape"]]

# The MPII mean leaves out pelvis and thorax. Source: HRNet, lib/dataset/mpii.py, `evaluate`.
MEAN_JOINTS: tuple[int, ...] = tuple(
    j for j, name in enumerate(JOINTS) if name not in ("pelvis", "thorax")
)
AUC_STEPS, AUC_END = 50, 0.5  # thresholds 0, 0.01 .. 0.5
# Per-joint sigmas of OKS. Source: mmpose, configs/_base_/datasets/mpii.py ("adapted from COCO").
SIGMAS: tuple[float, ...] = (
    *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089),  # legs, right to left
    *(0.026, 0.026, 0.026, 0.026),  # pelvis, thorax, upper neck, head top
    *(0.062, 0.072, 0.179, 0.179, 0.072, 0.062),  # arms, right to left
)


def ratio(total: Float[Tensor, "*shape"], count: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`total / count`, and NaN where nothing was counted."""
    return torch.where(count > 0, total.double() / count.clamp(min=1), torch.nan)


def check_poses(
    preds: Tensor,
    valid: Tensor,
    target: Tensor | None = None,
    of_person: Tensor | None = None,
    *,
    is_mpii: bool = False,
) -> None:
    """Refuse what broadcasting would make a figure of. Reads shapes and types, no values.

    Raises:
        ValueError: poses of other shapes than each other, a mask that is none, something else than
            one value a person, or with `is_mpii` another number of joints than MPII's.
    """
    shape = tuple(preds.shape)
    if len(shape) != 3 or shape[-1] != 2 or (is_mpii and shape[1] != len(JOINTS)):
        joints = len(JOINTS) if is_mpii else "joints"
        raise ValueError(f"preds of shape {shape}: expected (persons, {joints}, 2)")
    if target is not None and tuple(target.shape) != shape:
        raise ValueError(f"target of shape {tuple(target.shape)}: expected {shape}, as preds")
    if tuple(valid.shape) != shape[:2] or valid.dtype != torch.bool:
        raise ValueError(
            f"valid of shape {tuple(valid.shape)} and {valid.dtype}: expected {shape[:2]} and bool"
        )
    if of_person is not None and tuple(of_person.shape) != shape[:1]:
        raise ValueError(
            f"a value a person of shape {tuple(of_person.shape)}: expected {shape[:1]}"
        )


def is_parsed(preds: Float[Tensor, "batch joint 2"]) -> Bool[Tensor, "batch joint"]:
    """Whether both coordinates of a joint came out of the caption."""
    return torch.isfinite(preds).all(dim=-1)


def joint_distances(
    preds: Float[Tensor, "batch joint 2"], target: Float[Tensor, "batch joint 2"]
) -> Float[Tensor, "batch joint"]:
    """Euclidean distance in float64, in the frame of the arguments; NaN if not parsed."""
    distance = torch.linalg.vector_norm(preds.double() - target.double(), dim=-1)
    return torch.where(is_parsed(preds), distance, torch.nan)


def pixel_mae_sums(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
) -> Sums:
    """Sum of |dx| + |dy| over parsed and annotated joints, and twice their number."""
    check_poses(preds, valid, target)
    scored = valid & is_parsed(preds)
    error = (preds.double() - target.double()).abs().sum(dim=-1)
    return torch.where(scored, error, 0.0).sum(), 2 * scored.sum()


def epe_sums(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
) -> Sums:
    """Sum of distances over parsed and annotated joints, and their number."""
    check_poses(preds, valid, target)
    scored = valid & is_parsed(preds)
    return torch.where(scored, joint_distances(preds, target), 0.0).sum(), scored.sum()


def pixel_accuracy_sums(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
    threshold: float,
) -> Sums:
    """Annotated joints within `threshold` pixels, and annotated joints."""
    check_poses(preds, valid, target)
    hits = valid & (joint_distances(preds, target) <= threshold)
    return hits.sum().double(), valid.sum()


def parse_rate_sums(
    preds: Float[Tensor, "batch joint 2"], valid: Bool[Tensor, "batch joint"]
) -> Sums:
    """Annotated joints that were parsed, and annotated joints."""
    check_poses(preds, valid)
    return (valid & is_parsed(preds)).sum().double(), valid.sum()


def mae_all_sums(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
    mean_pose: Float[Tensor, "joint 2"],
) -> Sums:
    """As `pixel_mae_sums`, with `mean_pose` where a joint was not parsed."""
    check_poses(preds, valid, target)
    mean_pose = mean_pose.to(device=preds.device, dtype=torch.float64)
    if mean_pose.shape != preds.shape[1:]:
        raise ValueError(
            f"mean_pose of shape {tuple(mean_pose.shape)}: expected {tuple(preds.shape[1:])}"
        )
    filled = torch.where(is_parsed(preds)[..., None], preds.double(), mean_pose)
    error = (filled - target.double()).abs().sum(dim=-1)
    return torch.where(valid, error, 0.0).sum(), 2 * valid.sum()


def pck_sums(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
    size: Float[Tensor, " batch"],
    thresholds: Sequence[float],
) -> tuple[Float[Tensor, "threshold joint"], Int[Tensor, " joint"]]:
    """Joints within `threshold` x the person's `size`, and annotated joints of sized persons."""
    check_poses(preds, valid, target, size)
    limit = torch.tensor(thresholds, dtype=torch.float64, device=size.device)[:, None] * size
    sized = valid & (size > 0)[:, None]  # NaN > 0 is False: no size, no score
    hits = sized & (joint_distances(preds, target) <= limit[..., None])  # (T, B, J)
    return hits.sum(dim=1).double(), sized.sum(dim=0)


def pckh_sums(
    preds: Float[Tensor, "batch 16 2"],
    target: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    head_size: Float[Tensor, " batch"],
    threshold: float,
) -> Sums:
    """`pck_sums` at one threshold, added over the 14 joints of the MPII mean."""
    check_poses(preds, valid, target, head_size, is_mpii=True)
    hits, count = pck_sums(preds, target, valid, head_size, [threshold])
    return hits[0, MEAN_JOINTS].sum(), count[MEAN_JOINTS,].sum()


def pckh_auc_joint_sums(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
    head_size: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " joint"], Int[Tensor, " joint"]]:
    """For each joint the area under its hits over 0..0.5, and how often it is annotated.

    The number does not depend on the threshold, so the area of the ratio is the ratio of the area.
    """
    thresholds = [AUC_END * i / AUC_STEPS for i in range(AUC_STEPS + 1)]
    hits, count = pck_sums(preds, target, valid, head_size, thresholds)
    return torch.trapezoid(hits, dx=1 / AUC_STEPS, dim=0), count  # the width 0.5 is divided out


def pckh_auc_sums(
    preds: Float[Tensor, "batch 16 2"],
    target: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    head_size: Float[Tensor, " batch"],
) -> Sums:
    """`pckh_auc_joint_sums`, added over the 14 joints of the MPII mean."""
    check_poses(preds, valid, target, head_size, is_mpii=True)
    area, count = pckh_auc_joint_sums(preds, target, valid, head_size)
    return area[MEAN_JOINTS,].sum(), count[MEAN_JOINTS,].sum()


def oks_sums(
    preds: Float[Tensor, "batch 16 2"],
    target: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    area: Float[Tensor, " batch"],
) -> Sums:
    """Sum of the persons' similarities, and the number of persons with a joint and an area."""
    check_poses(preds, valid, target, area, is_mpii=True)
    variance = (2 * torch.tensor(SIGMAS, dtype=torch.float64, device=preds.device)) ** 2
    scale = 2 * area.double()[:, None] * variance  # (B, J)
    similarity = torch.exp(-(joint_distances(preds, target) ** 2) / scale)
    seen = torch.where(valid & is_parsed(preds), similarity, 0.0)
    person = ratio(seen.sum(dim=1), valid.sum(dim=1))
    scored = valid.any(dim=1) & (area > 0)
    return torch.where(scored, person, 0.0).sum(), scored.sum()
