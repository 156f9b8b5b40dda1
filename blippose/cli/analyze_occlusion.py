"""`blippose analyze occlusion`: what a hidden joint costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose.arguments import suggest
from blippose.cli.checks import check_counts, check_subset
from blippose.cli.config import (
    checked,
    kept_or_used,
    out_folder,
    places,
    plain_config,
    say_loading,
    short,
)
from blippose.errors import UserError
from blippose.occlusion import FILLS
from blippose.output_folder import check_out
from blippose.pose import JOINTS, NUM_JOINTS


@dataclass(frozen=True)
class _OcclusionKeys:
    """Top-level keys of analyze_occlusion.yaml."""

    run: str
    out: str | None
    radius: float | int | list[float | int]
    fill: str
    images: Any  # an int; anything else gets a better word than its type
    curve_joints: int
    example: str | None
    joint: str | None
    subset: str
    samples: int
    seed: int
    batch_size: int
    device: str
    debug: bool


@dataclass(frozen=True)
class _DataKeys:
    """Where the run's data lie now."""

    root: str | None
    annotations: str | None


def run(config: Any) -> int:
    """Look at the run's model through discs, print what they cost, write the files."""
    plain = plain_config(config)
    keys = checked(_OcclusionKeys, plain)
    data = vars(checked(_DataKeys, plain["data"], "data"))
    radius = _radii(keys.radius)
    _check(keys)
    check_out(keys.out)
    started, folder = time.monotonic(), Path(keys.run).expanduser()
    out = out_folder(keys.out, folder / "occlusion")
    from blippose.runs import best_checkpoint, is_first_process  # noqa: PLC0415

    best_checkpoint(folder)
    say_loading(folder)
    from blippose.decoding import Free  # noqa: PLC0415  seconds, as training
    from blippose.evaluation.occlusion.plan import Settings  # noqa: PLC0415
    from blippose.evaluation.occlusion.run_study import Request, run_study  # noqa: PLC0415
    from blippose.evaluation.subject import Subject  # noqa: PLC0415

    # As the words come, whatever the run is judged by: what is looked into is how they do.
    subject = Subject.of_run(folder, places(data), keys.device, Free())
    settings = Settings(radius, keys.fill, keys.curve_joints, keys.seed)
    request = Request(
        subset=keys.subset,
        num_images=_num_images(keys.images),
        samples=keys.samples,
        batch_size=keys.batch_size,
        example=keys.example,
        joint=keys.joint,
        progress=is_first_process(),
    )
    report, was_stored = run_study(subject, out, settings, request)
    if report is not None:
        _print(report, out, was_stored, time.monotonic() - started)
    return 0


def _radii(radius: float | int | list[float | int]) -> tuple[float | int, ...]:
    radii = tuple(radius) if isinstance(radius, list) else (radius,)
    if not radii or not all(0 < each < float("inf") for each in radii):
        raise UserError(
            f"radius={radius}: expected head sizes above 0, one or a list such as [1,0.5,2]"
        )
    if len(set(radii)) < len(radii):
        raise UserError(f"radius={radius}: the same radius twice; name each once")
    return radii


def _check(keys: _OcclusionKeys) -> None:
    for key, value, known in (
        ("fill", keys.fill, FILLS),
        ("joint", keys.joint, (None, *JOINTS)),
    ):
        if value not in known:
            names = [name for name in known if name is not None]
            raise UserError(
                f"{key}={value}: expected one of {', '.join(names)}{suggest(str(value), names)}"
            )
    check_subset(keys.subset)
    _num_images(keys.images)
    check_counts(keys.samples, keys.batch_size, keys.seed)
    if keys.curve_joints < 1:
        raise UserError(f"curve_joints={keys.curve_joints}: expected 1 or more")
    if keys.curve_joints > NUM_JOINTS:
        raise UserError(f"curve_joints={keys.curve_joints}: expected {NUM_JOINTS} or fewer")


def _num_images(images: Any) -> int:
    """How many of the run's images; photos, as `analyze attention` takes them, have no truth."""
    if not isinstance(images, int) or isinstance(images, bool):
        raise UserError(
            f"images={images}: expected how many of the run's own images; a photo has no "
            "annotated joints, which say what to hide and how far off an answer is (`blippose "
            "analyze attention images=` takes photos)"
        )
    if images < 1:
        raise UserError(f"images={images}: expected 1 or more")
    return images


def _print(report: dict[str, Any], out: Path, was_stored: bool, seconds: float) -> None:
    from rich.console import Console  # noqa: PLC0415

    from blippose.evaluation.occlusion.pages import print_study  # noqa: PLC0415
    from blippose.evaluation.occlusion.run_study import FILES  # noqa: PLC0415
    from blippose.evaluation.terminal import print_lines  # noqa: PLC0415

    console = Console()
    print_study(report, console)
    names = " ".join(name for name in FILES if (out / name).exists())
    again = kept_or_used(was_stored)
    print_lines(
        console,
        "",
        f"in {short(out)}: {names}",
        f"what the model said is {again} ({seconds:.0f} s in all)",
    )
