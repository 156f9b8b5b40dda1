"""The grid of 18 cells, its whole process group killed ten times at random, ends as one untouched.

Slow: 18 cells twice, and eleven times the imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_grid

NUM_KILLS = 10
SEED = 20261123  # of the moments
PATIENCE = 900  # s


def start(file: Path, folder: Path) -> subprocess.Popen[bytes]:
    """The command, always the same, in a process group of its own."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "blippose", "sweep", str(file)],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_ten_kills_leave_18_cells_as_of_an_undisturbed_grid(
    release_root: Path, tmp_path: Path
) -> None:
    common = tiny_grid.settings(
        release_root,
        trainer__max_epochs=2,
        trainer__log_every_n_steps=1,
        checkpoint__every_n_steps=2,
    )
    file = tiny_grid.write(tmp_path / "sweep.yaml", tiny_grid.AXES, common)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        folder.mkdir()
    began = time.monotonic()
    assert start(file, calm).wait(PATIENCE) == 0, (calm / "log").read_text()
    per_cell = (time.monotonic() - began) / 18
    draws = random.Random(SEED)
    num_at_work = 0
    for _ in range(NUM_KILLS):
        num_records = len(tiny_grid.states(killed / "runs/grid"))
        process = start(file, killed)
        while len(tiny_grid.states(killed / "runs/grid")) <= num_records:
            if process.poll() is not None:
                break
            time.sleep(0.05)  # imports are no part of the moments, or most kills would hit them
        time.sleep(draws.uniform(0, 1.5 * per_cell))
        num_at_work += process.poll() is None
        kill(process) if process.poll() is None else None
    assert num_at_work >= NUM_KILLS - 2, "the grid was done too early to be killed"
    assert start(file, killed).wait(PATIENCE) == 0, (killed / "log").read_text()
    states = tiny_grid.states(killed / "runs/grid")
    assert states == tiny_grid.states(calm / "runs/grid")
    assert list(states.values()) == ["done"] * 18
    for name in states:
        assert_same(killed / "runs/grid" / name, calm / "runs/grid" / name)


def assert_same(run: Path, other: Path) -> None:
    """Results, history, picture and weights, to the byte."""
    results = [json.loads((folder / "run.json").read_text())["results"] for folder in (run, other)]
    assert results[0] == results[1], run.name
    for name in ("metrics.csv", "best.ckpt", "samples.png"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), f"{run.name}/{name}"
