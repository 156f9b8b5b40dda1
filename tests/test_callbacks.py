"""What is said and refused beside training, on real Trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from blippose.callbacks import EpochLine, ValidationDue
from blippose.errors import UserError

_NUM_BATCHES = 4


class OneWeight(LightningModule):
    """The least that a Trainer fits: it counts its validations, and validates nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated_at: list[int] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.log("train/loss", self.weight.detach())
        return self.weight * 2

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/mae", 1.0)

    def on_validation_end(self) -> None:
        self.validated_at.append(self.trainer.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, *, is_checked: bool = True, **settings: Any) -> OneWeight:
    module, samples = OneWeight(), DataLoader(torch.zeros(_NUM_BATCHES), batch_size=1)
    callbacks = [EpochLine(), *([ValidationDue(folder / "best.ckpt")] if is_checked else [])]
    trainer = Trainer(
        accelerator="cpu",
        callbacks=callbacks,  # type: ignore[arg-type]  # a list of callbacks, not one kind
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **settings,
    )
    trainer.fit(module, samples, samples)
    return module


@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 2, "max_steps": 3},
        {"max_epochs": 2, "max_steps": 7, "check_val_every_n_epoch": 2},
        {"max_epochs": 3, "check_val_every_n_epoch": 4},
        {"max_epochs": 1, "val_check_interval": 5, "check_val_every_n_epoch": None},
        {"max_epochs": 3, "max_steps": 2, "accumulate_grad_batches": 2, "val_check_interval": 5}
        | {"check_val_every_n_epoch": None},
        {"max_epochs": 2, "max_steps": 1, "accumulate_grad_batches": 3},
    ],
    ids=str,
)
def test_a_training_without_a_validation_is_refused_before_its_first_step(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    assert not fit(tmp_path, is_checked=False, **settings).validated_at
    with pytest.raises(UserError, match=r"trainer\.max_.*would end before its first validation"):
        fit(tmp_path, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 1},
        {"max_epochs": -1, "max_steps": 4},
        {"max_epochs": 2, "max_steps": 2, "val_check_interval": 2},
        {"max_epochs": 2, "max_steps": 8, "check_val_every_n_epoch": 2},
        {"max_epochs": 2, "val_check_interval": 5, "check_val_every_n_epoch": None},
        {"max_epochs": 3, "max_steps": 3, "accumulate_grad_batches": 2, "val_check_interval": 5}
        | {"check_val_every_n_epoch": None},
        {"max_epochs": 2, "max_steps": 2, "accumulate_grad_batches": 3},
    ],
    ids=str,
)
def test_a_training_that_just_comes_to_a_validation_is_not_refused(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    assert fit(tmp_path, **settings).validated_at


def test_where_an_earlier_process_has_validated_no_other_need_come(tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").touch()
    assert not fit(tmp_path, max_epochs=2, max_steps=3).validated_at


def test_an_epoch_without_a_validation_shows_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, max_epochs=3, check_val_every_n_epoch=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["MAE" in line for line in lines] == [False, True, False]
    assert all("loss" in line for line in lines)
