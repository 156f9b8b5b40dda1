"""Curves of every cell: colour, line style and panel tell its values; the best one is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from blippose.counted import counted
from blippose.report.cells import Cell, CellState
from blippose.report.figures.roles import Roles
from blippose.report.figures.style import (
    ACCENT,
    FAINT,
    INK,
    LINES,
    PAPER,
    TITLE,
    at_least_a_tenth,
    level_colors,
    place,
)
from blippose.report.grid import Grid, Key
from blippose.report.history import Curve
from blippose.report.measures import MEASURES, TRAIN_LOSS, Measure

_ENTRY, _LETTER = 0.65, 0.065  # inches of a legend's entry without its text, of a letter
# Hollow, so that it hides no point.
_STAR: dict[str, Any] = {
    "color": ACCENT,
    "marker": "*",
    "ls": "",
    "markerfacecolor": "none",
    "markeredgewidth": 1.1,
}
_NUM_POINTS = 60  # of a training loss; more hides the curves behind each other
_LOG_FROM = 12.0  # largest over smallest value
_DODGE = 0.3  # epochs between the outermost of runs that have one epoch
_ENDS = {CellState.FAILED: "x", CellState.CUT_OFF: "|", CellState.RUNNING: ">"}


def curve_of(cell: Cell, measure: Measure) -> Curve:
    """A cell's curve as it is drawn."""
    if measure is TRAIN_LOSS:
        return cell.history[TRAIN_LOSS.name].thinned(_NUM_POINTS)
    return cell.history[f"val/{measure.name}"]


def loss_of(grid: Grid) -> Measure:
    """The training loss, or the validation's where no run was long enough to log the former."""
    names = {name for cell in grid.cells for name in cell.history.curves}
    is_short = TRAIN_LOSS.name not in names and f"val/{MEASURES['loss'].name}" in names
    return MEASURES["loss"] if is_short else TRAIN_LOSS


def curves_figure(grid: Grid, measures: Sequence[Measure]) -> Figure:
    """A row for each measure, a column for each panel, one legend below."""
    roles = Roles.of(grid.factors)
    panels = roles.panels()
    handles, notes = _handles(grid, roles, measures), _notes(grid, roles, measures)
    width = 0.8 + 2.35 * max(len(panels), 1.6)
    ncols = _fitting_columns(handles, width)
    bottom = 0.6 + 0.18 * -(-len(handles) // ncols)
    top = (0.3 if roles.panel else 0.12) + 0.15 * len(notes)
    figure = Figure(figsize=(width, 1.85 * len(measures) + bottom + top))
    table = figure.subplots(
        len(measures), len(panels), squeeze=False, sharex=True, sharey="row"
    ).tolist()
    place(figure, left=0.7, right=0.1, bottom=bottom, top=top, gap=0.18)
    for row, measure in zip(table, measures, strict=True):
        for axes, key in zip(row, panels, strict=True):
            _panel(axes, grid, roles, key, measure)
        row[0].set_ylabel(measure.label)
        _scale(row, grid, measure)
    _whole_epochs(table[0][0], grid, measures)
    for axes, key in zip(table[0], panels, strict=True):
        axes.set_title(roles.panel_title(key))
    for axes in table[-1]:
        axes.set_xlabel("epoch")
    if handles:
        style = {"handlelength": 2.6, "columnspacing": 1.4}
        figure.legend(handles=handles, loc="lower center", ncols=ncols, **style)
    figure.suptitle(
        "\n".join(notes), color=FAINT, fontsize=7.5, y=1 - 0.06 / figure.get_figheight()
    )
    return figure


def _panel(axes: Axes, grid: Grid, roles: Roles, key: Key, measure: Measure) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    cells = [c for c in grid.cells if c.name in grid.values and roles.in_panel(grid, c, key)]
    shifts = _shifts(grid, cells, measure)
    for cell in cells:
        curve = curve_of(cell, measure)
        if len(curve):
            curve = replace(curve, epochs=curve.epochs + shifts[cell.name])
            _draw(axes, cell, curve, grid, roles)
    _mean_pose(axes, grid, cells, measure)
    if grid.best in cells and grid.best is not None:
        _mark(axes, grid, grid.best, measure, shifts[grid.best.name])


def _shifts(grid: Grid, cells: Sequence[Cell], measure: Measure) -> dict[str, float]:
    """Epochs to the side, by the cell's name: points of runs of one epoch stand side by side."""
    is_short = all(len(curve_of(cell, measure)) < 2 for cell in grid.cells)
    half = _DODGE / 2 if is_short and len(cells) > 1 else 0.0
    steps = np.linspace(-half, half, len(cells))
    return {cell.name: float(step) for cell, step in zip(cells, steps, strict=True)}


def _whole_epochs(axes: Axes, grid: Grid, measures: Sequence[Measure]) -> None:
    """Room for one whole epoch at least, or its axis would have none to name."""
    found = [curve_of(cell, one).epochs for cell in grid.cells for one in measures]
    epochs = np.concatenate([*found, np.empty(0)])
    if len(epochs) and np.ptp(epochs) < 1:
        low, high = epochs.min(), epochs.max()
        ends = (low - 0.5, high + 0.5) if low == high else (np.floor(low), np.ceil(high) + _DODGE)
        axes.set_xlim(ends)  # with room for what stands aside


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


def _mean_pose(axes: Axes, grid: Grid, cells: Sequence[Cell], measure: Measure) -> None:
    """The baseline that a model has to beat, where the runs agree on it.

    Far from all curves it would press them together: it is told in words there.
    """
    known = {c.results.get("mean_pose", {}).get(measure.name) for c in cells} - {None}
    if len(known) != 1:
        return
    [value] = known
    if _is_near(grid, measure, value):
        axes.axhline(value, color=FAINT, lw=0.8, ls=(0, (5, 3)), zorder=2)
        return
    is_above = value > _limits(grid, measure)[1]
    y, side = (0.98, "above") if is_above else (0.02, "below")
    text = f"mean pose {measure.text(value)}, {side}"
    axes.text(
        0.98,
        y,
        text,
        transform=axes.transAxes,
        ha="right",
        color=FAINT,
        fontsize=6.5,
        va="top" if is_above else "bottom",
        zorder=2,
        bbox={"fc": PAPER, "ec": "none", "pad": 0.6},
    )


def _is_near(grid: Grid, measure: Measure, value: float) -> bool:
    """Whether a line there leaves the curves half of the panel, or there are none."""
    low, high = _limits(grid, measure)
    is_within = low - (high - low) <= value <= high + (high - low)
    return bool(np.isnan(low) or is_within or _is_log(low, high, measure))


def _limits(grid: Grid, measure: Measure) -> tuple[float, float]:
    """Of all curves, and a tenth of their values apart at least: less is mostly noise."""
    values = np.concatenate([*(curve_of(c, measure).values for c in grid.cells), np.empty(0)])
    return at_least_a_tenth(values, measure.most)


def _is_log(low: float, high: float, measure: Measure) -> bool:
    return measure.is_error and low > 0 and high > _LOG_FROM * low


def _mark(axes: Axes, grid: Grid, cell: Cell, measure: Measure, shift: float) -> None:
    """A hollow star round the best validation; on the training loss at the same place."""
    curve, place = curve_of(cell, measure), cell.best_place(grid.measure)
    if not len(curve) or place is None:
        return
    at = int(np.abs(curve.epochs - place).argmin())
    axes.plot(
        curve.epochs[at] + shift, curve.values[at], **_STAR, markersize=13, clip_on=False, zorder=6
    )


def _scale(row: Sequence[Axes], grid: Grid, measure: Measure) -> None:
    """Decades where the values span them; shares from 0, unless that is far from all."""
    low, high = _limits(grid, measure)
    if np.isnan(low):
        row[0].text(
            0.5, 0.5, "nothing logged yet", transform=row[0].transAxes, ha="center", color=FAINT
        )
    elif _is_log(low, high, measure):
        row[0].set_yscale("log")
        row[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        row[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        row[0].yaxis.set_minor_locator(NullLocator())
    else:
        has_words = any(axes.texts for axes in row)
        pad = (0.15 if has_words else 0.05) * (high - low)
        bottom, top = row[0].get_ylim()
        is_from_zero = not measure.is_error and low <= high - low
        row[0].set_ylim(0 if is_from_zero else min(bottom, low - pad), max(top, high + pad))


def _fitting_columns(handles: Sequence[Line2D], width: float) -> int:
    """Of a legend that is no wider than the figure, with as few rows as that allows."""
    widths = [_ENTRY + _LETTER * len(str(handle.get_label())) for handle in handles]
    for num_rows in range(1, len(widths)):  # a legend is filled column by column
        columns = [widths[i : i + num_rows] for i in range(0, len(widths), num_rows)]
        if sum(map(max, columns)) <= width:
            return len(columns)
    return 1


def _notes(grid: Grid, roles: Roles, measures: Sequence[Measure]) -> list[str]:
    """What the curves do not say themselves."""
    names = ", ".join(axis.name for axis in roles.overlaid)
    notes = [f"drawn alike for all values of {names}"] if roles.overlaid else []
    if len(grid.set_names) > 1:
        notes.append("not all runs were judged on the same images: see the table")
    started = [cell for cell in grid.cells if cell.history.curves]
    silent = [cell for cell in started if not len(cell.history[TRAIN_LOSS.name])]
    if silent and measures[0] in (TRAIN_LOSS, MEASURES["loss"]):
        who = f"{len(silent)} of {counted(len(started), 'run')}"
        notes.append(f"{who} logged no training loss: fewer steps than trainer.log_every_n_steps")
    if TRAIN_LOSS in measures and len(silent) < len(started):
        notes.append("training loss: of the batches that were logged, not of epochs")
    return notes


def _handles(grid: Grid, roles: Roles, measures: Sequence[Measure]) -> list[Line2D]:
    """Of the values that have a curve, and of the marks."""
    cells = [cell for cell in grid.cells if any(len(curve_of(cell, one)) for one in measures)]
    handles = []
    if roles.color:
        drawn = {grid.value(cell, roles.color) for cell in cells if cell.name in grid.values}
        colors = level_colors(roles.num_colors)
        for value, color in zip(roles.color.values, colors, strict=True):
            if value not in drawn:
                continue
            label = f"{roles.color.name} {roles.color.text(value, TITLE)}"
            handles.append(Line2D([], [], color=color, lw=2.4, label=label))
    if roles.line:
        for value, line in zip(roles.line.values, LINES, strict=False):
            label = f"{roles.line.name} {roles.line.text(value, TITLE)}"
            handles.append(Line2D([], [], color=INK, ls=line, label=label))
    return handles + _marks(grid, measures)


def _marks(grid: Grid, measures: Sequence[Measure]) -> list[Line2D]:
    """Legend of the star, the baseline and the ends that occur."""
    handles = []
    if grid.best is not None:
        handles.append(Line2D([], [], **_STAR, markersize=9, label="best"))
    known = [
        (one, c.results.get("mean_pose", {}).get(one.name)) for one in measures for c in grid.cells
    ]
    if any(value is not None and _is_near(grid, one, value) for one, value in known):
        handles.append(Line2D([], [], color=FAINT, lw=0.8, ls=(0, (5, 3)), label="mean pose"))
    states = {cell.state for cell in grid.cells}
    for state, marker in _ENDS.items():
        if state in states:
            handles.append(
                Line2D([], [], color=INK, marker=marker, ls="", markersize=5, label=state.value)
            )
    return handles
