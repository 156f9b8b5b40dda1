"""Each metric as a function of a batch: formula, frame and edge cases.

Shared by all: d is the Euclidean distance between `preds` and `target` in one frame, which the
caller names; v is `valid`, the mask of annotated joints. A joint with NaN in `preds` did not
parse: it is a miss at every threshold and has no pixel error. `target` is not read where `valid`
is False, so NaN may stand there. Thresholds are inclusive, because integers tie. Values are
float64, and NaN where there is nothing to score. Other shapes than are said are a ValueError,
before broadcasting makes a figure of them. The doctests are computed by hand.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blippose.metrics import sums
from blippose.metrics.sums import ratio
from blippose.pose import JOINTS

# Source: HRNet, lib/dataset/mpii.py, `evaluate`.
GROUPS: dict[str, tuple[int, ...]] = {
    "head": (JOINTS.index("head top"),),
    **{
        part: (JOINTS.index(f"left {part}"), JOINTS.index(f"right {part}"))
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    },
}


def pixel_mae(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
) -> Float[Tensor, ""]:
    """Mean of |dx| and |dy| in pixels over parsed and annotated joints and both axes.

    mae = sum (|dx| + |dy|) / (2 x joints). It says nothing of joints that did not parse: read it
    beside `parse_rate`. Also epe / 2 <= mae <= epe / sqrt 2.

    Source: mean absolute error with coordinates as outputs; both axes count, as in
    `sklearn.metrics.mean_absolute_error`.

    >>> preds = torch.tensor([[[3.0, 4.0], [10.0, 10.0], [torch.nan, torch.nan]]])
    >>> target = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [5.0, 5.0]]])
    >>> pixel_mae(preds, target, torch.ones(1, 3, dtype=torch.bool)).item()  # (3+4+0+0) / 4
    1.75
    """
    return ratio(*sums.pixel_mae_sums(preds, target, valid))


def epe(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
) -> Float[Tensor, ""]:
    """End-point error: mean d in pixels over parsed and annotated joints.

    Source: mmpose, mmpose/evaluation/functional/keypoint_eval.py, `keypoint_epe`.

    >>> preds = torch.tensor([[[3.0, 4.0], [10.0, 10.0], [torch.nan, torch.nan]]])
    >>> target = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [5.0, 5.0]]])
    >>> epe(preds, target, torch.ones(1, 3, dtype=torch.bool)).item()  # (5 + 0) / 2
    2.5
    """
    return ratio(*sums.epe_sums(preds, target, valid))


def pixel_accuracy(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
    threshold: float,
) -> Float[Tensor, ""]:
    """Share of annotated joints within `threshold` pixels: sum v [d <= threshold] / sum v.

    A joint that did not parse is a miss, also at an infinite threshold.

    Source: PCK of Yang & Ramanan, TPAMI 2013, with a fixed distance.

    >>> preds = torch.tensor([[[3.0, 4.0], [10.0, 10.0], [torch.nan, torch.nan], [0.0, 0.0]]])
    >>> target = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [5.0, 5.0], [0.0, 9.0]]])
    >>> valid = torch.ones(1, 4, dtype=torch.bool)
    >>> pixel_accuracy(preds, target, valid, threshold=5.0).item()  # 5 and 0 of 5, 0, none, 9
    0.5
    """
    return ratio(*sums.pixel_accuracy_sums(preds, target, valid, threshold))


def parse_rate(
    preds: Float[Tensor, "batch joint 2"], valid: Bool[Tensor, "batch joint"]
) -> Float[Tensor, ""]:
    """Share of annotated joints that were parsed: sum v [both coordinates finite] / sum v.

    Source: this project; mae and epe cannot be read without it.

    >>> preds = torch.tensor([[[3.0, 4.0], [torch.nan, torch.nan], [5.0, 5.0]]])
    >>> parse_rate(preds, torch.tensor([[True, True, False]])).item()
    0.5
    """
    return ratio(*sums.parse_rate_sums(preds, valid))


def mae_all(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
    mean_pose: Float[Tensor, "joint 2"],
) -> Float[Tensor, ""]:
    """`pixel_mae` over all annotated joints, with `mean_pose` where a joint did not parse.

    `mean_pose` is the mean of the training poses in the frame of `preds`. A model gains nothing
    here by leaving out the joints that it finds difficult.

    Source: this project. Unified-IO fills with the mean of the visible points instead.

    >>> preds = torch.tensor([[[3.0, 4.0], [torch.nan, torch.nan]]])
    >>> target = torch.tensor([[[0.0, 0.0], [5.0, 5.0]]])
    >>> mean_pose = torch.tensor([[0.0, 0.0], [6.0, 8.0]])
    >>> valid = torch.ones(1, 2, dtype=torch.bool)
    >>> mae_all(preds, target, valid, mean_pose).item()  # (3 + 4 + 1 + 3) / 4
    2.75
    """
    return ratio(*sums.mae_all_sums(preds, target, valid, mean_pose))


def pckh_per_joint(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
    head_size: Float[Tensor, " batch"],
    threshold: float = 0.5,
) -> Float[Tensor, " joint"]:
    """For each joint, the share of persons with d <= threshold x head size.

    In image pixels, `head_size` too: 0.6 x the diagonal of MPII's head box. Persons whose head
    size is 0 (or NaN) are left out. A joint that no one has annotated is NaN.

    Source: Andriluka et al., CVPR 2014; HRNet, lib/dataset/mpii.py, `evaluate`.

    >>> preds = torch.tensor([[[3.0, 4.0]], [[0.0, 6.0]], [[0.0, 0.0]]])
    >>> valid = torch.ones(3, 1, dtype=torch.bool)
    >>> head_size = torch.tensor([10.0, 10.0, 0.0])
    >>> pckh_per_joint(preds, torch.zeros(3, 1, 2), valid, head_size)  # 5 and 6 px of 5 px
    tensor([0.5000], dtype=torch.float64)
    """
    hits, count = sums.pck_sums(preds, target, valid, head_size, [threshold])
    return ratio(hits[0], count)


def pckh_groups(per_joint: Float[Tensor, "16"]) -> dict[str, Float[Tensor, ""]]:
    """The columns of MPII's tables from `pckh_per_joint`: head to ankle.

    Head is the head top. The others are the plain mean of left and right, whatever their counts;
    if one side has no annotated joint, the other stands alone.

    Source: HRNet, lib/dataset/mpii.py, `evaluate`.

    >>> groups = pckh_groups(torch.arange(16, dtype=torch.float64) / 16)
    >>> groups["head"].item(), groups["wrist"].item()  # 9 / 16, (10 + 15) / 32
    (0.5625, 0.78125)
    """
    return {name: per_joint[list(joints)].nanmean() for name, joints in GROUPS.items()}


def pckh(
    preds: Float[Tensor, "batch 16 2"],
    target: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    head_size: Float[Tensor, " batch"],
    threshold: float = 0.5,
) -> Float[Tensor, ""]:
    """Mean of `pckh_per_joint` over 14 joints, each weighted by its number of annotated joints.

    Pelvis and thorax are left out. So weighted, the mean is hits / annotated joints of all 14.
    `threshold=0.1` is really 0.1: what HRNet prints as Mean@0.1 is 0.11.

    Source: HRNet, lib/dataset/mpii.py, `evaluate` ("Mean").

    >>> preds = torch.zeros(1, 16, 2)
    >>> preds[0, :7, 0] = 6.0  # six of the fourteen, and the pelvis, 6 px off
    >>> valid = torch.ones(1, 16, dtype=torch.bool)
    >>> head_size = torch.tensor([10.0])
    >>> round(pckh(preds, torch.zeros(1, 16, 2), valid, head_size).item(), 4)  # 8 / 14
    0.5714
    """
    return ratio(*sums.pckh_sums(preds, target, valid, head_size, threshold))


def pckh_auc(
    preds: Float[Tensor, "batch 16 2"],
    target: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    head_size: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Area under `pckh` for thresholds 0, 0.01 .. 0.5 by the trapezoid rule, divided by 0.5.

    1 if every joint is exact, 0 if none is within 0.5 x head size.

    Source: the AUC column of MPII's tables; step and rule are this project's.

    >>> preds = torch.zeros(1, 16, 2)
    >>> preds[..., 0] = 2.5  # hits from 0.25 on: 25 whole steps and one half of 50
    >>> valid = torch.ones(1, 16, dtype=torch.bool)
    >>> round(pckh_auc(preds, torch.zeros(1, 16, 2), valid, torch.tensor([10.0])).item(), 4)
    0.51
    """
    return ratio(*sums.pckh_auc_sums(preds, target, valid, head_size))


def torso_size(
    target: Float[Tensor, "batch 16 2"], valid: Bool[Tensor, "batch 16"]
) -> Float[Tensor, " batch"]:
    """Distance from left shoulder to right hip in the frame of `target`; NaN if one is missing.

    Source: Sapp & Taskar, MODEC, CVPR 2013.

    >>> target = torch.zeros(1, 16, 2)
    >>> target[0, 13] = torch.tensor([30.0, 40.0])
    >>> torso_size(target, torch.ones(1, 16, dtype=torch.bool))
    tensor([50.], dtype=torch.float64)
    """
    sums.check_poses(target, valid, is_mpii=True)
    shoulder, hip = JOINTS.index("left shoulder"), JOINTS.index("right hip")
    size = torch.linalg.vector_norm(target[:, shoulder].double() - target[:, hip].double(), dim=-1)
    return torch.where(valid[:, shoulder] & valid[:, hip], size, torch.nan)


def pck(
    preds: Float[Tensor, "batch 16 2"],
    target: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    threshold: float = 0.2,
) -> Float[Tensor, ""]:
    """As `pckh`, with `torso_size` in place of the head size; persons without a torso left out.

    Source: Sapp & Taskar, MODEC, CVPR 2013; joints and weights as in `pckh`.

    >>> target = torch.zeros(1, 16, 2)
    >>> target[0, 13, 0] = 100.0
    >>> preds = target.clone()
    >>> preds[0, :6, 1] = 21.0  # six of fourteen are 21 px off, 20 are allowed
    >>> round(pck(preds, target, torch.ones(1, 16, dtype=torch.bool)).item(), 4)  # 8 / 14
    0.5714
    """
    return ratio(*sums.pckh_sums(preds, target, valid, torso_size(target, valid), threshold))


def oks(
    preds: Float[Tensor, "batch 16 2"],
    target: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    area: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Object keypoint similarity, the mean over persons.

    A person's is sum v exp(-d^2 / (2 area (2 sigma)^2)) / sum v, over all 16 joints; a joint that
    did not parse adds 0. `area` is the person's in square pixels of the frame of `preds`. Persons
    with no annotated joint, or an area of 0 or NaN, are left out.

    Source: COCO keypoint evaluation; sigmas of mmpose's configs/_base_/datasets/mpii.py.

    >>> preds = torch.zeros(1, 16, 2)
    >>> preds[0, :4] = torch.nan  # four of sixteen did not parse, the rest are exact
    >>> valid = torch.ones(1, 16, dtype=torch.bool)
    >>> oks(preds, torch.zeros(1, 16, 2), valid, torch.tensor([100.0])).item()
    0.75
    """
    return ratio(*sums.oks_sums(preds, target, valid, area))
