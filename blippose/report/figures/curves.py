"""Curves of every cell: colour, line style and panel tell its values; the best one is marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from blippose.report.cells import Cell, CellState
from blippose.report.figures.roles import Roles
from blippose.report.figures.style import ACCENT, FAINT, INK, LINES, level_colors, place
from blippose.report.grid import Grid, Key
from blippose.report.history import Curve
from blippose.report.measures import TRAIN_LOSS, Measure

_ENTRY = 1.2  # inches of a legend's entry
_NUM_POINTS = 60  # of a training loss; more hides the curves behind each other
_LOG_FROM = 12.0  # largest over smallest value
_ENDS = {CellState.FAILED: "x", CellState.CUT_OFF: "|", CellState.RUNNING: ">"}


def curve_of(cell: Cell, measure: Measure) -> Curve:
    """A cell's curve as it is drawn."""
    if measure is TRAIN_LOSS:
        return cell.history[TRAIN_LOSS.name].thinned(_NUM_POINTS)
    return cell.history[f"val/{measure.name}"]


def curves_figure(grid: Grid, measures: Sequence[Measure]) -> Figure:
    """A row for each measure, a column for each panel, one legend below."""
    roles = Roles.of(grid.factors)
    panels = roles.panels()
    size = (0.7 + 2.35 * max(len(panels), 1.6), 2.0 * len(measures) + 1.1)
    figure = Figure(figsize=size)
    table = figure.subplots(
        len(measures), len(panels), squeeze=False, sharex=True, sharey="row"
    ).tolist()
    place(figure, left=0.6, right=0.1, bottom=0.95, top=0.45, gap=0.18)
    for row, measure in zip(table, measures, strict=True):
        for axes, key in zip(row, panels, strict=True):
            _panel(axes, grid, roles, key, measure)
        row[0].set_ylabel(measure.label)
        _scale(row, grid, measure)
    for axes, key in zip(table[0], panels, strict=True):
        axes.set_title(roles.panel_title(key))
    for axes in table[-1]:
        axes.set_xlabel("epoch")
    _legend(figure, grid, roles)
    return figure


def _panel(axes: Axes, grid: Grid, roles: Roles, key: Key, measure: Measure) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    cells = [c for c in grid.cells if c.name in grid.values and roles.in_panel(grid, c, key)]
    for cell in cells:
        curve = curve_of(cell, measure)
        if len(curve):
            _draw(axes, cell, curve, grid, roles)
    _mean_pose(axes, cells, measure)
    if grid.best in cells and grid.best is not None:
        _mark(axes, grid, grid.best, measure)


def _draw(axes: Axes, cell: Cell, curve: Curve, grid: Grid, roles: Roles) -> None:
    look = roles.look(grid, cell)
    is_best = cell is grid.best
    dot: dict[str, Any] = {"marker": "o", "markersize": 2.5} if len(curve) < 3 else {}
    thin = 0.9 if grid.seeds else 1.3
    axes.plot(
        curve.epochs,
        curve.values,
        **look,
        **dot,
        lw=2.4 if is_best else thin,
        alpha=1.0 if is_best else 0.85,
        zorder=4 if is_best else 3,
    )
    end = _ENDS.get(cell.state)
    if end is not None:
        axes.plot(
            curve.epochs[-1:],
            curve.values[-1:],
            marker=end,
            color=look["color"],
            markersize=5,
            markeredgewidth=1.4,
            zorder=5,
        )


def _mean_pose(axes: Axes, cells: Sequence[Cell], measure: Measure) -> None:
    """The baseline that a model has to beat, where the runs agree on it."""
    known = {c.results.get("mean_pose", {}).get(measure.name) for c in cells} - {None}
    if len(known) == 1:
        axes.axhline(known.pop(), color=FAINT, lw=0.8, ls=(0, (5, 3)), zorder=2)


def _mark(axes: Axes, grid: Grid, cell: Cell, measure: Measure) -> None:
    """A star at the best epoch; on the training loss at the same epoch."""
    curve, epoch = curve_of(cell, measure), cell.best_epoch(grid.measure)
    if not len(curve) or epoch is None:
        return
    at = int(np.abs(curve.epochs - epoch).argmin())
    axes.plot(
        curve.epochs[at],
        curve.values[at],
        marker="*",
        markersize=11,
        color=ACCENT,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=6,
        clip_on=False,
    )


def _scale(row: Sequence[Axes], grid: Grid, measure: Measure) -> None:
    """Decades where the values span them; shares from 0."""
    curves = [curve_of(cell, measure).values for cell in grid.cells]
    values = np.concatenate([*curves, np.empty(0)])
    if not len(values):
        row[0].text(
            0.5, 0.5, "nothing logged yet", transform=row[0].transAxes, ha="center", color=FAINT
        )
    elif measure.is_error and values.min() > 0 and values.max() > _LOG_FROM * values.min():
        row[0].set_yscale("log")
        row[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        row[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        row[0].yaxis.set_minor_locator(NullLocator())
    elif not measure.is_error:
        row[0].set_ylim(0, None)


def _legend(figure: Figure, grid: Grid, roles: Roles) -> None:
    handles = []
    if roles.color:
        colors = level_colors(roles.num_colors)
        for value, color in zip(roles.color.values, colors, strict=True):
            label = f"{roles.color.name} {roles.color.text(value)}"
            handles.append(Line2D([], [], color=color, lw=2.4, label=label))
    if roles.line:
        for value, line in zip(roles.line.values, LINES, strict=False):
            label = f"{roles.line.name} {roles.line.text(value)}"
            handles.append(Line2D([], [], color=INK, ls=line, label=label))
    handles += _marks(grid)
    if handles:
        fitting = max(int(figure.get_figwidth() / _ENTRY), 1)
        num_rows = -(-len(handles) // fitting)
        figure.legend(
            handles=handles,
            loc="lower center",
            ncols=-(-len(handles) // num_rows),
            handlelength=2.6,
            columnspacing=1.4,
        )
    if roles.overlaid:
        names = ", ".join(axis.name for axis in roles.overlaid)
        figure.suptitle(
            f"drawn alike for all values of {names}", color=FAINT, fontsize=7.5, y=0.995
        )


def _marks(grid: Grid) -> list[Line2D]:
    """Legend of the star, the baseline and the ends that occur."""
    handles = []
    if grid.best is not None:
        handles.append(Line2D([], [], color=ACCENT, marker="*", ls="", markersize=9, label="best"))
    if any(cell.results.get("mean_pose") for cell in grid.cells):
        handles.append(Line2D([], [], color=FAINT, lw=0.8, ls=(0, (5, 3)), label="mean pose"))
    states = {cell.state for cell in grid.cells}
    for state, marker in _ENDS.items():
        if state in states:
            handles.append(
                Line2D([], [], color=INK, marker=marker, ls="", markersize=5, label=state.value)
            )
    return handles
