"""Which weights of a training are kept as its best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from blippose.callbacks import MONITOR
from blippose.checkpoint_files import WholeFiles
from blippose.checkpoints import BestCheckpoint


class Measured(Trainer):
    """A Trainer that has measured what it is told, and notes the scores of weights it keeps."""

    def __init__(self) -> None:
        super().__init__(accelerator="cpu", logger=False, enable_checkpointing=False)
        self.score = math.nan
        self.kept: list[float] = []

    @property
    def callback_metrics(self) -> dict[str, torch.Tensor]:
        return {MONITOR: torch.tensor(self.score)}

    def save_checkpoint(
        self, filepath: Any, weights_only: Any = None, storage_options: Any = None
    ) -> None:
        self.kept.append(self.score)


def kept_of(scores: list[float], folder: Path) -> list[float]:
    trainer, best = Measured(), BestCheckpoint(folder / "best.ckpt", WholeFiles())
    for score in scores:
        trainer.score = score
        best.on_validation_end(trainer, None)
    return trainer.kept


def test_the_best_weights_are_of_the_least_error_and_of_equals_the_first(tmp_path: Path) -> None:
    assert kept_of([5.0, 3.0, 4.0, 3.0], tmp_path) == [5.0, 3.0]


def test_an_error_that_is_no_number_is_never_less_than_one_that_is(tmp_path: Path) -> None:
    """There are weights to use all the same where no other came."""
    kept = kept_of([math.nan, math.nan, 5.0, math.nan, 3.0], tmp_path)
    assert math.isnan(kept[0])
    assert kept[1:] == [5.0, 3.0]
