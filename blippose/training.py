"""Fits one model into a run folder: checkpoints, loggers, resuming, and what came out.

Plain Python arguments; knows nothing of configs.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.optim import Optimizer

from blippose import bfloat16, checkpoint_files, runs
from blippose.averaging import AveragedWeights
from blippose.callbacks import Bars, EpochLine, SamplePictures, ValidationDue, write_samples
from blippose.checkpoint_files import WholeFiles
from blippose.checkpoints import BestCheckpoint, LastCheckpoint, usable
from blippose.cores import num_cores
from blippose.data import PoseDataModule
from blippose.errors import UserError, first_line
from blippose.evaluation.run_results import mean_pose, run_results
from blippose.loggers import METRICS, CSVLogger
from blippose.lora import beside_lora, is_addition, merged
from blippose.model import PoseCaptioner
from blippose.preemption import StopSignals
from blippose.runs import Run
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


def limit_threads() -> None:
    """No more threads than this process has processors, unless OMP_NUM_THREADS says how many.

    torch counts those of the machine, also in a container that has two of them.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), num_cores()))


def check(
    optimizer: Callable[..., Optimizer],
    scheduler: Callable[..., Any] | None,
    trainer: Callable[..., Trainer],
    ckpt_path: str | None = None,
    init_from: str | None = None,
    every_n_steps: int | None = None,
    ema_decay: float | None = None,
) -> None:
    """Try what can be tried before data and weights are read.

    `trainer` is used up by it: a strategy in it can serve one Trainer alone.

    Raises:
        UserError: the Trainer, the optimizer or its schedule refuse an argument, no epoch would be
            trained or validated, or a checkpoint is not there or has no epoch left.
    """
    _averaging(ema_decay)
    if every_n_steps is not None and every_n_steps < 1:
        raise UserError(f"checkpoint.every_n_steps={every_n_steps}: expected 1 or more, or null")
    for key, path in (("ckpt_path", ckpt_path), ("init_from", init_from)):
        if path is not None:
            _check_readable(key, Path(path))
    with _refused("optimizer"):
        tried_optimizer = optimizer(iter([torch.nn.Parameter(torch.zeros(1))]))
    if scheduler is not None:
        with _refused("scheduler"):
            scheduler(tried_optimizer, 10)
    with _refused("trainer"):
        tried = trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    _check_trainer(tried)
    if ckpt_path is not None:
        _check_goes_on(Path(ckpt_path), tried.max_epochs)


def _check_trainer(tried: Trainer) -> None:
    if tried.max_epochs == 0:
        raise UserError("trainer.max_epochs=0: expected 1 or more, or -1 for no end")
    every, most = tried.check_val_every_n_epoch, tried.max_epochs
    if every is not None and every < 1:
        raise UserError(f"trainer.check_val_every_n_epoch={every}: expected 1 or more")
    if every is not None and most is not None and 0 < most < every:
        raise UserError(
            f"trainer.check_val_every_n_epoch={every}: no epoch would be validated of "
            f"trainer.max_epochs={most}; set {most} or fewer"
        )
    if tried.limit_val_batches == 0:
        raise UserError("trainer.limit_val_batches=0: expected more; the best epoch is sought")
    if isinstance(tried.accelerator, MPSAccelerator):
        raise UserError(
            "trainer.accelerator: MPS lacks the float64 that metrics are summed in; set cpu"
        )
    if isinstance(tried.accelerator, CPUAccelerator) and str(tried.precision).startswith("bf16"):
        key = f"trainer.precision={tried.precision}"
        if (said := bfloat16.caution(key, "trainer.precision=32-true")) is not None:
            print(said, flush=True)


def _check_goes_on(path: Path, max_epochs: int | None) -> None:
    loaded = _load(path, mmap=True)
    if "state_dict" in loaded and "optimizer_states" not in loaded:
        raise UserError(
            f"ckpt_path={path}: holds weights alone; start from them with init_from={path}"
        )
    try:
        num_epochs = loaded["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError) as error:
        raise UserError(f"ckpt_path={path}: not a checkpoint of a training") from error
    if max_epochs is not None and 0 <= max_epochs <= num_epochs:
        raise UserError(
            f"ckpt_path={path}: has {num_epochs} epochs behind it and trainer.max_epochs="
            f"{max_epochs} leaves none; set more"
        )


@contextmanager
def _refused(key: str) -> Iterator[None]:
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
        is_gpu = "gpu backend" in str(error)
        remedy = "; set trainer=cpu, or install torch's CUDA build" if is_gpu else ""
        raise UserError(f"{key}: {first_line(error).rstrip('!')}{remedy}") from error


def fit(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    trainer: Callable[..., Trainer],
    run: Run,
    *,
    logger: Callable[..., RowLogger] | None = None,
    group: str | None = None,
    ckpt_path: str | None = None,
    init_from: str | None = None,
    keep_last: bool = False,
    every_n_steps: int | None = None,
    ema_decay: float | None = None,
) -> None:
    """Train, or go on from the run's last checkpoint, and write the results into `run`.

    Args:
        captioner: the model, with its weights.
        data: what it learns from and is judged by, set up.
        trainer: from callbacks and loggers to a Trainer.
        run: a folder that has been started.
        logger: what logs beside metrics.csv.
        group: of the runs that belong together in the logger.
        ckpt_path: a full checkpoint to go on from, where the run has none of its own.
        init_from: a checkpoint whose weights are the start.
        keep_last: leave last.ckpt.
        every_n_steps: steps between checkpoints to go on from; None leaves those between epochs.
        ema_decay: of running averages of the weights, to be validated and kept; None: none.

    Raises:
        UserError: a checkpoint or Trainer arguments that cannot be used.
        KeyboardInterrupt: the user stopped it; the run can be resumed.
        Preempted: a signal asked for its end; a checkpoint is written.
    """
    blind_pose = mean_pose(data)
    captioner.set_mean_pose(blind_pose)
    captioner.synthetic, captioner.manifest = data.manifest["synthetic"], data.manifest["hash"]
    _start_from(captioner, init_from, ckpt_path)
    run.note(patch_weight=captioner.patch_weight)
    last = usable(run, partial(_misfit, captioner))
    if last is None and runs.is_first_process():
        (run.folder / runs.BEST).unlink(missing_ok=True)  # of a try that came to no checkpoint
    start = last or (_checkpoint(Path(ckpt_path)) if ckpt_path else None)
    with StopSignals() as signals, _loggers(run, logger, group) as loggers:
        files = WholeFiles()
        is_first = last != run.folder / runs.LAST
        callbacks = [
            *_pictures(data, loggers),
            EpochLine(),
            ValidationDue(run.folder / runs.BEST),
            BestCheckpoint(run.folder / runs.BEST, files),
            LastCheckpoint(run, files, signals, every_n_steps, is_first),
            *_averaging(ema_decay),  # the last: see there
        ]
        lightning_trainer = _trainer(trainer, run.folder, loggers, callbacks)
        lightning_trainer.strategy.checkpoint_io = files
        _fit(lightning_trainer, captioner, data, start)
        if not lightning_trainer.is_global_zero:
            return
        results = _results(captioner, data, blind_pose, run.folder)
    run.finish(results, keep_last)  # once the loggers are closed: until then it can be resumed


def _start_from(captioner: PoseCaptioner, init_from: str | None, ckpt_path: str | None) -> None:
    """Take in the weights of `init_from`, and what either checkpoint was trained on.

    Lightning takes in `ckpt_path` itself, which must be of this very model.
    """
    if init_from is not None:
        captioner.earlier_manifests = _manifests(load_weights(captioner, Path(init_from)))
    if ckpt_path is not None:
        checkpoint = _load(Path(ckpt_path), mmap=True)
        if (misfit := _misfit(captioner, checkpoint["state_dict"])) is not None:
            raise UserError(f"ckpt_path={ckpt_path}: {misfit}")
        captioner.earlier_manifests = _manifests(checkpoint)


def _results(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    blind_pose: Float[Tensor, "16 2"],
    folder: Path,
) -> dict[str, Any]:
    """What best.ckpt says of its epoch, and its picture."""
    path = folder / runs.BEST
    if not path.is_file():
        raise UserError(
            "no epoch was validated: of trainer.check_val_every_n_epoch, val_check_interval, "
            "max_epochs, max_steps and limit_val_batches one leaves none"
        )
    best = load_weights(captioner, path)["blippose"]
    write_samples(folder / PICTURE, captioner, data)
    results = run_results(data, blind_pose, best["metrics"], best["epoch"])
    return {**results, "decoding": captioner.reader.decoding.name, "picture": PICTURE}


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
    trainer: Trainer, captioner: PoseCaptioner, data: PoseDataModule, start: Path | None
) -> None:
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(captioner, datamodule=data, ckpt_path=start, weights_only=True)
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit, and ignores the next one.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _loggers(
    run: Run, logger: Callable[..., RowLogger] | None, group: str | None
) -> Iterator[list[Logger]]:
    loggers: list[Logger] = [CSVLogger(run.folder / METRICS)]
    if logger is None or not runs.is_first_process():
        yield loggers
        return
    # Drawn, as one made of names would be another's in a team's project.
    run.note(wandb_id=run.record.get("wandb_id") or secrets.token_hex(4))
    row_logger = logger(
        folder=run.folder,
        run_id=run.record["wandb_id"],
        group=group,
        config=run.record["config"],
    )
    run.note(wandb_id=row_logger.version)  # an agent of W&B's may have brought its own
    code = 1
    try:
        yield [*loggers, row_logger]
        code = 0
    finally:
        row_logger.close(code)


def load_weights(captioner: PoseCaptioner, path: Path) -> dict[str, Any]:
    """The checkpoint, of which `captioner` takes the weights and nothing else.

    Raises:
        UserError: no checkpoint, or one of another architecture.
    """
    loaded = _load(path)
    try:
        weights = _fitting(loaded["state_dict"], captioner)
        missing = captioner.load_state_dict(weights, strict=False).missing_keys
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: not a checkpoint of this model ({first_line(error)})") from error
    missing = [key for key in missing if key.startswith("blip.") and not is_addition(key)]
    if missing:
        raise UserError(f"{path}: not a checkpoint of this model ({missing[0]} is missing)")
    return dict(loaded)


def _fitting(weights: Mapping[str, Tensor], captioner: PoseCaptioner) -> Mapping[str, Tensor]:
    """Weights under the names of `captioner`, with LoRA or without."""
    own = captioner.state_dict()
    shapes = {key: weight.shape for key, weight in weights.items() if is_addition(key)}
    if shapes == {key: weight.shape for key, weight in own.items() if is_addition(key)}:
        return weights
    return beside_lora(merged(weights), own)


def _manifests(checkpoint: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Hashes of the splits that a checkpoint's weights learned from; None of one not known."""
    record = checkpoint.get("blippose", {})
    return (*record.get("earlier_manifests", ()), record.get("manifest"))


def has_patch_head(path: Path) -> bool:
    """Whether the model of a checkpoint was told which patch holds each joint.

    Raises:
        UserError: not a checkpoint of this model.
    """
    return "patch_head.weight" in _load(path, mmap=True).get("state_dict", {})


def _misfit(captioner: PoseCaptioner, weights: dict[str, Tensor]) -> str | None:
    """What speaks against weights for this model, or None."""
    own = {key: weight.shape for key, weight in captioner.state_dict().items()}
    theirs = {key: weight.shape for key, weight in weights.items()}
    other = sorted({key for key, _ in own.items() ^ theirs.items()})
    return f"of another model ({other[0]} differs)" if other else None


def _load(path: Path, mmap: bool = False) -> Any:
    try:
        return checkpoint_files.read(_checkpoint(path), mmap)
    except UserError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        why = checkpoint_files.damage(path) or "it holds what is no weight, number or text"
        raise UserError(
            f"{path}: not a checkpoint of this model ({why}); name one that `blippose train` wrote"
        ) from error


def _check_readable(key: str, path: Path) -> None:
    """Refuses by its key what is no checkpoint at first sight: torch's are archives."""
    if not zipfile.is_zipfile(_checkpoint(path, f"{key}=")):
        raise UserError(
            f"{key}={path}: is no checkpoint, or cut short; expected a file that `blippose train` "
            "wrote, such as runs/demo/best.ckpt"
        )


def _checkpoint(path: Path, key: str = "") -> Path:
    if not path.is_file():
        raise UserError(
            f"{key}{path}: no such checkpoint; expected a file such as runs/demo/best.ckpt"
        )
    return path
