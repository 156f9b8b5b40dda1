"""What each axis does to the measure, alone and in pairs, with 95 % intervals.

A linear model with a level for every value: y = mean + axes + pairs of axes + seed + noise.
The noise is what seeds leave within one choice, beside what each does to all choices alike where
they share their seeds; choices whose seeds scatter beyond the others' have their own. With one
seed a choice it is what axes and pairs leave unexplained: an upper bound where three axes act
together.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import fdtrc

from blippose.report.axes import Axis, Value
from blippose.report.cells import Cell, CellState
from blippose.report.grid import Grid, Key
from blippose.report.noise import Noise, joint
from blippose.report.steady import Labels, unsteady, without_seeds

Matrix = Float[np.ndarray, "rows columns"]
Vector = Float[np.ndarray, " rows"]
Term = tuple[Axis, ...]
_MIN_FREEDOM = 3  # degrees of freedom; an interval from fewer is wider than any effect


@dataclass(frozen=True)
class MainEffect:
    """Mean of the measure at each value of an axis, all else balanced."""

    axis: Axis
    means: Vector
    halves: Vector  # NaN where nothing tells the noise
    share: float  # of the variance between runs
    p_value: float


@dataclass(frozen=True)
class Interaction:
    """Means at each pair of values: parallel lines where the axes do not depend on each other."""

    axes: tuple[Axis, Axis]
    means: Matrix
    halves: Matrix
    share: float
    p_value: float


@dataclass(frozen=True)
class Effects:
    """Of every axis and every pair of axes.

    Args:
        noise: between choices.
        num_lacking: pairs of values without a run that is done.
    """

    main: list[MainEffect]
    pairs: list[Interaction]
    noise: Noise | None
    num_lacking: int = 0

    @property
    def spread(self) -> Noise | None:
        """Of a choice's mean, with what its seeds do to all alike; None of one seed."""
        return None if self.noise is None else self.noise.spread


def find_effects(grid: Grid) -> Effects:
    """Effects of the axes on the measure, from the cells that are done."""
    done = [c for c in grid.cells if c.state is CellState.DONE and grid.is_comparable(c)]
    whole = {c.name for one in grid.choices if grid.mean(one) is not None for c in one.cells}
    cells = [cell for cell in done if cell.name in whole]
    axes = [axis for axis in grid.factors if len(_levels(grid, cells, axis)) > 1]
    if (
        len(cells) < 3 or not axes or not grid.has_settings
    ):  # two runs are a difference, not an effect
        return Effects([], [], None)
    return _Model(grid, cells, axes).effects()


def _levels(grid: Grid, cells: Sequence[Cell], axis: Axis) -> list[Value]:
    present = {grid.value(cell, axis) for cell in cells}
    return [value for value in axis.values if value in present]


class _Model:
    """The linear model of some cells on some axes."""

    def __init__(self, grid: Grid, cells: list[Cell], axes: list[Axis]) -> None:
        self.grid, self.cells, self.axes = grid, cells, axes
        self.y = np.array([grid.score(cell) for cell in cells], dtype=float)
        factors = [*axes, *([grid.seeds] if grid.seeds else [])]
        self.levels = {axis.key: _levels(grid, cells, axis) for axis in factors}
        self.keys = {axis.key: [grid.value(cell, axis) for cell in cells] for axis in factors}
        self.singles: list[Term] = [(axis,) for axis in axes]
        self.pairs: list[Term] = list(itertools.combinations(axes, 2))
        self.choices: list[Term] = [
            term for n in range(1, len(axes) + 1) for term in itertools.combinations(axes, n)
        ]
        self.of_choice = [grid.key(cell, grid.factors) for cell in cells]
        self.is_steady = np.ones(len(cells), dtype=bool)
        self.shares_seeds = self._shares_seeds()
        self.apart = self._apart()
        self.is_steady = np.array([key not in self.apart for key in self.of_choice])
        self.noise = self._noise()

    def effects(self) -> Effects:
        # Values of these cells alone: others were judged otherwise, or are not done.
        shown = {
            axis.key: replace(axis, values=tuple(self.levels[axis.key])) for axis in self.axes
        }
        main = [
            MainEffect(shown[axis.key], *self._means((axis,)), *self._test((axis,)))
            for axis in self.axes
        ]
        pairs = [
            Interaction((shown[a.key], shown[b.key]), *self._table((a, b)), *self._test((a, b)))
            for a, b in self.pairs
        ]
        num_lacking = sum(int(np.isnan(pair.means).sum()) for pair in pairs)
        noise = (
            None if self.noise is None else replace(self.noise, spread=self._spread(self.noise))
        )
        return Effects(main, pairs, noise, num_lacking)

    def _coded(self, axis: Axis, keys: Sequence[Value]) -> Matrix:
        """A column for each level but the first; a row's values are 0 and 1."""
        levels = self.levels[axis.key][1:]
        return np.array([[float(key == level) for level in levels] for key in keys]).reshape(
            len(keys), len(levels)
        )

    def _design(
        self, terms: Sequence[Term], keys: dict[str, list[Value]], rows: int, *, seeds: bool
    ) -> Matrix:
        columns = [np.ones((rows, 1))]
        for term in terms:
            block = np.ones((rows, 1))
            for axis in term:
                coded = self._coded(axis, keys[axis.key])
                block = (block[:, :, None] * coded[:, None, :]).reshape(rows, -1)
            columns.append(block)
        if seeds:
            columns.append(self._seed_columns(keys, rows))
        return np.hstack(columns)

    def _seed_columns(self, keys: dict[str, list[Value]], rows: int) -> Matrix:
        """A column a seed; where none is named, a share of each: the mean over the seeds."""
        assert self.grid.seeds is not None
        levels = self.levels[self.grid.seeds.key]
        if self.grid.seeds.key in keys:
            return self._coded(self.grid.seeds, keys[self.grid.seeds.key])
        return np.full((rows, len(levels) - 1), 1 / len(levels))

    def _left(self, terms: Sequence[Term], *, seeds: bool) -> tuple[float, int]:
        """Sum of squares that terms and seeds leave unexplained, and its degrees of freedom.

        Of the choices that are not set apart.
        """
        y = self.y[self.is_steady]
        design = self._design(terms, self.keys, len(self.y), seeds=seeds)[self.is_steady]
        fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        return float(((y - fitted) ** 2).sum()), len(y) - int(np.linalg.matrix_rank(design))

    def _apart(self) -> list[Key]:
        """Choices whose seeds scatter beyond the others'."""
        if not self.grid.is_replicated:
            return []
        order = list(dict.fromkeys(self.of_choice))
        found = unsteady(self.y, self._numbers(self.of_choice), self._shared_seeds)
        return [order[i] for i in found]

    @property
    def _shared_seeds(self) -> Labels | None:
        """A number for each run's seed, where seeds do something to all choices alike."""
        seeds = self.grid.seeds
        return self._numbers(self.keys[seeds.key]) if seeds and self.shares_seeds else None

    @staticmethod
    def _numbers(keys: Sequence[Hashable]) -> Labels:
        order = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        return np.array([order[key] for key in keys])

    @cached_property
    def _beside_seeds(self) -> Matrix:
        """Matrix that takes from all runs what seeds do to the steady choices alike."""
        seeds = self._shared_seeds
        if seeds is None:
            return np.eye(len(self.y))
        return without_seeds(self._numbers(self.of_choice), seeds, self.is_steady)

    def _shares_seeds(self) -> bool:
        """Whether choices share enough seeds to tell what a seed does to all of them."""
        if self.grid.seeds is None:
            return False
        of_all, beside = (self._left(self.choices, seeds=seeds)[1] for seeds in (False, True))
        return 2 * beside >= of_all > 0

    def _noise(self) -> Noise | None:
        if self.grid.is_replicated:
            left, freedom = self._left(self.choices, seeds=self.shares_seeds)
            if freedom >= 1:
                beside = ", beside what each does to all choices" if self.shares_seeds else ""
                source = f"what seeds change{beside}"
                own = self._own(self._beside_seeds @ self.y) if self.apart else {}
                deviation = (left / freedom) ** 0.5
                return Noise(deviation, freedom, source, is_paired=self.shares_seeds, own=own)
        for terms, what in (
            (
                [*self.singles, *self.pairs],
                "one seed: what axes and their pairs leave unexplained",
            ),
            (self.singles, "one seed: what single axes leave unexplained, interactions included"),
        ):
            left, freedom = self._left(terms, seeds=self.shares_seeds)
            if freedom >= _MIN_FREEDOM:
                is_blurred = bool(self.pairs) and terms is self.singles
                return Noise((left / freedom) ** 0.5, freedom, what, is_blurred)
        return None

    def _own(self, y: Vector) -> dict[tuple[object, ...], Noise]:
        """The noise of each choice that is set apart, from its own runs alone."""
        runs = {key: y[self._is_of(key)] for key in self.apart}
        return {
            key: Noise(
                float(of_one.std(ddof=1)),
                len(of_one) - 1,
                "its own seeds",
                is_paired=self.shares_seeds,
            )
            for key, of_one in runs.items()
        }

    def _is_of(self, key: tuple[object, ...]) -> Bool[np.ndarray, " runs"]:
        """Which runs are of a choice."""
        return np.array([one == key for one in self.of_choice])

    def _spread(self, noise: Noise) -> Noise | None:
        """Of a run about its choice's mean over all seeds that there could be.

        Source: the variance of a mean in a layout of choices and random seeds, its degrees of
        freedom by Satterthwaite.
        """
        if not self.grid.is_replicated:
            return None
        within, freedom, what = noise.deviation**2, noise.freedom, "what seeds change"
        own = self._own(self.y)
        if not self.shares_seeds:
            return Noise(within**0.5, freedom, what, own=own)
        left, freedom_of_all = self._left(self.choices, seeds=False)
        of_seeds = freedom_of_all - freedom
        between = max(left - within * freedom, 0.0) / of_seeds
        num = len(set(self.of_choice)) - len(self.apart)
        variance = (between + (num - 1) * within) / num
        if variance == 0:
            return Noise(0.0, freedom, what, own=own)
        parts = between**2 / of_seeds + ((num - 1) * within) ** 2 / freedom
        return Noise(variance**0.5, (num * variance) ** 2 / parts, what, own=own)

    def _test(self, term: Term) -> tuple[float, float]:
        """Share of the variance that a term explains beyond its peers, and its p-value.

        Of the choices that are not set apart: the F test takes one noise for all. NaN where these
        do not tell.
        """
        peers = self.singles if len(term) == 1 else [*self.singles, *self.pairs]
        left, freedom = self._left(peers, seeds=self.shares_seeds)
        others = [peer for peer in peers if peer != term]
        left_without, freedom_without = self._left(others, seeds=self.shares_seeds)
        explained, lost = max(left_without - left, 0.0), freedom_without - freedom
        if self.apart and not lost:
            return float("nan"), float("nan")
        y = self.y[self.is_steady]
        total = float(((y - y.mean()) ** 2).sum())
        share = min(explained / total, 1.0) if total else 0.0
        if self.noise is None or not lost or self.noise.deviation == 0:
            return share, float("nan")
        ratio = explained / lost / self.noise.deviation**2
        return share, float(fdtrc(lost, self.noise.freedom, ratio))

    def _table(self, term: tuple[Axis, Axis]) -> tuple[Matrix, Matrix]:
        """NaN where no run has both values."""
        means, halves = self._means(term)
        levels = [self.levels[axis.key] for axis in term]
        present = {self.grid.key(cell, term) for cell in self.cells}
        lacks = np.array([pair not in present for pair in itertools.product(*levels)])
        shape = tuple(map(len, levels))
        return (
            np.where(lacks, np.nan, means).reshape(shape),
            np.where(lacks, np.nan, halves).reshape(shape),
        )

    def _means(self, term: Term) -> tuple[Vector, Vector]:
        """Marginal means at each combination of the term's levels, and half their intervals."""
        combinations = itertools.product(*(self.levels[axis.key] for axis in term))
        pairs = [
            self._mean(dict(zip((a.key for a in term), c, strict=True))) for c in combinations
        ]
        means, halves = zip(*pairs, strict=True)
        return np.array(means), np.array(halves)

    def _mean(self, fixed: dict[str, Value]) -> tuple[float, float]:
        """The model's mean over the whole grid with some axes fixed.

        With a full grid it is the plain mean of its cells. Where a pair of values has no run it
        is what single axes would give, without an interval, as nobody knows what the pair does.
        """
        whole = [*self.singles, *self.pairs]
        seeds = self.shares_seeds and not self.apart  # else they are taken off before
        for terms in (whole, self.singles):
            design = self._design(terms, self.keys, len(self.y), seeds=seeds)
            inverse = np.linalg.pinv(design)
            contrast = self._contrast(terms, fixed, seeds=seeds)
            if np.allclose(contrast @ inverse @ design, contrast, atol=1e-8):
                weights = contrast @ inverse
                if self.apart:
                    weights = weights @ self._beside_seeds
                half = self._half_width(weights) if terms == whole else np.nan
                return float(weights @ self.y), half
        return float("nan"), float("nan")

    def _half_width(self, weights: Vector) -> float:
        """Half of the interval of a sum of runs; NaN where nothing tells the noise."""
        if self.noise is None:
            return float("nan")
        parts = [(self.noise, self.is_steady)]
        parts += [(own, self._is_of(key)) for key, own in self.noise.own.items()]
        return joint((noise, float(weights[i] @ weights[i])) for noise, i in parts).half_width(1.0)

    def _contrast(self, terms: Sequence[Term], fixed: dict[str, Value], *, seeds: bool) -> Vector:
        choices = [
            [fixed[axis.key]] if axis.key in fixed else self.levels[axis.key] for axis in self.axes
        ]
        rows = list(itertools.product(*choices))
        keys = {axis.key: [row[i] for row in rows] for i, axis in enumerate(self.axes)}
        design = self._design(terms, keys, len(rows), seeds=seeds)
        return design.mean(axis=0)  # type: ignore[no-any-return]
