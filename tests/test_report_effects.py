"""Effects and verdicts against numbers worked out by hand and against SciPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from blippose.report.cells import Cell, CellState
from blippose.report.effects import find_effects
from blippose.report.grid import Grid
from blippose.report.history import Curve, History
from blippose.report.measures import MEASURES
from blippose.report.verdicts import judge, sentences

MAE = MEASURES["mae_all"]
Score = Callable[[int, int, int], float]


def grid_of(score: Score, seeds: int = 1, levels: tuple[int, int] = (2, 3)) -> Grid:
    """A grid of axes a and b, whose cell (a, b, seed) has the given MAE."""
    cells = []
    for a, b, seed in itertools.product(range(levels[0]), range(levels[1]), range(seeds)):
        history = History({"val/mae_all": Curve(np.ones(1), np.array([score(a, b, seed)]))})
        config = {"a": a, "b": b, "seed": seed}
        record = {"config": config}
        cells.append(Cell(f"{a}{b}{seed}", None, CellState.DONE, "", record, history))
    return Grid.of(cells, MAE)


def noisy(a: int, b: int, seed: int) -> float:
    return 5 + a + 0.5 * b + float(np.random.default_rng([a, b, seed]).normal(0, 0.2))


def test_main_effects_are_the_means_over_the_grid() -> None:
    effects = find_effects(grid_of(lambda a, b, _: 10.0 * a + b))
    np.testing.assert_allclose(effects.main[0].means, [1, 11])
    np.testing.assert_allclose(effects.main[1].means, [5, 6, 7])


def test_an_additive_grid_has_no_interaction() -> None:
    [pair] = find_effects(grid_of(lambda a, b, _: 10.0 * a + b)).pairs
    assert pair.share == pytest.approx(0, abs=1e-12)


def test_an_interaction_has_its_share_of_the_variance() -> None:
    [pair] = find_effects(grid_of(lambda a, b, _: float(a * (b == 2)))).pairs
    np.testing.assert_allclose(pair.means, [[0, 0, 0], [0, 0, 1]], atol=1e-12)
    # Sums of squares of one 1 among six: total 5/6; a 1/6, b 1/3, so a x b 1/3.
    assert pair.share == pytest.approx((1 / 3) / (5 / 6))


def test_p_values_are_those_of_a_two_way_analysis_of_variance() -> None:
    """On one axis with seeds unlike each other's, the F test is SciPy's on the same groups."""
    values = np.random.default_rng(0).normal(size=(3, 4))
    cells = []
    for a, i in itertools.product(range(3), range(4)):
        history = History({"val/mae_all": Curve(np.ones(1), values[a, i : i + 1])})
        record = {"config": {"a": a, "seed": 4 * a + i}}
        cells.append(Cell(f"{a}{i}", None, CellState.DONE, "", record, history))
    grid = Grid.of(cells, MAE)
    effects = find_effects(grid)
    assert effects.main[0].p_value == pytest.approx(stats.f_oneway(*values).pvalue)
    assert effects.noise is not None
    half = stats.t.ppf(0.975, 9) * np.sqrt(values.var(axis=1, ddof=1).mean() / 4)
    np.testing.assert_allclose(effects.main[0].halves, half)


def test_the_noise_is_what_seeds_change_within_a_choice() -> None:
    grid = grid_of(noisy, seeds=6)
    y = np.array([grid.score(cell) for cell in grid.cells], dtype=float).reshape(6, 6)
    left = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    noise = find_effects(grid).noise
    assert noise is not None
    assert noise.freedom == 25
    assert noise.deviation == pytest.approx(np.sqrt((left**2).sum() / 25))


def test_a_missing_cell_leaves_the_means_of_an_additive_grid() -> None:
    grid = grid_of(lambda a, b, _: 10.0 * a + b)
    holed = Grid.of([c for c in grid.cells if c.name != "120"], MAE)
    np.testing.assert_allclose(find_effects(holed).main[1].means, [5, 6, 7])


def test_two_runs_have_no_effects() -> None:
    effects = find_effects(grid_of(noisy, levels=(2, 1)))
    assert effects.main == []


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered = []
    for trial in range(100):
        random = np.random.default_rng(trial)
        values = random.normal(size=(2, 2, 3))
        effects = find_effects(grid_of(lambda a, b, s: float(values[a, b, s]), 3, (2, 2)))  # noqa: B023  used at once
        covered.append(abs(effects.main[0].means[0]) <= effects.main[0].halves[0])
    assert 0.9 <= np.mean(covered) <= 0.99


def test_a_clear_difference_is_no_noise_and_a_small_one_is() -> None:
    def score(a: int, b: int, seed: int) -> float:
        return 5 + 3.0 * a + 0.02 * b + float(np.random.default_rng([a, b, seed]).normal(0, 0.2))

    grid = grid_of(score, seeds=4)
    verdicts = judge(grid, find_effects(grid).noise)
    says = {choice.key: verdicts.within.get(choice.key) for choice in grid.choices}
    assert all(says[(1, b)] is False for b in range(3))
    assert list(says.values()).count(True) == 2
    assert sentences(grid, verdicts)[0].startswith("Within noise of the best: a 0, b ")


@pytest.mark.parametrize("common", [0.0, 3.0])
def test_equal_choices_are_seldom_called_different(common: float) -> None:
    """Of 60 grids without any effect few name a worse choice, whatever seeds do to all alike."""
    wrong = 0
    for trial in range(60):
        random = np.random.default_rng(trial)
        values = random.normal(size=(2, 9, 3)) + common * random.normal(size=3)
        grid = grid_of(lambda a, b, s: float(values[a, b, s]), 3, (2, 9))  # noqa: B023  at once
        wrong += False in judge(grid, find_effects(grid).noise).within.values()
    assert wrong <= 8  # 5 % are 3; a correction for the best alone had 9 and more of 60


@pytest.mark.parametrize("common", [0.0, 3.0])
def test_a_mean_lies_within_its_interval_as_often_as_it_says(common: float) -> None:
    """Also where seeds move all choices together."""
    covered = []
    for trial in range(150):
        random = np.random.default_rng(trial)
        values = random.normal(size=(2, 3, 3)) + common * random.normal(size=3)
        grid = grid_of(lambda a, b, s: float(values[a, b, s]), seeds=3)  # noqa: B023  at once
        spread = find_effects(grid).spread
        assert spread is not None
        covered.append(abs(grid.mean(grid.choices[2]) or 0.0) <= spread.half_width(1 / 3))
    assert 0.9 <= np.mean(covered) <= 1.0


def test_a_seed_that_is_not_there_yet_makes_no_choice_better() -> None:
    def score(a: int, b: int, seed: int) -> float:
        return 5 + 2.0 * seed + float(np.random.default_rng([a, b, seed]).normal(0, 0.02))

    whole = grid_of(score, seeds=3, levels=(1, 3))
    [last] = [cell for cell in whole.cells if cell.name == "012"]
    cells = [replace(c, state=CellState.RUNNING) if c is last else c for c in whole.cells]
    grid = Grid.of(cells, MAE)
    assert grid.choices[0].key == (1,), "its mean is that of the easier seeds"
    verdicts = judge(grid, find_effects(grid).noise)
    assert [verdicts.within[c.key] for c in grid.choices] == [None, True, True]


def test_a_choice_that_is_better_on_common_seeds_is_not_called_worse_than_the_best() -> None:
    """The best one lacks the hard seed, as it is still running."""

    def score(_: int, b: int, seed: int) -> float:
        return 5 + b + 4.0 * seed + float(np.random.default_rng([b, seed]).normal(0, 0.02))

    whole = grid_of(score, seeds=3, levels=(1, 3))
    cells = [
        replace(cell, state=CellState.RUNNING) if cell.name == "012" else cell
        for cell in whole.cells
    ]
    grid = Grid.of(cells, MAE)
    verdicts = judge(grid, find_effects(grid).noise)
    said = {choice.key: verdicts.text(choice) for choice in grid.choices}
    assert grid.choices[0].key == (1,)
    assert said == {(1,): "", (0,): "better", (2,): "worse"}
    label = grid.choice_label(grid.choices[1])
    assert f"Better on the seeds that both have: {label}." in sentences(grid, verdicts)
    assert "Worse beyond noise: 1 of 2 others." in sentences(grid, verdicts)


def test_choices_with_seeds_of_their_own_are_compared_too() -> None:
    cells = []
    for a, i in itertools.product(range(2), range(3)):
        value = 5 + 3.0 * a + float(np.random.default_rng([a, i]).normal(0, 0.02))
        history = History({"val/mae_all": Curve(np.ones(1), np.array([value]))})
        record = {"config": {"a": a, "seed": 3 * a + i}}
        cells.append(Cell(f"{a}{i}", None, CellState.DONE, "", record, history))
    grid = Grid.of(cells, MAE)
    verdicts = judge(grid, find_effects(grid).noise)
    assert verdicts.within == {(0,): None, (1,): False}
    assert "(what seeds change); 95 %." in verdicts.basis


@pytest.mark.parametrize(("share", "is_within"), [(0.99, True), (1.01, False)])
def test_verdicts_on_seeds_unlike_each_others_are_those_of_tukeys_test(
    share: float, is_within: bool
) -> None:
    """Two choices are a share of the least difference that it sees worse than the best."""
    values = np.random.default_rng(0).normal(size=(3, 4))
    values -= values.mean(axis=1, keepdims=True)
    values[1:] += share * stats.tukey_hsd(*values).confidence_interval(0.95).high[0, 1]
    cells = []
    for a, i in itertools.product(range(3), range(4)):
        history = History({"val/mae_all": Curve(np.ones(1), 5 + values[a, i : i + 1])})
        record = {"config": {"a": a, "seed": 4 * a + i}}
        cells.append(Cell(f"{a}{i}", None, CellState.DONE, "", record, history))
    grid = Grid.of(cells, MAE)
    within = judge(grid, find_effects(grid).noise).within
    assert within == {(0,): None, (1,): is_within, (2,): is_within}


def test_the_spread_of_a_mean_is_what_seeds_do_to_all_and_to_one() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 4)) + np.array([0.0, 3.0, -2.0, 5.0])
    spread = find_effects(grid_of(lambda a, b, s: float(values[a, b, s]), seeds=4)).spread
    y = values.reshape(6, 4)
    left = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    within, between = (left**2).sum() / 15, 6 * y.mean(axis=0).var(ddof=1)
    assert spread is not None
    assert spread.deviation**2 == pytest.approx((between + 5 * within) / 6)


def test_a_pair_of_values_that_no_run_has_is_not_made_up() -> None:
    def score(a: int, b: int, seed: int) -> float:
        return 5.0 + 20 * (a == 1 and b == 2) + 0.01 * seed * (1 + a + b)

    whole = grid_of(score, seeds=3)
    failed = [replace(c, state=CellState.FAILED) if c.name[:2] == "12" else c for c in whole.cells]
    effects = find_effects(Grid.of(failed, MAE))
    [pair] = effects.pairs
    assert np.argwhere(np.isnan(pair.means)).tolist() == [[1, 2]]
    assert effects.num_lacking == 1
    a, b = effects.main
    assert np.isnan(a.halves).tolist() == [False, True]
    assert np.isnan(b.halves).tolist() == [False, False, True]


def validated(name: str, **curves: list[float]) -> Cell:
    own = {f"val/{k}": np.array(v, dtype=float) for k, v in curves.items()}
    kept = {k: Curve(np.flatnonzero(~np.isnan(v)) + 1.0, v[~np.isnan(v)]) for k, v in own.items()}
    return Cell(name, None, CellState.DONE, "", {"config": {"lr": name}}, History(kept))


def test_an_epoch_that_says_little_is_not_the_best_by_the_error_of_what_it_says() -> None:
    quiet = validated("quiet", epe=[1.2, 30, 20, 12], mae_all=[13.6, 13, 11, 8])
    assert quiet.best_epoch(MEASURES["epe"]) == 4
    grid = Grid.of([quiet, validated("good", epe=[2.3], mae_all=[1.4])], MEASURES["epe"])
    assert [grid.label(cell) for cell in grid.ranked] == ["lr good", "lr quiet"]
    silent = validated("silent", epe=[np.nan, np.nan], mae_all=[13.6, 13.7])
    assert silent.best_epoch(MEASURES["epe"]) == 1
    assert Grid.of([silent, quiet], MEASURES["epe"]).score(silent) is None


def test_luck_of_many_epochs_is_told() -> None:
    grid = Grid.of([validated("a", mae_all=[3, 2]), validated("b", mae_all=[4])], MAE)
    assert sentences(grid, judge(grid, None))[-1] == (
        "A run's figure is the best of its 1 to 2 validations on these same images, so better by "
        "chance than on others. Runs of more validations had more chances."
    )
    once = Grid.of([validated("a", mae_all=[3]), validated("b", mae_all=[4])], MAE)
    assert not [line for line in sentences(once, judge(once, None)) if "chance" in line]


def test_one_seed_and_two_axes_tell_no_noise() -> None:
    grid = grid_of(noisy, levels=(3, 3))
    effects = find_effects(grid)
    assert effects.noise is not None
    assert effects.noise.holds_interactions
    [line] = sentences(grid, judge(grid, effects.noise))
    assert "Sweep seed=0,1,2" in line


def test_what_cannot_be_compared_yet_is_told_by_what_is_lacking() -> None:
    whole = grid_of(lambda a, b, _: 5.0 + a, levels=(2, 1))
    [first, second] = whole.cells
    begun = replace(second, state=CellState.RUNNING)
    assert judge(Grid.of([first, begun], MAE), None).basis.startswith("1 of 2 choices is done")
    neither = [replace(first, state=CellState.RUNNING), begun]
    assert judge(Grid.of(neither, MAE), None).basis.startswith("None of 2 choices is done")
    assert judge(Grid.of([first], MAE), None).basis.startswith("There is one choice alone")
    frames = [{**c.record, "results": {"manifest": c.name, "frame": "px"}} for c in whole.cells]
    apart = [replace(c, record=r) for c, r in zip(whole.cells, frames, strict=True)]
    for i, cell in enumerate(apart):
        cell.record["config"]["data"] = {"root": str(i)}
    basis = judge(Grid.of(apart, MAE), None).basis
    assert basis.startswith("No two choices were judged on the same images")
