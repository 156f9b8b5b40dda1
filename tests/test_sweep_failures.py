"""Cells that run out of memory, lose a process or an image: each leaves a trace, others go on."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import tiny_grid
import torch

from blippose.cli import main
from blippose.model import PoseCaptioner
from blippose.report.cells import Cell, CellState
from blippose.sweep import reasons

_HUGE = 10**13  # numbers in a layer, more than any machine's memory

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def traceback_of(cell: str) -> str:
    return Path(f"runs/grid/{cell}/traceback.txt").read_text()


def test_cell_too_large_for_memory_is_a_failed_one_among_others(
    release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The allocation is a real one, and refused."""
    axes = {"model.architecture.text.intermediate_size": [24, _HUGE, 32]}
    file = tiny_grid.write(tmp_path / "s.yaml", axes, tiny_grid.settings(release_root))
    content = json.loads(file.read_text())
    del content["settings"]["model.architecture.text.intermediate_size"]
    file.write_text(json.dumps(content))
    assert main(["sweep", str(file)]) == 1
    states = tiny_grid.states(Path("runs/grid"))
    names = [f"intermediate_size={size}" for size in (24, _HUGE, 32)]
    assert [states[name] for name in names] == ["done", "failed", "done"]
    assert "can't allocate memory" in traceback_of(names[1])
    printed = capfd.readouterr()
    assert "3 cells: 2 done, 1 failed" in printed.out
    assert all(name in printed.out.rpartition("state")[2] for name in names)
    assert "Traceback" not in printed.err


class Fates:
    """What befalls the training of each cell, by its seed; looks for what earlier ones left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: list[weakref.ref[Any]] = []
        self.alive: list[int] = []  # of earlier cells, as one begins
        self.spared = False
        self._step = PoseCaptioner.training_step
        monkeypatch.setattr(PoseCaptioner, "training_step", self._patched())

    def _patched(self) -> Any:
        fates = self

        def training_step(self: PoseCaptioner, batch: Any, batch_idx: int) -> Any:
            ballast = torch.zeros(10**7)  # is in the frames of the traceback
            if batch_idx == 0:
                fates.alive.append(sum(one() is not None for one in fates.left))
                fates.left += [weakref.ref(self), weakref.ref(ballast)]
            if batch_idx == 2 and not fates.spared:
                FATES.get(torch.initial_seed(), lambda: None)()
            return fates._step(self, batch, batch_idx)

        return training_step


def _out_of_gpu_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def _out_of_memory() -> None:
    bytearray(2**62)


def _lose_a_loader() -> None:
    [loader] = multiprocessing.active_children()
    os.kill(loader.pid or 0, signal.SIGKILL)
    os.waitid(os.P_PID, loader.pid or 0, os.WEXITED | os.WNOWAIT)  # torch is told of it here


FATES = {0: _out_of_gpu_memory, 1: _out_of_memory, 2: _lose_a_loader}


def test_cell_out_of_memory_leaves_a_trace_and_the_next_of_its_process_begins_clean(
    release_root: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the GPU, in Python, and as the kernel does it to a process that loads images."""
    fates = Fates(monkeypatch)
    common = tiny_grid.settings(release_root, data__num_workers=1, data__batch_size=2)
    file = tiny_grid.write(tmp_path / "s.yaml", {"seed": [0, 1, 2, 3]}, common)
    assert main(["sweep", str(file)]) == 1
    states = tiny_grid.states(Path("runs/grid"))
    assert states == {"seed=0": "failed", "seed=1": "failed", "seed=2": "failed", "seed=3": "done"}
    assert "torch.OutOfMemoryError: CUDA out of memory" in traceback_of("seed=0")
    assert traceback_of("seed=1").endswith("MemoryError\n")
    assert "RuntimeError: DataLoader worker (pid" in traceback_of("seed=2")
    assert fates.alive == [0, 0, 0, 0]
    printed = capfd.readouterr().out
    assert "4 cells: 1 done, 3 failed" in printed
    assert "seed=0: torch.OutOfMemoryError: CUDA out of memory" in printed
    fates.spared = True  # more memory was bought
    assert main(["sweep", str(file)]) == 0


def test_image_that_cannot_be_read_is_named_and_its_cell_alone_fails(
    release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(release_root, tmp_path / "broken")
    image = sorted((broken / "images").iterdir())[3]
    image.write_bytes(image.read_bytes()[:200])
    axes = {"data.root": [str(broken), str(release_root)]}
    common = tiny_grid.settings(release_root)
    del common["data.root"]
    file = tiny_grid.write(tmp_path / "s.yaml", axes, common)
    assert main(["sweep", str(file)]) == 1
    failed = [n for n, state in tiny_grid.states(Path("runs/grid")).items() if state == "failed"]
    assert len(failed) == 1
    assert image.name in traceback_of(failed[0])
    assert "2 cells: 1 done, 1 failed" in capfd.readouterr().out


@pytest.mark.slow
def test_process_killed_by_the_kernel_is_a_failed_cell_and_another_takes_its_place(
    release_root: Path, tmp_path: Path
) -> None:
    """As it does when memory runs out. Slow: two processes import torch, one after the other."""
    common = tiny_grid.settings(release_root)
    axes = {"trainer.max_epochs": [500, 1]}
    del common["trainer.max_epochs"]
    file = tiny_grid.write(tmp_path / "s.yaml", axes, common)
    words = ["sweep", str(file), "hydra/launcher=local", "hydra.launcher.jobs=1"]
    command = [sys.executable, "-m", "blippose", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as sweep:
        victim = Path("runs/grid/max_epochs=500")
        while not (victim / "last.ckpt").exists():
            assert sweep.poll() is None
            time.sleep(0.1)
        children = [path for path in Path("/proc").glob("[0-9]*") if _parent(path) == sweep.pid]
        [worker] = [path for path in children if "spawn_main" in (path / "cmdline").read_text()]
        os.kill(int(worker.name), signal.SIGKILL)
        printed, _ = sweep.communicate(timeout=200)
    assert sweep.returncode == 1, printed
    states = tiny_grid.states(Path("runs/grid"))
    assert states == {"max_epochs=1": "done", "max_epochs=500": "failed"}
    assert "killed by SIGKILL, as Linux does when memory runs out" in traceback_of(victim.name)
    assert "2 cells: 1 done, 1 failed" in printed
    assert "Traceback" not in printed


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=local"]], ids=["basic", "local"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=mpii", "data.root=nowhere"], "blippose: nowhere/mpii_human_pose"),
        (["model.weights=./nowhere"], "blippose: model.weights=./nowhere: no such folder"),
    ],
    ids=["data", "weights"],
)
def test_files_that_no_cell_would_find_are_told_once_and_leave_nothing(
    words: list[str],
    said: str,
    launcher: list[str],
    in_an_empty_folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    grid = ["train", "-m", "logger=csv", "seed=0,1,2", *words, *launcher]
    assert main([*grid, "dry_run=true"]) == 0, "to look at the cells needs no files"
    assert main(grid) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(said)
    assert list(in_an_empty_folder.iterdir()) == []


def test_a_reason_that_cells_share_is_told_once() -> None:
    cells = [
        Cell(name, Path(name), CellState.FAILED, reason)
        for name, reason in (("a", "no data"), ("b", "no memory"), ("c", "no data"))
    ]
    assert reasons(cells) == ["2 cells, a the first: no data", "b: no memory"]
