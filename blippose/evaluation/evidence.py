"""Gathers what a trust report is made of: asks the model, or reads what it once said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from blippose.calibration import FEWEST, Calibration
from blippose.data import Collator, PoseDataset
from blippose.decoding import Free
from blippose.evaluation.leaks import Leaks, leaks_between
from blippose.evaluation.predictions import (
    blank_answers,
    shuffled_answers,
    stored_features,
    stored_predict,
)
from blippose.evaluation.reliability import calibration_of
from blippose.evaluation.stored_predictions import StoredPredictions
from blippose.evaluation.subject import Subject
from blippose.evaluation.targets import Answers, Targets
from blippose.evaluation.trust_report import About, Evidence
from blippose.model import PoseCaptioner
from blippose.validation_pictures import spread

PREDICTIONS = "predictions"
_MOST_TRAIN = 300  # training persons that are asked for: what was learned by heart shows in fewer


@dataclass(frozen=True)
class Settings:
    """How a model is judged.

    Args:
        subset: "val" or "test"; "auto" is test where the split has one, else val.
        seed: of whose images are exchanged.
        batch_size: persons that the model sees at once.
        progress: whether stderr is told how far it is.
    """

    subset: str = "auto"
    seed: int = 0
    batch_size: int = 64
    progress: bool = False


def gather(subject: Subject, folder: Path, settings: Settings) -> tuple[Evidence | None, bool]:
    """All that the report needs, and whether the model's stored answers were used again.

    What the model says is kept in `folder`. Several processes share the work of asking it; of
    them the first gets the evidence, the others None as soon as they have done their share.

    Raises:
        UserError: the split has no such subset, or an image cannot be decoded.
    """
    data, size = subject.data, subject.captioner.frame.input_size
    subset, dataset = judged(subject, settings.subset)
    asked = _Asked(subject, folder / PREDICTIONS, settings)
    predictions, was_stored = asked.predictions(dataset, subset)
    train_answers, train_was_stored = asked.train_answers(len(dataset))
    features = asked.features(data.train_set, "train"), asked.features(dataset, subset)
    if predictions is None or features[0] is None or features[1] is None:
        return None, False
    free, targets = predictions.free(), Targets.of(dataset, size)
    evidence = Evidence(
        about=_about(subject, subset, predictions),
        targets=targets,
        predictions=predictions,
        train=Targets.of(data.train_set, size),
        caption_format=subject.captioner.caption_format,
        leaks=_leaks(subject, dataset, settings),
        controls=list(_controls(subject, dataset, free, settings.seed)),
        features=(features[0], features[1]),
        train_answers=train_answers,
        calibration=_calibration(subject, train_answers),
    )
    return evidence, was_stored and train_was_stored


def _calibration(
    subject: Subject, train_answers: tuple[Targets, Answers] | None
) -> Calibration | None:
    """Of its confidence; None where nobody has its training persons, or few are asked for."""
    if train_answers is None or len(train_answers[0]) < FEWEST:
        return None
    return calibration_of(
        *train_answers,
        decoding=subject.decoding.name,
        checkpoint_sha256=subject.sha256,
    )


def as_file_name(decoding: str) -> str:
    """A decoding's name in letters, digits and underscores."""
    return re.sub(r"\W+", "_", decoding)


def _controls(
    subject: Subject, dataset: PoseDataset, free: Answers, seed: int
) -> Iterator[Answers]:
    """What the model says of wrong images: cheap, so that it is not kept."""
    yield blank_answers(subject.captioner, len(dataset))
    if len(dataset) > 1:  # one person alone has nobody to exchange images with
        yield shuffled_answers(free, [person.video for person in dataset.persons], seed)


def judged(subject: Subject, subset: str) -> tuple[str, PoseDataset]:
    """The subset that is meant, by its name, and its persons with their images.

    Raises:
        UserError: the split has no such subset, or an image cannot be decoded.
    """
    if subset == "auto":
        subset = "test" if len(subject.data.test_set) else "val"
    return subset, subject.data.subset(subset)


def _about(subject: Subject, subset: str, predictions: StoredPredictions) -> About:
    frame, learned = subject.captioner.frame, subject.learned
    return About(
        source=str(subject.checkpoint),
        run=None if subject.run is None else str(subject.run),
        state=subject.state,
        epoch=subject.epoch,
        subset=subset,
        split=subject.data.split_kind,
        manifest=subject.data.manifest["hash"],
        trained_manifest=learned.manifest,
        earlier_manifests=list(learned.earlier),
        began_from=subject.began_from,
        synthetic=subject.data.manifest["synthetic"],
        frame=frame.record(),
        decoding=subject.decoding.name,
        never_taught=subject.stated.taught.caution(subject.decoding),
        versions=subject.versions,
        predictions_made_with=dict(predictions.made_with),
    )


def _leaks(subject: Subject, judged: PoseDataset, settings: Settings) -> Leaks | None:
    """Against what the model was trained on, which may be another split, or another release."""
    learned = subject.learned
    if learned.persons is None:
        return None
    return leaks_between(
        learned.persons.persons,
        judged.persons,
        judged.images,
        train_images=learned.persons.images,
        has_same_videos=learned.has_same_videos,
        progress=settings.progress,
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """The model, and the folder that keeps what it said."""

    subject: Subject
    folder: Path
    settings: Settings

    def predictions(
        self, dataset: PoseDataset, subset: str
    ) -> tuple[StoredPredictions | None, bool]:
        """Captions, both ways of reading, and whether they were stored."""
        decoding = self.subject.decoding.name
        name = subset if decoding == Free().name else f"{subset}_{as_file_name(decoding)}"
        return stored_predict(
            self.folder / f"{name}.json",
            self.subject.origin(subset, dataset),
            *self._of(dataset),
            progress=self.settings.progress,
        )

    def train_answers(self, num: int) -> tuple[tuple[Targets, Answers] | None, bool]:
        """What it says of persons that it was trained on: as many as are judged, or 300."""
        learned = self.subject.learned.persons
        if learned is None:
            return None, True
        some = learned.part(spread(len(learned), min(num, _MOST_TRAIN)))
        predictions, was_stored = self.predictions(some, "train")
        if predictions is None:
            return None, was_stored
        size = self.subject.captioner.frame.input_size
        return (Targets.of(some, size), predictions.free()), was_stored

    def features(
        self, dataset: PoseDataset, subset: str
    ) -> Float[np.ndarray, "persons features"] | None:
        """Of the vision tower, kept for all decodings: a large one takes a second an image."""
        return stored_features(
            self.folder / f"features_{subset}.npz",
            replace(self.subject.origin(subset, dataset), decoding="none"),
            *self._of(dataset),
            progress=self.settings.progress,
        )

    def _of(self, dataset: PoseDataset) -> tuple[PoseCaptioner, PoseDataset, Collator, int]:
        data, captioner = self.subject.data, self.subject.captioner
        return captioner, dataset, data.collator, self.settings.batch_size
