"""Files that are whole or not there: readers never see half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_LONGEST_STEM = 50  # characters; names may have 255 bytes, of which a character takes up to four


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Another name to write to, with the same ending, that becomes `path` once all is written."""
    partial = path.with_name(f".{path.stem[:_LONGEST_STEM]}.{os.getpid()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_text_file(path: Path) -> Iterator[TextIO]:
    """The same, open for UTF-8 text, in which names that are no valid UTF-8 keep their bytes."""
    with (
        whole_file(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file
