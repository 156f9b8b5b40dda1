"""`blippose analyze attention`: where a run's decoder looks, in pictures and in numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from blippose.counted import counted
from blippose.errors import UserError
from blippose.output_folder import check_out

if TYPE_CHECKING:
    from blippose.evaluation.attention.study import Choice, Outcome

_FOLDER, _PHOTOS = "attention", "photos"


@dataclass(frozen=True)
class _Keys:
    """Keys of analyze_attention.yaml."""

    run: str
    images: str | list[str] | None
    layer: int | str
    head: int | None
    subset: str
    out: str | None
    samples: int
    seed: int
    batch_size: int
    device: str
    data: dict[str, str | None]
    debug: bool


def run(config: Any) -> int:
    """Write the pictures and the report; the exit status, 1 where an image could not be read."""
    keys = checked(_Keys, plain_config(config))
    _check(keys)
    check_out(keys.out)
    from blippose.runs import best_checkpoint  # noqa: PLC0415

    folder = Path(keys.run).expanduser()
    best_checkpoint(folder)
    return _of_run(keys, folder) if keys.images is None else _of_photos(keys, folder)


def _check(keys: _Keys) -> None:
    if isinstance(keys.layer, str) and keys.layer != "all":
        raise UserError(f"layer={keys.layer}: expected all, or a number from 1")
    check_subset(keys.subset)
    check_counts(keys.samples, keys.batch_size, keys.seed)


def _choice(keys: _Keys) -> Choice:
    from blippose.evaluation.attention.study import Choice  # noqa: PLC0415
    from blippose.runs import is_first_process  # noqa: PLC0415

    return Choice(
        layer=keys.layer if isinstance(keys.layer, int) else None,
        head=keys.head,
        subset=keys.subset,
        samples=keys.samples,
        seed=keys.seed,
        batch_size=keys.batch_size,
        progress=is_first_process(),
    )


def _of_run(keys: _Keys, folder: Path) -> int:
    say_loading(folder)
    from blippose.decoding import Free  # noqa: PLC0415  seconds, as the studies
    from blippose.evaluation.attention.study import study_run  # noqa: PLC0415
    from blippose.evaluation.subject import Subject  # noqa: PLC0415

    started = time.monotonic()
    # As the words come, whatever the run is judged by: what is looked into is how they do.
    subject = Subject.of_run(folder, places(keys.data), keys.device, Free())
    out = out_folder(keys.out, folder / _FOLDER)
    return _told(study_run(subject, out, _choice(keys)), out, started)


def _of_photos(keys: _Keys, folder: Path) -> int:
    from blippose.images import find_images  # noqa: PLC0415

    paths = find_images(keys.images or [])
    say_loading(f"{folder} for {counted(len(paths), 'image')}")
    from blippose.evaluation.attention.photos import study_photos  # noqa: PLC0415  seconds
    from blippose.predictor import PosePredictor  # noqa: PLC0415

    started = time.monotonic()
    predictor = PosePredictor.from_run(folder, keys.device)
    out = out_folder(keys.out, folder / _FOLDER / _PHOTOS)
    return _told(study_photos(predictor, folder, paths, out, _choice(keys)), out, started)


def _told(outcome: Outcome | None, out: Path, started: float) -> int:
    """Print what was found; the exit status."""
    if outcome is None:  # of a process that has only helped the first
        return 0
    from rich.console import Console  # noqa: PLC0415

    from blippose.evaluation.attention.terminal import print_attention  # noqa: PLC0415
    from blippose.evaluation.terminal import print_lines  # noqa: PLC0415

    console = Console()
    print_attention(outcome.report, console)
    again = kept_or_used(outcome.was_stored)
    print_lines(
        console,
        "",
        f"in {short(out)}: {' '.join(outcome.names)}",
        f"what was measured is {again} ({time.monotonic() - started:.0f} s in all)",
    )
    return 1 if outcome.skipped else 0
