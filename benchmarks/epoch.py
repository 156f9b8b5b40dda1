"""An epoch of the default run: how much of it is validation, and what a step waits for its batch.

    python benchmarks/epoch.py                                the default run, its release drawn
    python benchmarks/epoch.py --root FOLDER                  a release that is there already
    python benchmarks/epoch.py decoding=free trainer.max_epochs=2   other settings of blippose train

Seconds of the clock, of a training as users start it: the pixels cut before, the persons' views drawn,
validation by the default decoding. What a step waits is all between the end of one and the start of
the next: fetching, moving and augmenting a batch. Fails where validation takes more than a fifth of the
epochs, or where steps wait for more than 2 % of their time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

import lightning

from blippose.cli import main

MOST_VALIDATION, MOST_WAIT = 0.2, 0.02


class Clock(lightning.Callback):
    """Seconds of each epoch, and of its validation, its steps and their batches."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._began = self._last = 0.0

    def _lap(self) -> float:
        """Seconds since it was asked last."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last

    def on_train_epoch_start(self, *_: Any) -> None:
        self._lap()
        self._began = self._last
        self.rows.append(dict.fromkeys(("epoch", "validation", "steps", "wait"), 0.0))

    def on_train_batch_start(self, *_: Any) -> None:
        self.rows[-1]["wait"] += self._lap()

    def on_train_batch_end(self, *_: Any) -> None:
        self.rows[-1]["steps"] += self._lap()

    def on_validation_start(self, *_: Any) -> None:
        self._lap()

    def on_validation_end(self, *_: Any) -> None:
        self.rows[-1]["validation"] += self._lap()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.rows[-1]["epoch"] = time.perf_counter() - self._began


def watched(words: list[str]) -> list[dict[str, float]]:
    """Train, and say how long each epoch took."""
    clock, fit = Clock(), lightning.Trainer.fit

    def timed_fit(trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        trainer.callbacks.insert(0, clock)
        fit(trainer, *args, **kwargs)

    lightning.Trainer.fit = timed_fit  # type: ignore[method-assign]
    try:
        status = main(["train", "logger=csv", "name=epoch", *words])
    finally:
        lightning.Trainer.fit = fit  # type: ignore[method-assign]
    if status:
        raise SystemExit(status)
    return clock.rows


def measure(words: list[str], root: str | None) -> bool:
    """Print what was measured; whether it is little enough."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"data.root={root or folder + '/release'}"
        rows = watched([place, f"runs={folder}/runs", *words])
    print(f"{'epoch':>5} {'seconds':>8} {'validation':>11} {'share':>6} {'steps':>7} {'wait':>7} {'share':>6}")
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    for name, row in [*enumerate(rows, start=1), ("all", total)]:
        step = row["steps"] + row["wait"]
        print(
            f"{name:>5} {row['epoch']:>8.1f} {row['validation']:>11.1f} "
            f"{row['validation'] / row['epoch']:>6.3f} {row['steps']:>7.1f} {row['wait']:>7.2f} "
            f"{row['wait'] / step:>6.3f}"
        )
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    share = total["validation"] / total["epoch"]
    return share <= MOST_VALIDATION and total["wait"] / (total["steps"] + total["wait"]) <= MOST_WAIT


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", help="a release; default: one that is drawn")
    parser.add_argument("words", nargs="*", help="settings of blippose train")
    given = parser.parse_args()
    if not measure(given.words, given.root and os.path.abspath(given.root)):
        raise SystemExit("validation takes more than a fifth, or steps wait for more than 2 %")
