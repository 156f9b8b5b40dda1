"""Arrays that a file holds under a key: of other work than is asked for, they are strangers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

_Found = TypeVar("_Found")


def load_keyed(path: Path, key: str, of: Callable[[Any], _Found]) -> _Found | None:
    """What `of` makes of the arrays in an .npz file that holds `key` as its array "key".

    None where the file is missing, torn or of another key.
    """
    try:
        with np.load(path) as kept:
            return of(kept) if str(kept["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
