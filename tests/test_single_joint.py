"""Captions of one joint alone, as training may have a share of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from blippose.data import PoseDataModule
from blippose.errors import UserError
from blippose.pose import JOINTS

MakeData = Callable[..., PoseDataModule]


def captions(data: PoseDataModule, epoch: int) -> list[str]:
    samples = [data.train_set[epoch, i] for i in range(len(data.train_set))]
    tokens = data.collator(samples)["input_ids"]
    return data.collator.tokenizer.batch_decode(tokens, skip_special_tokens=True)


def named(caption: str) -> list[str]:
    return [name for name in JOINTS if name in caption]


def test_single_joint_captions_say_where_that_joint_is(make_data: MakeData) -> None:
    data = make_data(single_joint=1.0)
    epochs = [captions(data, epoch) for epoch in range(20)]
    for sample, caption in zip(
        (data.train_set[3, i] for i in range(len(data.train_set))), epochs[3], strict=True
    ):
        [name] = named(caption)
        said = data.collator.caption_format.decode(caption).pose.xy
        joint = JOINTS.index(name)
        np.testing.assert_allclose(said[joint], sample.pose_input.xy[joint], atol=0.5)
    times = Counter(name for epoch in epochs for caption in epoch for name in named(caption))
    assert set(times) == set(JOINTS), "every joint has its turn"


def test_share_of_single_joints_is_the_one_asked_for(make_data: MakeData) -> None:
    data = make_data(single_joint=0.3)
    is_single = [len(named(each)) == 1 for epoch in range(20) for each in captions(data, epoch)]
    assert np.mean(is_single) == pytest.approx(0.3, abs=0.08)  # 3.5 deviations of 380


def test_single_joints_follow_seed_epoch_and_person(make_data: MakeData) -> None:
    data = make_data(single_joint=0.5)
    first = captions(data, 0)
    assert first == captions(make_data(single_joint=0.5), 0)
    assert first != captions(data, 1)
    assert first != captions(make_data(single_joint=0.5, seed=1), 0)


def test_single_joints_leave_the_other_captions_and_targets_alone(make_data: MakeData) -> None:
    plain, single = make_data(random_order=True), make_data(random_order=True, single_joint=0.5)
    orders = [(plain.train_set[0, i], single.train_set[0, i]) for i in range(len(plain.train_set))]
    assert any(other.order == one.order for one, other in orders)
    for one, other in orders:
        assert other.order is not None
        assert other.order == one.order or len(other.order) == 1
        np.testing.assert_array_equal(one.pose_input.xy, other.pose_input.xy)


def test_validation_captions_stay_whole(make_data: MakeData) -> None:
    data = make_data(single_joint=1.0)
    for subset in (data.val_set, data.train_set.part(range(3))):
        assert subset[0].order is None
    for batch in data.val_dataloader():
        said = data.collator.tokenizer.batch_decode(batch["input_ids"])
        assert all(len(named(caption)) == len(JOINTS) for caption in said)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_impossible_share_is_told(make_data: MakeData, share: float) -> None:
    with pytest.raises(UserError, match=r"data\.single_joint=.*: expected 0 to 1"):
        make_data(single_joint=share)
