"""A grid: cells on axes, the choices among them, their ranking, and which cells are not there."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from blippose.report.axes import SEED, Axis, Value, find_axes, swept_axes
from blippose.report.cells import Cell, CellState, Estimate
from blippose.report.judged import set_name, settings_of, validation_sets
from blippose.report.measures import Measure

Key = tuple[Value, ...]
_FULL_ENOUGH = 0.5  # of a product of values; below it, the runs are no grid with holes
_NAME = "run"  # the axis of runs that are told apart by their names
_FEWEST = 3  # runs of a grid with holes
_MOST_AXES = 4  # of runs that are no grid; more are a list of differences, not axes


@dataclass(frozen=True)
class Choice:
    """The cells that differ in the seed alone.

    Args:
        key: its values on the factors.
        set_number: of the validation set that all of them were judged on.
    """

    key: Key
    cells: tuple[Cell, ...]
    set_number: int = 0

    @property
    def done(self) -> list[Cell]:
        """Those that ran to their end."""
        return [cell for cell in self.cells if cell.state is CellState.DONE]


@dataclass(frozen=True)
class Grid:
    """Cells, the axes that they differ on, and the measure that ranks them.

    Args:
        values: of each cell on each axis, by the cell's name and the axis' key.
        repeats: names of runs left out, each with the one of the same settings that counts.
    """

    cells: tuple[Cell, ...]
    axes: tuple[Axis, ...]
    values: Mapping[str, Mapping[str, Value]]
    measure: Measure
    repeats: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(cells: Sequence[Cell], measure: Measure) -> Grid:
        """The grid of `cells`, with a cell for each that the axes lack.

        Where a choice of the sweep sets keys of other names, its axes are the sweep's own. Runs
        that differ in many settings and are no grid are told apart by their names. Runs of the
        same settings and seed, as a grid has that was made wider, are one: no seed counts twice.
        """
        axes, values = swept_axes(cells)
        if not axes:
            axes, values = find_axes(cells)
        grid = Grid(tuple(cells), tuple(axes), values, measure)
        grid = grid._without_repeats() if axes else grid
        if grid._is_full_enough:
            return grid._completed()
        return grid if len(axes) <= _MOST_AXES else replace(grid, **_named(list(grid.values)))

    @property
    def _is_full_enough(self) -> bool:
        """Whether the cells are a grid, maybe with holes, and not single runs."""
        present = {self.key(cell, self.axes) for cell in self.cells if cell.name in self.values}
        wanted = math.prod(len(axis.values) for axis in self.axes)
        return bool(self.axes) and len(present) >= max(_FEWEST, _FULL_ENOUGH * wanted)

    @cached_property
    def factors(self) -> tuple[Axis, ...]:
        """The axes that are a choice: all but the seed."""
        return tuple(axis for axis in self.axes if axis.key != SEED)

    @cached_property
    def has_settings(self) -> bool:
        """Whether its axes are settings, and not the names of unlike runs."""
        return any(axis.key != _NAME for axis in self.axes)

    @cached_property
    def seeds(self) -> Axis | None:
        """The axis of seeds."""
        return next((axis for axis in self.axes if axis.key == SEED), None)

    def value(self, cell: Cell, axis: Axis) -> Value:
        """Where a cell lies on an axis; None for one without a config."""
        return self.values.get(cell.name, {}).get(axis.key)

    def key(self, cell: Cell, axes: Sequence[Axis]) -> Key:
        """Where a cell lies on several axes."""
        return tuple(self.value(cell, axis) for axis in axes)

    def label(self, cell: Cell) -> str:
        """The cell's values in words, or its name where that tells it apart."""
        own = self.values.get(cell.name)
        if not self.has_settings or own is None:
            return cell.name
        return ", ".join(f"{axis.name} {axis.text(own[axis.key])}" for axis in self.axes)

    def choice_label(self, choice: Choice) -> str:
        """The choice's values in words."""
        pairs = zip(self.factors, choice.key, strict=False)  # no factors: the cell's name
        words = [f"{axis.name} {axis.text(value)}" for axis, value in pairs]
        return ", ".join(words) if words and self.has_settings else choice.cells[0].name

    def score(self, cell: Cell, one: Measure | None = None) -> float | None:
        """A measure at the cell's best epoch: the grid's own, where none is named."""
        estimate = self.estimate(cell, (one or self.measure).name)
        return None if estimate is None or not math.isfinite(estimate.value) else estimate.value

    @cached_property
    def sets(self) -> dict[str, int]:
        """The number of each cell's validation set, by the cell's name; 0 is that of most."""
        return validation_sets(self.cells, self.measure)

    @cached_property
    def set_names(self) -> list[str]:
        """Of the validation sets; one where all cells were judged alike."""
        return [set_name(number) for number in range(max(self.sets.values(), default=0) + 1)]

    def is_comparable(self, cell: Cell) -> bool:
        """Whether it was judged as most were: no other is held against them."""
        return self.sets.get(cell.name, 0) == 0

    @cached_property
    def ranked(self) -> list[Cell]:
        """Set by set, done cells, the best first, then others with a value; last those without."""

        def order(cell: Cell) -> tuple[bool, int, bool, float]:
            score = self.score(cell)
            key = math.inf if score is None else self.measure.key(score)
            number = self.sets.get(cell.name, 0)
            return score is None, number, cell.state is not CellState.DONE, key

        return sorted(self.cells, key=order)

    @cached_property
    def bests(self) -> dict[int, Cell]:
        """By validation set, the best of the cells that are done, or of all while none is."""
        found: dict[int, Cell] = {}
        for cell in self.ranked:
            if self.score(cell) is not None:
                found.setdefault(self.sets.get(cell.name, 0), cell)
        return found

    @cached_property
    def best(self) -> Cell | None:
        """The best one of the first validation set that has any."""
        return next(iter(self.bests.values()), None)

    @cached_property
    def num_done(self) -> int:
        """Cells that ran to their end."""
        return sum(cell.state is CellState.DONE for cell in self.cells)

    @cached_property
    def choices(self) -> list[Choice]:
        """Cells that differ in the seed alone, together; set by set, the best mean first."""
        groups: dict[tuple[int, Key], list[Cell]] = {}
        for cell in self.cells:
            if cell.name in self.values:
                key = self.key(cell, self.factors) if self.factors else (cell.name,)
                groups.setdefault((self.sets[cell.name], key), []).append(cell)
        choices = [Choice(key, tuple(cells), number) for (number, key), cells in groups.items()]
        return sorted(choices, key=self._choice_order)

    def _choice_order(self, choice: Choice) -> tuple[bool, int, float]:
        mean = self.mean(choice)
        key = 0.0 if mean is None else self.measure.key(mean)
        return mean is None, choice.set_number, key

    def scores(self, choice: Choice, one: Measure | None = None) -> list[float]:
        """Of the seeds that are done and have one."""
        return [score for cell in choice.done if (score := self.score(cell, one)) is not None]

    def mean(self, choice: Choice, one: Measure | None = None) -> float | None:
        """Over the seeds that are done; None where one of them has none: it is not left out."""
        scores = self.scores(choice, one)
        return sum(scores) / len(scores) if scores and len(scores) == len(choice.done) else None

    def paired(self, one: Choice, other: Choice) -> dict[Value, tuple[float, float]]:
        """Their scores at each seed that is done in both."""
        if self.seeds is None:
            return {}
        of_one, of_other = (
            {self.value(cell, self.seeds): self.score(cell) for cell in choice.done}
            for choice in (one, other)
        )
        both = {seed: (of_one[seed], of_other[seed]) for seed in of_one if seed in of_other}
        return {seed: (a, b) for seed, (a, b) in both.items() if a is not None and b is not None}

    @cached_property
    def is_replicated(self) -> bool:
        """Whether a choice was judged with several seeds."""
        return self.seeds is not None and any(len(self.scores(one)) > 1 for one in self.choices)

    def estimate(self, cell: Cell, name: str) -> Estimate | None:
        """Another metric, at the epoch that the grid's measure chose."""
        return cell.estimate(name, self.measure)

    def _without_repeats(self) -> Grid:
        """With one of the runs that have all settings alike: one that is done, if any is."""
        kept: dict[Hashable, Cell] = {}
        repeats = {}
        for cell in sorted(self.cells, key=lambda cell: cell.state is not CellState.DONE):
            if settings := settings_of(cell):
                same = json.dumps(
                    [settings, self.key(cell, self.axes)], sort_keys=True, default=str
                )
                if (other := kept.setdefault(same, cell)) is not cell:
                    repeats[cell.name] = other.name
        cells = tuple(cell for cell in self.cells if cell.name not in repeats)
        values = {name: own for name, own in self.values.items() if name not in repeats}
        return replace(self, cells=cells, values=values, repeats=repeats)

    def _completed(self) -> Grid:
        """With a missing cell for each combination of values that no cell has."""
        present = {self.key(cell, self.axes) for cell in self.cells if cell.name in self.values}
        wanted = itertools.product(*(axis.values for axis in self.axes))
        names = {cell.name for cell in self.cells}
        added, values = [], dict(self.values)
        for key in (key for key in wanted if key not in present):
            own = {axis.key: value for axis, value in zip(self.axes, key, strict=True)}
            name = ",".join(
                f"{axis.name}={axis.text(own[axis.key])}"
                for axis in sorted(self.axes, key=lambda axis: axis.name)
            )
            values[name] = own
            if name in names:  # a run without a config that its folder tells apart
                continue
            reason = "no run has these values: not started yet, or refused before it began"
            added.append(Cell(name, None, CellState.MISSING, reason))
        return replace(self, cells=(*self.cells, *added), values=values)


def _named(names: Sequence[str]) -> dict[str, Any]:
    """Axes and values of runs that their names tell apart."""
    axis = Axis(_NAME, _NAME, tuple(names))
    return {"axes": (axis,), "values": {name: {axis.key: name} for name in names}}
