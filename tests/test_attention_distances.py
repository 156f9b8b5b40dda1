"""Peaks of cross-attention against the truth and its controls, on hand-made peaks."""

from __future__ import annotations

import numpy as np
import pytest

from blippose.evaluation.attention.distances import Distances
from blippose.evaluation.intervals import Bootstrap, sign

N, LAYERS, HEADS = 8, 2, 3


def truth(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 96, (N, 16, 2))


def everywhere(target: np.ndarray) -> np.ndarray:
    """Every head at both steps peaks there."""
    return np.broadcast_to(target[:, None, None, None], (N, 2, LAYERS, HEADS, 16, 2)).copy()


def circle() -> np.ndarray:
    return np.roll(np.arange(N), 1)


def of_groups(groups: np.ndarray) -> Bootstrap:
    return Bootstrap.of(groups, 200, 0)


def test_a_peak_on_the_joint_is_nearer_than_both_controls() -> None:
    target = truth()
    found = Distances.of(everywhere(target), target, circle())
    assert float(found.own.max()) == 0
    moved = np.linalg.norm(target - target[circle()], axis=-1)
    np.testing.assert_allclose(found.other_image[:, 0, 1, 2], moved)
    apart = np.linalg.norm(target[:, :, None] - target[:, None], axis=-1).sum(-1) / 15
    np.testing.assert_allclose(found.other_joint[:, 1, 0, 0], apart)
    estimates = found.head(0, 0, 0).estimates(of_groups(np.arange(N)))
    for control in ("other_image", "other_joint"):
        assert sign(estimates[f"{control}_farther"].interval().as_dict()) == 1


def test_a_peak_that_is_the_same_for_all_images_is_no_nearer_to_its_own() -> None:
    target = truth()
    found = Distances.of(everywhere(np.full_like(target, 48.0)), target, circle())
    estimates = found.head(0, 1, 1).estimates(of_groups(np.arange(N)))
    farther = estimates["other_image_farther"].interval()
    assert farther.value == pytest.approx(0)  # everyone stands in once
    assert sign(farther.as_dict()) == 0
    own, other = estimates["distance"].value, estimates["other_image"].value
    assert own == pytest.approx(float(other))


def test_a_peak_that_is_the_same_for_all_joints_is_no_nearer_to_its_own() -> None:
    """In the middle of the person: the image is known, the joint is not."""
    target = truth()
    middle = np.broadcast_to(target.mean(axis=1, keepdims=True), target.shape)
    found = Distances.of(everywhere(middle), target, circle())
    estimates = found.head(0, 0, 0).estimates(of_groups(np.arange(N)))
    assert estimates["other_joint_farther"].value == pytest.approx(0)


def test_what_is_missing_counts_nowhere() -> None:
    target = truth()
    peak = everywhere(target + 3.0)
    target[0, 4], peak[1, :, :, :, 5] = np.nan, np.nan
    found = Distances.of(peak, target, circle())
    assert np.isnan(found.own[0, :, :, :, 4]).all()
    assert np.isnan(found.other_joint[1, :, :, :, 5]).all()
    estimates = found.head(0, 0, 0).estimates(of_groups(np.arange(N)))
    assert estimates["distance"].value == pytest.approx(np.hypot(3, 3))
    assert np.isfinite(found.other_joint[0, :, :, :, 5]).all()  # over fourteen others


def test_the_best_head_is_the_nearest_at_that_step() -> None:
    target = truth()
    peak = everywhere(target + 9.0)
    peak[:, 0, 1, 2], peak[:, 1, 0, 1] = target, target
    found = Distances.of(peak, target, circle())
    assert found.best(0) == (1, 2)
    assert found.best(1) == (0, 1)
    assert found.of_layer(0).best(0)[1] == 0


def test_a_head_that_was_lucky_on_one_half_is_found_out_on_the_other() -> None:
    target, groups = truth(), np.repeat(np.arange(4), 2)
    first = np.isin(groups, np.random.default_rng(0).permutation(4)[:2])
    peak = everywhere(target + 30.0)
    peak[first, 0, 0, 0] = target[first] + 1.0
    peak[~first, 0, 1, 1] = target[~first] + 1.0
    held_out = Distances.of(peak, target, circle()).held_out(0, groups, 0)
    assert held_out is not None
    found, chosen = held_out
    assert chosen == [(1, 1), (0, 0)]
    np.testing.assert_allclose(found.own, np.hypot(30, 30))


def test_one_group_cannot_be_halved() -> None:
    target = truth()
    found = Distances.of(everywhere(target), target, circle())
    assert found.held_out(0, np.zeros(N, dtype=int), 0) is None


def test_an_interval_that_holds_zero_says_nothing() -> None:
    assert sign({"low": -0.1, "high": 2.0}) == 0
    assert sign({"low": 0.1, "high": 2.0}) == 1
    assert sign({"low": -2.0, "high": -0.1}) == -1
    assert sign({"low": float("nan"), "high": float("nan")}) == 0
