"""Each metric as a torchmetrics class: right under uneven batches and several processes.

A state is a float64 sum and a count; processes add theirs, and only then is it divided. Formulas,
units and edge cases stand at the function of the same name in `functional`. Without data every
value is NaN.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from blippose.metrics import sums
from blippose.metrics.functional import torso_size
from blippose.pose import NUM_JOINTS


class Accumulator(Metric):
    """A sum and a count of one shape, added over batches and processes."""

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = (), threshold: float | None = None) -> None:
        super().__init__()
        # A MetricCollection takes metrics for one whose states have the same names, where their
        # values happen to be equal after the first batch: this name is of one kind alone.
        of = "" if threshold is None else f"_{threshold:g}".replace(".", "_").replace("-", "_")
        kind = f"is_{type(self).__name__}{of}"
        self.add_state(kind, torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def update_called(self) -> bool:
        """True: no data is answered by NaN, so torchmetrics has nothing to warn of."""
        return True

    def add(self, total: Float[Tensor, "*shape"], count: Int[Tensor, "*shape"]) -> None:
        """Add one batch's sum and count."""
        # Not `+=`: a model moved to bfloat16 takes the zeros along, and in place they stay so.
        self.total = self.total + total
        self.count = self.count + count


class _Ratio(Accumulator):
    """A metric with one value, the sum divided by the count."""

    def compute(self) -> Float[Tensor, "*shape"]:
        """The value over everything since the last reset; NaN without data."""
        return sums.ratio(self.total, self.count)


@final
class Mean(_Ratio):
    """The mean of batches' means, such as a loss, weighted by their counts."""

    def update(self, value: Float[Tensor, ""], num: int) -> None:
        """Add the mean of so many."""
        count = torch.tensor(num, device=value.device)
        self.add(value.double() * count, count)


@final
class PixelMAE(_Ratio):
    """`functional.pixel_mae` over batches."""

    higher_is_better = False

    def update(
        self,
        preds: Float[Tensor, "batch joint 2"],
        target: Float[Tensor, "batch joint 2"],
        valid: Bool[Tensor, "batch joint"],
    ) -> None:
        """Add a batch, in pixels of one frame."""
        self.add(*sums.pixel_mae_sums(preds, target, valid))


@final
class EPE(_Ratio):
    """`functional.epe` over batches."""

    higher_is_better = False

    def update(
        self,
        preds: Float[Tensor, "batch joint 2"],
        target: Float[Tensor, "batch joint 2"],
        valid: Bool[Tensor, "batch joint"],
    ) -> None:
        """Add a batch, in pixels of one frame."""
        self.add(*sums.epe_sums(preds, target, valid))


@final
class PixelAccuracy(_Ratio):
    """`functional.pixel_accuracy` over batches; `threshold` in pixels, inclusive."""

    higher_is_better = True

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold=threshold)
        self.threshold = threshold

    def update(
        self,
        preds: Float[Tensor, "batch joint 2"],
        target: Float[Tensor, "batch joint 2"],
        valid: Bool[Tensor, "batch joint"],
    ) -> None:
        """Add a batch, in pixels of one frame."""
        self.add(*sums.pixel_accuracy_sums(preds, target, valid, self.threshold))


@final
class ParseRate(_Ratio):
    """`functional.parse_rate` over batches."""

    higher_is_better = True

    def update(
        self, preds: Float[Tensor, "batch joint 2"], valid: Bool[Tensor, "batch joint"]
    ) -> None:
        """Add a batch."""
        self.add(*sums.parse_rate_sums(preds, valid))


@final
class MAEAll(_Ratio):
    """`functional.mae_all` over batches; `mean_pose` in the frame of `preds`."""

    higher_is_better = False

    def __init__(self, mean_pose: Float[Tensor, "joint 2"]) -> None:
        super().__init__()
        self.mean_pose = mean_pose  # no buffer: a buffer would turn bfloat16 with the model

    def update(
        self,
        preds: Float[Tensor, "batch joint 2"],
        target: Float[Tensor, "batch joint 2"],
        valid: Bool[Tensor, "batch joint"],
    ) -> None:
        """Add a batch, in pixels of one frame."""
        self.add(*sums.mae_all_sums(preds, target, valid, self.mean_pose))


@final
class PCKh(_Ratio):
    """`functional.pckh` over batches; `threshold` in head sizes, inclusive."""

    higher_is_better = True

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__(threshold=threshold)
        self.threshold = threshold

    def update(
        self,
        preds: Float[Tensor, "batch 16 2"],
        target: Float[Tensor, "batch 16 2"],
        valid: Bool[Tensor, "batch 16"],
        head_size: Float[Tensor, " batch"],
    ) -> None:
        """Add a batch, in image pixels."""
        self.add(*sums.pckh_sums(preds, target, valid, head_size, self.threshold))


@final
class PCKhPerJoint(_Ratio):
    """`functional.pckh_per_joint` over batches; `pckh_groups` turns the value into columns."""

    higher_is_better = True

    def __init__(self, threshold: float = 0.5, num_joints: int = NUM_JOINTS) -> None:
        super().__init__((num_joints,), threshold)
        self.threshold = threshold

    def update(
        self,
        preds: Float[Tensor, "batch joint 2"],
        target: Float[Tensor, "batch joint 2"],
        valid: Bool[Tensor, "batch joint"],
        head_size: Float[Tensor, " batch"],
    ) -> None:
        """Add a batch, in image pixels."""
        hits, count = sums.pck_sums(preds, target, valid, head_size, [self.threshold])
        self.add(hits[0], count)


@final
class PCKhAUC(_Ratio):
    """`functional.pckh_auc` over batches."""

    higher_is_better = True

    def update(
        self,
        preds: Float[Tensor, "batch 16 2"],
        target: Float[Tensor, "batch 16 2"],
        valid: Bool[Tensor, "batch 16"],
        head_size: Float[Tensor, " batch"],
    ) -> None:
        """Add a batch, in image pixels."""
        self.add(*sums.pckh_auc_sums(preds, target, valid, head_size))


@final
class PCK(_Ratio):
    """`functional.pck` over batches; `threshold` in torso sizes, inclusive."""

    higher_is_better = True

    def __init__(self, threshold: float = 0.2) -> None:
        super().__init__(threshold=threshold)
        self.threshold = threshold

    def update(
        self,
        preds: Float[Tensor, "batch 16 2"],
        target: Float[Tensor, "batch 16 2"],
        valid: Bool[Tensor, "batch 16"],
    ) -> None:
        """Add a batch, in image pixels."""
        size = torso_size(target, valid)
        self.add(*sums.pckh_sums(preds, target, valid, size, self.threshold))


@final
class OKS(_Ratio):
    """`functional.oks` over batches."""

    higher_is_better = True

    def update(
        self,
        preds: Float[Tensor, "batch 16 2"],
        target: Float[Tensor, "batch 16 2"],
        valid: Bool[Tensor, "batch 16"],
        area: Float[Tensor, " batch"],
    ) -> None:
        """Add a batch, in image pixels and square pixels."""
        self.add(*sums.oks_sums(preds, target, valid, area))
