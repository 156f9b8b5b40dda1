"""Runs an occlusion study of a model, and writes its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from blippose.caption import xy_said
from blippose.data import PoseDataset
from blippose.errors import UserError
from blippose.evaluation.asking import asking
from blippose.evaluation.evidence import judged
from blippose.evaluation.figures import people_of, subtitle_of
from blippose.evaluation.occlusion.answers import Occluded, inputs, stored_answers
from blippose.evaluation.occlusion.example import (
    Example,
    chosen_example,
    example_pairs,
    write_example,
)
from blippose.evaluation.occlusion.figures import write_joints, write_matrix, write_radius
from blippose.evaluation.occlusion.findings import radius_text
from blippose.evaluation.occlusion.number_attention import captions_with_attention
from blippose.evaluation.occlusion.pages import markdown
from blippose.evaluation.occlusion.plan import Plan, Settings, chosen_persons, plan_of
from blippose.evaluation.occlusion.study import study
from blippose.evaluation.subject import Subject
from blippose.evaluation.targets import Targets
from blippose.json_text import json_text
from blippose.model import PoseCaptioner
from blippose.output_folder import filled, writable

ARRAYS, JSON_FILE, MARKDOWN_FILE = "occlusion.npz", "occlusion.json", "occlusion.md"
PICTURES = {
    "What a hidden joint costs": "joints.png",
    "Hidden joint against measured joint": "matrix.png",
    "By the radius of the disc": "radius.png",
    "One image, hidden and not": "example.png",
}


FILES = (MARKDOWN_FILE, JSON_FILE, ARRAYS, *PICTURES.values())


@dataclass(frozen=True)
class Request:
    """Whom a study looks at, and how.

    Args:
        subset: "val", "test" or "auto", as of the trust report.
        num_images: that are looked at; all where there are fewer.
        samples: resamples of the intervals.
        batch_size: inputs at once.
        example: file name of the picture's image; None is the median case.
        joint: name of its hidden joint; None likewise.
        progress: whether stderr is told how far it is.
    """

    subset: str = "auto"
    num_images: int = 64
    samples: int = 1000
    batch_size: int = 64
    example: str | None = None
    joint: str | None = None
    progress: bool = False


def run_study(
    subject: Subject, out: Path, settings: Settings, request: Request
) -> tuple[dict[str, Any] | None, bool]:
    """The study, with its files in `out`; and whether stored answers were used again.

    Of several processes that share the work, all but the first get None.

    Raises:
        UserError: there is nobody to look at, nothing can be compared, or the folder cannot be
            written.
    """
    subset, dataset = judged(subject, request.subset)
    size = subject.captioner.frame.input_size
    chosen = chosen_persons(Targets.of(dataset, size), request.num_images, settings.seed)
    if not chosen:
        raise UserError(
            f"{subset}: none of its {len(dataset)} persons has a head box, which gives the "
            "discs their size"
        )
    some = dataset.part(chosen)
    plan = plan_of(some, size, settings)
    plan.check_compared()  # refused before it takes minutes
    example_pairs(plan, request.example, request.joint)
    with writable(out):
        answers, was_stored = _asked(subject, subset, some, plan, out, request)
    if answers is None:
        return None, was_stored
    report = study(answers, _about(subject, subset), request.samples, settings.seed)
    example = _example(subject.captioner, some, answers, request)
    report["example"] = example.title
    _write(out, report, example)
    return report, was_stored


def _asked(
    subject: Subject,
    subset: str,
    some: PoseDataset,
    plan: Plan,
    out: Path,
    request: Request,
) -> tuple[Occluded | None, bool]:
    captioner = subject.captioner
    return stored_answers(
        out / ARRAYS,
        subject.origin(subset, some).deciding(),
        plan,
        subject.data.mean_pose(),
        lambda position: some[position].image,
        lambda images: poses_said(captioner, images),
        request.batch_size,
        progress=request.progress,
    )


def poses_said(
    captioner: PoseCaptioner, images: UInt8[np.ndarray, "batch size size 3"]
) -> Float[np.ndarray, "batch 16 2"]:
    """Free-running poses of inputs, input px, in one look: behind what is made is no image."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    with asking(captioner):
        said = captioner.say(pixels.to(captioner.device))
    return xy_said(said.parsed)


def _about(subject: Subject, subset: str) -> dict[str, Any]:
    return {
        "source": str(subject.checkpoint),
        "checkpoint_sha256": subject.sha256,
        "run": None if subject.run is None else str(subject.run),
        "state": subject.state,
        "epoch": subject.epoch,
        "subset": subset,
        "split": subject.data.split_kind,
        "manifest": subject.data.manifest["hash"],
        "synthetic": subject.data.manifest["synthetic"],
        "frame": subject.captioner.frame.record(),
        "decoding": subject.decoding.name,
        "own_decoding": subject.stated.own_decoding.name,
        "versions": subject.versions,
    }


def _example(
    captioner: PoseCaptioner, some: PoseDataset, answers: Occluded, request: Request
) -> Example:
    person, joint = chosen_example(answers, request.example, request.joint)
    looks = [(person, None), (person, (0, joint, 0)), (person, (0, joint, 1))]
    images = inputs(answers.plan, lambda position: some[position].image, looks)
    captions, attention = captions_with_attention(captioner, images, joint)
    choice = (
        "near the median of all discs"
        if (request.example, request.joint) == (None, None)
        else "chosen"
    )
    form = captioner.caption_format
    return Example(answers.plan, person, joint, images, captions, attention, form, choice)


def _write(out: Path, report: dict[str, Any], example: Example) -> None:
    """Pictures first: the page that names them is there when they are."""
    discs = _discs(report)
    intervals = subtitle_of(report["about"])
    drawn: dict[str, Callable[[Path], None]] = {
        name: partial(write, report=report, subtitle=subtitle)
        for name, write, subtitle in (
            ("joints.png", write_joints, f"{intervals}; {discs}"),
            ("matrix.png", write_matrix, f"{intervals}; {discs}"),
            ("radius.png", write_radius, f"{intervals}; the same joints at every radius"),
        )
    }
    subtitle = f"{people_of(report['about'])}; {discs}"
    drawn["example.png"] = partial(write_example, example=example, subtitle=subtitle)
    with filled(out, "occlusion") as filling:
        filling.keep(ARRAYS)
        for name, draw in drawn.items():
            with filling.whole_file(name) as partial_path:
                draw(partial_path)
        filling.write_whole(JSON_FILE, json_text(report))
        filling.write_whole(MARKDOWN_FILE, markdown(report, PICTURES))


def _discs(report: dict[str, Any]) -> str:
    settings = report["settings"]
    radius = radius_text(settings["radius_heads"][0])
    return f"discs of radius {radius}, filled by {settings['fill']}"
