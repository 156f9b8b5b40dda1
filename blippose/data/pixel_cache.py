"""The inputs of a release, cut once into a file that all processes map into memory.

    ROOT/pixels/96px-stretch-full-0f6e5d4c3b2a1908.npy    a row a person: rectangle, pixels

The name ends in a hash of what the pixels come from: the persons, the names, sizes and times of
their images, the settings and Pillow's version. A change of any makes another file; the folder may
be removed at any time. Other contents under the same name, size and time would not be noticed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from jaxtyping import UInt8
from lightning.pytorch.utilities import rank_zero_only
from PIL import features

from blippose.data.cutter import MARGINS, Cutter
from blippose.errors import warn
from blippose.geometry import Crop
from blippose.machine import num_cores
from blippose.mpii import Person
from blippose.progress import tracked
from blippose.waiting import locked
from blippose.whole_file import remove_partials, whole_file

AUTO = "auto"
_VERSION = 3  # of the file and of how pixels are cut
_MOST_OF_FREE = 0.9  # share of the free disk that a file may take: checkpoints need room too
_AT_ONCE = 256  # images that may be cut before the disk has taken them
_MAPPED = 8 * 2**20  # bytes that may be looked at before their pages are let go

Row = tuple[UInt8[np.ndarray, "size size 3"], Crop]


def cache_folders(cache: str | None, root: Path) -> tuple[Path, ...]:
    """Where inputs may lie, the best place first; nowhere if `cache` is None.

    Args:
        cache: a folder, or "auto": in `root`, or else the user's cache.
        root: folder of the release.
    """
    if cache is None:
        return ()
    if cache != AUTO:
        return (Path(cache).expanduser(),)
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return root / "pixels", users / "blippose" / "pixels"


class PixelFile:
    """Rows of a finished file, read from the disk when they are looked at."""

    def __init__(self, path: Path, num_rows: int, size: int) -> None:
        self._arguments = (path, num_rows, size)
        self._rows = np.load(path, mmap_mode="r", allow_pickle=False)
        if self._rows.shape != (num_rows,) or self._rows.dtype != _row_type(size):
            raise ValueError(f"{path}: not {num_rows} inputs of {size} px")
        self._num_mapped = 0

    def __getitem__(self, index: int) -> Row:
        """The pixels, read-only, and their rectangle."""
        self._let_go()
        planes = np.asarray(self._rows[index]["image"])  # (3, S, S): as a batch has them
        return planes.transpose(1, 2, 0), self.rectangle(index)

    def _let_go(self) -> None:
        """Now and then the pages that were looked at: they would count as the process's memory.

        The system keeps them, and maps them again where they are looked at again.
        """
        self._num_mapped += self._rows.itemsize
        if self._num_mapped > _MAPPED and hasattr(mmap, "MADV_DONTNEED"):
            self._rows.base.madvise(mmap.MADV_DONTNEED)
            self._num_mapped = 0

    def rectangle(self, index: int) -> Crop:
        """The rectangle alone."""
        left, top, width, height = self._rows[index]["crop"].tolist()
        return Crop(left, top, width, height, self._arguments[2])

    def __reduce__(self) -> tuple[type[PixelFile], tuple[Path, int, int]]:
        """Another process opens the file itself."""
        return PixelFile, self._arguments


@dataclass(frozen=True)
class PixelCache:
    """Finds or makes the file of some persons' inputs.

    Args:
        cutter: what cuts them.
        folders: where the file may lie, the best place first.
    """

    cutter: Cutter
    folders: tuple[Path, ...]

    def find(self, persons: Sequence[Person]) -> PixelFile | None:
        """The file, where there is one."""
        try:
            name = self._name(persons)
        except OSError:  # an image is not there
            return None
        found = (self._open(folder / name, len(persons)) for folder in self.folders)
        return next((file for file in found if file is not None), None)

    def make(self, persons: Sequence[Person]) -> PixelFile | None:
        """The file, cut on all cores where there is none; None where no folder can take it.

        Two processes that ask for it at once make it once.

        Raises:
            UserError: an image that cannot be decoded.
        """
        reasons = []
        for folder in self.folders:
            try:
                return self._make_in(folder, persons)
            except OSError as error:  # read-only, full, over a quota
                reasons.append(f"{folder}: {error.strerror or error}")
        if reasons:
            line = "images are cut anew whenever they are seen, which is slower; data.cache=FOLDER"
            problem = f"no room for cut images ({'; '.join(reasons)})"
            rank_zero_only(warn)(f"{problem}: {line} names another place")
        return None

    def _make_in(self, folder: Path, persons: Sequence[Person]) -> PixelFile:
        path, size = folder / self._name(persons), self.cutter.size
        folder.mkdir(parents=True, exist_ok=True)
        waiting = f"waiting for the process that cuts images into {folder}"
        with locked(folder / ".lock", waiting, _tell):
            found = self._open(path, len(persons))  # another process may have made it meanwhile
            if found is None:
                remove_partials(folder, before=time.time())  # of killed ones: the lock is ours
                room = _room(folder, len(persons) * _row_type(size).itemsize)
                what = "persons" if self.cutter.is_close_up else "images"
                _tell(f"cutting {len(persons):,} {what} to {size} px into {folder}, {room}")
                self._write(path, persons)
                found = PixelFile(path, len(persons), size)
        return found

    def _write(self, path: Path, persons: Sequence[Person]) -> None:
        row_type = _row_type(self.cutter.size)
        header = {
            "descr": np.lib.format.dtype_to_descr(row_type),
            "fortran_order": False,
            "shape": (len(persons),),
        }
        # Written, not mapped: a disk that is full after all is an error then, and no SIGBUS.
        with whole_file(path) as partial, partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for pixels, crop in self._cut(persons):
                place = np.array([crop.left, crop.top, crop.width, crop.height], "<f8")
                file.write(place.tobytes() + pixels.transpose(2, 0, 1).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _cut(self, persons: Sequence[Person]) -> Iterator[Row]:
        """In order, on threads: Pillow decodes and resizes without Python's lock."""
        with ThreadPoolExecutor(num_cores()) as pool:
            rows = (
                row
                for first in range(0, len(persons), _AT_ONCE)
                for row in pool.map(self.cutter.cut, persons[first : first + _AT_ONCE])
            )
            yield from tracked(rows, 0, len(persons), description="cutting images", shown=True)

    def _open(self, path: Path, num_rows: int) -> PixelFile | None:
        try:
            return PixelFile(path, num_rows, self.cutter.size)
        except (OSError, ValueError, EOFError):  # none, or one that is damaged
            return None

    def _name(self, persons: Sequence[Person]) -> str:
        cutter = self.cutter
        part = f"{cutter.crop}-close_up" if cutter.is_close_up else cutter.crop
        settings = (cutter.size, str(cutter.resize), part, *(MARGINS * cutter.is_close_up))
        libraries = (_VERSION, PIL.__version__, features.version("libjpeg_turbo"))
        images = {name: (cutter.images / name).stat() for name in {p.image_name for p in persons}}
        rows = [
            (
                person.image_name,
                images[person.image_name].st_size,
                images[person.image_name].st_mtime_ns,
                (person.center, person.scale) if cutter.crop == "person" else None,
                *([person.pose.xy.tolist()] if cutter.is_close_up else []),
            )
            for person in persons
        ]
        digest = hashlib.sha256(json.dumps([libraries, settings, rows]).encode()).hexdigest()
        return f"{cutter.size}px-{cutter.resize}-{part}-{digest[:16]}.npy"


def _row_type(size: int) -> np.dtype[np.void]:
    return np.dtype([("crop", "<f8", (4,)), ("image", "u1", (3, size, size))])


def _room(folder: Path, num_bytes: int) -> str:
    """So many bytes, for people, if the folder can take them."""
    free = shutil.disk_usage(folder).free
    if num_bytes > _MOST_OF_FREE * free:
        short = f"{_megabytes(num_bytes)} are needed, {_megabytes(free)} are free"
        raise OSError(errno.ENOSPC, short)
    return _megabytes(num_bytes)


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.0f} kB"


@rank_zero_only
def _tell(line: str) -> None:
    print(line, flush=True)
