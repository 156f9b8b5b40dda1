"""Fits one model into a run folder: checkpoints, loggers, resuming, and what came out.

Plain Python arguments; knows nothing of configs.
"""

from __future__ import annotations

import logging
import math
import secrets
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from blippose import runs
from blippose.averaging import AveragedWeights
from blippose.callbacks import Bars, EpochLine, SamplePictures
from blippose.checkpoint_files import WholeFiles
from blippose.checkpoints import BestCheckpoint, LastCheckpoint, usable
from blippose.data import PoseDataModule
from blippose.errors import UserError, first_line
from blippose.evaluation.run_results import mean_pose, run_results
from blippose.fit_options import FitOptions
from blippose.guards import FiniteLoss, ValidationDue
from blippose.lineage import lineage_in
from blippose.loggers import METRICS, CSVLogger
from blippose.model import PoseCaptioner
from blippose.param_groups import LR_SCALE
from blippose.preemption import Preempted, StopSignals
from blippose.runs import Run
from blippose.trained_weights import load_weights, misfit, read_checkpoint
from blippose.validation_pictures import write_samples
from blippose.wandb_logger import RowLogger

PICTURE = "samples.png"

# Right as they are here: the release lies in memory, and a batch's size is given to `log`.
_EXPECTED_WARNINGS = (
    r".*does not have many workers.*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*It is recommended to use .*sync_dist=True.*",  # PoseMetrics sums over processes itself
    r".*You're resuming from a checkpoint that ended before the epoch ended.*",
    r".*module\(s\) in eval mode at the start of training.*",  # a frozen vision tower
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*The `srun` command is available on your system but is not used.*",
    r".*`broadcast_buffers` is deprecated.*",  # its successor came with torch 2.13
    r".*Grad strides do not match bucket view strides.*",  # of the class embedding, one row
)


def seed(value: int) -> None:
    """Seed Python, NumPy and torch, before anything is drawn.

    Raises:
        UserError: it is negative or too large.
    """
    quieten()
    if not 0 <= value < 2**32:
        raise UserError(f"seed={value}: expected 0 to 2**32 - 1")
    seed_everything(value, workers=True, verbose=False)


def quieten() -> None:
    """Leave out Lightning's tips and the warnings that say nothing here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)


def fit(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    trainer: Callable[..., Trainer],
    run: Run,
    *,
    options: FitOptions = FitOptions(),  # noqa: B008  a frozen value
    logger: Callable[..., RowLogger | None] | None = None,
    group: str | None = None,
) -> None:
    """Train, or go on from the run's last checkpoint, and write the results into `run`.

    Args:
        captioner: the model, with its weights.
        data: what it learns from and is judged by, set up.
        trainer: from callbacks and loggers to a Trainer.
        run: a folder that has been started.
        options: where it begins, and what it keeps.
        logger: what logs beside metrics.csv.
        group: of the runs that belong together in the logger.

    Raises:
        UserError: a checkpoint or Trainer arguments that cannot be used.
        KeyboardInterrupt: the user stopped it; the run can be resumed.
        Preempted: a signal asked for its end; a checkpoint is written.
    """
    blind_pose = mean_pose(data)
    captioner.set_mean_pose(blind_pose)
    last = usable(run, partial(misfit, captioner))
    if last is None:
        _start_from(captioner, options)
    else:
        _check_same_data(last, data)
    run.note(patch_weight=captioner.patch_weight)
    if last is None and runs.is_first_process():
        for name in (runs.BEST, METRICS):  # of a try that came to no checkpoint
            (run.folder / name).unlink(missing_ok=True)
        if "wandb_id" not in run.record:  # or `wandb sync` would send that try too
            shutil.rmtree(run.folder / "wandb", ignore_errors=True)
    start = last or options.ckpt_path
    # Signals end first: a launcher has seconds to put a job back, and W&B may take its time.
    with _loggers(run, logger, group) as loggers, StopSignals() as signals:
        files = WholeFiles()
        is_first = last != run.folder / runs.LAST
        callbacks = [
            *_pictures(data, loggers),
            EpochLine(),
            ValidationDue(run.folder / runs.BEST),
            FiniteLoss(),  # before what keeps weights
            BestCheckpoint(run.folder / runs.BEST, files),
            LastCheckpoint(run, files, signals, options.every_n_steps, is_first),
            *_averaging(options.ema_decay),  # the last: see there
        ]
        lightning_trainer = _trainer(trainer, run.folder, loggers, callbacks)
        lightning_trainer.strategy.checkpoint_io = files
        _fit(lightning_trainer, captioner, data, start, signals)
        if not lightning_trainer.is_global_zero:
            return
        judged = _num_judged(lightning_trainer, data)
        results = _results(captioner, data, blind_pose, judged, run.folder)
    # Once the loggers are closed: until then it can be resumed.
    run.finish(results, options.keep_last)


def _start_from(captioner: PoseCaptioner, options: FitOptions) -> None:
    """Take in the weights of `init_from`, and what they were trained on.

    Lightning takes in `ckpt_path` itself, which must be of this very model.
    """
    if (path := options.init_from) is not None:
        captioner.lineage = lineage_in(load_weights(captioner, path))
    if (path := options.ckpt_path) is not None:
        checkpoint = read_checkpoint(path, mmap=True)
        if (why := misfit(captioner, checkpoint["state_dict"])) is not None:
            raise UserError(f"ckpt_path={path}: {why}")
        ours = captioner.new_optimizer().param_groups
        theirs = checkpoint["optimizer_states"][0]["param_groups"]
        if [_kept(group) for group in ours] != [_kept(group) for group in theirs]:
            raise UserError(
                f"ckpt_path={path}: trains other weights, or in other groups; set its "
                "captioner.freeze_vision, layer_decay and split_weight_decay, or start from the "
                f"weights alone with init_from={path}"
            )


def _check_same_data(last: Path, data: PoseDataModule) -> None:
    """Refuse to go on with other persons or poses: the figures would be of neither data."""
    *_, began = lineage_in(read_checkpoint(last, mmap=True)).manifests
    if began not in (None, data.manifest["hash"]):
        raise UserError(
            f"{last}: was trained on other data (the release or its split has changed since, "
            f"manifest {began[:8]} then, {data.manifest['hash'][:8]} now); bring it back, or "
            "choose another name="
        )


def _kept(group: Mapping[str, Any]) -> tuple[int, float, float | None]:
    """What torch takes from the checkpoint or refuses, beside what `training_check` compares."""
    return len(group["params"]), group.get(LR_SCALE, 1.0), group.get("weight_decay")


def _results(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    blind_pose: Float[Tensor, "16 2"],
    num_val: int,
    folder: Path,
) -> dict[str, Any]:
    """What best.ckpt says of its epoch, and its picture where one can be written."""
    path = folder / runs.BEST
    if not path.is_file():
        raise UserError(
            "no epoch was validated: of trainer.check_val_every_n_epoch, val_check_interval, "
            "max_epochs, max_steps and limit_val_batches one leaves none"
        )
    best = load_weights(captioner, path)["blippose"]
    results = run_results(data, blind_pose, num_val, best["metrics"], best["epoch"])
    results["decoding"] = captioner.reader.decoding.name
    try:
        write_samples(folder / PICTURE, captioner, data)
    except OSError as error:  # a full disk is no reason to train again
        why = error.strerror or error
        print(
            f"blippose: no {folder / PICTURE} ({why}); the run lacks nothing else", file=sys.stderr
        )
        return results
    return {**results, "picture": PICTURE}


def _num_judged(trainer: Trainer, data: PoseDataModule) -> int:
    """Validation persons that a figure is of: limit_val_batches may leave some out."""
    persons, limit = len(data.val_set), trainer.limit_val_batches
    size = data.eval_batch_size * trainer.world_size
    taken = limit if isinstance(limit, int) else int(math.ceil(persons / size) * limit)
    return min(persons, taken * size)


def _trainer(
    trainer: Callable[..., Trainer],
    folder: Path,
    loggers: list[Logger],
    callbacks: list[Callback],
) -> Trainer:
    settings = getattr(trainer, "keywords", {})
    wants_bars = settings.get("enable_progress_bar", True) and sys.stdout.isatty()
    if wants_bars:
        callbacks = [*callbacks, Bars()]
    return trainer(
        logger=loggers,
        callbacks=callbacks,
        default_root_dir=folder,
        enable_progress_bar=wants_bars,
    )


def _pictures(data: PoseDataModule, loggers: list[Logger]) -> list[Callback]:
    takes_pictures = any(isinstance(logger, RowLogger) for logger in loggers)
    return [SamplePictures(data)] if takes_pictures else []


def _averaging(decay: float | None) -> list[AveragedWeights]:
    return [] if decay is None else [AveragedWeights(decay)]


def _fit(
    trainer: Trainer,
    captioner: PoseCaptioner,
    data: PoseDataModule,
    start: Path | None,
    signals: StopSignals,
) -> None:
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(captioner, datamodule=data, ckpt_path=start, weights_only=True)
    except MisconfigurationException as error:
        raise UserError(f"trainer: {first_line(error)}") from error
    except SIGTERMException as error:  # heard before we listened, as in a sanity check
        signals.heard = signal.SIGTERM
        raise Preempted from error
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit, and ignores the next one.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt(*error.__context__.args) from error
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _loggers(
    run: Run, logger: Callable[..., RowLogger | None] | None, group: str | None
) -> Iterator[list[Logger]]:
    loggers: list[Logger] = [CSVLogger(run.folder / METRICS)]
    if logger is None or not runs.is_first_process():
        yield loggers
        return
    # Drawn, as one made of names would be another's in a team's project.
    # The group too, as the command of a cell alone does not say it.
    run.note(
        wandb_id=run.record.get("wandb_id") or secrets.token_hex(4),
        wandb_group=group or run.record.get("wandb_group"),
    )
    row_logger = logger(
        folder=run.folder,
        run_id=run.record["wandb_id"],
        group=run.record["wandb_group"],
        config=run.record["config"],
    )
    if row_logger is None:
        yield loggers
        return
    # An agent of W&B's may have brought its own id, and a variable the project.
    run.note(wandb_id=row_logger.version, wandb_project=row_logger.name)
    code = 1
    try:
        yield [*loggers, row_logger]
        code = 0
    finally:
        row_logger.close(code)
