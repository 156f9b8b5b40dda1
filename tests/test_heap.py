"""Freed memory: kept in this process for the next step, or given back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's heap")

# MB that are held once ten tensors of 24 MB are freed, and once they are given back.
FREED = """
import sys
import torch
from blippose import heap
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))
if "keep" in sys.argv:
    heap.keep_freed()
before = resident()
[torch.zeros(6 * 2**20) for _ in range(10)]
freed = resident()
heap.give_back()
print(freed - before, resident() - before)
"""


def held(*arguments: str, **told: str) -> tuple[int, ...]:
    """In a process of its own, whose environment tells the heap what is `told` alone."""
    untold = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))
    }
    done = subprocess.run(
        [sys.executable, "-c", FREED, *arguments],
        env={**untold, **told},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(int(number) for number in done.stdout.split())


def test_what_is_freed_stays_until_it_is_given_back() -> None:
    assert held()[0] < 100
    freed, given_back = held("keep")
    assert freed > 200
    assert given_back < 20


@pytest.mark.parametrize(
    "told",
    [
        {"MALLOC_MMAP_THRESHOLD_": "65536"},
        {"MALLOC_TRIM_THRESHOLD_": "65536"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"},
    ],
    ids=str,
)
def test_what_the_environment_tells_the_heap_holds(told: dict[str, str]) -> None:
    assert held("keep", **told)[0] < 100


def test_another_tunable_of_the_library_is_no_word_on_the_heap() -> None:
    assert held("keep", GLIBC_TUNABLES="glibc.rtld.nns=4")[0] > 200
