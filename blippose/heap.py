"""The C library's heap: what is freed kept for the next step, or given back to the system.

glibc alone is asked; others do as they do. Source: mallopt(3) and malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
TOLD = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Leave freed memory with this process, unless the environment tells the C library otherwise.

    By itself it gives tensors back as they are freed, so that those of the next step are fresh
    pages, which the kernel fills with zeros: 2 % of a step of BLIP base on a processor. Tensors
    above 32 MB still come from the system one by one, as far as the library itself would go: in
    its heap one that is freed is no place for another of its size, which is to be aligned too.
    """
    if any(name in os.environ for name in TOLD):
        return
    with suppress(AttributeError, OSError):
        libc = _libc()
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_THRESHOLD, 2**25)


def give_back() -> None:
    """Give back to the system what is free, once."""
    with suppress(AttributeError, OSError):
        _libc().malloc_trim(0)


def _libc() -> Any:
    if not sys.platform.startswith("linux"):
        raise OSError("not glibc")
    return ctypes.CDLL(None)
