"""What a finished run says of itself: its best epoch both ways, beside the mean pose."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from blippose.data import PoseDataModule
from blippose.metrics import PoseMetrics
from blippose.validation import measure


def mean_pose(data: PoseDataModule) -> Float[Tensor, "16 2"]:
    """Mean of the training poses in the input frame, px."""
    return torch.from_numpy(data.mean_pose()).float()


def mean_pose_baseline(data: PoseDataModule, mean_pose: Float[Tensor, "16 2"]) -> dict[str, float]:
    """Every metric of a model that says the mean training pose of every validation person."""
    metrics = PoseMetrics(mean_pose)
    metrics.distributed_available_fn = lambda: False  # each process reads all of them
    size = data.collator.caption_format.input_size
    for start in range(0, len(data.val_set), data.eval_batch_size):
        positions = range(start, min(start + data.eval_batch_size, len(data.val_set)))
        batch = data.collator([data.val_set[position] for position in positions])
        preds_input = mean_pose.expand(len(positions), -1, -1)
        measure(metrics, preds_input, batch, size)
    return {name: float(value) for name, value in metrics.compute().items()}


def run_results(
    data: PoseDataModule,
    mean_pose: Float[Tensor, "16 2"],
    num_val: int,
    best_metrics: dict[str, float],
    epoch: int,
) -> dict[str, Any]:
    """What a finished run says: its best epoch both ways of reading, beside the mean pose.

    `num_val` persons were judged, which the trainer may have limited; `best_metrics` are as the
    model logs them, `val/...` and `val_tf/...`.
    """
    size = data.collator.caption_format.input_size
    return {
        "frame": f"input pixels of {size} x {size}",
        "split": data.split_kind,
        "num_train": len(data.train_set),
        "num_val": num_val,
        "manifest": data.manifest["hash"],
        "synthetic": data.manifest["synthetic"],
        "epoch": epoch,
        "val_loss": best_metrics.get("val/loss"),
        "free_running": _under("val/", best_metrics),
        "teacher_forced": _under("val_tf/", best_metrics),
        "mean_pose": mean_pose_baseline(data, mean_pose),
    }


def _under(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {name: metrics[prefix + name] for name in PoseMetrics.NAMES}
