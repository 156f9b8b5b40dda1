"""What `blippose data` says of a release: the filter, the readings, the split and its leaks.

One dict of plain data is the whole answer, for JSON; the tables show the same dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.table import Table

from blippose.errors import UserError
from blippose.mpii import (
    READINGS,
    Person,
    Release,
    filter_steps,
    missing_images,
    reading_counts,
    select,
)
from blippose.split import KINDS, check_fraction, manifest, shared_video_count, split_persons


class StepCount(TypedDict):
    """One filter and what it leaves."""

    text: str
    images: int
    persons: int


class ReadingCount(TypedDict):
    """One reading and how many persons it keeps."""

    name: str
    text: str
    persons: int


class SplitCount(TypedDict):
    """One kind of split. `shared_videos`: validation persons with a sibling frame in training."""

    kind: str
    train: int | None  # None where no split is possible, for the reason in `problem`
    val: int | None
    shared_videos: int | None
    manifest_hash: str | None
    problem: str | None


class ImageCount(TypedDict):
    """The images that the chosen reading needs; `at_hand` is None without a folder."""

    folder: str | None
    needed: int
    at_hand: int | None
    text: str


class Audit(TypedDict):
    """All that `blippose data` prints, as JSON has it."""

    annotations: str
    sha256: str
    synthetic: bool
    reading: str  # the chosen one
    kind: str  # of split, the chosen one
    seed: int
    fraction: float
    steps: list[StepCount]
    readings: list[ReadingCount]
    splits: list[SplitCount]
    persons_without_video: int
    images: ImageCount


def audit(
    release: Release,
    reading: str = "visible",
    *,
    kind: str,
    fraction: float = 0.8,
    seed: int = 0,
    images: Path | None = None,
) -> Audit:
    """The counts of `release`, under the chosen `reading` and `kind` of split beside the others.

    Needs no images: where the folder is None or absent, it says so and counts the annotations.

    Raises:
        UserError: an unknown reading or kind of split.
    """
    if kind not in KINDS:
        raise UserError(f"split={kind}: no such split; choose one of {', '.join(KINDS)}")
    check_fraction(fraction)
    persons = select(release, reading)
    return Audit(
        annotations=str(release.path),
        sha256=release.sha256,
        synthetic=release.synthetic,
        reading=reading,
        kind=kind,
        seed=seed,
        fraction=fraction,
        steps=_step_counts(release, reading),
        readings=_reading_counts(release),
        splits=[
            _split_count(release, reading, persons, kind=each, fraction=fraction, seed=seed)
            for each in KINDS
        ],
        persons_without_video=sum(person.video is None for person in persons),
        images=_image_count(persons, images),
    )


def print_audit(audit: Audit, console: Console) -> None:
    """Prints the audit as tables for people."""
    source = "synthetic release" if audit["synthetic"] else "release"
    chosen = next(split for split in audit["splits"] if split["kind"] == audit["kind"])
    _print_line(console, f"{source} {audit['annotations']}")
    _print_line(console, f"sha256 {audit['sha256']}")
    console.print(_step_table(audit), _reading_table(audit), _split_table(audit), sep="\n\n")
    _print_line(console, f"persons whose video is unknown: {audit['persons_without_video']:,}")
    for split in audit["splits"]:
        if split["problem"]:
            _print_line(console, f"split={split['kind']}: {split['problem']}")
    _print_line(console, f"manifest {chosen['manifest_hash'] or 'none, as there is no split'}")
    _print_line(console, f"images: {audit['images']['text']}")


def _print_line(console: Console, text: str) -> None:
    """A path or a hash whole on its line, to be copied; brackets in a path are no markup."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _step_counts(release: Release, reading: str) -> list[StepCount]:
    return [
        StepCount(text=step.text, images=step.images, persons=step.persons)
        for step in filter_steps(release, reading)
    ]


def _reading_counts(release: Release) -> list[ReadingCount]:
    return [
        ReadingCount(name=name, text=READINGS[name].text, persons=count)
        for name, count in reading_counts(release).items()
    ]


def _split_count(
    release: Release,
    reading: str,
    persons: Sequence[Person],
    *,
    kind: str,
    fraction: float,
    seed: int,
) -> SplitCount:
    try:
        split = split_persons(persons, kind, fraction, seed)
    except UserError as error:  # the reading may keep nobody: the audit is there to show that
        problem = str(error)
        return SplitCount(
            kind=kind,
            train=None,
            val=None,
            shared_videos=None,
            manifest_hash=None,
            problem=problem,
        )
    return SplitCount(
        kind=kind,
        train=len(split.train),
        val=len(split.val),
        shared_videos=shared_video_count(split, [person.video for person in persons]),
        manifest_hash=manifest(persons, split, release, reading)["hash"],
        problem=None,
    )


def _image_count(persons: Sequence[Person], images: Path | None) -> ImageCount:
    needed = len({person.image_name for person in persons})
    if images is None or not images.is_dir():
        return ImageCount(
            folder=None if images is None else str(images),
            needed=needed,
            at_hand=None,
            text="not at hand, counted from the annotations alone",
        )
    at_hand = needed - len(missing_images(persons, images))
    return ImageCount(
        folder=str(images),
        needed=needed,
        at_hand=at_hand,
        text=f"{at_hand:,} of {needed:,} at hand in {images}",
    )


def _step_table(audit: Audit) -> Table:
    table = Table(title=f"reading={audit['reading']}, step by step", title_justify="left")
    table.add_column("filter")
    table.add_column("images", justify="right")
    table.add_column("persons", justify="right")
    for step in audit["steps"]:
        table.add_row(step["text"], f"{step['images']:,}", f"{step['persons']:,}")
    return table


def _reading_table(audit: Audit) -> Table:
    table = Table(title="the readings side by side (> chosen)", title_justify="left")
    table.add_column("reading", no_wrap=True)
    table.add_column("keeps")
    table.add_column("persons", justify="right")
    for reading in audit["readings"]:
        name = _marked(reading["name"], audit["reading"])
        table.add_row(name, reading["text"], f"{reading['persons']:,}")
    return table


def _split_table(audit: Audit) -> Table:
    title = f"splits at fraction={audit['fraction']}, seed={audit['seed']} (> chosen)"
    table = Table(title=title, title_justify="left")
    table.add_column("split")
    for column in ("train", "val", "val with a frame of its video in train"):
        table.add_column(column, justify="right")
    for split in audit["splits"]:
        table.add_row(_marked(split["kind"], audit["kind"]), *_split_cells(split))
    return table


def _split_cells(split: SplitCount) -> tuple[str, str, str]:
    train, val, shared = split["train"], split["val"], split["shared_videos"]
    if train is None or val is None or shared is None:
        return "-", "-", "-"
    return f"{train:,}", f"{val:,}", f"{shared:,} ({shared / val:.0%})"


def _marked(name: str, chosen: str) -> str:
    return f"> {name}" if name == chosen else f"  {name}"
