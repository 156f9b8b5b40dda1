"""What a model's numbers are held against: answers that need no model, for the same persons.

All of them speak the input frame, as a caption does.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from blippose.evaluation.targets import Answers, Targets
from blippose.pose import NUM_JOINTS


def mean_pose_answers(train: Targets, num: int) -> Answers:
    """The mean training pose of each of `num` persons: what a blind model ends at."""
    return _constant("mean pose of training", _mean(train), num)


def median_pose_answers(train: Targets, num: int) -> Answers:
    """The median of each coordinate: of all constant answers the least MAE in training."""
    return _constant("median pose of training", _median(train), num)


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


def _copied(name: str, train: Targets, chosen: Int[np.ndarray, " persons"]) -> Answers:
    """Joints that were not annotated there come from the mean pose: a blank would cost a miss."""
    poses = _poses(train)[chosen]
    return Answers(name, "baseline", np.where(np.isnan(poses), _mean(train), poses))


def _poses(train: Targets) -> Float[np.ndarray, "persons 16 2"]:
    return np.where(train.valid[..., None], train.xy_input, np.nan)


def _mean(train: Targets) -> Float[np.ndarray, "16 2"]:
    """NaN of a joint that nobody in training has: then nothing stands in for it."""
    num = train.valid.sum(axis=0)[:, None]
    total = np.where(train.valid[..., None], train.xy_input, 0.0).sum(axis=0)
    return np.asarray(np.where(num > 0, total / np.maximum(num, 1), np.nan))


def _median(train: Targets) -> Float[np.ndarray, "16 2"]:
    """The middle of each coordinate; NaN likewise."""
    known = [train.xy_input[train.valid[:, j], j] for j in range(NUM_JOINTS)]
    return np.array([np.median(xy, axis=0) if len(xy) else (np.nan, np.nan) for xy in known])


def _unit(features: Float[np.ndarray, "any features"]) -> Float[np.ndarray, "any features"]:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(length > 0, length, 1.0))
