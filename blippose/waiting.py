"""A lock that says for whom it waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def locked(path: Path, line: str, say: Callable[[str], None] = _on_stderr) -> Iterator[None]:
    """Hold the lock of a file; while another process does, say `line` and wait.

    Raises:
        OSError: the file cannot be made.
    """
    path.touch()  # filelock would take a folder that takes no files for a lock that others hold
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(line)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
