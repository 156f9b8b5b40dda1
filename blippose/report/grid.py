"""A grid: cells on axes, the choices among them, their ranking, and which cells are not there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from blippose.report.axes import SEED, Axis, Value, find_axes
from blippose.report.cells import Cell, CellState, Estimate
from blippose.report.measures import Measure

Key = tuple[Value, ...]
_FULL_ENOUGH = 0.5  # of a product of values; below it, the runs are no grid with holes


@dataclass(frozen=True)
class Choice:
    """The cells that differ in the seed alone."""

    key: Key
    cells: tuple[Cell, ...]

    @property
    def done(self) -> list[Cell]:
        """Those that ran to their end."""
        return [cell for cell in self.cells if cell.state is CellState.DONE]


@dataclass(frozen=True)
class Grid:
    """Cells, the axes that they differ on, and the measure that ranks them.

    Args:
        values: of each cell on each axis, by the cell's name and the axis' key.
    """

    cells: tuple[Cell, ...]
    axes: tuple[Axis, ...]
    values: Mapping[str, Mapping[str, Value]]
    measure: Measure

    @staticmethod
    def of(cells: Sequence[Cell], measure: Measure) -> Grid:
        """The grid of `cells`, with a cell for each that the axes lack."""
        axes, values = find_axes(cells)
        grid = Grid(tuple(cells), tuple(axes), values, measure)
        return grid._completed()

    @cached_property
    def factors(self) -> tuple[Axis, ...]:
        """The axes that are a choice: all but the seed."""
        return tuple(axis for axis in self.axes if axis.key != SEED)

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
        """The cell's values in words, or its name where nothing differs."""
        own = self.values.get(cell.name)
        if not self.axes or own is None:
            return cell.name
        return ", ".join(f"{axis.name} {axis.text(own[axis.key])}" for axis in self.axes)

    def choice_label(self, choice: Choice) -> str:
        """The choice's values in words."""
        pairs = zip(self.factors, choice.key, strict=False)  # no factors: the cell's name
        words = [f"{axis.name} {axis.text(value)}" for axis, value in pairs]
        return ", ".join(words) or choice.cells[0].name

    def score(self, cell: Cell) -> float | None:
        """The measure at the cell's best epoch."""
        estimate = cell.estimate(self.measure.name, self.measure)
        return None if estimate is None or not math.isfinite(estimate.value) else estimate.value

    @cached_property
    def ranked(self) -> list[Cell]:
        """Done cells, the best first; then others with a value; then those without one."""

        def order(cell: Cell) -> tuple[bool, bool, float]:
            score = self.score(cell)
            key = math.inf if score is None else self.measure.key(score)
            return score is None, cell.state is not CellState.DONE, key

        return sorted(self.cells, key=order)

    @cached_property
    def best(self) -> Cell | None:
        """The best of the cells that are done, or of all while none is."""
        first = self.ranked[0] if self.ranked else None
        return None if first is None or self.score(first) is None else first

    @cached_property
    def num_done(self) -> int:
        """Cells that ran to their end."""
        return sum(cell.state is CellState.DONE for cell in self.cells)

    @cached_property
    def choices(self) -> list[Choice]:
        """Cells that differ in the seed alone, together; the best mean of the measure first."""
        groups: dict[Key, list[Cell]] = {}
        for cell in self.cells:
            if cell.name in self.values:
                key = self.key(cell, self.factors) if self.factors else (cell.name,)
                groups.setdefault(key, []).append(cell)
        choices = [Choice(key, tuple(cells)) for key, cells in groups.items()]
        return sorted(choices, key=self._choice_order)

    def _choice_order(self, choice: Choice) -> tuple[bool, float]:
        mean = self.mean(choice)
        return mean is None, 0.0 if mean is None else self.measure.key(mean)

    def mean(self, choice: Choice) -> float | None:
        """Of the measure over the seeds that are done."""
        scores = [score for cell in choice.done if (score := self.score(cell)) is not None]
        return sum(scores) / len(scores) if scores else None

    @cached_property
    def is_replicated(self) -> bool:
        """Whether a choice was tried with several seeds."""
        return self.seeds is not None and any(len(choice.done) > 1 for choice in self.choices)

    def estimate(self, cell: Cell, name: str) -> Estimate | None:
        """Another metric, at the epoch that the grid's measure chose."""
        return cell.estimate(name, self.measure)

    def _completed(self) -> Grid:
        """With a missing cell for each combination of values that no cell has."""
        present = {self.key(cell, self.axes) for cell in self.cells if cell.name in self.values}
        wanted = list(itertools.product(*(axis.values for axis in self.axes)))
        if not self.axes or len(present) < max(2, _FULL_ENOUGH * len(wanted)):
            return self
        added, values = [], dict(self.values)
        for key in (key for key in wanted if key not in present):
            own = {axis.key: value for axis, value in zip(self.axes, key, strict=True)}
            name = ",".join(
                f"{axis.name}={axis.text(own[axis.key])}"
                for axis in sorted(self.axes, key=lambda axis: axis.name)
            )
            values[name] = own
            reason = "no run has these values: not started yet, or refused before it began"
            added.append(Cell(name, None, CellState.MISSING, reason))
        return replace(self, cells=(*self.cells, *added), values=values)
