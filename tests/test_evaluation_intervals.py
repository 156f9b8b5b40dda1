"""blippose.evaluation.intervals against exact distributions, plain loops and known coverage."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from blippose.evaluation.intervals import Bootstrap, Estimate, units

ONE_EACH = np.arange(200)


def bootstrap(
    total: np.ndarray, count: np.ndarray, groups: np.ndarray, samples: int, seed: int
) -> tuple[float, float, float]:
    """Value, low and high end of sum `total` / sum `count`, with whole `groups` drawn."""
    interval = Bootstrap.of(groups, samples, seed).ratio(total, count).interval()
    return interval.value, interval.low, interval.high


def test_value_is_the_ratio_of_sums_not_the_mean_of_ratios() -> None:
    value, _, _ = bootstrap(np.array([1, 9]), np.array([1, 99]), np.arange(2), 10, seed=0)
    assert value == 10 / 100


def test_interval_of_a_share_is_the_binomial_one() -> None:
    hits = (np.arange(200) < 60).astype(np.int64)
    value, low, high = bootstrap(hits, np.ones(200, dtype=np.int64), ONE_EACH, 20_000, seed=0)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 200)  # 0.0635; steps are 0.005 wide
    assert value == 0.3
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.006)


def test_draws_equal_a_loop_over_drawn_videos() -> None:
    rng = np.random.default_rng(1)
    videos = np.array([5, 5, 2, 9, 9, 9])
    total, count = rng.random(6), rng.integers(1, 5, 6)
    drawn = Bootstrap.of(videos, samples=50, seed=3)
    times = np.random.default_rng(3).multinomial(3, np.full(3, 1 / 3), size=50)
    expected = []
    for row in times:
        persons = [
            i
            for v, n in zip((2, 5, 9), row, strict=True)
            for _ in range(n)
            for i in np.flatnonzero(videos == v)
        ]
        expected.append(total[persons].sum() / count[persons].sum())
    np.testing.assert_allclose(drawn.ratio(total, count).draws, expected, rtol=1e-12)


def test_frames_of_one_video_do_not_narrow_the_interval() -> None:
    hits = np.repeat(np.arange(20) % 2, 10)  # ten equal frames a video
    count, videos = np.ones(200, dtype=np.int64), np.repeat(np.arange(20), 10)
    _, low, high = bootstrap(hits, count, videos, 4000, seed=0)
    _, low_image, high_image = bootstrap(hits, count, ONE_EACH, 4000, seed=0)
    assert (high - low) / (high_image - low_image) == pytest.approx(np.sqrt(10), rel=0.1)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for trial in range(200):
        count = rng.integers(8, 17, 100)
        hits = rng.binomial(count, rng.beta(2, 3, 100))  # persons differ; the truth is 0.4
        _, low, high = bootstrap(hits, count, np.arange(100), 200, seed=trial)
        covered.append(low <= 0.4 <= high)
    assert 0.9 <= np.mean(covered) <= 0.99  # 0.95 +- 3 x 0.0154


def test_difference_of_rows_is_paired() -> None:
    rng = np.random.default_rng(0)
    count = np.ones(200)
    hard = rng.random(200)
    drawn = Bootstrap.of(ONE_EACH, 1000, seed=0)
    first, second = drawn.ratio(hard, count), drawn.ratio(hard + 0.01, count)
    interval = (second - first).interval()
    assert (interval.low, interval.high) == pytest.approx((0.01, 0.01))
    assert first.interval().high > second.interval().low  # apart, they overlap


def test_same_seed_same_interval_other_seed_another() -> None:
    hits, count = np.arange(200) % 3, np.full(200, 2)
    first, again, other = (bootstrap(hits, count, ONE_EACH, 100, seed=s) for s in (4, 4, 5))
    assert first == again
    assert first != other


def test_a_single_video_has_no_interval() -> None:
    value, low, high = bootstrap(np.array([1, 0]), np.array([1, 1]), np.array([3, 3]), 10, seed=0)
    assert value == 0.5
    assert np.isnan([low, high]).all()


def test_nothing_scored_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        some = Bootstrap.of(np.arange(3), 20, seed=0).ratio(np.zeros((3, 2)), np.zeros((3, 2)))
        none = Bootstrap.of(np.arange(0), 20, seed=0).ratio(np.zeros(0), np.zeros(0))
        assert np.isnan([some[0].interval().value, some[0].interval().low]).all()
        assert np.isnan([none.interval().value, none.interval().high]).all()


def test_draws_in_which_nothing_could_be_scored_are_left_out() -> None:
    count = np.array([4, 0, 0])
    interval = Bootstrap.of(np.arange(3), 200, seed=0).ratio(np.array([1, 0, 0]), count).interval()
    assert (interval.value, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_estimates_add_scale_and_name() -> None:
    pair = Estimate(np.array([1.0, 3.0]), np.array([[0.0, 2.0], [2.0, 4.0]]))
    both = (0.5 * (pair[0] + pair[1])).interval()
    assert (both.value, both.low, both.high) == pytest.approx((2.0, 1.05, 2.95))
    assert pair.named(["a", "b"])["b"] == pytest.approx({"value": 3.0, "low": 2.05, "high": 3.95})


def test_an_unknown_video_is_one_of_its_own() -> None:
    name, groups = units(np.array([4, 4, -1, 2, -1]))
    assert name == "video"
    assert groups[0] == groups[1]
    assert len(set(groups.tolist())) == 4


def test_images_are_drawn_where_no_video_is_known() -> None:
    name, groups = units(np.array([-1, -1, -1]))
    assert name == "image"
    assert len(set(groups.tolist())) == 3
