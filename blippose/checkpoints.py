"""What a run keeps of its weights: the best to use, the last to go on from.

A last checkpoint is written between two steps, before a validation or between two epochs, once
all that came before is logged; from it the run ends as if it had never stopped, bit for bit on a
CPU. Lightning's own ModelCheckpoint saves in the middle of a step (the step's row of metrics.csv
comes later), passes over a validation that was due, and forgets the best of a folder that moved.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import Any, final

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from blippose import checkpoint_files, runs
from blippose.callbacks import MONITOR
from blippose.checkpoint_files import WholeFiles
from blippose.errors import UserError, first_line, warn
from blippose.guards import check_finite
from blippose.loggers import CSVLogger
from blippose.preemption import TOLD, Preempted, StopSignals
from blippose.random_state import of_all_processes, random_state, restore_random_state
from blippose.runs import Run
from blippose.wandb_logger import RowLogger

_RESUME = "resume"  # a checkpoint's key for what Lightning does not keep
_EMPTY = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


@final
class BestCheckpoint(Checkpoint):
    """Weights of the epoch with the least `MONITOR`.

    What is the best so far the file itself says, so that it may move with its folder.
    """

    def __init__(self, path: Path, files: WholeFiles) -> None:
        self.path, self.files = path, files
        self._least: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at what an earlier process has left."""
        self._least = _score(self.path) if self.path.is_file() else None

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the weights if they are better.

        Raises:
            UserError: they cannot be written.
        """
        if trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[MONITOR])
        score = math.inf if math.isnan(value) else value
        if not trainer.strategy.broadcast(self._least is None or score < self._least):
            return
        trainer.save_checkpoint(self.path, weights_only=True)
        if failure := trainer.strategy.broadcast(self.files.failure):
            raise UserError(
                f"{self.path}: cannot be written ({failure}); what was there before is still "
                "there: make room, and give the same command again"
            )
        self._least = score


def _score(path: Path) -> float | None:
    """The monitored value of the weights in a file; None, in one line, where it holds none."""
    try:
        value = checkpoint_files.read(path, mmap=True)["blippose"]["metrics"][MONITOR]
    except Exception as error:  # damaged files raise nearly anything
        _say(f"{path}: not a checkpoint of this model ({first_line(error)}); the next is the best")
        return None
    return math.inf if math.isnan(value) else float(value)


class _Moment(Enum):
    """Where a run stands when its last checkpoint is written."""

    STEP = "between two steps"
    VALIDATION = "before a validation"
    EPOCH = "between two epochs"


@final
class LastCheckpoint(Checkpoint):
    """Everything to go on from, after every epoch, every few steps, and when a signal asks.

    Args:
        run: whose it is.
        files: what writes it.
        signals: what may ask the run to end.
        every_n_steps: steps of the optimizer between checkpoints; None: between epochs alone.
        is_first: whether last.ckpt is not there or cannot be used, and so may not take the place
            of the one before it.
    """

    def __init__(
        self,
        run: Run,
        files: WholeFiles,
        signals: StopSignals,
        every_n_steps: int | None,
        is_first: bool,
    ) -> None:
        self.run, self.files, self.signals = run, files, signals
        self.every_n_steps, self.is_first = every_n_steps, is_first
        self._moment = _Moment.EPOCH
        self._step = 0  # of the optimizer, after the batch before
        self._is_due = self._is_changed = self._has_validated = False
        self._is_between_steps = True
        self._restored: dict[str, Any] | None = None
        self._is_lifted = False  # max_steps, for a validation that is due after the last step
        self._state_before_validation: dict[str, Any] = {}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Take what Lightning leaves: random states, metrics.csv, the metrics logged last."""
        self._restored = checkpoint.get(_RESUME)
        if self._restored is None:
            return
        if _is_before_validation(checkpoint) and checkpoint["global_step"] == trainer.max_steps:
            trainer.fit_loop.epoch_loop.max_steps += 1  # or Lightning would end without it
            self._is_lifted = True
        if self._restored["config_hash"] == self.run.config_hash:
            for logger in trainer.loggers:
                if isinstance(logger, CSVLogger | RowLogger):
                    logger.go_on(self._restored["rows"])

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen, and be where the checkpoint was, once nothing draws before the first step.

        What was asked to end before ends here.
        """
        self.signals.listen()
        if trainer.received_sigterm:  # since Lightning began to listen; it would end after a step
            self.signals.heard = self.signals.heard or signal.SIGTERM
        self._step = trainer.global_step
        if self._restored is not None:
            self._go_on(trainer, self._restored)
            self._restored = None
        self._offer(trainer, _Moment.EPOCH)

    def _go_on(self, trainer: Trainer, restored: dict[str, Any]) -> None:
        metrics = {key: torch.tensor(value) for key, value in restored["metrics"].items()}
        trainer.callback_metrics.update(metrics)
        if len(restored["random"]) == trainer.world_size:
            restore_random_state(restored["random"][trainer.global_rank])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two steps: the one before is logged by now."""
        # After a validation in mid-epoch Lightning would count a step twice: one step later.
        has_validated, self._has_validated = self._has_validated, False
        if batch_idx > 0 and self._is_between_steps and not has_validated:
            self._offer(trainer, _Moment.STEP)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the optimizer's steps; between those of one step gradients are pending."""
        self._is_between_steps = trainer.global_step > self._step
        self._step = trainer.global_step
        self._is_changed = True
        if self.every_n_steps and self._is_between_steps:
            self._is_due |= self._step % self.every_n_steps == 0

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Before a validation, to which the run comes back if it is cut off in it."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._state_before_validation = random_state()
            if self._is_between_steps:
                self._offer(trainer, _Moment.VALIDATION)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any
    ) -> None:
        """A signal does not wait for a long validation; the weights are those from before it."""
        # Processes may have batches more or less than others, and cannot agree here.
        alone = trainer.world_size == 1 and not trainer.sanity_checking
        if alone and self.signals.heard and self._is_between_steps:
            self._offer(trainer, _Moment.VALIDATION)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Note it, and let a training end that was held up for it alone."""
        if trainer.sanity_checking:
            return
        self._has_validated = self._is_changed = True
        if self._is_lifted:
            trainer.fit_loop.epoch_loop.max_steps -= 1
            self._is_lifted = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Between two epochs."""
        self._has_validated = False
        self._is_due |= self._is_changed
        self._offer(trainer, _Moment.EPOCH)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """After the last epoch: what is left needs no training."""
        self._is_due = True
        self._offer(trainer, _Moment.EPOCH)

    def _offer(self, trainer: Trainer, moment: _Moment) -> None:
        """Write a checkpoint if one is due, and end the run if a signal asked for it."""
        is_asked = trainer.strategy.reduce_boolean_decision(self.signals.heard is not None, False)
        if self._is_changed and (self._is_due or is_asked):
            self._moment = moment
            self._write(trainer)
        if is_asked:
            self._end(trainer)

    def _write(self, trainer: Trainer) -> None:
        check_finite(trainer)
        last, previous = self.run.folder / runs.LAST, self.run.folder / runs.PREVIOUS
        trainer.save_checkpoint(last, storage_options=None if self.is_first else previous)
        failure = trainer.strategy.broadcast(self.files.failure)
        self._is_due = self._is_changed = False
        if failure is None:
            self.is_first = False
        else:
            kept = self._kept
            stays = f"{kept.name} stays as it was" if kept else "there is none to go on from"
            _say(f"{last}: cannot be written ({failure}); {stays}, and training goes on")

    def _end(self, trainer: Trainer) -> None:
        heard = self.signals.heard
        name = heard.name if heard else "a signal to another process"
        kept = self._kept
        where = f"goes on from {kept}" if kept else "begins again: there is no checkpoint"
        _say(f"{name}: stopped at step {trainer.global_step}; the same command {where}")
        if heard is signal.SIGINT:
            raise KeyboardInterrupt(TOLD)
        raise Preempted

    @property
    def _kept(self) -> Path | None:
        """The newest checkpoint that can be used."""
        unusable = [self.run.folder / runs.LAST] if self.is_first else []
        return next((path for path in self.run.checkpoints if path not in unusable), None)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning leaves out, and say where the run stands in its own terms."""
        is_before_validation = self._moment is _Moment.VALIDATION
        state = self._state_before_validation if is_before_validation else random_state()
        loops = checkpoint["loops"]["fit_loop"]
        _settle(loops, self._moment)
        num_epochs, num_batches = (
            loops[key]["current"]["processed"]
            for key in ("epoch_progress", "epoch_loop.batch_progress")
        )
        position = [num_epochs, 0 if self._moment is _Moment.EPOCH else num_batches]
        data = type(trainer.datamodule).__qualname__  # type: ignore[attr-defined]  # ours
        checkpoint[data]["position"] = position
        checkpoint[_RESUME] = {
            "config_hash": self.run.config_hash,
            "random": of_all_processes(state),
            "rows": [row for logger in _tables(trainer) for row in logger.rows],
            "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
        }


def _settle(loops: dict[str, Any], moment: _Moment) -> None:
    """Set Lightning's counters so that it goes on with what comes next, and with that alone.

    What is begun and not done is counted as not begun, but for a validation: one that seems begun
    is run whole, any other would be passed over.
    """
    batch, epoch = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    for progress in (batch, epoch) if moment is _Moment.EPOCH else (batch,):
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(counts, counts["completed"]))
    if moment is _Moment.STEP:  # of the batch that has not begun
        batch["is_last_batch"] = False
    validation = loops["epoch_loop.val_loop.batch_progress"]
    validation["total"] = dict(_BEGUN if moment is _Moment.VALIDATION else _EMPTY)
    validation["current"] = dict(_EMPTY)
    validation["is_last_batch"] = False


def _is_before_validation(checkpoint: dict[str, Any]) -> bool:
    counts = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["total"]
    return bool(counts == _BEGUN)


def _tables(trainer: Trainer) -> list[CSVLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]


def usable(run: Run, accepts: Callable[[dict[str, Any]], str | None]) -> Path | None:
    """The newest checkpoint of a run that can be used; names each that cannot, in a line.

    Args:
        run: that was cut off, or is new.
        accepts: what speaks against weights, or None.

    Raises:
        UserError: there are checkpoints, and none can be used.
    """
    found = run.checkpoints
    for path, other in zip_longest(found, found[1:]):
        reason = _objection(path, run, accepts)
        if reason is None:
            return path
        if other is None:
            raise UserError(
                f"{path}: {reason}; nothing is left to go on from. Remove {run.folder} to begin "
                "again"
            )
        _say(f"{path}: {reason}; {other.name} is used instead")
    return None


def _objection(
    path: Path, run: Run, accepts: Callable[[dict[str, Any]], str | None]
) -> str | None:
    if reason := checkpoint_files.damage(path):
        return reason
    try:
        loaded = checkpoint_files.read(path, mmap=True)
        if "optimizer_states" not in loaded:
            return "holds weights alone"
        if loaded.get(_RESUME, {}).get("config_hash", run.config_hash) != run.config_hash:
            return "of a run of another config"
        return accepts(loaded["state_dict"])
    except Exception as error:  # foreign files raise nearly anything
        return f"not a checkpoint of a training ({first_line(error)})"


def _say(line: str) -> None:
    if runs.is_first_process():
        warn(line)
