"""Two axes as rows and columns, one map for each value of a third: where the good cells lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes as Plot
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from blippose.report.axes import Axis, Value
from blippose.report.cells import Cell, CellState
from blippose.report.figures.roles import Roles
from blippose.report.figures.style import ACCENT, FAINT, RULE, TICK, TITLE, pale, place
from blippose.report.grid import Grid

_BETTER_IS_LIGHT = "cividis"
_FEWEST = 5  # different scores; fewer are read in the squares, and a bar says nothing more
_FEWEST_ASTRAY = 10  # scores of which a tenth is one
_LETTER = 0.065  # inches of one at an axis


def heat_map(grid: Grid) -> Figure | None:
    """Batch size by learning rate for each optimizer, or other axes; None without any."""
    roles = Roles.of(grid.factors)
    columns, rows, maps = roles.color, roles.panel or roles.line, roles.line
    if columns is None or not grid.has_settings:
        return None
    maps = None if maps is rows else maps
    values: tuple[Value, ...] = maps.values if maps else (None,)
    num_rows = len(rows.values) if rows else 1
    left = 0.5 + _LETTER * max(map(len, _texts(rows)))
    low, high = _limits(grid)
    has_bar = len(set(_scores(grid))) >= _FEWEST
    top = (0.35 if maps else 0.1) + (0.0 if has_bar else 0.25)
    width = left + 0.7 + len(values) * (0.85 * len(columns.values) + 0.35)
    height = 0.5 + top + 0.55 * num_rows
    figure = Figure(figsize=(max(width, 3.6), height))
    plots = figure.subplots(1, len(values), squeeze=False, sharey=True)[0].tolist()
    place(figure, left=left, right=0.95 if has_bar else 0.2, bottom=0.5, top=top, gap=0.12)
    norm = Normalize(low, high, clip=True)
    for plot, value in zip(plots, values, strict=True):
        _map(plot, grid, columns, rows, (maps, value), norm)
    if rows:
        plots[0].set_ylabel(rows.name)
    if has_bar:
        _bar(figure, plots, grid, norm)
    else:
        caption = f"{grid.measure.label}; light is better"
        figure.suptitle(caption, fontsize=7.5, color=FAINT, y=1 - 0.06 / height)
    return figure


def _limits(grid: Grid) -> tuple[float, float]:
    """From the best to the worst score; a cell that went astray may not hide the others."""
    scores = _scores(grid)
    astray = 0.1 if len(scores) >= _FEWEST_ASTRAY else 0.0
    shares = [0.0, 1.0 - astray] if grid.measure.is_error else [astray, 1.0]
    low, high = np.quantile(scores, shares)
    return float(low), float(high)


def _scores(grid: Grid) -> list[float]:
    cells = [cell for cell in grid.cells if grid.is_comparable(cell)]
    return [score for cell in cells if (score := grid.score(cell)) is not None] or [0.0]


def _map(
    plot: Plot,
    grid: Grid,
    columns: Axis,
    rows: Axis | None,
    chosen: tuple[Axis | None, Value],
    norm: Normalize,
) -> None:
    pale(plot)
    maps, value = chosen
    row_values: tuple[Value, ...] = rows.values if rows else (None,)
    for x, column in enumerate(columns.values):
        for y, row in enumerate(row_values):
            wanted = [(columns, column), (rows, row), (maps, value)]
            _square(plot, grid, (x, y), _matching(grid, wanted), norm)
    plot.set_xlim(-0.5, len(columns.values) - 0.5)
    plot.set_ylim(len(row_values) - 0.5, -0.5)
    texts = [columns.text(v, TICK) for v in columns.values]
    plot.set_xticks(range(len(texts)), texts)
    plot.set_yticks(range(len(row_values)), _texts(rows))
    plot.set_xlabel(columns.name)
    if maps:
        plot.set_title(f"{maps.name} {maps.text(value, TITLE)}")


def _texts(rows: Axis | None) -> list[str]:
    return [rows.text(value, TICK) for value in rows.values] if rows else [""]


def _matching(grid: Grid, wanted: Sequence[tuple[Axis | None, Value]]) -> list[Cell]:
    return [
        cell
        for cell in grid.cells
        if cell.name in grid.values
        and all(axis is None or grid.value(cell, axis) == value for axis, value in wanted)
    ]


def _square(
    plot: Plot, grid: Grid, at: tuple[int, int], cells: list[Cell], norm: Normalize
) -> None:
    """The mean of the cells there; a state where they have no number."""
    comparable = [cell for cell in cells if grid.is_comparable(cell)]
    scores = [score for cell in comparable if (score := grid.score(cell)) is not None]
    corner = (at[0] - 0.47, at[1] - 0.46)
    if not scores:
        state = cells[0].state.value if cells else CellState.MISSING.value
        state = "other\nimages" if cells and not comparable else state
        plot.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, ec=RULE, hatch="////", lw=0.6))
        plot.text(*at, state, ha="center", va="center", color=FAINT, fontsize=7)
        return
    mean = float(np.mean(scores))
    share = norm(mean) if not grid.measure.is_error else 1 - norm(mean)
    color = mpl.colormaps[_BETTER_IS_LIGHT](float(share))
    is_best = any(cell is grid.best for cell in cells)
    plot.add_patch(Rectangle(corner, 0.94, 0.92, fc=color, lw=0))
    if is_best:
        plot.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, ec=ACCENT, lw=2.2, zorder=4))
    unfinished = [cell.state.value for cell in cells if cell.state is not CellState.DONE]
    text = grid.measure.text(mean) + (f"\n{unfinished[0]}" if unfinished else "")
    # Not ink and paper themselves: the square keeps its colour on a dark page.
    plot.text(
        *at,
        text,
        ha="center",
        va="center",
        fontsize=7.5,
        color=_readable(color),
        weight="bold" if is_best else "normal",
    )


def _readable(color: tuple[float, ...]) -> str:
    luminance = float(np.dot(color[:3], (0.2126, 0.7152, 0.0722)))
    return "#000001" if luminance > 0.45 else "#fffffe"


def _bar(figure: Figure, plots: Sequence[Plot], grid: Grid, norm: Normalize) -> None:
    name = f"{_BETTER_IS_LIGHT}_r" if grid.measure.is_error else _BETTER_IS_LIGHT
    scale = mpl.cm.ScalarMappable(norm, mpl.colormaps[name])
    box, inch = plots[-1].get_position(), 1 / figure.get_figwidth()
    beside = figure.add_axes((box.x1 + 0.12 * inch, box.y0, 0.12 * inch, box.height))
    goes_on: Literal["min", "max"] = "max" if grid.measure.is_error else "min"
    is_astray = not all(norm(score) == norm(score, clip=False) for score in _scores(grid))
    bar = figure.colorbar(scale, cax=beside, extend=goes_on if is_astray else "neither")
    bar.ax.grid(visible=False)
    bar.set_label(grid.measure.label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, color=to_hex(FAINT))
