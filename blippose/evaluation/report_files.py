"""The files of a trust report: JSON, Markdown, two tables, three pictures."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blippose.errors import UserError
from blippose.evaluation.baselines import mean_pose_answers
from blippose.evaluation.csv_tables import per_image_csv, per_joint_csv
from blippose.evaluation.figures import (
    Bars,
    Curve,
    people_of,
    subtitle_of,
    write_error_cdf,
    write_per_joint,
)
from blippose.evaluation.intervals import LEVEL, Bootstrap, units
from blippose.evaluation.markdown import markdown
from blippose.evaluation.overlays import write_overlays
from blippose.evaluation.quantities import BY_NAME
from blippose.evaluation.scores import JOINT_NAMES, Scores
from blippose.evaluation.targets import Answers, Targets
from blippose.evaluation.trust_report import Evidence

JSON_FILE, MARKDOWN_FILE = "eval.json", "eval.md"
JOINTS_FILE, IMAGES_FILE = "per_joint.csv", "per_image.csv"
PICTURES = {
    "How far the joints are off": "error_cdf.png",
    "Joint by joint": "per_joint.png",
    "Best, median and worst": "overlays.png",
}
_BARS = {"epe": "EPE", "acc_5px": "within 5 px", "pckh_0.5": "PCKh@0.5"}


def write_files(
    folder: Path, report: Mapping[str, Any], evidence: Evidence, images: Path
) -> list[Path]:
    """Write all of them, each whole or not at all; their paths.

    Args:
        folder: made where it is missing.
        report: of `trust_report`.
        evidence: what it was made of.
        images: folder of the release's images.

    Raises:
        UserError: the folder cannot be written.
    """
    answers = (evidence.predictions.free(), evidence.predictions.teacher_forced())
    texts = {
        JSON_FILE: json_text(report),
        MARKDOWN_FILE: markdown(report, PICTURES),
        JOINTS_FILE: per_joint_csv(report["per_joint"]),
        IMAGES_FILE: per_image_csv(evidence.targets, answers),
    }
    try:
        write_texts(folder, texts)
        _write_pictures(folder, report, evidence, images)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return [folder / name for name in (*texts, *PICTURES.values())]


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Text files by name, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)


def json_text(report: Mapping[str, Any]) -> str:
    """The report as JSON; NaN, where there is nothing to score, is null."""
    return json.dumps(_plain(report), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_pictures(
    folder: Path, report: Mapping[str, Any], evidence: Evidence, images: Path
) -> None:
    targets, subtitle = evidence.targets, subtitle_of(report["about"])
    free, forced = evidence.predictions.free(), evidence.predictions.teacher_forced()
    mean_pose = mean_pose_answers(evidence.train, len(targets))
    write_error_cdf(
        folder / "error_cdf.png",
        _curve(targets, free),
        [_curve(targets, forced), _curve(targets, mean_pose)],
        targets.valid,
        targets.input_size,
        subtitle,
    )
    panels = _bars(evidence, free, mean_pose, report["about"]["interval"])
    write_per_joint(folder / "per_joint.png", panels, free.name, mean_pose.name, subtitle)
    title = f"Best, median and worst: {free.name}"
    px = f"EPE in px of the {targets.input_size} px input"
    place = f"{people_of(report['about'])}; {px}"
    write_overlays(folder / "overlays.png", images, targets, free, title, place)


def _curve(targets: Targets, answers: Answers) -> Curve:
    return Curve(answers.name, np.linalg.norm(answers.xy_input - targets.xy_input, axis=-1))


def _bars(
    evidence: Evidence, model: Answers, reference: Answers, interval: Mapping[str, Any]
) -> list[Bars]:
    """Each joint's figures, with intervals from the same draws as the report's."""
    targets, mean_pose = evidence.targets, reference.xy_input[0]
    scores = Scores.of(targets, model, mean_pose)
    draws = Bootstrap.of(units(targets.video)[1], interval["samples"], interval["seed"])
    estimate = draws.ratio(scores.joint_total, scores.joint_count)  # (metric, 16)
    known = Scores.of(targets, reference, mean_pose).per_joint()
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    with warnings.catch_warnings():  # a joint that nobody has is NaN in every draw
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanquantile(estimate.draws, ends, axis=0)
    panels = []
    for name, title in _BARS.items():
        row = JOINT_NAMES.index(name)
        is_px = BY_NAME[name].unit == "px"
        unit = f"px of the {targets.input_size} px input" if is_px else "share of annotated joints"
        blind = np.array([values[name] for values in known.values()])
        panels.append(Bars(title, unit, estimate.value[row], low[row], high[row], blind))
    return panels
