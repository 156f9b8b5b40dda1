"""What happens beside training: a line an epoch, bars, sample pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch import Tensor

from blippose.caption import ParsedCaption
from blippose.contact_sheet import contact_sheet, pose_tile
from blippose.data import PoseDataModule, Sample
from blippose.errors import DivergedError, UserError
from blippose.model import PoseCaptioner
from blippose.pose import Pose
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
class ValidationDue(Callback):
    """Refuses, before its first step, a training that would end before any validation.

    Args:
        best: the weights of the best epoch; where they are, a validation has come already.
    """

    def __init__(self, best: Path) -> None:
        self.best = best

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Count to the next validation.

        Raises:
            UserError: the training ends before it.
        """
        pending = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
        if self.best.is_file() or pending.ready > pending.completed:  # the run was cut off in it
            return
        epochs, steps = _until_validation(trainer)
        for key, most, due in (
            ("max_epochs", trainer.max_epochs, epochs),
            ("max_steps", trainer.max_steps, steps),
        ):
            if most not in (None, -1) and due > most:
                raise UserError(
                    f"trainer.{key}={most}: training would end before its first validation, "
                    f"which comes at step {steps} in epoch {epochs} by "
                    "trainer.check_val_every_n_epoch and val_check_interval"
                )


def _until_validation(trainer: Trainer) -> tuple[int, int]:
    """The epoch and the step of the optimizer that end in the next validation, counted from 1."""
    batches, every = int(trainer.num_training_batches), trainer.check_val_every_n_epoch
    due = int(trainer.val_check_batch or 1)  # batches between validations; None: by the clock
    progress = trainer.fit_loop.epoch_loop.batch_progress
    per_step = trainer.accumulate_grad_batches
    done = progress.current.ready % batches  # of an epoch that was cut off
    if every is None:  # counted over epochs
        whole, at = divmod(done + due - progress.total.ready % due - 1, batches)
        at += 1
    else:
        whole = -(trainer.current_epoch + 1) % every
        at = due if whole else (done // due + 1) * due
        if at > batches:  # the rest of this epoch has none
            whole, at = every, due
    steps = whole * math.ceil(batches / per_step) + math.ceil(at / per_step)
    begun = math.ceil(done / per_step)
    return trainer.current_epoch + whole + 1, trainer.global_step + steps - begun


@final
class FiniteLoss(Callback):
    """Ends a training whose loss is no number: from there on all weights are none.

    Before a checkpoint or a validation's figures are made of such weights: they would say some
    pose of every image.
    """

    def __init__(self) -> None:
        self._loss: Tensor | None = None  # where it lies: a GPU is not waited for

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss as often as it is logged: a GPU is not waited for at every step.

        Where a scaler skips steps that are no numbers (float16), validation alone decides.

        Raises:
            DivergedError: it is NaN.
        """
        self._loss = outputs["loss"].detach()
        if trainer.global_step % (getattr(trainer, "log_every_n_steps", 0) or 50) == 0:
            self._check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the last loss before it.

        Raises:
            DivergedError: it is NaN.
        """
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        has_scaler = getattr(trainer.precision_plugin, "scaler", None) is not None
        if self._loss is None or has_scaler:
            return
        is_nan = bool(self._loss.isnan())
        if trainer.strategy.reduce_boolean_decision(is_nan, all=False):
            raise _diverged("the training's loss", trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the validation's.

        Raises:
            DivergedError: it is NaN.
        """
        loss = trainer.callback_metrics.get("val/loss")
        if loss is not None and bool(loss.isnan()):
            raise _diverged("the validation's loss", trainer)


def _diverged(what: str, trainer: Trainer) -> DivergedError:
    rates = {f"{group['lr']:.3g}" for each in trainer.optimizers for group in each.param_groups}
    return DivergedError(
        f"the training diverged: {what} is nan at step {trainer.global_step} (rate "
        f"{', '.join(sorted(rates))}): a lower optimizer.lr, a longer scheduler.warmup, or "
        "trainer.gradient_clip_val=1 may hold it"
    )


@final
class Bars(RichProgressBar):
    """A bar of training, and below it one of validation, which generates captions."""

    @property
    def validation_description(self) -> str:
        """What takes so long."""
        return "Validation: generating captions"

    def _get_train_description(self, current_epoch: int) -> str:
        """As in the epoch's line."""
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

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw and send them."""
        seen = compare(pl_module, self.data, spread(len(self.data.val_set), _NUM_LOGGED))
        sheet = contact_sheet([one.tile for one in seen], [one.label for one in seen], columns=3)
        rows = [(one.name, one.tile, one.mae, one.num_joints, one.caption) for one in seen]
        for logger in trainer.loggers:
            if isinstance(logger, RowLogger):
                logger.log_pictures("val/samples", sheet, _COLUMNS, rows)


def spread(num: int, wanted: int) -> list[int]:
    """`wanted` positions, or fewer, evenly over `num`."""
    positions = np.linspace(0, num - 1, min(num, wanted)).round()
    return sorted({int(position) for position in positions})


def write_samples(
    path: Path, captioner: PoseCaptioner, data: PoseDataModule, num: int = 12
) -> None:
    """A contact sheet of validation images with predicted and true skeletons."""
    seen = compare(captioner, data, spread(len(data.val_set), num))
    source = "synthetic people" if data.manifest["synthetic"] else "MPII"
    sheet = contact_sheet(
        [one.tile for one in seen],
        [one.label for one in seen],
        title="Validation images",
        subtitle=f"{source}; MAE in input pixels of {captioner.frame.input_size}",
    )
    Image.fromarray(sheet).save(path)


@dataclass(frozen=True)
class Compared:
    """What the model says of a validation person.

    Args:
        name: of the image.
        tile: the image with the predicted and the true skeleton.
        caption: as it was read out.
        mae: in input pixels over the joints that parsed; None without one.
        num_joints: that parsed, of those that are annotated.
    """

    name: str
    tile: UInt8[np.ndarray, "_ _ 3"]
    caption: str
    mae: float | None
    num_joints: int

    @property
    def label(self) -> str:
        """Two lines below the picture."""
        if self.mae is None:
            return f"{self.name}\nno joint parsed"
        return f"{self.name}\nMAE {self.mae:.1f} px, {self.num_joints} joints"


def compare(
    captioner: PoseCaptioner, data: PoseDataModule, positions: Sequence[int]
) -> list[Compared]:
    """Validation persons as the model sees them."""
    samples = [data.val_set[position] for position in positions]
    batch = data.collator(samples)
    was_training = captioner.training
    captioner.eval()
    with torch.no_grad():
        said = captioner.say(batch["image"].to(captioner.device))
    captioner.train(was_training)
    every = zip(samples, said.captions, said.parsed, strict=True)
    return [_compared(data, *one) for one in every]


def _compared(
    data: PoseDataModule, sample: Sample, caption: str, parsed: ParsedCaption
) -> Compared:
    name = data.persons[sample.index].image_name
    with Image.open(data.release_source.images / name) as image:
        pixels = np.asarray(image.convert("RGB"))
    tile = pose_tile(pixels, Pose.of(sample.crop.to_img(parsed.pose.xy)), sample.pose_img)
    both = parsed.pose.valid & sample.pose_input.valid
    errors = np.abs(parsed.pose.xy - sample.pose_input.xy)[both]
    mae = float(errors.mean()) if both.any() else None
    return Compared(name, tile, caption, mae, int(both.sum()))
