"""What each person adds to each metric: the figures of any choice of persons follow by adding up.

The arithmetic is that of `blippose.metrics`, put to one person at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blippose.evaluation.intervals import Bootstrap, Estimate
from blippose.evaluation.targets import Answers, Targets
from blippose.metrics import PoseMetrics, sums
from blippose.metrics.functional import GROUPS, torso_size
from blippose.metrics.pose_metrics import PIXEL_NAMES, pixel_sums, pose_sums
from blippose.pose import JOINTS

NAMES = (*PoseMetrics.NAMES, "mae_all_img", "pck_0.2", "oks")
PCKH_NAMES = ("pckh_0.5", "pckh_0.1", "pckh_auc")
JOINT_NAMES = (*PIXEL_NAMES, "parse_rate", *PCKH_NAMES)  # pixels of the input
_PCKH_THRESHOLDS = (0.5, 0.1)
_PCK_THRESHOLD = 0.2
# Share of a person's box that the person fills. Source: xtcocotools, cocoeval.py, `computeOks`
# without `use_area`, as AIC and CrowdPose are scored, which like MPII come without masks.
_BOX_FILL = 0.53


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums and counts of one way of answering: a metric is `total / count`, each added up."""

    total: Float[np.ndarray, "persons metric"]  # in the order of NAMES
    count: Int[np.ndarray, "persons metric"]
    joint_total: Float[np.ndarray, "persons joint_metric 16"]  # in the order of JOINT_NAMES
    joint_count: Int[np.ndarray, "persons joint_metric 16"]

    @staticmethod
    def of(targets: Targets, answers: Answers, mean_pose: Float[np.ndarray, "16 2"]) -> Scores:
        """`mean_pose` is that of training, in input pixels, for `mae_all`."""
        preds_input, preds_img = answers.xy_input, targets.to_img(answers.xy_input)
        mean_input = np.broadcast_to(mean_pose, preds_input.shape)
        batches = _one_person_batches(
            preds_input, targets.xy_input, targets.valid, preds_img, targets.xy_img
        )
        head_size, its_area = _one_person_batches(targets.head_size, area(targets))
        means = torch.from_numpy(np.stack([mean_input, targets.to_img(mean_input)], axis=1))
        each_person: Callable[..., tuple[Tensor, Tensor]] = torch.vmap(_person_sums)
        each_joint: Callable[..., tuple[Tensor, Tensor]] = torch.vmap(_joint_sums)
        person = each_person(means, *batches, head_size, its_area)
        joint = each_joint(*batches, head_size)
        return Scores(*(values.numpy() for values in (*person, *joint)))

    def where(self, chosen: Bool[np.ndarray, " persons"]) -> Scores:
        """Of some of the persons."""
        return Scores(
            self.total[chosen],
            self.count[chosen],
            self.joint_total[chosen],
            self.joint_count[chosen],
        )

    def metrics(self, bootstrap: Bootstrap) -> Estimate:
        """The metrics of NAMES."""
        return bootstrap.ratio(self.total, self.count)

    def metric(self, name: str, bootstrap: Bootstrap) -> Estimate:
        """One of NAMES."""
        column = NAMES.index(name)
        return bootstrap.ratio(self.total[:, column], self.count[:, column])

    def groups(self, bootstrap: Bootstrap) -> dict[str, dict[str, dict[str, float]]]:
        """MPII's head to ankle under each of PCKH_NAMES, with intervals.

        As in `metrics.pckh_groups`, the plain mean of left and right, on every draw.
        """
        table = {}
        for name in PCKH_NAMES:
            column = JOINT_NAMES.index(name)
            per_joint = bootstrap.ratio(self.joint_total[:, column], self.joint_count[:, column])
            estimates = {group: _mean(per_joint[list(ids)]) for group, ids in GROUPS.items()}
            table[name] = {group: e.interval().as_dict() for group, e in estimates.items()}
        return table

    def per_joint(self, bootstrap: Bootstrap) -> dict[str, dict[str, dict[str, float]]]:
        """The metrics of JOINT_NAMES for each joint, with intervals."""
        estimate = bootstrap.ratio(self.joint_total, self.joint_count)  # (metric, 16)
        return {joint: estimate[:, j].named(JOINT_NAMES) for j, joint in enumerate(JOINTS)}


def area(targets: Targets) -> Float[np.ndarray, " persons"]:
    """Areas for OKS: 0.53 x the tight box of the annotated joints, in square image pixels.

    MPII has no outlines. Its `scale` can be missing and its square of 200 x scale is about three
    times as large, which would flatter every answer; the joints are always there. Persons whose
    box has no area are 0, and OKS leaves them out.
    """
    xy = np.where(targets.valid[..., None], targets.xy_img, np.nan)
    low = np.where(np.isnan(xy), np.inf, xy).min(axis=1)
    high = np.where(np.isnan(xy), -np.inf, xy).max(axis=1)
    sides = np.where(high >= low, high - low, 0.0)
    return np.asarray(_BOX_FILL * sides[:, 0] * sides[:, 1])


def _one_person_batches(*arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Tensors of (N, 1, ...): N batches of one person."""
    return tuple(torch.from_numpy(np.ascontiguousarray(a))[:, None] for a in arrays)


def _person_sums(
    means: Tensor,
    preds_input: Tensor,
    target_input: Tensor,
    valid: Tensor,
    preds_img: Tensor,
    target_img: Tensor,
    head_size: Tensor,
    area: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of a batch, in the order of NAMES; `means` are the mean pose in both frames."""
    mean_input, mean_img = means[0], means[1]
    img = preds_img, target_img, valid
    total, count = pose_sums(
        preds_input=preds_input,
        target_input=target_input,
        valid=valid,
        preds_img=preds_img,
        target_img=target_img,
        head_size=head_size,
        mean_pose=mean_input,
    )
    torso = torso_size(target_img, valid)
    others = (
        sums.mae_all_sums(*img, mean_img),
        sums.pckh_sums(*img, torso, _PCK_THRESHOLD),
        sums.oks_sums(*img, area),
    )
    totals, counts = zip(*others, strict=True)
    return torch.cat([total, torch.stack(totals)]), torch.cat([count, torch.stack(counts)])


def _joint_sums(
    preds_input: Tensor,
    target_input: Tensor,
    valid: Tensor,
    preds_img: Tensor,
    target_img: Tensor,
    head_size: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of a batch, for each joint, in the order of JOINT_NAMES: (9, 16) and (9, 16)."""
    total, count = _each_joint(_one_joint_sums)(preds_input, target_input, valid)
    img = preds_img, target_img, valid, head_size
    hits, annotated = sums.pck_sums(*img, _PCKH_THRESHOLDS)
    hits_area, _ = sums.pckh_auc_joint_sums(*img)
    return (
        torch.cat([total, hits, hits_area[None]]),
        torch.cat([count, annotated.expand(len(PCKH_NAMES), -1)]),
    )


def _one_joint_sums(preds: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    pairs = [*pixel_sums(preds, target, valid), sums.parse_rate_sums(preds, valid)]
    totals, counts = zip(*pairs, strict=True)
    return torch.stack(totals), torch.stack(counts)


def _each_joint(
    function: Callable[..., tuple[Tensor, Tensor]],
) -> Callable[..., tuple[Tensor, Tensor]]:
    """`function` of poses of a single joint, for each joint; results lie along the last axis."""
    mapped = torch.vmap(function, in_dims=1, out_dims=1)
    return lambda *arrays: mapped(*(array.unsqueeze(2) for array in arrays))


def _mean(sides: Estimate) -> Estimate:
    """Of left and right; a side that is NaN leaves the other alone."""
    return Estimate(_nanmean(sides.value), _nanmean(sides.draws))


def _nanmean(values: Float[np.ndarray, "*draws side"]) -> Float[np.ndarray, "*draws"]:
    known = ~np.isnan(values)
    number = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.where(number > 0, total / np.maximum(number, 1), np.nan))
