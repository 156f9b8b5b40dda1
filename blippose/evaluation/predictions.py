"""Runs a model over persons: free-running and teacher-forced captions, and the controls' images.

A control asks the model for captions of images that do not show whom it is judged on. What comes
back of a model that looks is bad; of one that recites poses it is as good as before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from blippose.data import Collator, PoseDataset
from blippose.decoding import Closer
from blippose.decoding.inputs import CLIP_MEAN
from blippose.errors import UserError
from blippose.evaluation import parts
from blippose.evaluation.asking import ask, asking
from blippose.evaluation.keyed_arrays import load_keyed
from blippose.evaluation.stored_predictions import (
    Origin,
    PredictionRow,
    StoredPredictions,
)
from blippose.evaluation.targets import Answers
from blippose.geometry import Crop
from blippose.model import PoseCaptioner
from blippose.progress import tracked
from blippose.whole_file import whole_file

__all__ = [
    "Origin",
    "PredictionRow",
    "StoredPredictions",
    "blank_answers",
    "image_features",
    "predict",
    "shuffled_answers",
    "stored_features",
    "stored_predict",
]


def stored_predict(
    path: Path,
    origin: Origin,
    captioner: PoseCaptioner,
    dataset: PoseDataset,
    collator: Collator,
    batch_size: int,
    *,
    progress: bool,
) -> tuple[StoredPredictions | None, bool]:
    """`predict`, kept in `path`; and whether what was there is used again.

    Several processes (torchrun, srun) share the work in the folder of `path`, which all must
    reach: the first gets the same rows as one process alone, the others None. Work that was cut
    off goes on.

    Raises:
        UserError: another process is evaluating there, or those of this evaluation have stopped.
    """
    every = parts.batches(len(dataset), batch_size)

    def load() -> StoredPredictions | None:
        stored = StoredPredictions.load(path, origin)
        return stored if stored is not None and _is_of(stored, dataset) else None

    def save(batches: list[Any]) -> None:
        rows = tuple(PredictionRow.of(row) for batch in batches for row in batch)
        StoredPredictions(captioner.frame, rows, origin.made_with).save(path, origin)

    with asking(captioner):
        return parts.kept(
            path,
            _task(origin, dataset, batch_size),
            len(every),
            load,
            lambda number: [
                asdict(row) for row in ask(captioner, dataset, collator, every[number])
            ],
            partial(tracked, description=f"captions of {origin.subset}, batches", shown=progress),
            save,
        )


def _task(origin: Origin, dataset: PoseDataset, batch_size: int) -> dict[str, Any]:
    row = [each.name for each in fields(PredictionRow)]  # those of another version are not these
    return {
        **origin.deciding(),
        "batch_size": batch_size,
        "indices": list(dataset.indices),
        "row": row,
    }


def _is_of(stored: StoredPredictions, dataset: PoseDataset) -> bool:
    return [row.index for row in stored.rows] == list(dataset.indices)


def predict(
    captioner: PoseCaptioner,
    dataset: PoseDataset,
    collator: Collator,
    batch_size: int,
    *,
    progress: bool,
) -> StoredPredictions:
    """What the model says of every person of `dataset`, in its order, in this process alone."""
    every = parts.batches(len(dataset), batch_size)
    rows: list[PredictionRow] = []
    with asking(captioner):
        for number in tracked(
            range(len(every)), 0, len(every), description="captions, batches", shown=progress
        ):
            rows += ask(captioner, dataset, collator, every[number])
    return StoredPredictions(captioner.frame, tuple(rows))


def shuffled_answers(free: Answers, videos: Sequence[int | None], seed: int = 0) -> Answers:
    """What the model says of the image of another person, of another video where that is possible.

    That costs nothing, as a caption does not depend on whose pose it is held against.

    Args:
        free: the model's own answers.
        videos: of the persons whom they are of, in the same order.
        seed: of who gets whose image.

    Raises:
        UserError: fewer than two persons to shuffle.
    """
    other = other_persons(videos, seed)
    captions = None if free.captions is None else tuple(free.captions[i] for i in other)
    return Answers("shuffled images", "control", free.xy_input[other], captions)


def blank_answers(captioner: PoseCaptioner, num_persons: int) -> Answers:
    """What the model says of an image in CLIP's mean colour, zero after normalisation, for all."""
    size = captioner.frame.input_size
    color = torch.tensor(CLIP_MEAN).mul(255).round().to(torch.uint8)
    image = color.view(1, 3, 1, 1).expand(1, 3, size, size).to(captioner.device)
    whole = Crop.of_image(size, size, size)
    blank = image[0].permute(1, 2, 0).cpu().numpy()
    again = Closer([whole], lambda parts: np.stack([blank]), captioner.look, captioner.device)
    with asking(captioner):
        said = captioner.say(image, closer=again)
    xy_input = said.parsed[0].pose.xy
    return Answers(
        "blank image",
        "control",
        np.tile(xy_input, (num_persons, 1, 1)),
        said.captions * num_persons,
    )


def other_persons(videos: Sequence[int | None], seed: int) -> Int[np.ndarray, " persons"]:
    """Position of another person for each, everyone once.

    They are of another video where none of them holds more than half of the persons; an unknown
    video is one of its own. Persons stand in a circle, those of a video side by side, and each
    looks as many places on as the largest video has persons.

    Raises:
        UserError: fewer than two persons.
    """
    if len(videos) < 2:
        raise UserError("shuffled images need two persons or more")
    drawn = np.random.default_rng(seed).permutation(len(videos))
    groups: dict[tuple[int, int | None], list[int]] = {}
    for i in drawn.tolist():
        key = (i, None) if videos[i] is None else (-1, videos[i])
        groups.setdefault(key, []).append(i)
    circle = np.array([i for group in groups.values() for i in group])
    places = min(max(map(len, groups.values())), len(videos) // 2)
    other = np.empty_like(circle)
    other[circle] = np.roll(circle, -places)
    return other


def stored_features(
    path: Path,
    origin: Origin,
    captioner: PoseCaptioner,
    dataset: PoseDataset,
    collator: Collator,
    batch_size: int,
    *,
    progress: bool = False,
) -> Float[np.ndarray, "persons features"] | None:
    """`image_features`, kept in `path`, the work shared as in `stored_predict`.

    Raises:
        UserError: another process is evaluating there, or those of this evaluation have stopped.
    """
    every = parts.batches(len(dataset), batch_size)
    key = json.dumps([origin.deciding(), list(dataset.indices)])

    def save(batches: list[Any]) -> None:
        made = np.array([row for batch in batches for row in batch])
        with whole_file(path) as partial_path:
            np.savez(partial_path, features=made, key=np.array(key))

    with asking(captioner):
        return parts.kept(
            path,
            _task(origin, dataset, batch_size),
            len(every),
            lambda: load_keyed(path, key, lambda kept: np.asarray(kept["features"])),
            lambda number: _features(captioner, dataset, collator, every[number]).tolist(),
            partial(
                tracked, description=f"image features of {origin.subset}, batches", shown=progress
            ),
            save,
        )[0]


def image_features(
    captioner: PoseCaptioner, dataset: PoseDataset, collator: Collator, batch_size: int
) -> Float[np.ndarray, "persons features"]:
    """Mean of what the vision tower says of an image's patches, by persons."""
    every = parts.batches(len(dataset), batch_size)
    with asking(captioner):
        return np.concatenate([_features(captioner, dataset, collator, part) for part in every])


def _features(
    captioner: PoseCaptioner, dataset: PoseDataset, collator: Collator, positions: range
) -> Float[np.ndarray, "batch features"]:
    batch = collator([dataset[position] for position in positions])
    states = captioner.look(batch["image"].to(captioner.device))  # (B, 1 + P, W)
    features: Float[np.ndarray, "batch features"] = states[:, 1:].mean(1).double().cpu().numpy()
    return features
