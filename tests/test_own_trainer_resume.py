"""A Trainer of one's own, cut off anywhere, goes on with the persons that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812  the field's own convention
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from quiet_trainer import trainer

from blippose.data import PoseDataModule
from blippose.errors import UserError
from blippose.model import PoseCaptioner
from blippose.schedules import warmup_cosine

EPOCHS, STEPS = 2, 5  # of 19 training persons, four a step


class Seen(L.Callback):
    """Which persons each step saw."""

    def __init__(self) -> None:
        self.persons: list[list[int]] = []

    def on_train_batch_start(self, _: Any, __: Any, batch: Any, ___: int) -> None:
        self.persons.append(batch["index"].tolist())


def fit(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    root: Path,
    *callbacks: L.Callback,
    ckpt_path: Path | None = None,
) -> list[list[int]]:
    seen = Seen()
    keeps = {"enable_checkpointing": bool(callbacks)}
    training = trainer(root, max_epochs=EPOCHS, callbacks=[seen, *callbacks], **keeps)
    training.fit(captioner, data, ckpt_path=ckpt_path)
    return seen.persons


def keeping(root: Path, **when: int) -> ModelCheckpoint:
    """Lightning's own callback; each checkpoint is named by its step."""
    return ModelCheckpoint(root / "kept", "{step}", save_top_k=-1, **when)


@pytest.mark.parametrize("when", ["after each step", "after each validation"])
def test_what_is_left_of_an_epoch_is_seen_and_nothing_twice(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    tmp_path: Path,
    when: str,
) -> None:
    how = {"after each step": {"every_n_train_steps": 1}}.get(when, {"every_n_epochs": 1})
    kept = keeping(tmp_path, **how)
    settings = {"optimizer": torch.optim.SGD, "scheduler": warmup_cosine}
    make = lambda: make_captioner(**settings)  # noqa: E731
    whole = fit(make(), make_data(batch_size=4), tmp_path, kept)
    assert len(whole) == EPOCHS * STEPS
    kept_paths = (tmp_path / "kept").iterdir()
    checkpoints = {int(path.stem.partition("=")[2]): path for path in kept_paths}
    assert len(checkpoints) == (len(whole) if when == "after each step" else EPOCHS)
    for step, path in sorted(checkpoints.items()):
        assert fit(make(), make_data(batch_size=4), tmp_path, ckpt_path=path) == whole[step:], step


def test_the_middle_of_an_epoch_is_refused_with_another_number_of_persons_a_step(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    tmp_path: Path,
) -> None:
    kept = keeping(tmp_path, every_n_train_steps=1)
    fit(make_captioner(), make_data(batch_size=4), tmp_path, kept)
    middle, end = (tmp_path / "kept" / f"step={step}.ckpt" for step in (2, STEPS))
    with pytest.raises(UserError, match="with 4 persons a step, and now there are 2"):
        fit(make_captioner(), make_data(batch_size=2), tmp_path, ckpt_path=middle)
    assert fit(make_captioner(), make_data(batch_size=2), tmp_path, ckpt_path=end)


def test_a_later_fit_of_the_same_data_begins_at_the_first_person(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    tmp_path: Path,
) -> None:
    kept = keeping(tmp_path, every_n_train_steps=2)
    whole = fit(make_captioner(), make_data(batch_size=4), tmp_path, kept)
    data, path = make_data(batch_size=4), tmp_path / "kept" / "step=2.ckpt"
    assert fit(make_captioner(), data, tmp_path, ckpt_path=path) == whole[2:]
    assert fit(make_captioner(), data, tmp_path) == whole
