"""Writes the release folder: `images/`, the .mat file, and last of all `release.json`.

Without `release.json` the folder counts as half written and is rebuilt. Images take their
randomness from (seed, video, frame), so neither the number of workers nor an interruption shows,
and releases of one seed share the people of their videos, whatever their number of persons.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from blippose.child_process import die_with
from blippose.counted import counted
from blippose.errors import UserError
from blippose.machine import num_cores
from blippose.progress import tracked
from blippose.synthetic.annotation import activity_row, annolist_row, single_person_row, structs
from blippose.synthetic.plan import Row, plan_rows
from blippose.synthetic.scene import Person, render_frame
from blippose.waiting import locked

MAT_NAME = "mpii_human_pose_v1_u12_1.mat"
GENERATOR_VERSION = 3  # rises when the same seed would draw or annotate others
_PEOPLE_SINCE = 2  # the version since which one seed has the same people in the same poses
_MARK, _STARTED = "release.json", "release.incomplete"
# scipy writes the date into the header of 124 bytes; a fixed text keeps files byte-identical.
_HEADER = b"MATLAB 5.0 MAT-file Platform: posix, Created by: blippose.synthetic".ljust(116)
_JPEG_QUALITY = 88


@dataclass(frozen=True)
class _Drawn:
    people: tuple[Person, ...]
    activity: int


def write_release(
    root: Path,
    num_persons: int = 1500,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
) -> Path:
    """`root`, which holds the .mat file and `images/` afterwards, as `data.root` expects.

    `is_visible` is drawn at random, to exercise the reader, whatever the picture hides.

    Args:
        root: folder to fill; one that is complete for the same arguments is left as it is, and one
            that holds other persons is never emptied: runs have learned from them.
        num_persons: persons that the default filter keeps; about a fifth more rows are rejected.
        seed: of everything that is drawn.
        num_workers: processes; None takes one for every available core.
        progress: whether stderr is told how far it is.

    Raises:
        UserError: `root` holds other persons, a .mat that was changed since or something that
            blippose did not write, or cannot be written, or `num_persons` < 1.
    """
    if num_persons < 1:
        raise UserError(f"data.synthetic.num_persons={num_persons}: expected at least one")
    root = Path(root)
    if is_complete(root, num_persons, seed):
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        # Two who draw at once would each empty the folder.
        with locked(Path(f"{root}.lock"), f"waiting for the process that draws into {root}"):
            if not is_complete(root, num_persons, seed):
                _write(root, num_persons, seed, num_workers, progress)
    except OSError as error:
        raise UserError(f"{root}: cannot be written ({error.strerror or error})") from error
    return root


def _write(
    root: Path, num_persons: int, seed: int, num_workers: int | None, progress: bool
) -> None:
    _claim(root, _identity(num_persons, seed))
    rows = plan_rows(num_persons, seed)
    drawn = list(_draw_all(rows, root / "images", seed, num_workers, progress))
    _write_mat(root / MAT_NAME, rows, drawn)
    _write_mark(root, num_persons, seed)


def is_complete(root: Path, num_persons: int, seed: int) -> bool:
    """Whether `root` holds a finished release of these arguments by this generator.

    Its .mat is the one that was drawn; images are looked for by name, not opened.
    """
    if _held(root) != _identity(num_persons, seed):
        return False
    found = _sha256(Path(root) / MAT_NAME)
    if found is None or found != _mark(root).get("mat_sha256"):
        return False
    try:
        names = set(os.listdir(Path(root) / "images"))  # noqa: PTH208  names are all it takes
    except OSError:
        return False
    planned = {row.name for row in plan_rows(num_persons, seed)}
    return planned <= names


def check_unchanged(annotations: Path) -> None:
    """Refuse a .mat that was drawn and is not as it was; any other may be what it will.

    Raises:
        UserError: it was cut off or changed.
    """
    root = annotations.parent
    held = _held(root)
    if held is None or annotations.name != MAT_NAME:
        return
    if _sha256(annotations) in (None, _mark(root).get("mat_sha256")):
        return
    raise UserError(
        f"{annotations}: cut off or changed since blippose drew it (another sha256 than in "
        f"{_MARK}); remove {root}, and `blippose data data.root={root} "
        f"data.synthetic.num_persons={held['num_persons']} data.synthetic.seed={held['seed']}` "
        "draws it again"
    )


def people_of(annotations: Path) -> tuple[int, int] | None:
    """Who was drawn: the first generator's version that draws them, and seed; None of no release.

    Where they are the same, videos of one number hold the same people, however many there are.
    """
    held = _held(annotations.parent)
    if held is None or annotations.name != MAT_NAME:
        return None
    return min(held["generator_version"], _PEOPLE_SINCE), held["seed"]


def _identity(num_persons: int, seed: int) -> dict[str, Any]:
    return {
        "source": "synthetic",
        "generator_version": GENERATOR_VERSION,
        "num_persons": num_persons,
        "seed": seed,
    }


def _held(root: Path) -> dict[str, Any] | None:
    """The identity of the finished release that `root` holds, be some of its images lost."""
    mark = _mark(root)
    identity = {key: mark.get(key) for key in _identity(0, 0)}
    return None if None in identity.values() else identity


def _mark(root: Path) -> dict[str, Any]:
    """What `release.json` says; nothing where there is none."""
    try:
        mark = json.loads((Path(root) / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def _sha256(path: Path) -> str | None:
    """Of the file's bytes; None where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _described(identity: Mapping[str, Any]) -> str:
    persons, version = counted(identity["num_persons"], "person"), identity["generator_version"]
    return f"{persons} of seed {identity['seed']} by generator version {version}"


def _claim(root: Path, wanted: Mapping[str, Any]) -> None:
    """Mark `root` as begun, and empty it of what is left of the same persons, or half drawn."""
    is_free = not root.exists() or (root.is_dir() and not any(root.iterdir()))
    held = _held(root)
    if held is not None and held != wanted:
        raise UserError(
            f"{root} holds {_described(held)}, not {_described(wanted)}: name another folder by "
            "data.root=, or remove that one if no run that learned from it is to be judged again"
        )
    if not is_free and held is None and not (root / _STARTED).is_file():
        raise UserError(
            f"{root} holds files that blippose did not write: "
            "a synthetic release needs an empty or new folder; choose another data.root"
        )
    check_unchanged(root / MAT_NAME)
    root.mkdir(parents=True, exist_ok=True)
    # First the new mark, then away with the old: at no moment does the folder look foreign.
    (root / _STARTED).write_text("A synthetic release is being written here.\n")
    for name in (_MARK, MAT_NAME):
        (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / "images", ignore_errors=True)
    (root / "images").mkdir()


def _draw_all(
    rows: list[Row], images: Path, seed: int, num_workers: int | None, progress: bool
) -> Iterator[_Drawn]:
    draw = partial(_draw_row, images=images, seed=seed)
    workers = num_workers or num_cores()
    told = partial(
        tracked, num_done=0, num_all=len(rows), description="drawing images", shown=progress
    )
    if workers == 1 or len(rows) < 2 * workers:
        yield from told(map(draw, rows))
        return
    # A fork of a process with torch's threads can hang, hence spawn.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(os.getpid(),))
    with pool:
        try:
            with _without_main():
                drawn = pool.map(draw, rows, chunksize=16)  # starts all workers
            yield from told(drawn)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that are spawned meanwhile do not run the calling script, which they do not need.

    One that draws outside of `if __name__ == "__main__"` would draw again in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _begin(parent: int) -> None:
    """Ctrl-C is the parent's to handle; the workers would each print a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)


def _draw_row(row: Row, images: Path, seed: int) -> _Drawn:
    frame = render_frame(seed, row.video, row.frame, row.num_people)
    Image.fromarray(frame.image).save(images / row.name, quality=_JPEG_QUALITY)
    return _Drawn(frame.people, frame.activity)


def _write_mat(path: Path, rows: list[Row], drawn: list[_Drawn]) -> None:
    pairs = list(zip(rows, drawn, strict=True))
    acts = np.empty(
        (len(rows), 1), dtype=[(name, object) for name in ("cat_name", "act_name", "act_id")]
    )
    single = np.empty((len(rows), 1), dtype=object)
    for index, (row, item) in enumerate(pairs):
        acts[index, 0] = activity_row(row, item.activity)
        single[index, 0] = single_person_row(row)
    videos = np.empty((1, rows[-1].video), dtype=object)
    videos[0] = [np.array([f"synthetic{video:05d}"]) for video in range(1, rows[-1].video + 1)]
    release = {
        "annolist": structs([annolist_row(row, item.people) for row, item in pairs]),
        "img_train": np.array([[not row.kind.startswith("test") for row in rows]], dtype=np.uint8),
        "version": np.array([f"synthetic-{GENERATOR_VERSION}"]),
        "single_person": single,
        "act": acts,
        "video_list": videos,
        "source": np.array(["synthetic"]),
    }
    partial_path = path.with_name(path.name + ".part")
    savemat(
        str(partial_path),
        {"RELEASE": structs([release])},
        appendmat=False,
        do_compression=True,
        oned_as="row",
    )
    with partial_path.open("r+b") as file:
        file.write(_HEADER)
    partial_path.replace(path)


def _write_mark(root: Path, num_persons: int, seed: int) -> None:
    mark = _identity(num_persons, seed) | {"format": "MPII Human Pose v1"}
    mark["mat_sha256"] = _sha256(root / MAT_NAME)
    partial_path = root / f"{_MARK}.part"
    partial_path.write_text(json.dumps(mark, indent=2) + "\n")
    partial_path.replace(root / _MARK)
    (root / _STARTED).unlink()
