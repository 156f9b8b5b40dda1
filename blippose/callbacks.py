"""What happens beside training: a line an epoch, bars, sample pictures."""

from __future__ import annotations

import time
from typing import Any, final

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from blippose.contact_sheet import contact_sheet
from blippose.data import PoseDataModule
from blippose.model import Said
from blippose.validation_pictures import Heard, compare, spread
from blippose.wandb_logger import RowLogger

# MAE with the mean pose in place of what did not parse: a model that falls silent must not win.
MONITOR = "val/mae_all"
_SILENCE_S = 30.0  # at most without a word, where there are no bars
_NUM_LOGGED = 6  # pictures an epoch in W&B
_COLUMNS = ("image", "predicted and true", "MAE px", "joints", "caption")  # of their table
# Titles and digits of an epoch's line, which fits a terminal of 80 columns.
_SHOWN = {
    "train/loss": ("loss", 2),
    "val/mae": ("MAE px", 2),
    "val/epe": ("EPE", 2),
    "val/acc_1px": ("@1", 2),
    "val/acc_5px": ("@5", 2),
    "val/parse_rate": ("parsed", 2),
}


@final
class EpochLine(Callback):
    """One line an epoch, on a terminal above the bars and in a log alone.

    Where there are no bars, one more now and then in an epoch of minutes.
    """

    def __init__(self) -> None:
        self._started = self._told = time.monotonic()
        self._has_validated = False
        self._losses: list[Tensor] = []  # where they lie: a GPU is not waited for

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the time."""
        self._started = self._told = time.monotonic()
        self._has_validated = False
        self._losses.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a batch's loss: that of the last one alone says little of an epoch."""
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None:
            self._losses.append(loss)
        self._tell(trainer, f"batch {batch_idx + 1:,} of {trainer.num_training_batches:,}")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """A validation can take as long as the training."""
        if not trainer.sanity_checking:
            num_batches = sum(trainer.num_val_batches)
            self._tell(trainer, f"validation, batch {batch_idx + 1:,} of {num_batches:,}")

    @rank_zero_only
    def _tell(self, trainer: Trainer, where: str) -> None:
        now = time.monotonic()
        if trainer.progress_bar_callback is None and now - self._told >= _SILENCE_S:
            self._told = now
            print(f"{_epoch(trainer)}: {where}, {now - self._started:.0f} s", flush=True)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Metrics are of this epoch, and not of an earlier one, from here on."""
        self._has_validated = True

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Print the mean of this process's losses, and the epoch's validation where it had one."""
        values = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if self._has_validated
        }
        if self._losses:
            values["train/loss"] = float(torch.stack(self._losses).mean())
        parts = [_epoch(trainer)]
        parts += [
            f"{title} {values[key]:.{digits}f}"
            for key, (title, digits) in _SHOWN.items()
            if key in values
        ]
        print("  ".join([*parts, f"{time.monotonic() - self._started:.0f} s"]), flush=True)


def _epoch(trainer: Trainer) -> str:
    """Counted from 1."""
    of_all = "" if trainer.max_epochs == -1 else f"/{trainer.max_epochs}"
    return f"epoch {trainer.current_epoch + 1}{of_all}"


@final
class Bars(RichProgressBar):
    """A bar of training, and below it one of validation, which generates captions."""

    @property
    def validation_description(self) -> str:
        """Short, as a line of 80 characters holds both times, the speed and the loss too."""
        return "Validation"

    def _get_train_description(self, current_epoch: int) -> str:
        """The epoch, in the words of its line, as wide as the bar of validation."""
        return _epoch(self.trainer).capitalize().ljust(len(self.validation_description))

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """The loss; the rest stands in the epoch's line."""
        loss = trainer.callback_metrics.get("train/loss")
        return {} if loss is None else {"loss": float(loss)}


@final
class SamplePictures(Callback):
    """A few validation persons in W&B, as a sheet and a table, after each validation."""

    def __init__(self, data: PoseDataModule) -> None:
        self.data = data
        self._heard: dict[int, Heard] = {}  # by the person's index

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any
    ) -> None:
        """Hear what is said, so that it need not be asked again."""
        said: Said = outputs
        every = zip(said["captions"], said["parsed"], strict=True)
        self._heard.update(zip(said["index"].tolist(), every, strict=True))

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw and send them."""
        heard, self._heard = self._heard, {}
        if trainer.sanity_checking:
            return
        positions = spread(len(self.data.val_set), _NUM_LOGGED)
        seen = compare(pl_module, self.data, positions, heard)
        sheet = contact_sheet([one.tile for one in seen], [one.label for one in seen], columns=3)
        rows = [(one.name, one.tile, one.mae, one.num_joints, one.caption) for one in seen]
        for logger in trainer.loggers:
            if isinstance(logger, RowLogger):
                logger.log_pictures("val/samples", sheet, _COLUMNS, rows)
