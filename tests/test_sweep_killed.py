"""The grid of 18 cells, its whole process group killed ten times at random, ends as one untouched.

Slow: 18 cells twice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import tiny_grid

NUM_KILLS = 10
SEED = 20261123  # of the moments
PATIENCE = 900  # s


def run(command: list[str], folder: Path) -> None:
    """To its end, in a process that has nothing of another's."""
    with (folder / "log").open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-m", "blippose", *command],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, (folder / "log").read_text()


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
    command = ["sweep", str(file)]
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        folder.mkdir()
    began = time.monotonic()
    run(command, calm)
    per_cell = (time.monotonic() - began) / 18
    draws = random.Random(SEED)
    num_at_work = 0
    for _ in range(NUM_KILLS):
        num_records = num_cells(killed)
        with forked.started(command, killed) as process:
            while process.is_alive() and num_cells(killed) <= num_records:
                time.sleep(0.05)  # looking at cells is no part of the moments
            moment = time.monotonic() + draws.uniform(0, 1.5 * per_cell)
            # Or two cells on, where the machine is faster by now: eight kills precede the end.
            while time.monotonic() < moment and num_cells(killed) < num_records + 2:
                time.sleep(0.005)
            num_at_work += process.is_alive()
    assert num_at_work >= NUM_KILLS - 2, "the grid was done too early to be killed"
    run(command, killed)
    states = tiny_grid.states(killed / "runs/grid")
    assert states == tiny_grid.states(calm / "runs/grid")
    assert list(states.values()) == ["done"] * 18
    for name in states:
        assert_same(killed / "runs/grid" / name, calm / "runs/grid" / name)


def num_cells(folder: Path) -> int:
    return len(tiny_grid.states(folder / "runs/grid"))


def assert_same(run: Path, other: Path) -> None:
    """Results, history, picture and weights, to the byte."""
    results = [json.loads((folder / "run.json").read_text())["results"] for folder in (run, other)]
    assert results[0] == results[1], run.name
    for name in ("metrics.csv", "best.ckpt", "samples.png"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), f"{run.name}/{name}"
