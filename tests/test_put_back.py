"""A job of Slurm that is asked to leave, without a Slurm: when it is put back, and how often."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blippose.cli.launchers.base import Task
from blippose.cli.launchers.slurm import _Requeued

pytest.importorskip("submitit")
TERM, USR2 = signal.SIGTERM, signal.SIGUSR2


@pytest.fixture
def put_back() -> Iterator[list[int]]:
    """Signals by which submitit was told to have the job put back."""
    told: list[int] = []
    before = {number: signal.getsignal(number) for number in (TERM, USR2)}
    signal.signal(TERM, lambda *_: None)  # as submitit leaves it to a task
    signal.signal(USR2, lambda number, _: told.append(number))
    yield told
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm that says of any job what stands in this file; without it, that it is busy."""
    said = tmp_path / "said"
    said.write_text("RUNNING\n")
    program = tmp_path / "squeue"
    program.write_text(f"#!/bin/sh\ncat {said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    return said


class Sent(Task):
    """A cell that does nothing but send itself signals."""

    numbers: tuple[signal.Signals, ...] = ()

    def __call__(self) -> None:
        for number in self.numbers:
            signal.raise_signal(number)


def run(*numbers: signal.Signals) -> None:
    cell = Sent.__new__(Sent)  # without a config
    cell.numbers = numbers
    _Requeued(cell)()


@pytest.mark.parametrize("numbers", [(TERM,), (USR2,), (TERM, USR2, TERM), (USR2, TERM, USR2)])
def test_a_job_is_put_back_once_whatever_it_hears(
    put_back: list[int], numbers: tuple[signal.Signals, ...]
) -> None:
    run(*numbers)
    assert put_back == [USR2]


def test_a_job_that_is_cancelled_is_not_put_back(put_back: list[int], squeue: Path) -> None:
    squeue.write_text("COMPLETING\n")
    run(TERM)
    assert put_back == []


@pytest.mark.parametrize("is_there", [True, False], ids=["busy", "not there"])
def test_where_slurm_says_nothing_it_is_tried(
    put_back: list[int], squeue: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    squeue.unlink()
    if not is_there:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(FileNotFoundError):
            subprocess.run(["squeue"], check=False)
    run(TERM)
    assert put_back == [USR2]


def test_of_the_processes_of_a_job_the_first_alone_puts_it_back(
    put_back: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")  # as Lightning starts them
    run(TERM, USR2)
    assert put_back == []
