"""What a run takes: seconds, and the most memory that it held."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Usage:
    """Measured from `begin` on, for a process that does one run after another.

    Args:
        began: time.monotonic() then.
        earlier: what processes that trained it before told of it.
    """

    began: float
    earlier: Mapping[str, Any]

    @staticmethod
    def begin(record: Mapping[str, Any]) -> Usage:
        """Start the clock and forget the peak of whatever ran before in this process."""
        with suppress(OSError):  # Linux alone, and not in every sandbox
            _CLEAR.write_text("5")
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()
        return Usage(time.monotonic(), dict(record))

    def facts(self) -> dict[str, Any]:
        """For the run's record: `peak_memory_mb` is the GPU's where one is used."""
        cuda = _cuda()
        peak = (_peak_resident() if cuda is None else cuda.max_memory_allocated()) / _MB
        of = "host" if cuda is None else "GPU"
        if self.earlier.get("peak_memory_of") == of:
            peak = max(peak, float(self.earlier.get("peak_memory_mb") or 0.0))
        seconds = float(self.earlier.get("seconds") or 0.0) + time.monotonic() - self.began
        return {
            "seconds": round(seconds, 1),
            "peak_memory_mb": round(peak, 1),
            "peak_memory_of": of,
        }


def _cuda() -> Any:
    """torch.cuda, if this process uses it; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _peak_resident() -> float:
    """Bytes. Where the kernel cannot forget, the whole process' peak."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text())
        if found:
            return float(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024)
