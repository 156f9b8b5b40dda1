"""What a model's numbers are held against: answers that need no model, for the same persons.

All of them speak the input frame, as a caption does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from blippose.data import PoseDataModule
from blippose.evaluation.targets import Answers, Targets
from blippose.metrics import PoseMetrics
from blippose.model import to_img


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
        metrics.update(
            preds_input=preds_input,
            target_input=batch["xy_input"],
            valid=batch["valid"],
            preds_img=to_img(preds_input, batch["crop"], size),
            target_img=batch["xy_img"],
            head_size=batch["head_size"],
        )
    return {name: float(value) for name, value in metrics.compute().items()}


def results(
    data: PoseDataModule,
    mean_pose: Float[Tensor, "16 2"],
    best_metrics: dict[str, float],
    epoch: int,
) -> dict[str, Any]:
    """What a finished run says: its best epoch both ways of reading, beside the mean pose.

    `best_metrics` as the model logs them, `val/...` and `val_tf/...`.
    """
    size = data.collator.caption_format.input_size
    return {
        "frame": f"input pixels of {size} x {size}",
        "split": data.split_kind,
        "num_train": len(data.train_set),
        "num_val": len(data.val_set),
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


def mean_pose_answers(train: Targets, num: int) -> Answers:
    """The mean training pose of each of `num` persons: what a blind model ends at."""
    return _constant("mean pose of training", _mean(train), num)


def median_pose_answers(train: Targets, num: int) -> Answers:
    """The median of each coordinate: of all constant answers the least MAE in training."""
    return _constant("median pose of training", np.nanmedian(_poses(train), axis=0), num)


def random_pose_answers(train: Targets, num: int, seed: int) -> Answers:
    """A training pose drawn for each person: right in its proportions, and of someone else."""
    drawn = np.random.default_rng(seed).integers(len(train), size=num)
    return _copied("random training pose", train, drawn)


def nearest_pose_answers(
    train: Targets,
    train_features: Float[np.ndarray, "train features"],
    features: Float[np.ndarray, "persons features"],
) -> Answers:
    """The pose of the training image with the nearest features by cosine: copying at its best.

    Features are centred on training's mean first: without it nearly all of a vision tower's
    cosines are above 0.9. Of equals, the first.
    """
    center = train_features.mean(axis=0)
    similarity = _unit(features - center) @ _unit(train_features - center).T
    return _copied("nearest neighbour by image features", train, similarity.argmax(axis=1))


def _constant(name: str, pose: Float[np.ndarray, "16 2"], num: int) -> Answers:
    return Answers(name, "baseline", np.tile(pose, (num, 1, 1)))


def _copied(name: str, train: Targets, chosen: Int[np.ndarray, "persons"]) -> Answers:
    """Joints that were not annotated there come from the mean pose: a blank would cost a miss."""
    poses = _poses(train)[chosen]
    return Answers(name, "baseline", np.where(np.isnan(poses), _mean(train), poses))


def _poses(train: Targets) -> Float[np.ndarray, "persons 16 2"]:
    return np.where(train.valid[..., None], train.xy_input, np.nan)


def _mean(train: Targets) -> Float[np.ndarray, "16 2"]:
    mean: Float[np.ndarray, "16 2"] = np.nanmean(_poses(train), axis=0)
    return mean


def _unit(features: Float[np.ndarray, "any features"]) -> Float[np.ndarray, "any features"]:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(length > 0, length, 1.0))
