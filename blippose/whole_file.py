"""Files that are whole or not there: readers never see half of one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

_LONGEST_STEM = 50  # characters; names may have 255 bytes, of which a character takes up to four


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Another name to write to, with the same ending, that becomes `path` once all is written."""
    stem = path.stem[:_LONGEST_STEM]
    partial = path.with_name(f".{stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path, before: float) -> None:
    """Remove what killed processes left of files that they were writing.

    Args:
        folder: where.
        before: when they were last written to, in seconds since 1970.
    """
    for path in folder.glob(".*.partial*"):
        if re.search(r"\.\d+\.partial(\.\w+)?$", path.name) and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """A file of UTF-8 text."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def as_text(whole: AbstractContextManager[Path]) -> Iterator[TextIO]:
    """A whole file open for UTF-8 text; names that are no valid UTF-8 keep their bytes."""
    with (
        whole as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file
