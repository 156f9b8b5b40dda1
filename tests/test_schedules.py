"""The learning rate over a whole training."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blippose.errors import UserError
from blippose.schedules import warmup_cosine


def rates(
    total_steps: int, warmup: float = 0.1, final: float = 0.01, num_more: int = 0
) -> list[float]:
    """What each step of the optimizer uses, with a rate of 1, and what would come after."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = warmup_cosine(optimizer, total_steps, warmup, final)
    values = []
    for _ in range(total_steps + 1 + num_more):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return values


def test_rate_rises_then_falls_to_final() -> None:
    values = rates(100)
    assert values[0] == pytest.approx(0.1)
    assert values[9] == values[10] == pytest.approx(1.0)
    assert values[32] == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi * 22 / 90)) / 2)
    assert values[55] == pytest.approx((1 + 0.01) / 2)
    assert values[100] == pytest.approx(0.01)
    assert values[:10] == sorted(values[:10])
    assert values[10:] == sorted(values[10:], reverse=True)


@given(st.integers(1, 60), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_every_step_has_a_rate_above_zero_and_at_most_one(
    total_steps: int, warmup: float, final: float
) -> None:
    used = rates(total_steps, warmup, final)[:-1]
    assert all(0 < rate <= 1 + 1e-12 for rate in used)


def test_no_warmup_starts_at_the_full_rate() -> None:
    assert rates(10, warmup=0.0)[0] == 1.0


def test_behind_the_end_the_rate_stays() -> None:
    assert rates(10, final=0.2, num_more=5)[10:] == pytest.approx([0.2] * 6)


@pytest.mark.parametrize("key", ["warmup", "final"])
@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_shares_outside_0_to_1_are_refused(key: str, share: float) -> None:
    with pytest.raises(UserError, match=rf"scheduler\.{key}=.*expected 0 to 1"):
        rates(10, **{key: share})
