"""What is said and refused beside training, on real Trainers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quiet_trainer
import torch
from lightning import LightningModule, Trainer
from reciting import Reciting
from torch.utils.data import DataLoader

from blippose import callbacks, validation_pictures
from blippose.callbacks import EpochLine, SamplePictures
from blippose.data import PoseDataModule
from blippose.decoding import Reading
from blippose.errors import UserError
from blippose.guards import ValidationDue
from blippose.model import PoseCaptioner
from blippose.pose import Pose
from blippose.validation_pictures import Compared, compare, spread

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


def fit(
    folder: Path,
    *,
    is_checked: bool = True,
    num_batches: int = _NUM_BATCHES,
    ckpt_path: Path | None = None,
    **settings: Any,
) -> OneWeight:
    module, samples = OneWeight(), DataLoader(torch.zeros(num_batches), batch_size=1)
    called = [EpochLine(), *([ValidationDue(folder / "best.ckpt")] if is_checked else [])]
    trainer = Trainer(
        accelerator="cpu",
        callbacks=called,  # type: ignore[arg-type]  # a list of callbacks, not one kind
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **settings,
    )
    trainer.fit(module, samples, samples, ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "last.ckpt")
    return module


def every_batches(num: int) -> dict[str, Any]:
    """A validation every so many batches, counted over epochs."""
    return {"val_check_interval": num, "check_val_every_n_epoch": None}


@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 2, "max_steps": 3},
        {"max_epochs": 2, "max_steps": 7, "check_val_every_n_epoch": 2},
        {"max_epochs": 3, "check_val_every_n_epoch": 4},
        {"max_epochs": 1, **every_batches(5)},
        {"max_epochs": 3, "max_steps": 2, "accumulate_grad_batches": 2, **every_batches(5)},
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
        {"max_epochs": 2, **every_batches(5)},
        {"max_epochs": 3, "max_steps": 3, "accumulate_grad_batches": 2, **every_batches(5)},
        {"max_epochs": 2, "max_steps": 2, "accumulate_grad_batches": 3},
    ],
    ids=str,
)
def test_a_training_that_just_comes_to_a_validation_is_not_refused(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    assert fit(tmp_path, **settings).validated_at


@pytest.mark.parametrize(
    ("settings", "is_refused"),
    [
        ({"max_epochs": 9, "max_steps": 7}, True),
        ({"max_epochs": 9, "max_steps": 8}, False),
        ({"max_epochs": 4, "check_val_every_n_epoch": 5}, True),
        ({"max_epochs": 4, "check_val_every_n_epoch": 4}, False),
        ({"max_epochs": 9, "max_steps": 7, "val_check_interval": 4}, True),
        ({"max_epochs": 9, "max_steps": 8, "val_check_interval": 4}, False),
        ({"max_epochs": 9, "max_steps": 5} | every_batches(6), True),
        ({"max_epochs": 9, "max_steps": 6} | every_batches(6), False),
    ],
    ids=str,
)
def test_what_goes_on_from_other_data_counts_from_where_it_is(
    tmp_path: Path, settings: dict[str, Any], is_refused: bool
) -> None:
    """From an epoch of 4 batches, which Lightning takes for the first half of one of 8."""
    fit(tmp_path, max_epochs=1)
    goes_on = {"num_batches": 8, "ckpt_path": tmp_path / "last.ckpt", **settings}
    has_validated = bool(fit(tmp_path / "unchecked", is_checked=False, **goes_on).validated_at)
    assert has_validated != is_refused
    if not is_refused:
        assert fit(tmp_path, **goes_on).validated_at
        return
    with pytest.raises(UserError, match="would end before its first validation"):
        fit(tmp_path, **goes_on)


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


def test_the_loss_of_an_epoch_is_its_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, max_epochs=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    losses = [1.0, 0.8, 0.6, 0.4], [0.2, 0.0, -0.2, -0.4]  # a step takes 0.1 times a slope of 2
    for line, found in zip(lines, losses, strict=True):
        assert f"loss {np.mean(found):.2f}  " in line


def test_an_epoch_of_minutes_tells_how_far_it_is_where_there_are_no_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, max_epochs=1)
    assert "batch" not in capsys.readouterr().out
    monkeypatch.setattr(callbacks, "_SILENCE_S", 0.0)
    fit(tmp_path, max_epochs=-1, max_steps=_NUM_BATCHES)
    lines = [line.rpartition(",")[0] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert lines == [
        *(f"epoch 1: batch {batch} of {_NUM_BATCHES}" for batch in range(1, _NUM_BATCHES + 1)),
        *(f"epoch 1: validation, batch {batch} of {_NUM_BATCHES}" for batch in range(1, 5)),
    ]


def test_pictures_show_both_poses_in_the_frame_of_the_image(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that says the truth is off by what whole numbers of the input cost, and no more."""
    drawn: list[tuple[Pose, Pose]] = []
    tile = np.zeros((8, 8, 3), dtype=np.uint8)
    monkeypatch.setattr(
        validation_pictures,
        "pose_tile",
        lambda _, pred, target: drawn.append((pred, target)) or tile,
    )
    captioner, data = make_captioner(), make_data()
    samples = [data.val_set[position] for position in range(3)]
    truth = [captioner.caption_format.encode(sample.pose_input.xy) for sample in samples]
    captioner.reader.decoding = Reciting(truth)
    compare(captioner, data, range(3))
    for sample, (pred, target) in zip(samples, drawn, strict=True):
        of_input_px = np.array(sample.crop.to_img(np.array([[0.0, 0.0], [1.0, 1.0]])))
        width, height = of_input_px[1] - of_input_px[0]
        assert min(width, height) > 2, "the frames differ"
        both = pred.valid & target.valid
        assert both.sum() > 8
        away = np.abs(pred.xy - target.xy)[both]
        assert (away <= 0.51 * np.array([width, height])).all()


def test_no_pictures_are_taken_of_the_check_before_a_training(
    tmp_path: Path,
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken_at: list[int] = []

    def compared(captioner: PoseCaptioner, *args: Any) -> list[Compared]:
        taken_at.append(captioner.trainer.global_step)
        return compare(captioner, *args)

    monkeypatch.setattr(callbacks, "compare", compared)
    data = make_data()
    trainer = quiet_trainer.trainer(
        tmp_path,
        callbacks=[SamplePictures(data)],
        num_sanity_val_steps=1,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1,
    )
    trainer.fit(make_captioner(), data)
    assert taken_at == [1]


def test_pictures_show_what_the_validation_heard(
    tmp_path: Path,
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Persons of its batches are not asked again; those of other processes' batches are."""
    captioner, data = make_captioner(), make_data(eval_batch_size=2)
    num_asked: list[int] = []
    taken: list[Compared] = []
    say = captioner.say

    def asked(image: torch.Tensor, *args: Any, **options: Any) -> Reading:
        num_asked.append(len(image))
        return say(image, *args, **options)

    def compared(*args: Any) -> list[Compared]:
        taken[:] = compare(*args)
        return taken

    monkeypatch.setattr(captioner, "say", asked)
    monkeypatch.setattr(callbacks, "compare", compared)
    pictures = SamplePictures(data)
    quiet_trainer.trainer(tmp_path, callbacks=[pictures]).validate(captioner, data, verbose=False)
    assert sum(num_asked) == len(data.val_set)
    again = compare(captioner, data, spread(len(data.val_set), 6))
    assert [(one.name, one.label, one.caption) for one in taken] == [
        (one.name, one.label, one.caption) for one in again
    ]

    num_asked.clear()
    part = quiet_trainer.trainer(tmp_path, callbacks=[pictures], limit_val_batches=1)
    part.validate(captioner, data, verbose=False)
    assert len(num_asked) == 2, "a batch, and who was not in it"
    assert num_asked[0] < len(data.val_set)
    assert 0 < num_asked[1] < 6
