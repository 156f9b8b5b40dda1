"""Which person comes when, in which process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blippose.data import EpochSampler, OnceSampler, PoseDataModule

MakeData = Callable[..., PoseDataModule]


@given(
    num_samples=st.integers(0, 50),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 1000),
    world_size=st.integers(1, 5),
)
def test_ranks_share_an_order_that_seed_and_epoch_decide(
    num_samples: int, seed: int, epoch: int, world_size: int
) -> None:
    shares = []
    for rank in range(world_size):
        sampler = EpochSampler(num_samples, seed, rank, world_size)
        sampler.set_epoch(epoch)
        assert list(sampler) == list(sampler)
        assert len(list(sampler)) == len(sampler) == num_samples // world_size
        shares += list(sampler)
    assert len(set(shares)) == len(shares)
    assert {e for e, _ in shares} <= {epoch}
    if world_size == 1:
        assert sorted(position for _, position in shares) == list(range(num_samples))


@given(num_samples=st.integers(0, 50), world_size=st.integers(1, 5))
def test_ranks_share_what_is_judged_and_repeat_none(num_samples: int, world_size: int) -> None:
    samplers = [OnceSampler(num_samples, rank, world_size) for rank in range(world_size)]
    shares = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert sorted(position for share in shares for position in share) == list(range(num_samples))


def test_loaders_that_were_made_before_a_trainer_are_dealt_out_once_there_are_ranks(
    make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data()
    loaders = data.train_dataloader(), data.val_dataloader()
    whole = [list(loader.sampler) for loader in loaders]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for loader, positions in zip(loaders, whole, strict=True):
        for rank in range(2):
            monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
            share = list(loader.sampler)
            assert len(share) == len(loader.sampler) >= len(positions) // 2
            assert share == positions[rank::2][: len(share)]


def test_order_differs_between_epochs_and_seeds() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(20, seed)
        sampler.set_epoch(epoch)
        return [position for _, position in sampler]

    orders = [order(0, 0), order(0, 1), order(1, 0), order(1, 1)]
    assert len({tuple(positions) for positions in orders}) == 4


def test_order_goes_on_behind_what_was_seen_and_the_next_epoch_is_whole() -> None:
    whole, resumed = EpochSampler(10, seed=3), EpochSampler(10, seed=3, epoch=2, num_seen=4)
    whole.set_epoch(2)
    assert list(resumed) == list(whole)[4:]
    for sampler in (whole, resumed):
        sampler.set_epoch(3)
    assert list(resumed) == list(whole)
    assert len(resumed) == 10
