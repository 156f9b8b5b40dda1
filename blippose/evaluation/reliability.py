"""Whether confidence keeps its promise: of joints with a confidence of .8, are .8 right?

Right is a joint within `CONFIDENCE_PX` px of the truth, in the model's input: the metric acc_5px.
Joints that the model left out promise nothing and are left out here too; the share that parsed
stands beside.

Calibration is fitted on training persons, so that none of the judged ones has taught it: what is
kept for the user's own photos is the very calibration that is judged here, or none where it is
seen to harm. A model that knows its training persons by heart is too sure of itself all the same,
and the figure shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from blippose.calibration import Calibration
from blippose.decoding import CONFIDENCE_PX
from blippose.evaluation.intervals import LEVEL, Bootstrap, Estimate, Interval
from blippose.evaluation.targets import Answers, Targets

NUM_BINS = 10  # of equal width, from 0 to 1
_NUM_EVEN_BINS = 15  # Guo et al., section 2
_NUM_LUCKY = 1000  # draws of what luck alone makes of the error


def is_hit(targets: Targets, answers: Answers) -> Bool[np.ndarray, "persons 16"]:
    """Which joints are right."""
    away = np.linalg.norm(answers.xy_input - targets.xy_input, axis=-1)
    return np.asarray(np.nan_to_num(away, nan=np.inf) <= CONFIDENCE_PX)


def _is_said(targets: Targets, answers: Answers) -> Bool[np.ndarray, "persons 16"]:
    """Annotated joints that the model has placed."""
    return np.asarray(targets.valid & np.isfinite(answers.xy_input).all(axis=-1))


def calibration_of(
    targets: Targets, answers: Answers, *, decoding: str, checkpoint_sha256: str
) -> Calibration:
    """Fitted on what a model says of these persons."""
    assert answers.confidence is not None
    return Calibration.fit(
        answers.confidence,
        is_hit(targets, answers),
        _is_said(targets, answers),
        decoding=decoding,
        radius=CONFIDENCE_PX,
        checkpoint_sha256=checkpoint_sha256,
    )


def is_helped(confidence: Mapping[str, Any]) -> bool:
    """Whether there is a calibration that is not certainly farther off than raw confidence.

    Args:
        confidence: as `reliability` gives it.
    """
    worse = confidence["worse_than_raw"].get("calibrated")
    return worse is not None and not worse["low"] > 0


def reliability(
    targets: Targets, answers: Answers, calibration: Calibration | None, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Expected calibration error with its interval, and the bins of the plot.

    Of raw confidence, and of calibrated, with how much larger that is. The error is the mean
    distance of confidence and accuracy over 15 bins of equal width, weighted by their joints. Few
    joints in a bin make it larger than the truth: `luck` is what it comes to where joints are
    right as often as confidence says, each for itself, with the middle 95 % of draws.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI
    2015; Guo et al. 2017, equation 3.
    """
    assert answers.confidence is not None
    hit, said = is_hit(targets, answers), _is_said(targets, answers)
    kinds = {"raw": answers.confidence}
    if calibration is not None:
        kinds["calibrated"] = calibration(answers.confidence)
    errors = {
        name: _calibration_error(confidence, hit, said, bootstrap)
        for name, confidence in kinds.items()
    }
    worse = {name: error - errors["raw"] for name, error in errors.items() if name != "raw"}
    return {
        "radius_px": CONFIDENCE_PX,
        "worse_than_raw": {name: error.interval().as_dict() for name, error in worse.items()},
        **{
            name: {
                "ece": _clipped(errors[name]).interval().as_dict(),
                "luck": _luck(confidence[said]).as_dict(),
                "bins": _bins(confidence, hit, said, bootstrap),
            }
            for name, confidence in kinds.items()
        },
    }


def _calibration_error(
    confidence: Float[np.ndarray, "persons 16"],
    hit: Bool[np.ndarray, "persons 16"],
    valid: Bool[np.ndarray, "persons 16"],
    bootstrap: Bootstrap,
) -> Estimate:
    place = _place(confidence, _NUM_EVEN_BINS)
    gap = np.where(valid, confidence - hit, 0.0)  # sums of it are n (confidence - accuracy)
    of_bins = [
        bootstrap.total(np.where(place == each, gap, 0.0).sum(axis=1))
        for each in range(_NUM_EVEN_BINS)
    ]
    total = Estimate(
        np.asarray(sum(np.abs(each.value) for each in of_bins)),
        np.asarray(sum(np.abs(each.draws) for each in of_bins)),
    )
    joints = bootstrap.total(valid.sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = Estimate(
            np.asarray(total.value / joints.value), np.asarray(total.draws / joints.draws)
        )
    # A sum of absolute values is larger on every draw, as each adds its own noise to that of the
    # persons: the draws say how far it spreads, not where it lies.
    known = error.draws[np.isfinite(error.draws)]
    centred = error.draws - (known.mean() if len(known) else 0.0) + error.value
    return Estimate(error.value, centred)


def _luck(confidence: Float[np.ndarray, " joints"]) -> Interval:
    """Expected calibration error of hits drawn with the probability that confidence says."""
    place, num = _place(confidence, _NUM_EVEN_BINS), max(1, len(confidence))
    draw = np.random.default_rng(0)
    errors = np.empty(_NUM_LUCKY)
    for i in range(_NUM_LUCKY):
        gap = confidence - (draw.random(len(confidence)) < confidence)
        errors[i] = np.abs(np.bincount(place, gap, _NUM_EVEN_BINS)).sum() / num
    low, high = np.quantile(errors, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(float(errors.mean()), float(low), float(high))


def _clipped(error: Estimate) -> Estimate:
    return Estimate(error.value, np.clip(error.draws, 0, 1))


def _bins(
    confidence: Float[np.ndarray, "persons 16"],
    hit: Bool[np.ndarray, "persons 16"],
    valid: Bool[np.ndarray, "persons 16"],
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """What the plot shows: mean confidence, accuracy with its interval, joints of each bin."""
    place = _place(confidence, NUM_BINS)
    bins = []
    for each in range(NUM_BINS):
        here = valid & (place == each)
        num = int(here.sum())
        accuracy = bootstrap.ratio((here & hit).sum(axis=1), here.sum(axis=1)).interval()
        mean = float(confidence[here].mean()) if num else None
        bins.append({"confidence": mean, "accuracy": accuracy.as_dict(), "num_joints": num})
    return bins


def _place(confidence: Float[np.ndarray, "*joints"], num_bins: int) -> Int[np.ndarray, "*joints"]:
    """The bin of each, its upper end belongs to the next but for 1."""
    return np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
