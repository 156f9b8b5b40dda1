"""Which axis is colour, which line style, which panel.

The study's: learning rate, optimizer, batch size. Other axes take the roles that are left.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blippose.report.axes import Axis
from blippose.report.cells import Cell
from blippose.report.figures.style import LINES, TITLE, level_colors
from blippose.report.grid import Grid, Key

_MAX_PANELS = 6
_USUAL = {"optimizer.lr": "color", "optimizer": "line", "data.batch_size": "panel"}


@dataclass(frozen=True)
class Roles:
    """Axes in their roles; what is left over is drawn on top of each other."""

    color: Axis | None = None
    line: Axis | None = None
    panel: Axis | None = None
    overlaid: tuple[Axis, ...] = ()

    @staticmethod
    def of(axes: Sequence[Axis]) -> Roles:
        """The roles of a grid's axes."""
        taken = {role: a for a in axes if (role := _USUAL.get(a.key)) and _fits(a, role)}
        left = [axis for axis in axes if axis not in taken.values()]
        for role in ("color", "line", "panel"):
            fitting = [axis for axis in left if _fits(axis, role)]
            if role not in taken and fitting:
                taken[role] = max(fitting, key=lambda axis: _wish(axis, role))
                left.remove(taken[role])
        return Roles(**taken, overlaid=tuple(left))

    @property
    def num_colors(self) -> int:
        """Levels of the colour axis; one without."""
        return len(self.color.values) if self.color else 1

    def panels(self) -> list[Key]:
        """A key for each panel."""
        return list(itertools.product(*([self.panel.values] if self.panel else [])))

    def panel_title(self, key: Key) -> str:
        """What a panel shows."""
        return f"{self.panel.name} {self.panel.text(key[0], TITLE)}" if self.panel else ""

    def in_panel(self, grid: Grid, cell: Cell, key: Key) -> bool:
        """Whether a cell belongs into a panel."""
        return self.panel is None or grid.value(cell, self.panel) == key[0]

    def look(self, grid: Grid, cell: Cell) -> dict[str, Any]:
        """Colour and line of a cell's curve."""
        color = self.color.values.index(grid.value(cell, self.color)) if self.color else 0
        line = self.line.values.index(grid.value(cell, self.line)) if self.line else 0
        return {"color": level_colors(self.num_colors)[color], "linestyle": LINES[line]}


def _fits(axis: Axis, role: str) -> bool:
    return role == "color" or len(axis.values) <= (len(LINES) if role == "line" else _MAX_PANELS)


def _wish(axis: Axis, role: str) -> tuple[bool, int]:
    """Numbers are colours, names are lines; then the more values the better."""
    return axis.is_numeric == (role != "line"), len(axis.values) if role == "color" else 0
