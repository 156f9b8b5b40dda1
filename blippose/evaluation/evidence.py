"""Gathers what a trust report is made of: asks the model, or reads what it once said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from blippose import runs
from blippose.callbacks import spread
from blippose.data import Collator, PoseDataset
from blippose.errors import UserError
from blippose.evaluation.leaks import find_leaks
from blippose.evaluation.predictions import (
    control_answers,
    image_features,
    stored_predict,
)
from blippose.evaluation.stored_predictions import StoredPredictions
from blippose.evaluation.subject import Subject
from blippose.evaluation.targets import Answers, Targets
from blippose.evaluation.trust_report import About, Evidence
from blippose.model import PoseCaptioner

PREDICTIONS = "predictions"
SUBSETS = ("val", "test", "auto")
_MOST_TRAIN = 300  # training persons that are asked for: what was learned by heart shows in fewer


@dataclass(frozen=True)
class Settings:
    """How a model is judged.

    Args:
        subset: "val" or "test"; "auto" is test where the split has one, else val.
        seed: of whose images are exchanged.
        batch_size: persons that the model sees at once.
        progress: whether bars are shown.
    """

    subset: str = "auto"
    seed: int = 0
    batch_size: int = 64
    progress: bool = False


def check_subset(subset: str) -> None:
    """Refuses what is no subset, before anything is loaded.

    Raises:
        UserError: it is none.
    """
    if subset not in SUBSETS:
        raise UserError(f"subset={subset}: expected one of {', '.join(SUBSETS)}")


def gather(subject: Subject, folder: Path, settings: Settings) -> tuple[Evidence, bool]:
    """All that the report needs, and whether the model's stored answers were used again.

    What the model says is kept in `folder`; several processes share the work of asking it.

    Raises:
        UserError: the split has no such subset.
    """
    data, size = subject.data, subject.captioner.frame.input_size
    subset = _chosen(subject, settings.subset)
    dataset = data.subset(subset)
    if subset == "test":
        dataset.decode("reading test images")  # the data module leaves them until they are needed
    some = data.train_set.part(spread(len(data.train_set), min(len(dataset), _MOST_TRAIN)))
    asked = _Asked(subject, folder / PREDICTIONS, settings)
    predictions, was_stored = asked.predictions(dataset, subset)
    train_predictions, train_was_stored = asked.predictions(some, "train")
    free = predictions.free()
    evidence = Evidence(
        about=_about(subject, subset),
        targets=Targets.of(dataset, size),
        predictions=predictions,
        train=Targets.of(data.train_set, size),
        caption_format=subject.captioner.caption_format,
        leaks=find_leaks(data, subset, progress=settings.progress),
        controls=[asked.control(dataset, images, free) for images in ("blank", "shuffled")],
        features=(asked.features(data.train_set, "train"), asked.features(dataset, subset)),
        train_answers=(Targets.of(some, size), train_predictions.free()),
    )
    return evidence, was_stored and train_was_stored


def _chosen(subject: Subject, subset: str) -> str:
    if subset != "auto":
        return subset
    return "test" if len(subject.data.test_set) else "val"


def _about(subject: Subject, subset: str) -> About:
    frame = subject.captioner.frame
    known = {name: version for name, version in runs.versions().items() if version is not None}
    return About(
        source=str(subject.checkpoint),
        run=None if subject.run is None else str(subject.run),
        epoch=subject.epoch,
        subset=subset,
        split=subject.data.split_kind,
        manifest=subject.data.manifest["hash"],
        trained_manifest=subject.trained_manifest,
        synthetic=subject.data.manifest["synthetic"],
        frame=asdict(frame),
        decoding="free",
        versions=known,
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """The model, and the folder that keeps what it said."""

    subject: Subject
    folder: Path
    settings: Settings

    def predictions(self, dataset: PoseDataset, subset: str) -> tuple[StoredPredictions, bool]:
        """Captions, both ways of reading, and whether they were stored."""
        return stored_predict(
            self.folder / f"{subset}.json",
            self.subject.origin(subset),
            *self._of(dataset),
            progress=self.settings.progress,
        )

    def control(self, dataset: PoseDataset, images: str, free: Answers) -> Answers:
        """What it says of wrong images: cheap, so that it is not kept."""
        return control_answers(*self._of(dataset), images, self.settings.seed, free=free)

    def features(self, dataset: PoseDataset, subset: str) -> Float[np.ndarray, "persons features"]:
        """Of the vision tower, kept: a large one takes a second an image."""
        origin = {**asdict(self.subject.origin(subset)), "source": None}
        key = json.dumps([origin, list(dataset.indices)])
        path = self.folder / f"features_{subset}.npz"
        return _kept(
            path,
            key,
            lambda: image_features(*self._of(dataset), progress=self.settings.progress),
        )

    def _of(self, dataset: PoseDataset) -> tuple[PoseCaptioner, PoseDataset, Collator, int]:
        data, captioner = self.subject.data, self.subject.captioner
        return captioner, dataset, data.collator, self.settings.batch_size


def _kept(
    path: Path, key: str, make: Callable[[], Float[np.ndarray, "persons features"]]
) -> Float[np.ndarray, "persons features"]:
    """What the file holds under the key, or what `make` makes, which it holds then."""
    try:
        with np.load(path) as kept:
            if str(kept["key"]) == key:
                found: Float[np.ndarray, "persons features"] = kept["features"]
                return found
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # not there, torn, or of another program: made again
    made = make()
    if runs.is_first_process():
        partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")  # savez adds .npz to others
        np.savez(partial, features=made, key=np.array(key))
        partial.replace(path)
    return made
