"""Choices whose seeds scatter beyond the others': against tables and grids without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from example_scores import grid_of_scores

from blippose.report.cells import CellState
from blippose.report.effects import find_effects
from blippose.report.grid import Grid
from blippose.report.steady import critical_share, unsteady, without_seeds
from blippose.report.verdicts import judge, sentences


def labels(num_choices: int, num_seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Choice and seed of each run, choice by choice."""
    choices, seeds = np.divmod(np.arange(num_choices * num_seeds), num_seeds)
    return choices, seeds


def scores(num_choices: int, num_seeds: int, trial: int, common: float = 3.0) -> np.ndarray:
    """Equally noisy choices; `common` is what seeds do to all alike."""
    random = np.random.default_rng([num_choices, num_seeds, trial])
    own = random.normal(size=(num_choices, num_seeds))
    return 50 + own + common * random.normal(size=num_seeds)


@pytest.mark.parametrize(
    ("num_choices", "num_seeds", "published"),
    [
        (3, 2, 0.993),
        (3, 3, 0.942),
        (4, 3, 0.864),
        (5, 3, 0.788),
        (10, 2, 0.718),
        (10, 3, 0.536),
        (20, 3, 0.330),
    ],
)
def test_critical_values_are_those_of_the_table_for_one_percent(
    num_choices: int, num_seeds: int, published: float
) -> None:
    """ISO 5725-2, table 4."""
    own = num_seeds - 1
    assert critical_share(num_choices, own, (num_choices - 1) * own) == pytest.approx(
        published, abs=1e-3
    )


@pytest.mark.parametrize("are_shared", [True, False])
@pytest.mark.parametrize(("num_choices", "num_seeds"), [(3, 3), (10, 2), (34, 3)])
def test_equally_noisy_choices_are_seldom_set_apart(
    num_choices: int, num_seeds: int, are_shared: bool
) -> None:
    choices, seeds = labels(num_choices, num_seeds)
    common = 3.0 if are_shared else 0.0
    found = sum(
        bool(
            unsteady(
                scores(num_choices, num_seeds, trial, common).ravel(),
                choices,
                seeds if are_shared else None,
            )
        )
        for trial in range(400)
    )
    assert found <= 10  # 1 % are 4


def test_choices_of_far_more_noise_are_set_apart_the_noisiest_first() -> None:
    choices, seeds = labels(30, 3)
    found = []
    for trial in range(100):
        own = scores(30, 3, trial, common=0.0) - 50
        own[4] *= 30
        own[7] *= 1000
        common = 3 * np.random.default_rng(trial).normal(size=3)
        found.append(unsteady((50 + own + common).ravel(), choices, seeds))
    assert sum(one[:2] == [7, 4] for one in found) >= 95


def test_two_choices_are_always_left() -> None:
    for num in (2, 3, 4):
        choices, seeds = labels(num, 3)
        own = np.random.default_rng(num).normal(size=(num, 3)) * 1e4 ** np.arange(num)[:, None]
        assert len(unsteady(own.ravel(), choices, seeds)) == num - 2


def test_choices_that_do_not_scatter_are_no_measure_of_another() -> None:
    choices, seeds = labels(5, 3)
    y = np.full((5, 3), 0.977)
    assert unsteady(y.ravel(), choices, seeds) == []
    y[2] += [0.0, 0.01, 0.02]
    assert unsteady(y.ravel(), choices, seeds) == []


def test_what_seeds_do_is_read_from_the_kept_choices_also_where_runs_are_missing() -> None:
    choices, seeds = labels(4, 3)
    there = np.arange(12) != 4
    choices, seeds = choices[there], seeds[there]
    effect = np.array([-1.0, 3.0, -2.0])
    y = 10.0 * choices + effect[seeds]
    y[choices == 3] += [5.0, -50.0, 7.0]
    matrix = without_seeds(choices, seeds, choices != 3)
    cleaned = matrix @ y
    np.testing.assert_allclose(cleaned[choices != 3], 10.0 * choices[choices != 3], atol=1e-9)
    np.testing.assert_allclose(cleaned[choices == 3], [35.0, -20.0, 37.0])


def unsteady_grid() -> tuple[Grid, Grid]:
    """Twelve choices of which the last one scatters 100 times as much, and the others alone."""
    values = scores(12, 3, trial=0)
    values[11] += [300.0, -100.0, -80.0]
    return grid_of_scores(values), grid_of_scores(values[:11])


def without_a_run(grid: Grid) -> Grid:
    """The grid before the last run of its second choice is done."""
    cells = [
        replace(cell, state=CellState.RUNNING) if cell.name == "1_2" else cell
        for cell in grid.cells
    ]
    return Grid.of(cells, grid.measure)


@pytest.mark.parametrize("lacks_a_run", [False, True])
def test_noise_and_intervals_of_the_others_are_those_of_the_grid_without_it(
    lacks_a_run: bool,
) -> None:
    whole, others = unsteady_grid()
    if lacks_a_run:
        whole, others = without_a_run(whole), without_a_run(others)
    of_whole, of_others = find_effects(whole), find_effects(others)
    assert of_whole.noise is not None
    assert of_others.noise is not None
    assert list(of_whole.noise.own) == [(11,)]
    for one, other in (
        (of_whole.noise, of_others.noise),
        (of_whole.spread, of_others.spread),
    ):
        assert one is not None
        assert other is not None
        assert (one.deviation, one.freedom) == pytest.approx((other.deviation, other.freedom))
    [main], [alone] = of_whole.main, of_others.main
    np.testing.assert_allclose(main.means[:11], alone.means)
    np.testing.assert_allclose(main.halves[:11], alone.halves)
    assert (main.share, main.p_value) == pytest.approx((alone.share, alone.p_value))


def test_its_own_interval_is_that_of_its_own_runs() -> None:
    whole, others = unsteady_grid()
    effects = find_effects(whole)
    assert effects.noise is not None
    assert effects.spread is not None
    own = np.array(whole.scores(whole.choices[-1]))
    of_seeds = np.array([others.scores(choice) for choice in others.choices]).mean(axis=0)
    left = own - of_seeds
    assert effects.noise.of((11,)).deviation == pytest.approx(left.std(ddof=1))
    assert effects.spread.of((11,)).deviation == pytest.approx(own.std(ddof=1))
    half = 4.302653 * left.std(ddof=1) / np.sqrt(3)  # Student's t of 2 degrees of freedom
    assert effects.main[0].halves[11] == pytest.approx(half)


def test_a_mean_over_steady_and_unsteady_choices_has_the_noise_of_both() -> None:
    """Of two axes, (a, b): the last of eight choices is unsteady, so one of four of each."""
    values = scores(8, 3, trial=1)
    values[7] += [200.0, -100.0, -100.0]
    grid = grid_of_scores(values, names=("a", "b"), levels=(2, 4))
    effects = find_effects(grid)
    assert effects.noise is not None
    steady, own = effects.noise.deviation, effects.noise.of((1, 3)).deviation
    a, b = effects.main
    assert a.halves[0] == pytest.approx(effects.noise.half_width(1 / 12))
    variance = (3 * steady**2 + own**2) / 3 / 16
    assert a.halves[1] == pytest.approx(4.302653 * np.sqrt(variance), rel=2e-3)
    np.testing.assert_allclose(a.means, values.reshape(2, 12).mean(axis=1))
    np.testing.assert_allclose(b.halves[:3], effects.noise.half_width(1 / 6))


def test_a_line_says_which_are_judged_by_their_own_noise() -> None:
    grid, others = unsteady_grid()
    [line] = [s for s in sentences(grid, judge(grid, find_effects(grid).noise)) if "Cochran" in s]
    assert line.startswith("The seeds of a 11 scatter more than others' (Cochran's test at 1 %)")
    verdicts = judge(others, find_effects(others).noise)
    assert not [line for line in sentences(others, verdicts) if "Cochran" in line]
