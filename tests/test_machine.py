"""A process uses what it was given, not what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from blippose import threads
from blippose.machine import memory_bytes, num_cores


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("said", "cores"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("max 100000", 64),
        ("", 64),
    ],
)
@pytest.mark.usefixtures("many")
def test_the_quota_of_a_container_counts(tmp_path: Path, said: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(said + "\n")
    assert num_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 64)])
@pytest.mark.usefixtures("many")
def test_so_does_that_of_the_first_version(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert num_cores(tmp_path) == cores


def limited(folder: Path, file: str, said: str) -> None:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said + "\n")


@pytest.mark.parametrize(
    ("own", "file"),
    [
        ("0::/", "memory.max"),  # a container
        ("0::/slurm/job_7/step_0", "slurm/job_7/memory.max"),  # a job, round its steps
        ("5:cpu:/\n4:memory:/docker/7", "memory/docker/7/memory.limit_in_bytes"),
        ("4:memory:/not/seen/in/here", "memory/memory.limit_in_bytes"),
        ("\n?\n0::/", "memory.max"),
    ],
)
def test_the_limit_of_memory_of_a_container_or_job_counts(
    tmp_path: Path, own: str, file: str
) -> None:
    (tmp_path / "own").write_text(own + "\n")
    free = memory_bytes(tmp_path, tmp_path / "own")
    assert free > 2**28, "what the machine has"
    limited(tmp_path, file, str(2**28))
    assert memory_bytes(tmp_path, tmp_path / "own") == 2**28
    assert memory_bytes(tmp_path, tmp_path / "absent") == free
    for none in ("max", str(2**62)):
        limited(tmp_path, file, none)
        assert memory_bytes(tmp_path, tmp_path / "own") == free


@pytest.mark.parametrize("limits", [(2**28, 2**29), (2**29, 2**28)], ids=["own", "round it"])
def test_the_least_limit_of_all_groups_holds(tmp_path: Path, limits: tuple[int, int]) -> None:
    (tmp_path / "own").write_text("0::/job/step\n")
    for file, limit in zip(("job/step/memory.max", "job/memory.max"), limits, strict=True):
        limited(tmp_path, file, str(limit))
    assert memory_bytes(tmp_path, tmp_path / "own") == 2**28


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has affinity")
def test_affinity_counts() -> None:
    told = "import os; os.sched_setaffinity(0, {0}); "
    code = f"{told}from blippose.machine import num_cores; print(num_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_torch_gets_no_more_threads_than_cores_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "num_cores", lambda: 2)
    try:
        for told, started, expected in ((None, 5, 2), (None, 1, 1), ("5", 5, 5)):
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
            if told is not None:
                monkeypatch.setenv("OMP_NUM_THREADS", told)
            torch.set_num_threads(started)
            threads.limit_threads()
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
