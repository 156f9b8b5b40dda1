"""The C library's heap: what is freed kept for the next step, or given back to the system.

glibc alone is asked; others do as they do. Source: mallopt(3) and malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed() -> None:
    """Leave freed memory with this process, unless the environment tells the C library otherwise.

    By itself it gives tensors back as they are freed, so that those of the next step are fresh
    pages, which the kernel fills with zeros (docs/speed.md says what that costs). Tensors
    above 32 MB still come from the system one by one, as far as the library itself would go: in
    its heap one that is freed is no place for another of its size, which is to be aligned too.
    """
    is_told = any(name.startswith("MALLOC_") for name in os.environ)
    if is_told or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return
    _call("mallopt", _TRIM_THRESHOLD, 2**31 - 1)
    _call("mallopt", _MMAP_THRESHOLD, 2**25)


def give_back() -> None:
    """Give back to the system what is free, once."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    if sys.platform.startswith("linux"):
        with suppress(AttributeError, OSError):  # glibc alone has it
            getattr(ctypes.CDLL(None), name)(*arguments)
