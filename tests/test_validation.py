"""What is measured of validation and test persons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIZE
from hypothesis import given
from hypothesis import strategies as st
from quiet_trainer import trainer
from reciting import Reciting

from blippose.data import PoseDataModule
from blippose.decoding import Constrained
from blippose.errors import UserError
from blippose.evaluation.run_results import mean_pose
from blippose.geometry import Crop, to_img
from blippose.model import PoseCaptioner

MakeCaptioner = Callable[..., PoseCaptioner]
MakeData = Callable[..., PoseDataModule]


@given(
    xy=st.lists(st.tuples(st.floats(-50, 500), st.floats(-50, 500)), min_size=16, max_size=16),
    corner=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
    extent=st.tuples(st.floats(1, 2000), st.floats(1, 2000)),
)
def test_each_person_of_a_batch_is_mapped_by_their_own_crop(
    xy: list[tuple[float, float]], corner: tuple[float, float], extent: tuple[float, float]
) -> None:
    xy_input = torch.tensor([xy, xy[::-1]], dtype=torch.float64)
    rectangle = torch.tensor([[*corner, *extent], [*extent, *extent]], dtype=torch.float64)
    found = to_img(xy_input, rectangle[:, None, :2], rectangle[:, None, 2:], SIZE)
    for own, one, mapped in zip(rectangle.tolist(), xy_input.numpy(), found, strict=True):
        np.testing.assert_allclose(mapped, Crop(*own, SIZE).to_img(one), atol=1e-9)


def test_a_captioner_that_says_the_target_has_no_error(
    make_captioner: MakeCaptioner,
    make_data: MakeData,
    tmp_path: Path,
) -> None:
    data, captioner = make_data(eval_batch_size=100), make_captioner()
    (batch,) = data.val_dataloader()
    truth = [captioner.caption_format.encode(xy) for xy in batch["xy_input"].double().numpy()]
    captioner.reader.decoding = Reciting(truth)
    (logged,) = trainer(tmp_path).validate(captioner, data, verbose=False)
    assert logged["val/parse_rate"] == 1
    assert logged["val/mae"] <= 0.5
    assert logged["val/acc_1px"] == 1
    assert logged["val/pckh_0.5"] == 1


def test_metrics_start_anew_at_each_validation(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    captioner, data = make_captioner(decoding=Constrained()), make_data()
    (once,) = trainer(tmp_path).validate(captioner, data, verbose=False)
    (again,) = trainer(tmp_path).validate(captioner, data, verbose=False)
    assert again == pytest.approx(once, rel=0, abs=0, nan_ok=True)
    assert once["val/epe"] > 0
    assert captioner.validation.free.count.sum() == 0
    assert captioner.validation.forced.count.sum() == 0


def test_test_persons_are_measured_as_validation_persons_are(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    captioner = make_captioner(decoding=Constrained())
    data = make_data(train_fraction=0.4, test_fraction=0.3)
    captioner.set_mean_pose(mean_pose(data))
    (tested,) = trainer(tmp_path).test(captioner, data, verbose=False)
    data.val_set = data.test_set
    (validated,) = trainer(tmp_path).validate(captioner, data, verbose=False)
    expected = {key.replace("val", "test", 1): value for key, value in validated.items()}
    assert tested == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    assert tested["test/parse_rate"] == 1
    assert tested["test/mae_all"] == tested["test/mae"] > 0


def test_a_split_without_a_test_side_has_nothing_to_test(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"data\.test_fraction=0\.1 to have one"):
        trainer(tmp_path).test(make_captioner(), make_data())


def test_prediction_is_what_the_model_says(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    captioner = make_captioner(decoding=Constrained())
    data = make_data(eval_batch_size=4)
    predicted = trainer(tmp_path).predict(captioner, data.val_dataloader())
    assert predicted is not None
    for batch, found in zip(data.val_dataloader(), predicted, strict=True):
        said = captioner.eval().say(batch["image"], with_confidence=True)
        assert found["captions"] == said.captions
        torch.testing.assert_close(found["index"], batch["index"])
        poses = torch.tensor(np.stack([parsed.pose.xy for parsed in said.parsed])).float()
        assert poses.isfinite().all()
        torch.testing.assert_close(found["xy_input"], poses)
        torch.testing.assert_close(found["confidence"], torch.tensor(said.confidence).float())
