"""An epoch of the default run: what validation takes of it, and what a step waits for its batch.

    python benchmarks/epoch.py                   the default run, its release drawn
    python benchmarks/epoch.py --root FOLDER     a release that is there already
    python benchmarks/epoch.py decoding=free     another setting of `blippose train`

Seconds of the clock, of a training as users start it, with views drawn. A step waits from the end
of the one before, when all callbacks have heard of it, until its batch is fetched and moved; what
the model's device then takes to make the pixels of its views is work, and a column of its own.
Validation begins with the last step's end, and ends when its pictures and the best weights are
written. Fails where it takes more than a fifth of the epochs, or where steps wait for more than
2 % of their time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import lightning
import torch

from blippose.cli import main
from blippose.data import module
from blippose.data.batch import PoseBatch, ViewsBatch, with_pixels

MOST_VALIDATION, MOST_WAIT = 0.2, 0.02


class Clock:
    """Seconds of each epoch: its validation, its steps, their batches and pixels of views."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._began = self._last = 0.0

    def lap(self) -> float:
        """Seconds since it was asked last."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        last, self._last = self._last, time.perf_counter()
        return self._last - last

    def begin(self) -> None:
        """An epoch begins."""
        self.lap()
        self._began = self._last
        columns = ("epoch", "validation", "steps", "wait", "views")
        self.rows.append(dict.fromkeys(columns, 0.0))

    def add(self, what: str) -> None:
        """`what` has just ended."""
        self.rows[-1][what] += self.lap()

    def end(self) -> None:
        """An epoch ends."""
        self.lap()
        self.rows[-1]["epoch"] = self._last - self._began


class First(lightning.Callback):
    """Hears of each moment before the other callbacks."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, *_: Any) -> None:  # noqa: D102
        self.clock.begin()

    def on_train_batch_start(self, *_: Any) -> None:  # noqa: D102
        self.clock.add("wait")  # but for the views', which were counted as they were made


class Last(lightning.Callback):
    """Hears of each moment after the other callbacks."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, *_: Any) -> None:  # noqa: D102
        self.clock.lap()  # a checkpoint of the epoch before was written meanwhile

    def on_train_batch_end(self, *_: Any) -> None:  # noqa: D102
        self.clock.add("steps")

    def on_validation_end(self, *_: Any) -> None:  # noqa: D102
        if self.clock.rows:  # not where a sanity check goes ahead of training
            self.clock.add("validation")

    def on_train_epoch_end(self, *_: Any) -> None:  # noqa: D102
        self.clock.end()


def watched(words: list[str]) -> list[dict[str, float]]:
    """Train, and say how long each epoch took."""
    clock, fit = Clock(), lightning.Trainer.fit

    def timed_fit(trainer: Any, *args: Any, **kwargs: Any) -> None:
        trainer.callbacks[:] = [First(clock), *trainer.callbacks, Last(clock)]
        fit(trainer, *args, **kwargs)

    def timed_pixels(batch: PoseBatch | ViewsBatch) -> PoseBatch:
        if "views" not in batch:  # of validation
            return with_pixels(batch)
        clock.add("wait")
        made = with_pixels(batch)
        clock.add("views")
        return made

    with (
        mock.patch.object(lightning.Trainer, "fit", timed_fit),
        mock.patch.object(module, "with_pixels", timed_pixels),
    ):
        status = main(["train", "logger=csv", *words])
    if status:
        raise SystemExit(status)
    if not clock.rows:
        raise SystemExit("nothing was trained")
    return clock.rows


def measure(words: list[str], root: Path | None) -> bool:
    """Print what was measured; whether it is little enough."""
    with tempfile.TemporaryDirectory() as folder:
        root = root or Path(folder) / "release"
        rows = watched([f"data.root={root}", f"runs={folder}/runs", *words])
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    print("epoch  seconds  validation  share    steps    views     wait  share")
    for name, row in [*enumerate(rows, start=1), ("all", total)]:
        validation, wait = shares(row)
        print(
            f"{name:>5} {row['epoch']:>8.1f} {row['validation']:>11.1f} {validation:>6.3f} "
            f"{row['steps']:>8.1f} {row['views']:>8.2f} {row['wait']:>8.2f} {wait:>6.3f}"
        )
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    validation, wait = shares(total)
    return validation <= MOST_VALIDATION and wait <= MOST_WAIT


def shares(row: dict[str, float]) -> tuple[float, float]:
    """Of validation in the epoch, and of waiting in the steps."""
    steps = row["steps"] + row["views"] + row["wait"]
    return row["validation"] / row["epoch"], row["wait"] / steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="a release; default: one that is drawn")
    parser.add_argument("words", nargs="*", help="settings of blippose train")
    given = parser.parse_intermixed_args()
    if not measure(given.words, given.root and given.root.resolve()):
        raise SystemExit("validation takes more than a fifth, or steps wait for more than 2 %")
