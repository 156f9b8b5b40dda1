"""Why figures must not be published as localisation: one plain sentence for each reason found.

Differences count where their 95 % interval says so, never by the figures alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from blippose.counted import counted
from blippose.evaluation.diagnostics import error_density, improvement
from blippose.evaluation.intervals import FEW_UNITS, Bootstrap
from blippose.evaluation.reliability import is_helped
from blippose.evaluation.scores import Scores

# More than separates the neighbours of a table of published methods.
_GAP = 0.05
# Below this share of joints that parsed, a study of captions says first how few did.
PARSED_LEAST = 0.95
# What three printed digits show as 1.000.
_WHOLE = 0.9995
_NEAR_ONE = 0.1  # px


def teacher_forcing(free: Scores, forced: Scores, bootstrap: Bootstrap) -> str | None:
    """Teacher-forced at 1 or 5 px above free-running, by more than 0.05 for certain."""
    gaps = {n: improvement(forced, free, n, bootstrap) for n in ("acc_1px", "acc_5px")}
    name = max(gaps, key=lambda name: float(gaps[name].value))
    if not gaps[name].interval().low > _GAP:
        return None
    shown, own = (_value(scores, name, bootstrap) for scores in (forced, free))
    return (
        f"Shown the true coordinates before each one, the model scores {shown:.3f} "
        f"@{_pixels(name)}; free-running, {own:.3f}. The teacher-forced figure says how well "
        "it continues a pose that it is given, not what it sees in the image."
    )


def shared_videos(
    split: str | None,
    num_shared: int,
    num_unknown: int,
    num_images: int,
    num_train_unknown: int = 0,
) -> str | None:
    """Any image with a sibling frame in training; or no way to know, whatever the split.

    Args:
        split: None of a model that was trained on another split than it is judged on.
        num_shared: images that share a video with a training image.
        num_unknown: images whose video is not known.
        num_images: all of them.
        num_train_unknown: training images whose video is not known.
    """
    how = "another split" if split is None else f"split={split}"
    if num_shared:
        remedy = "Judge it on its own run." if split is None else "Use split=video."
        return (
            f"{_part(num_shared, num_images)} share a video with a training image ({how}): a "
            f"model can know their people and poses by heart. {remedy}"
        )
    if num_unknown:
        return (
            f"The model was trained on {how}, and of {_part(num_unknown, num_images)} it is not "
            "known whether frames of the same video were among its training images."
        )
    if num_train_unknown:
        return (
            f"The model was trained on {how}, and of {counted(num_train_unknown, 'image')} of its "
            "training the video is not known: it may be one of these images'."
        )
    return None


def training_images(num_seen: int, num_images: int) -> str | None:
    """Any image that is one of the training images themselves."""
    if not num_seen:
        return None
    return (
        f"{_part(num_seen, num_images)} are training images themselves: the figures say what was "
        "learned by heart. Judge the model on its own run."
    )


def near_duplicates(num_duplicates: int, num_images: int) -> str | None:
    """Any image that a training image nearly equals: the report has the figures without them."""
    if not num_duplicates:
        return None
    return (
        f"{_part(num_duplicates, num_images)} are near-duplicates of a training image: their "
        "poses can be copied instead of found. Publish the figures without them."
    )


def unknown_training(trained_on: str | None, evaluated_on: str) -> str:
    """Of a model whose training images are not there, any image may have been one of them."""
    if trained_on is None:
        what = "Nobody knows which split the model was trained on"
    else:
        what = (
            f"The model was trained on another split ({trained_on[:12]}) than this one "
            f"({evaluated_on[:12]}), which is not there"
        )
    return f"{what}: these images may have been among its training images."


def earlier_training(earlier: Sequence[str | None], evaluated_on: str) -> str | None:
    """Training began from weights that may have learned these images in another split."""
    others = [each for each in dict.fromkeys(earlier) if each != evaluated_on]
    if not others:
        return None
    names = ", ".join("unknown" if each is None else each[:12] for each in others)
    return (
        f"Training began from weights that had been trained on another split ({names}): these "
        "images may have been among its training images, and no leak audit sees it."
    )


def run_not_done(state: str | None) -> str | None:
    """A run that goes on, or was cut off: its best epoch may be to come."""
    if state in (None, "done"):
        return None
    return f"The run is not done ({state}): these are the figures of its best epoch so far."


def subset_used(subset: str, is_own_split: bool) -> str | None:
    """Figures of images that the choice of the checkpoint, or training, has seen.

    Of another split than the model's own nothing was chosen by these images.
    """
    if subset == "train":
        return "These are training images: the figures say what was learned by heart."
    if subset == "val" and is_own_split:
        return (
            "The checkpoint was chosen by its score on these same images, so that the figures "
            "are the best of several draws. Hold out a test set (data.test_fraction)."
        )
    return None


def no_better_than_controls(
    model: Scores, controls: Mapping[str, Scores], bootstrap: Bootstrap
) -> str | None:
    """No certain gain in MAE over all joints from seeing the right image."""
    names = _not_beaten(model, controls, bootstrap)
    if not names:
        return None
    return (
        f"The model is not shown to be better than with a wrong image ({', '.join(names)}; 95 % "
        "interval of the paired difference in MAE over all joints): its answers may not come from "
        "what it sees."
    )


def no_better_than_baselines(
    model: Scores, baselines: Mapping[str, Scores], bootstrap: Bootstrap
) -> str | None:
    """No certain gain in MAE over all joints against answers that need no model."""
    names = _not_beaten(model, baselines, bootstrap)
    if not names:
        return None
    return (
        f"The model is not shown to be better than answers without a model ({', '.join(names)}; "
        "95 % interval of the paired difference in MAE over all joints): it may not localise."
    )


def unparsed_joints(model: Scores, bootstrap: Bootstrap) -> str | None:
    """A parse rate that is not printed as 1.000: MAE and EPE are then of a part."""
    names = ("parse_rate", "mae", "mae_all")
    parsed, mae, mae_all = (_value(model, name, bootstrap) for name in names)
    if parsed >= _WHOLE:
        return None
    return (
        f"{100 * (1 - parsed):.2g} % of the joints have no readable answer, and MAE ({mae:.2f} "
        f"px) and EPE leave them out. Publish MAE over all joints ({mae_all:.2f} px), and the "
        "parse rate."
    )


def copied_answers(name: str, model: Scores, bootstrap: Bootstrap) -> str | None:
    """Between 1 and 5 px for certain fewer errors a pixel than both nearer and farther.

    Localisers err around the truth: their errors thin out with distance, on one side of a single
    peak. Copies are right or somewhere else, with a gap between. The study has 0.809, 0.002 and
    0.005 a pixel up to 1, from 1 to 5 and from 5 to 25 px.
    """
    exact = model.metric("acc_1px", bootstrap)
    close = error_density(1, 5, model, bootstrap)
    far = error_density(5, 25, model, bootstrap)
    if not ((exact - close).interval().low > 0 and (far - close).interval().low > 0):
        return None
    return (
        f"{name[:1].upper()}{name[1:]}: {exact.value:.3f} of the joints are within 1 px and only "
        f"{4 * close.value:.3f} between 1 and 5 px, fewer a pixel than farther out. Published "
        "localisers have about half there; exact or far off is how copies look."
    )


def calibration_that_harms(confidence: Mapping[str, Any]) -> str | None:
    """Confidence as calibrated on training persons is certainly farther off than the model's own.

    `confidence` is of `reliability`.
    """
    if "calibrated" not in confidence or is_helped(confidence):
        return None
    calibrated, raw = (confidence[name]["ece"]["value"] for name in ("calibrated", "raw"))
    return (
        f"Confidence as calibrated on training persons is off by {calibrated:.3f} on average, the "
        f"model's own by {raw:.3f}: of those it is right more often, or less. The calibration is "
        "not kept, and `blippose predict` gives the model's own."
    )


def counted_from_zero(
    offset: Float[np.ndarray, "persons joints 2"], bootstrap: Bootstrap
) -> str | None:
    """Predictions a pixel left of and above the truth: both medians within 0.1 of -1 px.

    And certainly nearer to -1 than to 0 or -2, so that few or far predictions are not suspected.

    Args:
        offset: predictions less truth, px; NaN of a joint that is not scored.
        bootstrap: draws of the persons.
    """
    known = ~np.isnan(offset)
    if not known.any():
        return None
    x, y = np.nanmedian(offset, axis=(0, 1)).tolist()
    if max(abs(x + 1), abs(y + 1)) > _NEAR_ONE:
        return None
    for beyond in (offset < -0.5, offset > -1.5):
        shares = bootstrap.ratio(beyond.sum(axis=1), known.sum(axis=1))
        if not all(shares[axis].interval().low > 0.5 for axis in (0, 1)):
            return None
    return (
        f"The median prediction lies {x:+.2f} px in x and {y:+.2f} px in y off the truth: it "
        "seems that the predictions count pixels from 0 and the truth, as MPII does, from 1. If "
        "so, add 1 to both coordinates."
    )


def synthetic_people(synthetic: bool) -> str | None:
    """Drawn figures instead of photos."""
    if not synthetic:
        return None
    return (
        "The people are synthetic: the figures say that the program works, nothing of photos of "
        "people."
    )


def few_units(unit: str, num_units: int) -> str | None:
    """Fewer videos or images than the intervals can be believed for."""
    if num_units >= FEW_UNITS:
        return None
    if num_units < 2 and unit == "image":
        return "One image has no intervals: no difference is shown."
    if num_units < 2:
        return f"All images are of one {unit}: there are no intervals, and no difference is shown."
    return f"The intervals come from {num_units} {unit}s: below {FEW_UNITS} they are too narrow."


def _not_beaten(model: Scores, others: Mapping[str, Scores], bootstrap: Bootstrap) -> list[str]:
    return [
        name
        for name, other in others.items()
        if not improvement(model, other, "mae_all", bootstrap).interval().high < 0
    ]


def _value(scores: Scores, name: str, bootstrap: Bootstrap) -> float:
    return float(scores.metric(name, bootstrap).value)


def _pixels(name: str) -> str:
    return name.removeprefix("acc_").replace("px", " px")


def _part(part: int, whole: int) -> str:
    return f"{part} of {whole} images ({100 * part / whole:.0f} %)"
