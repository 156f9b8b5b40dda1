"""What can be tried of a training before data and weights are read, which may take minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator, MPSAccelerator
from torch.optim import Optimizer

from blippose import bfloat16
from blippose.averaging import AveragedWeights
from blippose.errors import UserError, first_line
from blippose.fit_options import FitOptions
from blippose.muon import NUM_MATRICES
from blippose.param_groups import LR_SCALE
from blippose.readback import ReadbackMask
from blippose.spelling import spelled
from blippose.trained_weights import read_checkpoint


def check(
    optimizer: Callable[..., Optimizer],
    scheduler: Callable[..., Any] | None,
    trainer: Callable[..., Trainer],
    options: FitOptions,
    mask: ReadbackMask | None = None,
) -> None:
    """Try what can be tried before data and weights are read.

    Args:
        optimizer: from parameters to an optimizer.
        scheduler: from (optimizer, total steps) to its schedule; None: none.
        trainer: from keywords to a Trainer; used up here, as a strategy in it can serve one alone.
        options: where the training would begin, and what it would keep.
        mask: coordinates that it hides.

    Raises:
        UserError: the Trainer, the optimizer or its schedule refuse an argument, no epoch would be
            trained or validated, a checkpoint is not there, has no epoch left or is of another
            optimizer.
    """
    if options.ema_decay is not None:
        AveragedWeights(options.ema_decay)
    with _refused("optimizer"):
        tried_optimizer = optimizer(iter([torch.nn.Parameter(torch.zeros(1))]))
    if scheduler is not None:
        with _refused("scheduler"):
            scheduler(tried_optimizer, 10)
    with _refused("trainer"):
        tried = trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    _check_trainer(tried)
    if tried.max_epochs == tried.max_steps == -1:
        _check_endless(scheduler is not None, mask)
    if options.ckpt_path is not None:
        _check_goes_on(options.ckpt_path, tried.max_epochs, tried_optimizer)


def _check_trainer(tried: Trainer) -> None:
    bfloat16.check_precision(tried.precision)
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
    if tried.accumulate_grad_batches < 1:
        raise UserError(
            f"trainer.accumulate_grad_batches={tried.accumulate_grad_batches}: expected 1 or more"
        )
    if tried.limit_train_batches == 0:
        raise UserError("trainer.limit_train_batches=0: expected more; nothing would be learned")
    if tried.limit_val_batches == 0:
        raise UserError("trainer.limit_val_batches=0: expected more; the best epoch is sought")
    if isinstance(tried.accelerator, MPSAccelerator):
        raise UserError(
            "trainer.accelerator: MPS lacks the float64 that metrics are summed in; set cpu"
        )
    if isinstance(tried.accelerator, CPUAccelerator) and str(tried.precision).startswith("bf16"):
        _caution(str(tried.precision))


@cache
def _caution(precision: str) -> None:
    """Say once, and not for each cell of a grid, what speaks against it on this processor."""
    key = f"trainer.precision={precision}"
    if (said := bfloat16.caution(key, "trainer.precision=32-true")) is not None:
        print(said, flush=True)


def _check_endless(is_scheduled: bool, mask: ReadbackMask | None) -> None:
    """Of a training without an end nothing can be told by shares of it."""
    named = "name it by trainer.max_epochs or +trainer.max_steps"
    if is_scheduled:
        raise UserError(
            "trainer.max_epochs=-1: the learning rate falls towards the end of training; "
            f"{named}, or keep the rate: scheduler=constant"
        )
    if mask is not None and 0 < mask.until < 1:
        raise UserError(
            f"trainer.max_epochs=-1: captioner.readback_mask.until={mask.until} is a share of "
            f"the whole training; {named}, or set until 0"
        )


def _check_goes_on(path: Path, max_epochs: int | None, optimizer: Optimizer) -> None:
    loaded = read_checkpoint(path, mmap=True)
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
    groups = [group for state in loaded["optimizer_states"] for group in state["param_groups"]]
    asked = optimizer.param_groups[0]
    if any(_kind(group) != _kind(asked) for group in groups):
        raise UserError(
            f"ckpt_path={path}: of another optimizer; set its own, or start from the weights "
            f"alone with init_from={path}"
        )
    ours = _settings([asked])
    for key, was in _settings(groups).items():
        if ours.get(key, was) != was:
            raise UserError(
                f"ckpt_path={path}: goes on with optimizer.{key}={spelled(was)}, not "
                f"{spelled(ours[key])}: set that, or start from the weights alone with "
                f"init_from={path}"
            )


def _kind(group: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells Muon, Adam and AdamW apart; of Muon's groups some are AdamW's, and say so."""
    is_muon = NUM_MATRICES in group
    return is_muon, None if is_muon else group.get("decoupled_weight_decay")


def _settings(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What torch takes from a checkpoint whatever the new optimizer was made with.

    The rate without a schedule's factor and a group's own, and the decay of those that decay.
    """
    if not groups:
        return {}
    first = groups[0]
    rate = float(first.get("initial_lr", first["lr"])) / first.get(LR_SCALE, 1.0)
    decay = max(float(group.get("weight_decay", 0.0)) for group in groups)
    settings: dict[str, Any] = {"lr": float(f"{rate:.12g}"), "weight_decay": decay}
    settings |= {key: float(first[key]) for key in ("eps", "momentum") if key in first}
    return settings | ({"betas": list(first["betas"])} if "betas" in first else {})


# What torch's optimizers call their settings in messages, and the key of each.
_KEYS = {"learning rate": "lr", "epsilon": "eps", "beta": "betas"}
_KEYS |= {key: key for key in ("weight_decay", "momentum")}


@contextmanager
def _refused(key: str) -> Iterator[None]:
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
        if key == "optimizer":
            named = (own for words, own in _KEYS.items() if f"Invalid {words}" in str(error))
            key = next((f"{key}.{own}" for own in named), key)
        is_gpu = "gpu backend" in str(error)
        remedy = "; set trainer=cpu, or install torch's CUDA build" if is_gpu else ""
        raise UserError(f"{key}: {first_line(error).rstrip('!')}{remedy}") from error
