"""A process that works for the one that started it, and ends with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int, status: int = 1) -> None:
    """Have Linux send SIGTERM to this process when its parent is killed; elsewhere nothing.

    Without it a worker of a killed pool waits for work for ever.

    Args:
        parent: the process that started this one; where it is gone already, this one exits.
        status: to exit with then.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(status)
