"""A folder that a command fills: whether it can, and what is still of its earlier calls.

Knows nothing of what the files hold.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from blippose.errors import UserError
from blippose.whole_file import as_text, remove_partials, whole_file, write_whole


@dataclass(frozen=True)
class Filling:
    """What a command writes into its folder, on record as it comes.

    Args:
        folder: that it writes into.
        lines: the record, open to add to.
        written: sizes of files by their names, bytes.
    """

    folder: Path
    lines: TextIO
    written: dict[str, int]

    def keep(self, name: str) -> None:
        """A file that is there already is one of this call's."""
        self._note(name, (self.folder / name).stat().st_size)

    @contextmanager
    def whole_file(self, name: str) -> Iterator[Path]:
        """As `whole_file`; on record before it is there, so that a kill leaves none unknown."""
        with whole_file(self.folder / name) as partial:
            yield partial
            self._note(name, partial.stat().st_size)

    def whole_text_file(self, name: str) -> AbstractContextManager[TextIO]:
        """The same, open for text as `as_text` opens it."""
        return as_text(self.whole_file(name))

    def write_whole(self, name: str, text: str) -> None:
        """A file of UTF-8 text."""
        with self.whole_file(name) as partial:
            partial.write_text(text, encoding="utf-8")

    def _note(self, name: str, size: int) -> None:
        self.written[name] = size
        self.lines.write(_line(name, size))
        self.lines.flush()


def check_out(out: str | None) -> None:
    """Whether a folder can be made there, before anything that takes time.

    Raises:
        UserError: it cannot.
    """
    if out is None:
        return
    check_named(out)
    path = Path(out).expanduser().absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "cannot be written to" if there.is_dir() else "is no folder"
        raise UserError(f"out={out}: {there} {what}; name a folder that can be made")


def check_named(out: str) -> None:
    """Refuse an empty name, as of a shell's variable that is not set: it would be this folder.

    Raises:
        UserError: it is empty.
    """
    if not out.strip():
        raise UserError("out: empty; name a folder that can be made")


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """What cannot be written there is the user's to mend."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"out={folder}: cannot be written ({error.strerror or error}); name a folder that "
            "can, with room left"
        ) from error


@contextmanager
def filled(folder: Path, command: str) -> Iterator[Filling]:
    """A folder, made where it is missing, that ends with the files of this call alone.

    What earlier calls of the same command wrote, killed ones too, goes when all is done; a hidden
    file `.COMMAND.files` there remembers it. What anybody else put there stays, and so does a file
    that has another size by now.

    Raises:
        UserError: it cannot be written.
    """
    record, began = _record(folder, command), time.time()
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        earlier = _sizes(record)
        with record.open("a", encoding="utf-8") as lines:
            lines.write("\n")  # after a line that was cut short
            filling = Filling(folder, lines, {})
            yield filling
        for name in earlier.keys() - filling.written.keys():
            _remove(folder / name, earlier[name])
        remove_partials(folder, before=began)
        text = "".join(_line(name, size) for name, size in filling.written.items())
        write_whole(record, text)


def foreign(paths: Iterable[Path], folder: Path, command: str) -> Iterator[Path]:
    """Those of `paths` in `folder` that are there, and that no earlier call wrote as they are."""
    sizes = _sizes(_record(folder, command))
    for path in paths:
        with suppress(OSError):
            if path.lstat().st_size not in sizes.get(path.name, ()):
                yield path


def refuse_foreign(paths: Iterable[Path], folder: Path, command: str) -> None:
    """Keep what is not this command's from being replaced.

    Raises:
        UserError: one of `paths` is there, and no earlier call wrote it as it is.
    """
    for path in foreign(paths, folder, command):  # on some disks A.PNG is a.png
        raise UserError(
            f"{command} would replace {path}, which no earlier call of it wrote as it is; name "
            "another folder with out=, or remove that file"
        )


def _record(folder: Path, command: str) -> Path:
    return folder / f".{command}.files"


def _line(name: str, size: int) -> str:
    return json.dumps([name, size]) + "\n"  # ASCII, whatever bytes the name has


def _sizes(record: Path) -> dict[str, set[int]]:
    """The files that it names: by name each size that one had, or was to have.

    A line cut short does not count.
    """
    sizes: dict[str, set[int]] = {}
    try:
        lines = record.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return sizes
    for line in lines:
        try:
            name, size = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(name, str) and Path(name).name == name:
            sizes.setdefault(name, set()).add(size)
    return sizes


def _remove(path: Path, sizes: set[int]) -> None:
    if path.is_file() and not path.is_symlink() and path.stat().st_size in sizes:
        path.unlink()
