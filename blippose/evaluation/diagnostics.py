"""How a model errs: sides swapped, errors between near and far, captions that say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from blippose.caption import Reason
from blippose.evaluation.intervals import Bootstrap, Estimate
from blippose.evaluation.scores import Scores
from blippose.evaluation.targets import Answers, Targets
from blippose.metrics.sums import joint_distances
from blippose.pose import JOINTS, MIRROR

_RIGHT = [joint for joint, name in enumerate(JOINTS) if name.startswith("right ")]
_LEFT = [MIRROR[joint] for joint in _RIGHT]
_NEAR = 0.5  # x head size, as in PCKh@0.5: nearer joints are one place, and have no sides


def swapped_pairs(
    targets: Targets, answers: Answers
) -> tuple[Int[np.ndarray, " persons"], Int[np.ndarray, " persons"]]:
    """Pairs, such as both wrists, that were found with right and left exchanged; and pairs found.

    A pair is found where both joints lie within half a head size of the truth, either way round,
    and exchanged where that is nearer. An answer far off is no swap, and not judged. Pairs whose
    joints are less than half a head size apart in truth have no sides.

    Source: the "inversion" of Ronchi & Perona, Benchmarking and Error Diagnosis in Multi-Instance
    Pose Estimation, ICCV 2017, by pairs, with the threshold of PCKh@0.5.
    """
    xy_img = targets.to_img(answers.xy_input)
    kept = _pair_distances(xy_img, targets.xy_img)
    exchanged = _pair_distances(xy_img[:, list(MIRROR)], targets.xy_img)
    apart = np.linalg.norm(targets.xy_img[:, _RIGHT] - targets.xy_img[:, _LEFT], axis=-1)
    reach = _NEAR * targets.head_size[:, None]
    judged = targets.valid[:, _RIGHT] & targets.valid[:, _LEFT] & (apart > reach) & (reach > 0)
    judged &= np.minimum(kept.max(axis=-1), exchanged.max(axis=-1)) <= reach
    is_swapped = exchanged.sum(axis=-1) < kept.sum(axis=-1)
    return (judged & is_swapped).sum(axis=1), judged.sum(axis=1)


def share_between(near: int, far: int, scores: Scores, bootstrap: Bootstrap) -> Estimate:
    """Share of annotated joints more than `near` and up to `far` input pixels off.

    Both are thresholds of `PoseMetrics`. Published localisers have about half of their joints
    between 1 and 5 px; answers that are copied are exact or far off, and have hardly any.
    """
    within = (scores.metric(f"acc_{px}px", bootstrap) for px in (far, near))
    return next(within) - next(within)


def error_density(near: int, far: int, scores: Scores, bootstrap: Bootstrap) -> Estimate:
    """`share_between` for each pixel of distance."""
    return 1 / (far - near) * share_between(near, far, scores, bootstrap)


def improvement(scores: Scores, other: Scores, name: str, bootstrap: Bootstrap) -> Estimate:
    """By how much a metric of `scores` is above that of `other`, on the same draws."""
    return scores.metric(name, bootstrap) - other.metric(name, bootstrap)


def caption_faults(
    reasons: Sequence[Sequence[Reason | None]],
    truncated: Bool[np.ndarray, " persons"],
    valid: Bool[np.ndarray, "persons 16"],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Why joints are missing from captions, as shares of the annotated joints, with intervals.

    Args:
        reasons: per caption and joint why it is missing, or None where it was read.
        truncated: captions that reached the longest length before their end.
        valid: annotated joints; a joint that no one asked for is not missing.
        bootstrap: draws of the captions.
    """
    found = np.array(reasons, dtype=object).reshape(valid.shape)
    annotated = valid.sum(axis=1)

    def share(reason: Reason | None) -> dict[str, float]:
        is_it = np.array([each is reason for each in found.ravel()], dtype=bool)
        number = (is_it.reshape(valid.shape) & valid).sum(axis=1)
        return bootstrap.ratio(number, annotated).interval().as_dict()

    cut = bootstrap.ratio(truncated, np.ones_like(annotated)).interval()
    return {
        "parse_rate": share(None),
        **{reason.replace(" ", "_"): share(reason) for reason in Reason},
        "truncated": cut.as_dict(),
        "num_captions": len(truncated),
    }


def outside_input(targets: Targets, bootstrap: Bootstrap) -> Estimate:
    """Share of the annotated joints that the input does not show: no caption can say them."""
    last = targets.input_size - 0.5  # pixel centres are integers
    inside = ((targets.xy_input >= -0.5) & (targets.xy_input <= last)).all(axis=-1)
    outside = (targets.valid & ~inside).sum(axis=1)
    return bootstrap.ratio(outside, targets.valid.sum(axis=1))


def input_pixel(targets: Targets) -> dict[str, float]:
    """How many image pixels a pixel of the input is wide and high, in the median image."""
    extent = targets.crop[:, 2:] / targets.input_size
    width, height = np.median(extent, axis=0).tolist()
    return {"width": width, "height": height}


def _pair_distances(
    preds: Float[np.ndarray, "persons 16 2"], target: Float[np.ndarray, "persons 16 2"]
) -> Float[np.ndarray, "persons pairs 2"]:
    """Of the right and of the left joint of each pair; NaN where one is missing."""
    distance = joint_distances(torch.from_numpy(preds), torch.from_numpy(target)).numpy()
    return np.stack([distance[:, _RIGHT], distance[:, _LEFT]], axis=-1)
