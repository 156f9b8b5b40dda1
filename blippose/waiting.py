"""A lock that says for whom it waits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(path: Path, *, waits_for: str) -> Iterator[None]:
    """Hold the lock of a file; while another process does, say so and wait.

    Raises:
        OSError: the file cannot be made.
    """
    path.touch()  # filelock would take a folder that takes no files for a lock that others hold
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for {waits_for}", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
