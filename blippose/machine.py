"""How many processors and how much memory this process may use, which is not all the machine has.

Source of the files: the Linux kernel's documentation, cgroup v2 and v1.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUP, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_UNKNOWN_MEMORY = 2**33  # Windows tells nothing to Python alone


def num_cores(cgroup: Path = _CGROUP) -> int:
    """Processors by affinity (taskset, Slurm) and by the quota of a container, at least 1.

    macOS and Windows only tell how many there are.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroup)
    return max(1, min(cores or 1, math.ceil(quota) if quota else cores or 1))


def _quota(cgroup: Path) -> float | None:
    """Processors that a container's quota comes to; None without one."""
    try:
        if (cgroup / "cpu.max").is_file():  # version 2: "200000 100000" or "max 100000"
            quota, period = (cgroup / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="utf-8")
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="utf-8")
        share = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None  # version 1 says -1 for none


def memory_bytes(cgroup: Path = _CGROUP, own: Path = _OWN) -> int:
    """Memory by the limits of containers and of Slurm's jobs, at most the machine's."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        most = _UNKNOWN_MEMORY
    return min([most, *_memory_limits(cgroup, own)])


def _memory_limits(cgroup: Path, own: Path) -> Iterator[int]:
    """Those of the groups that this process is in, and of the groups round them."""
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":  # version 2
            root, name = cgroup, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroup / "memory", "memory.limit_in_bytes"
        else:
            continue
        inner = root / path.strip("/")
        for folder in (inner, *inner.parents):
            with suppress(OSError, ValueError):  # "max", or a group of the machine, unseen in here
                yield int((folder / name).read_text(encoding="utf-8"))
            if folder == root:
                break
