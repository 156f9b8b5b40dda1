"""Running averages of the weights: less noise than the last step's own, at no cost of a run.

Training goes on with the weights themselves. A validation is of the averages, and so are the
pictures and the best checkpoint; a checkpoint to go on from holds both.
"""

from __future__ import annotations

from typing import Any, final

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from blippose.errors import UserError

_COARSE = {torch.bfloat16, torch.float16}


@final
class AveragedWeights(Checkpoint):
    """Exponential averages of all weights that are trained, moved on after each optimizer step.

        average = d * average + (1 - d) * weight, with d = min(decay, (1 + t) / (10 + t))

    after t steps, so that the first ones are soon forgotten. Lightning calls a `Checkpoint` after
    other callbacks; as the last of them it takes the averages out again when the best is written.

    Source: `num_updates` of TensorFlow's ExponentialMovingAverage.

    Args:
        decay: of what was before, above 0 and below 1; the average is of some 1 / (1 - decay)
            steps.

    Raises:
        UserError: another decay.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise UserError(f"ema_decay={decay}: expected above 0 and below 1, or null")
        self.decay = decay
        self._num_updates = self._step = 0
        self._weights: dict[str, torch.nn.Parameter] = {}
        self._aside: dict[str, Tensor] = {}  # averages; in a validation the weights themselves
        self._is_exchanged = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights, where no checkpoint brought averages.

        Raises:
            UserError: weights of less precision than float32, which small steps would not move, or
                a checkpoint's averages of other weights.
        """
        named = pl_module.named_parameters()
        self._weights = {name: weight for name, weight in named if weight.requires_grad}
        for dtype in {weight.dtype for weight in self._weights.values()} & _COARSE:
            raise UserError(
                f"ema_decay={self.decay}: weights in {str(dtype).removeprefix('torch.')} cannot "
                "be averaged; set trainer.precision=bf16-mixed or 32-true, or ema_decay=null"
            )
        if self._aside and self._aside.keys() != self._weights.keys():
            raise UserError(
                f"ema_decay={self.decay}: the checkpoint's averages are of other weights than are "
                "trained here; freeze and add as it did, or set ema_decay=null"
            )
        self._aside = {
            name: self._aside[name].to(weight.device) if self._aside else weight.detach().clone()
            for name, weight in self._weights.items()
        }
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Move on if the optimizer has stepped."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        decay = min(self.decay, (1 + self._num_updates) / (10 + self._num_updates))
        torch._foreach_lerp_(list(self._aside.values()), list(self._weights.values()), 1 - decay)
        self._num_updates += 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the averages in."""
        if trainer.state.fn == TrainerFn.FITTING and self._weights:
            self._exchange()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights in again."""
        self._restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Also if the validation was cut off."""
        self._restore()

    def _restore(self) -> None:
        if self._is_exchanged:
            self._exchange()

    def _exchange(self) -> None:
        """No copies: what a checkpoint took before stays what it was."""
        for name, weight in self._weights.items():
            weight.data, self._aside[name] = self._aside[name], weight.data
        self._is_exchanged = not self._is_exchanged

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A checkpoint to go on from holds the weights, also of a validation that is cut off."""
        if self._is_exchanged:
            self._exchange()
            checkpoint["state_dict"] = trainer.strategy.lightning_module_state_dict()
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """The averages, and how often they were moved on."""
        weights = {name: weight.data for name, weight in self._weights.items()}
        averages = weights if self._is_exchanged else self._aside
        return {"averages": dict(averages), "num_updates": self._num_updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back; the weights are known once training starts."""
        self._aside, self._num_updates = state_dict["averages"], state_dict["num_updates"]
