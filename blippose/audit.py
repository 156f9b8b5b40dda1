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
from blippose.mpii import Person, Release
from blippose.readings import READINGS, filter_steps, reading_counts, select
from blippose.release_images import missing_images
from blippose.split import KINDS, check_fractions, manifest, shared_video_count, split_persons


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
    test: int | None  # 0 where no test side is asked for
    shared_videos: int | None
    test_shared_videos: int | None
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
    test_fraction: float
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
    test_fraction: float = 0.0,
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
    check_fractions(fraction, test_fraction)
    persons = select(release, reading)
    return Audit(
        annotations=str(release.path),
        sha256=release.sha256,
        synthetic=release.synthetic,
        reading=reading,
        kind=kind,
        seed=seed,
        fraction=fraction,
        test_fraction=test_fraction,
        steps=_step_counts(release, reading),
        readings=_reading_counts(release),
        splits=[
            _split_count(release, reading, persons, each, (fraction, test_fraction), seed)
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
    kind: str,
    fractions: tuple[float, float],  # of train and test
    seed: int,
) -> SplitCount:
    fraction, test_fraction = fractions
    try:
        split = split_persons(persons, kind, fraction, seed, test_fraction)
    except UserError as error:  # the reading may keep nobody: the audit is there to show that
        problem = str(error)
        return SplitCount(
            kind=kind,
            train=None,
            val=None,
            test=None,
            shared_videos=None,
            test_shared_videos=None,
            manifest_hash=None,
            problem=problem,
        )
    videos = [person.video for person in persons]
    return SplitCount(
        kind=kind,
        train=len(split.train),
        val=len(split.val),
        test=len(split.test),
        shared_videos=shared_video_count(split, videos),
        test_shared_videos=shared_video_count(split, videos, split.test),
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
    has_test = audit["test_fraction"] > 0
    fractions = f"fraction={audit['fraction']}"
    if has_test:
        fractions += f", test_fraction={audit['test_fraction']}"
    title = f"splits at {fractions}, seed={audit['seed']} (> chosen)"
    table = Table(title=title, title_justify="left")
    table.add_column("split")
    sides = ("val", "test") if has_test else ("val",)
    leaks = [f"{side} with a frame of its video in train" for side in sides]
    for column in ("train", *sides, *leaks):
        table.add_column(column, justify="right")
    for split in audit["splits"]:
        table.add_row(_marked(split["kind"], audit["kind"]), *_split_cells(split, has_test))
    return table


def _split_cells(split: SplitCount, has_test: bool) -> list[str]:
    sizes = [split["train"], split["val"], split["test"]][: 3 if has_test else 2]
    shared = [split["shared_videos"], split["test_shared_videos"]][: 2 if has_test else 1]
    leaks = zip(shared, sizes[1:], strict=True)
    return [*map(_count, sizes), *(_share(count, size) for count, size in leaks)]


def _count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _share(count: int | None, size: int | None) -> str:
    return f"{count:,} ({count / size:.0%})" if count is not None and size else "-"


def _marked(name: str, chosen: str) -> str:
    return f"> {name}" if name == chosen else f"  {name}"
