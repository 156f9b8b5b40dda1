"""All metrics of a validation epoch in one torchmetrics class."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blippose.metrics import sums
from blippose.metrics.modular import Accumulator
from blippose.pose import NUM_JOINTS

_PIXEL_THRESHOLDS = (1.0, 5.0, 25.0)
PIXEL_NAMES = ("mae", "epe", *(f"acc_{t:g}px" for t in _PIXEL_THRESHOLDS))


@final
class PoseMetrics(Accumulator):
    """All that a validation epoch prints, under names that serve as keys.

    In input pixels `mae`, `epe`, `acc_1px`, `acc_5px`, `acc_25px`; in image pixels the same with
    `_img`, and `pckh_0.5`, `pckh_0.1`, `pckh_auc`; `parse_rate`; in input pixels `mae_all`.

    Args:
        mean_pose: mean of the training poses in input pixels, for `mae_all`. May be set until the
            first update; without it `mae_all` is NaN as soon as a joint did not parse.
    """

    NAMES = (
        *PIXEL_NAMES,
        *(f"{name}_img" for name in PIXEL_NAMES),
        *("pckh_0.5", "pckh_0.1", "pckh_auc", "parse_rate", "mae_all"),
    )

    def __init__(self, mean_pose: Float[Tensor, "16 2"] | None = None) -> None:
        super().__init__((len(self.NAMES),))
        unknown = torch.full((NUM_JOINTS, 2), torch.nan)
        # Not a buffer: it would turn bfloat16 with the model.
        self.mean_pose = unknown if mean_pose is None else mean_pose

    def update(
        self,
        *,  # six tensors of two shapes: unnamed, two frames swapped would go unnoticed
        preds_input: Float[Tensor, "batch 16 2"],
        target_input: Float[Tensor, "batch 16 2"],
        valid: Bool[Tensor, "batch 16"],
        preds_img: Float[Tensor, "batch 16 2"],
        target_img: Float[Tensor, "batch 16 2"],
        head_size: Float[Tensor, " batch"],
    ) -> None:
        """Add a batch, its poses in both frames; `head_size` in image pixels."""
        totals, counts = pose_sums(
            preds_input=preds_input,
            target_input=target_input,
            valid=valid,
            preds_img=preds_img,
            target_img=target_img,
            head_size=head_size,
            mean_pose=self.mean_pose,
        )
        self.add(totals, counts)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Every metric over everything since the last reset; NaN without data."""
        return dict(zip(self.NAMES, sums.ratio(self.total, self.count), strict=True))


def pose_sums(
    *,
    preds_input: Float[Tensor, "batch 16 2"],
    target_input: Float[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
    preds_img: Float[Tensor, "batch 16 2"],
    target_img: Float[Tensor, "batch 16 2"],
    head_size: Float[Tensor, " batch"],
    mean_pose: Float[Tensor, "16 2"],
) -> sums.Sums:
    """What a batch adds to each of `PoseMetrics.NAMES`, in their order."""
    img = preds_img, target_img, valid
    pairs = [
        *pixel_sums(preds_input, target_input, valid),
        *pixel_sums(*img),
        sums.pckh_sums(*img, head_size, threshold=0.5),
        sums.pckh_sums(*img, head_size, threshold=0.1),
        sums.pckh_auc_sums(*img, head_size),
        sums.parse_rate_sums(preds_input, valid),
        sums.mae_all_sums(preds_input, target_input, valid, mean_pose),
    ]
    totals, counts = zip(*pairs, strict=True)
    return torch.stack(totals), torch.stack(counts)


def pixel_sums(
    preds: Float[Tensor, "batch joint 2"],
    target: Float[Tensor, "batch joint 2"],
    valid: Bool[Tensor, "batch joint"],
) -> list[sums.Sums]:
    """What a batch adds to each of `PIXEL_NAMES`, in their order."""
    return [
        sums.pixel_mae_sums(preds, target, valid),
        sums.epe_sums(preds, target, valid),
        *(sums.pixel_accuracy_sums(preds, target, valid, t) for t in _PIXEL_THRESHOLDS),
    ]
