"""What a grid in one process saves: seconds a cell outside fitting, and memory from cell to cell.

    python benchmarks/sweep.py            18 cells of the shipped tiny BLIP in one process
    python benchmarks/sweep.py --apart 3  and 3 of them as processes of their own, for comparison

Fails if a cell takes more than 2 s beside its fitting, or if the process holds 10 % more after the
last cell than after the second. What a loaded machine makes of the times says nothing.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from process import held_mb

from blippose.cli import main
from blippose.cli.job import Job

SIZES, RATES, OPTIMIZERS = (1, 2, 4), ("5e-6", "2e-5", "5e-5"), ("adam", "adamw")
COMMON = ["data.synthetic.num_persons=40", "trainer.max_epochs=1", "logger=csv"]
MOST_SECONDS, MOST_GROWTH = 2.0, 1.10


class Clock:
    """Times each cell as a whole, and what of it is Trainer.fit."""

    def __init__(self) -> None:
        self.cells: list[tuple[float, float, float]] = []  # whole, fitting, MB after it
        self._fitting = 0.0

    def watch(self) -> None:
        """Wrap what is timed."""
        fit, job = lightning.Trainer.fit, Job.__call__

        def timed_fit(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return fit(*args, **kwargs)
            finally:
                self._fitting += time.perf_counter() - began

        def timed_job(own: Job, config: Any) -> Any:
            began, self._fitting = time.perf_counter(), 0.0
            value = job(own, config)
            whole = time.perf_counter() - began
            self.cells.append((whole, self._fitting, held_mb()))
            return value

        lightning.Trainer.fit = timed_fit  # type: ignore[method-assign]
        Job.__call__ = timed_job  # type: ignore[assignment,method-assign]


def together(folder: Path) -> list[tuple[float, float, float]]:
    """All cells in this process."""
    clock = Clock()
    clock.watch()
    axes = [f"data.batch_size={','.join(map(str, SIZES))}", f"optimizer.lr={','.join(RATES)}"]
    axes.append(f"optimizer={','.join(OPTIMIZERS)}")
    places = [f"runs={folder}/runs", f"data.root={folder}/data"]
    if main(["train", "-m", *COMMON, *places, *axes]):
        raise SystemExit("not all cells are done")
    return clock.cells


def apart(folder: Path, num: int) -> list[float]:
    """Seconds of each of the first cells as a process of its own."""
    seconds = []
    cells = itertools.islice(itertools.product(SIZES, RATES, OPTIMIZERS), num)
    for number, (size, rate, optimizer) in enumerate(cells):
        words = [f"data.batch_size={size}", f"optimizer.lr={rate}", f"optimizer={optimizer}"]
        places = [f"runs={folder}/apart", f"data.root={folder}/data", f"name=cell{number}"]
        began = time.perf_counter()
        command = [sys.executable, "-m", "blippose", "train", *COMMON, *places, *words]
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return seconds


def measure(num_apart: int) -> int:
    """Print what was measured; 1 if it is too much."""
    with tempfile.TemporaryDirectory() as name:
        cells = together(Path(name))
        alone = apart(Path(name), num_apart)
    beside = [whole - fitting for whole, fitting, _ in cells]
    growth = cells[-1][2] / cells[1][2]
    print(f"\n{len(cells)} cells in one process, torch {torch.__version__}")
    print("cell  whole s  fitting s  beside it s  resident MB")
    for number, ((whole, fitting, memory), rest) in enumerate(zip(cells, beside, strict=True), 1):
        print(f"{number:4}  {whole:7.2f}  {fitting:9.2f}  {rest:11.2f}  {memory:11.0f}")
    later = sorted(beside[1:])
    middle, most = later[len(later) // 2], later[-1]
    print(f"beside fitting, after the first cell: {middle:.2f} s median, {most:.2f} s at most")
    print(f"resident after the last cell: {growth:.3f} of that after the second")
    if alone:
        within = [cell[1] for cell in cells[: len(alone)]]
        print(
            f"as processes of their own: {sum(alone) / len(alone):.2f} s a cell, of which "
            f"{sum(within) / len(within):.2f} s are fitting"
        )
    return int(middle > MOST_SECONDS or growth > MOST_GROWTH)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--apart", type=int, default=0, help="cells to run as processes as well")
    sys.exit(measure(parser.parse_args().apart))
