"""Where a training begins, and what it keeps."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from blippose.errors import UserError
from blippose.runs import BEST, checkpoint_file


@dataclass(frozen=True)
class FitOptions:
    """Where a training begins, and what it keeps beside its best weights.

    Args:
        ckpt_path: a full checkpoint to go on from, where the run has none of its own.
        init_from: a checkpoint whose weights alone are the start.
        keep_last: leave last.ckpt when the training is done.
        every_n_steps: steps of the optimizer between checkpoints to go on from; None: between
            epochs alone.
        ema_decay: of running averages of the weights, to be validated and kept; None: none.

    Raises:
        UserError: fewer than one step.
    """

    ckpt_path: Path | None = None
    init_from: Path | None = None
    keep_last: bool = False
    every_n_steps: int | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        if self.every_n_steps is not None and self.every_n_steps < 1:
            raise UserError(
                f"checkpoint.every_n_steps={self.every_n_steps}: expected 1 or more, or null"
            )

    def check_start(self) -> None:
        """Refuse what is no checkpoint at first sight; a run that goes on by its own needs none.

        Raises:
            UserError: it is none.
        """
        for key in ("ckpt_path", "init_from"):
            if (path := getattr(self, key)) is not None:
                _check_readable(key, path)


def _check_readable(key: str, path: Path) -> None:
    """Refuses what is not there, or no archive, which torch's checkpoints are."""
    if not zipfile.is_zipfile(checkpoint_file(path, key)):
        raise UserError(
            f"{key}={path}: is no checkpoint, or cut short; expected a file that `blippose train` "
            f"wrote, such as runs/demo/{BEST}"
        )
