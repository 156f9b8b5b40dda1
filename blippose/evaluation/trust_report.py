"""The trust report: every figure of a model beside what it must be held against, as plain data.

It is JSON apart from NaN, where there is nothing to score. Knows nothing of files or terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np
from jaxtyping import Float

from blippose.calibration import Calibration
from blippose.caption import CaptionFormat
from blippose.evaluation import cautions, diagnostics
from blippose.evaluation.baselines import (
    mean_pose_answers,
    median_pose_answers,
    nearest_pose_answers,
    random_pose_answers,
)
from blippose.evaluation.ceilings import caption_ceiling, image_ceiling, resize_ceiling
from blippose.evaluation.intervals import LEVEL, Bootstrap, units, video_counts
from blippose.evaluation.leaks import Leaks
from blippose.evaluation.reliability import reliability
from blippose.evaluation.scores import NAMES, Scores
from blippose.evaluation.stored_predictions import StoredPredictions
from blippose.evaluation.targets import Answers, Targets


class About(TypedDict):
    """What is judged, as the report's reader needs it."""

    source: str
    run: str | None
    state: NotRequired[str | None]  # of the run, as run.json has it
    epoch: int | None
    subset: str  # "val", "test" or "train"
    split: str
    manifest: str  # of the split that the images come from
    trained_manifest: NotRequired[str | None]  # of the split that the model learned on
    earlier_manifests: NotRequired[list[str | None]]  # of those that its first weights learned on
    began_from: NotRequired[str | None]  # weights before training, as the run's config names them
    synthetic: bool
    frame: dict[str, Any]
    decoding: str
    never_taught: NotRequired[str | None]  # why poses that are read so are made up
    versions: dict[str, str]  # of what makes the report
    predictions_made_with: NotRequired[dict[str, str]]  # of what asked the model


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a report is made of.

    Args:
        about: where it comes from.
        targets: the persons.
        predictions: what the model says of them.
        train: the persons that it learned from; their mean pose stands in for missing joints.
        caption_format: of its captions.
        leaks: of which images it may know from training; None where nobody knows.
        controls: what it says of wrong images.
        features: of the training images and of the judged ones, for the nearest neighbour.
        train_answers: what it says of training persons, of all or of some.
        calibration: of its confidence, fitted on training persons; None of few.
    """

    about: About
    targets: Targets
    predictions: StoredPredictions
    train: Targets
    caption_format: CaptionFormat
    leaks: Leaks | None
    controls: Sequence[Answers] = ()
    features: (
        tuple[Float[np.ndarray, "train features"], Float[np.ndarray, "persons features"]] | None
    ) = None
    train_answers: tuple[Targets, Answers] | None = None
    calibration: Calibration | None = None


def trust_report(evidence: Evidence, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Rows of figures with intervals, diagnostics, leaks, and `warnings` in plain sentences.

    Args:
        evidence: what was said, and what was true.
        samples: draws of the bootstrap.
        seed: of the draws, and of the random training pose.
    """
    table = _Table.of(evidence, samples, seed)
    shown, draws = table.shown_by_joint(), table.bootstrap
    confidence = reliability(evidence.targets, table.answers[0], evidence.calibration, draws)
    return {
        "about": _about(evidence, table, samples, seed),
        "rows": [table.row(answers) for answers in table.answers],
        "groups": {name: scores.groups(draws) for name, scores in table.scores.items()},
        "per_joint": {name: table.scores[name].per_joint(draws) for name in shown},
        "captions": _captions(evidence, draws),
        "confidence": confidence,
        "tokens": _tokens(evidence.predictions, draws),
        "diagnostics": _diagnostics(evidence, table, samples, seed),
        "leaks": _leaks(evidence, table, samples, seed),
        "warnings": [
            {"kind": kind, "text": text}
            for kind, text in _cautions(evidence, table, confidence)
            if text is not None
        ],
    }


@dataclass(frozen=True, eq=False)
class _Table:
    """Every row's answers and scores, and the draws that all figures are read from."""

    answers: tuple[Answers, ...]  # free-running, teacher-forced in as many looks, then the rest
    scores: dict[str, Scores]
    unit: str
    bootstrap: Bootstrap

    @staticmethod
    def of(evidence: Evidence, samples: int, seed: int) -> _Table:
        """The rows in their order."""
        targets, mean_pose = evidence.targets, mean_pose_row(evidence).xy_input[0]
        answers = tuple(_answers(evidence, seed))
        scores = {row.name: Scores.of(targets, row, mean_pose) for row in answers}
        unit, groups = units(targets.video)
        return _Table(answers, scores, unit, Bootstrap.of(groups, samples, seed))

    @property
    def free(self) -> Scores:
        """Of the model free-running."""
        return self.scores[self.answers[0].name]

    @property
    def forced(self) -> Scores:
        """Of the model that is shown the true ones, in as many looks."""
        return self.scores[self.answers[1].name]

    def of_kind(self, kind: str) -> dict[str, Scores]:
        """The rows of one kind, by name."""
        return {row.name: self.scores[row.name] for row in self.answers if row.kind == kind}

    def row(self, answers: Answers) -> dict[str, Any]:
        """One way of answering, as the report has it."""
        metrics = self.scores[answers.name].metrics(self.bootstrap).named(NAMES)
        return {"name": answers.name, "kind": answers.kind, "metrics": metrics}

    def shown_by_joint(self) -> list[str]:
        """Rows that are worth sixteen numbers each: two of the model, and the first baseline's."""
        return [*list(self.of_kind("model"))[:2], *list(self.of_kind("baseline"))[:1]]


def mean_pose_row(evidence: Evidence) -> Answers:
    """The mean training pose of everyone: the row that every other has to beat."""
    return mean_pose_answers(evidence.train, len(evidence.targets))


def _answers(evidence: Evidence, seed: int) -> Iterator[Answers]:
    """The table's rows in their order, the model first."""
    train, num = evidence.train, len(evidence.targets)
    yield evidence.predictions.free()
    yield from evidence.predictions.teacher_forced()
    yield mean_pose_row(evidence)
    yield median_pose_answers(train, num)
    yield random_pose_answers(train, num, seed)
    if evidence.features is not None:
        yield nearest_pose_answers(train, *evidence.features)
    yield from evidence.controls
    yield image_ceiling(evidence.targets)
    yield resize_ceiling(evidence.targets)
    yield caption_ceiling(evidence.targets, evidence.caption_format)


def _about(evidence: Evidence, table: _Table, samples: int, seed: int) -> dict[str, Any]:
    return {
        **evidence.about,
        "num_images": len(evidence.targets),
        **video_counts(evidence.targets.video),
        "num_train": len(evidence.train),
        "interval": {"level": LEVEL, "unit": table.unit, "samples": samples, "seed": seed},
    }


def _captions(evidence: Evidence, bootstrap: Bootstrap) -> dict[str, Any]:
    predictions = evidence.predictions
    return diagnostics.caption_faults(
        predictions.reasons(), predictions.truncated(), evidence.targets.valid, bootstrap
    )


def _tokens(predictions: StoredPredictions, bootstrap: Bootstrap) -> dict[str, dict[str, float]]:
    """Teacher-forced accuracy of the next token: the coordinates', and all."""
    coordinates, tokens = predictions.token_counts()
    return {
        "coordinate_accuracy": bootstrap.ratio(*coordinates.T).interval().as_dict(),
        "all_accuracy": bootstrap.ratio(*tokens.T).interval().as_dict(),
    }


def _diagnostics(evidence: Evidence, table: _Table, samples: int, seed: int) -> dict[str, Any]:
    targets, bootstrap, free = evidence.targets, table.bootstrap, table.free
    swapped, judged = diagnostics.swapped_pairs(targets, table.answers[0])
    near = diagnostics.share_between(1, 5, free, bootstrap)
    outside = diagnostics.outside_input(targets, bootstrap)
    found = {
        "swap_rate": bootstrap.ratio(swapped, judged).interval().as_dict(),
        "num_pairs_found": int(judged.sum()),
        "share_1_to_5px": near.interval().as_dict(),
        "outside_input": outside.interval().as_dict(),
        "input_pixel": diagnostics.input_pixel(targets),
        "truth_gap": {
            name: diagnostics.improvement(table.forced, free, name, bootstrap).interval().as_dict()
            for name in ("acc_1px", "acc_5px")
        },
    }
    if evidence.train_answers is None:
        return found
    return {**found, "train_gap": _train_gap(evidence, table, samples, seed)}


def _train_gap(evidence: Evidence, table: _Table, samples: int, seed: int) -> dict[str, Any]:
    """The free-running model on training persons, beside the judged ones, and the difference."""
    assert evidence.train_answers is not None
    targets, answers = evidence.train_answers
    # Other persons, so other draws.
    bootstrap = Bootstrap.of(units(targets.video)[1], samples, seed + 1)
    train = Scores.of(targets, answers, mean_pose_row(evidence).xy_input[0]).metrics(bootstrap)
    judged = table.free.metrics(table.bootstrap)
    return {
        "train": train.named(NAMES),
        "val": judged.named(NAMES),
        "difference": (train - judged).named(NAMES),
        "num_train_scored": len(targets),
    }


def _leaks(evidence: Evidence, table: _Table, samples: int, seed: int) -> dict[str, Any]:
    """What may be known from training, and the free-running figures without it.

    Where nobody knows what the model was trained on, nothing is said, which is not 0.
    """
    leaks = evidence.leaks
    if leaks is None:
        return {"manifest": evidence.about["manifest"], "rows": []}
    kept = {
        "without images that share a video": ~leaks.shared_video,
        "without near-duplicates": ~leaks.near_duplicate,
        "without both": ~(leaks.shared_video | leaks.near_duplicate | leaks.in_training),
    }
    groups = units(evidence.targets.video)[1]
    rows = []
    for name, chosen in kept.items():
        bootstrap = Bootstrap.of(groups[chosen], samples, seed)
        metrics = table.free.where(chosen).metrics(bootstrap).named(NAMES)
        rows.append({"name": name, "num_images": int(chosen.sum()), "metrics": metrics})
    return {**leaks.record(evidence.about["manifest"]), "rows": rows}


def _cautions(
    evidence: Evidence, table: _Table, confidence: dict[str, Any]
) -> Iterator[tuple[str, str | None]]:
    """Kinds of cautions, the gravest first, with what speaks against the figures, or None."""
    about, free, draws = evidence.about, table.free, table.bootstrap
    controls, baselines = table.of_kind("control"), table.of_kind("baseline")
    yield "never taught", about.get("never_taught")
    yield "no better than controls", cautions.no_better_than_controls(free, controls, draws)
    yield "no better than baselines", cautions.no_better_than_baselines(free, baselines, draws)
    yield "teacher forcing", cautions.teacher_forcing(free, table.forced, draws)
    for name, scores in table.of_kind("model").items():
        yield f"copied answers, {name}", cautions.copied_answers(name, scores, draws)
    yield from _leak_cautions(evidence)
    earlier = about.get("earlier_manifests", [])
    yield "earlier training", cautions.earlier_training(earlier, about["manifest"])
    yield "run not done", cautions.run_not_done(about.get("state"))
    is_own_split = about.get("trained_manifest", about["manifest"]) == about["manifest"]
    yield "subset", cautions.subset_used(about["subset"], is_own_split)
    yield "unparsed joints", cautions.unparsed_joints(free, draws)
    yield "few units", cautions.few_units(table.unit, draws.num_units)
    yield "synthetic people", cautions.synthetic_people(about["synthetic"])
    yield "calibration", cautions.calibration_that_harms(confidence)


def _leak_cautions(evidence: Evidence) -> Iterator[tuple[str, str | None]]:
    about, leaks, num = evidence.about, evidence.leaks, len(evidence.targets)
    trained = about.get("trained_manifest", about["manifest"])
    if leaks is None:
        yield "unknown training", cautions.unknown_training(trained, about["manifest"])
        return
    split = about["split"] if trained == about["manifest"] else None
    num_shared, num_near = int(leaks.shared_video.sum()), int(leaks.near_duplicate.sum())
    yield "training images", cautions.training_images(int(leaks.in_training.sum()), num)
    shared = cautions.shared_videos(
        split, num_shared, leaks.num_unknown, num, leaks.num_train_unknown
    )
    yield "shared videos", shared
    yield "near-duplicates", cautions.near_duplicates(num_near, num)
