"""The process of a benchmark: how it ends, what memory it holds, what device it may use."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from blippose.errors import UserError

_STATUS = Path("/proc/self/status")  # of Linux


def in_one_line(main: Callable[[], Any]) -> NoReturn:
    """Run it, and end with its status; what is the user's to mend without a traceback."""
    try:
        raise SystemExit(main())
    except (UserError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from None


def held_mb(field: str = "VmRSS") -> float:
    """MB that this process holds (VmRSS), or has held at most (VmHWM); NaN but on Linux."""
    status = _STATUS.read_text() if _STATUS.is_file() else ""
    found = re.search(rf"{field}:\s*(\d+) kB", status)
    return float(found[1]) / 1024 if found else float("nan")


def check_device(parser: argparse.ArgumentParser, device: str) -> None:
    """Refuse a GPU that is not there."""
    import torch  # noqa: PLC0415  seconds

    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is none here, or torch is a build without CUDA")
