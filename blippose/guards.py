"""What ends a training that would come to nothing: to no validation, or to no numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, final

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from blippose.errors import DivergedError, UserError


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
            raise _diverged("the training's loss is nan", trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the validation's.

        Raises:
            DivergedError: it is NaN.
        """
        loss = trainer.callback_metrics.get("val/loss")
        if loss is not None and bool(loss.isnan()):
            raise _diverged("the validation's loss is nan", trainer)


def check_finite(trainer: Trainer) -> None:
    """See that what is trained is still numbers, before a checkpoint to go on from is made of it.

    A loss may still be finite at the step whose gradients are NaN.

    Raises:
        DivergedError: a weight is NaN or infinite, on any process.
    """
    weights = [each for each in trainer.lightning_module.parameters() if each.requires_grad]
    finite = [each.detach().isfinite().all() for each in weights]
    is_lost = not bool(torch.stack(finite).all())  # a GPU is waited for once
    if trainer.strategy.reduce_boolean_decision(is_lost, all=False):
        raise _diverged("weights are nan or infinite", trainer)


def _diverged(what: str, trainer: Trainer) -> DivergedError:
    rates = {f"{group['lr']:.3g}" for each in trainer.optimizers for group in each.param_groups}
    return DivergedError(
        f"the training diverged: {what} at step {trainer.global_step} (rate "
        f"{', '.join(sorted(rates))}): a lower optimizer.lr, a longer scheduler.warmup, or "
        "trainer.gradient_clip_val=1 may hold it"
    )
