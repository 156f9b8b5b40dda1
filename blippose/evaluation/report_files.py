"""The files of a trust report: JSON, Markdown, two tables, four pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
from blippose.evaluation.markdown import markdown
from blippose.evaluation.overlays import write_overlays
from blippose.evaluation.quantities import BY_NAME
from blippose.evaluation.reliability_figure import write_reliability
from blippose.evaluation.targets import Answers, Targets
from blippose.evaluation.trust_report import Evidence
from blippose.json_text import json_text
from blippose.whole_file import whole_file, write_whole

JSON_FILE, MARKDOWN_FILE = "eval.json", "eval.md"
JOINTS_FILE, IMAGES_FILE = "per_joint.csv", "per_image.csv"
PICTURES = {
    "How far the joints are off": "error_cdf.png",
    "Joint by joint": "per_joint.png",
    "Does confidence keep its promise?": "reliability.png",
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
        OSError: the folder cannot be written.
    """
    answers = (evidence.predictions.free(), *evidence.predictions.teacher_forced())
    texts = {
        JSON_FILE: json_text(report),
        MARKDOWN_FILE: markdown(report, PICTURES),
        JOINTS_FILE: per_joint_csv(report["per_joint"]),
        IMAGES_FILE: per_image_csv(evidence.targets, answers),
    }
    write_texts(folder, texts)
    _write_pictures(folder, report, evidence, images)
    return [folder / name for name in (*texts, *PICTURES.values())]


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Text files by name, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text)


def _write_pictures(
    folder: Path, report: Mapping[str, Any], evidence: Evidence, images: Path
) -> None:
    targets, subtitle = evidence.targets, subtitle_of(report["about"])
    free, (forced, *_) = evidence.predictions.free(), evidence.predictions.teacher_forced()
    mean_pose = mean_pose_answers(evidence.train, len(targets))
    error_cdf, per_joint, reliability, overlays = (folder / name for name in PICTURES.values())
    with whole_file(error_cdf) as file:
        write_error_cdf(
            file,
            _curve(targets, free),
            [_curve(targets, forced), _curve(targets, mean_pose)],
            targets.valid,
            targets.input_size,
            people_of(report["about"]),
        )
    panels = _bars(report["per_joint"], free.name, mean_pose.name, targets.input_size)
    with whole_file(per_joint) as file:
        write_per_joint(file, panels, free.name, mean_pose.name, subtitle)
    with whole_file(reliability) as file:
        write_reliability(file, report["confidence"], people_of(report["about"]))
    px = f"EPE in px of the {targets.input_size} px input"
    title = f"Best, median and worst: {free.name}"
    with whole_file(overlays) as file:
        place = f"{people_of(report['about'])}; {px}"
        write_overlays(file, images, targets, free, title, place)


def _curve(targets: Targets, answers: Answers) -> Curve:
    return Curve(answers.name, np.linalg.norm(answers.xy_input - targets.xy_input, axis=-1))


def _bars(
    per_joint: Mapping[str, Mapping[str, Any]], model: str, reference: str, input_size: int
) -> list[Bars]:
    """Each joint's figures, as the report has them."""
    panels = []
    for name, title in _BARS.items():
        is_px = BY_NAME[name].unit == "px"
        unit = f"px of the {input_size} px input" if is_px else "share of annotated joints"
        cells = [joint[name] for joint in per_joint[model].values()]
        value, low, high = (np.array([c[key] for c in cells]) for key in ("value", "low", "high"))
        blind = np.array([joint[name]["value"] for joint in per_joint[reference].values()])
        panels.append(Bars(title, unit, value, low, high, blind))
    return panels
