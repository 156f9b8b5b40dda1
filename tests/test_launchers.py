"""Every launcher that runs cells in processes of its own: one is killed, the grid goes on.

Slurm has its own test; Ray is tested where it is installed, which `make test-ray` does.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_grid

PATIENCE = 600  # s, on a machine that others use
# Epochs of a fifth of a second: the first cell is long enough to be caught at work.
AXES = {"trainer.max_epochs": [20, 1, 2]}
KILLED, *OTHERS = (f"max_epochs={number}" for number in AXES["trainer.max_epochs"])
LAUNCHERS = {
    "local": ["hydra/launcher=local", "hydra.launcher.jobs=2"],
    "ray": ["hydra/launcher=ray", "++hydra.launcher.init.num_cpus=2"],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/locks").is_file(), reason="asks Linux who holds a lock"),
]


def holder(path: Path) -> int | None:
    """The process that holds a lock."""
    inode = str(path.stat().st_ino) if path.is_file() else ""
    for line in Path("/proc/locks").read_text().splitlines():
        pid, place = line.split()[-4:-2]
        if place.rpartition(":")[2] == inode:
            return int(pid)
    return None


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "blippose", "sweep", "sweep.yaml", *words],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def run(folder: Path, *words: str) -> tuple[int, str]:
    return start(folder, *words).wait(PATIENCE), (folder / "log").read_text()


def kill_at_work(sweep: subprocess.Popen[bytes], folder: Path) -> None:
    """The process of the first cell, once it has a checkpoint."""
    cell = folder / "runs/grid" / KILLED
    end = time.monotonic() + PATIENCE
    while not (cell / "last.ckpt").is_file():
        assert sweep.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.05)
    pid = holder(cell / ".lock")
    assert pid is not None, "the cell was done before it could be killed"
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_cell_stops_no_other_and_the_same_command_goes_on(
    launcher: str, release_root: Path, tmp_path: Path
) -> None:
    if launcher == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: `make test-ray`")
    words = LAUNCHERS[launcher]
    common = tiny_grid.settings(release_root)
    del common["trainer.max_epochs"]
    tiny_grid.write(tmp_path / "sweep.yaml", AXES, common)
    sweep = start(tmp_path, *words)
    kill_at_work(sweep, tmp_path)
    status, said = sweep.wait(PATIENCE), (tmp_path / "log").read_text()
    assert status == 1, said
    assert f"blippose: {KILLED}: " in said
    done = dict.fromkeys(OTHERS, "done")
    assert tiny_grid.states(tmp_path / "runs/grid") == done | {KILLED: "failed"}, said
    status, said = run(tmp_path, *words)
    assert status == 0, said
    assert "3 cells: 2 done, 1 failed" in said
    assert "3 cells: 3 done" in said
    record = (tmp_path / "runs/grid" / KILLED / "metrics.csv").read_text().splitlines()
    assert len({line.split(",")[0] for line in record[1:]}) == AXES["trainer.max_epochs"][0]
    status, said = run(tmp_path, *words)
    assert status == 0, said
    assert "ended" not in said, "a launcher was started for nothing"
    status, said = run(tmp_path, *words, "optimizer.lr=1")
    assert status == 2
    assert "holds a run of another config (optimizer.lr: 2e-5 -> 1)" in said


SLOW_TO_LEAVE = """
import os, signal, time
from pathlib import Path
from blippose.cli.launchers.local import LocalLauncher

HERE = Path(__file__).parent

class Cell:
    def __init__(self, name):
        self.name = name

    def __call__(self):
        signal.signal(signal.SIGTERM, self.leave)
        (HERE / f"began-{self.name}").touch()
        time.sleep(600)

    def leave(self, *_):
        (HERE / f"asked-{self.name}").touch()
        until = time.monotonic() + 45
        while len(list(HERE.glob("asked-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        os._exit(75)

class Launcher(LocalLauncher):
    sweep_folder = HERE

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # deaf behind a shell's &
    Launcher(2, 1, None).run([Cell("a"), Cell("b")])
"""


def test_cells_that_are_asked_to_end_write_their_checkpoints_at_once(tmp_path: Path) -> None:
    """One after another, the last might be killed before it is asked."""
    (tmp_path / "slow.py").write_text(SLOW_TO_LEAVE)
    command = [sys.executable, tmp_path / "slow.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as grid:
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("began-*"))) < 2:
            assert grid.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        grid.terminate()
        said, _ = grid.communicate(timeout=30)
        assert grid.returncode == 75
    assert sorted(said.splitlines()[2:]) == ["a: stopped", "b: stopped"]
    assert len(list(tmp_path.glob("asked-*"))) == 2


@pytest.mark.parametrize("seconds", [0, 0.03, 0.1, 0.3])
def test_ctrl_c_is_quiet_however_early_it_comes(seconds: float, tmp_path: Path) -> None:
    """The terminal sends it to every process, also to one whose Python has hardly begun."""
    (tmp_path / "slow.py").write_text(SLOW_TO_LEAVE)
    command = [sys.executable, "-u", tmp_path / "slow.py"]
    grid = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert grid.stdout is not None
    while "b: started" not in grid.stdout.readline():
        pass
    time.sleep(seconds)
    os.killpg(grid.pid, signal.SIGINT)
    said, complaints = grid.communicate(timeout=50)
    assert "ended" not in said
    assert complaints.count("Traceback") == 1, complaints  # this program's own, at its end
