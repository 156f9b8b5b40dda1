"""The folders that `run=` names, one by one or by a glob."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from blippose.errors import UserError


def run_folders(named: str | Sequence[str]) -> list[Path]:
    """The folders that are meant, in order, without repetition.

    Raises:
        UserError: an empty list, or a pattern that no folder matches.
    """
    if not named:
        raise UserError("run=[]: expected a folder or more, such as runs/demo")
    patterns = [named] if isinstance(named, str) else named
    return list(dict.fromkeys(path for each in patterns for path in _matches(each)))


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.exists() or not glob.has_magic(pattern):
        return [path]
    # Path.glob wants a pattern that does not begin at the root.
    found = sorted(Path(each) for each in glob.glob(str(path)) if Path(each).is_dir())  # noqa: PTH207
    if not found:
        raise UserError(f"run={pattern}: no folder matches")
    return found
