"""Trainings of a second, in processes that can be killed; see forked.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import forked


def tiny(release: Path, logger: str = "csv") -> list[str]:
    """Settings of a run that draws all that can be drawn, and takes a second."""
    vision, text = "model.architecture.vision", "model.architecture.text"
    layer = ("num_hidden_layers=1", "hidden_size=24", "intermediate_size=24")
    words = [f"{side}.{setting}" for side in (vision, text) for setting in layer]
    words += ["model.weights=random", "model.caption.input_size=32", f"{vision}.image_size=32"]
    words += [f"{text}.encoder_hidden_size=24", f"+{text}.hidden_dropout_prob=0.1"]
    words += [f"data.root={release}", "data.synthetic=null", "data.batch_size=4"]
    words += ["trainer.max_epochs=2", "trainer.log_every_n_steps=1", "optimizer.lr=1e-2"]
    return [*words, f"logger={logger}", "keep_last=true", "ema_decay=0.9"]


@contextmanager
def trainings_in(folder: Path, common: list[str]) -> Iterator[Trainings]:
    """Trainings; what those that were killed have left running is killed at the end."""
    trainings = Trainings(folder, common)
    try:
        yield trainings
    finally:
        for group in trainings.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


class Trainings:
    """One after the other, begun in `folder`; they print into its `log`."""

    def __init__(self, folder: Path, common: list[str]) -> None:
        self.folder, self.common = folder, common
        self.groups: list[int] = []  # of processes
        forked.begin(["--help"], folder).join()  # what is timed must not wait for imports

    @property
    def log(self) -> str:
        """What all of them have printed."""
        return (self.folder / "log").read_text()

    def train(
        self,
        *words: str,
        kill_after: float | None = None,
        die_at: int = 0,
        ask_at: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """The exit status; negative is the signal that ended it.

        Args:
            words: settings beside the common ones.
            kill_after: seconds until SIGKILL.
            die_at: how many times a checkpoint is opened to write, or renamed, until SIGKILL.
            ask_at: the same until SIGTERM.
            environment: variables beside this process's own.
        """
        fate = None
        if number := die_at or ask_at:
            fate = forked.Fate(number, signal.SIGKILL if die_at else signal.SIGTERM)
        command = ["train", *self.common, *words]
        process = forked.begin(command, self.folder, environment, fate)
        assert process.pid is not None
        self.groups.append(process.pid)
        try:
            process.join(kill_after)
        finally:  # its own children go on, as W&B's service does after a kill
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode
