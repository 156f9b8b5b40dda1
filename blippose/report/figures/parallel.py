"""Parallel coordinates: a line for each run through its settings and what came out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes as Plot
from matplotlib.figure import Figure

from blippose.report.axes import Axis
from blippose.report.cells import Cell
from blippose.report.figures.style import ACCENT, FAINT, PAPER, TICK, level_colors, pale, place
from blippose.report.grid import Grid
from blippose.report.measures import Measure

NUM_SHADES = 8  # from the worst run to the best
_SPREAD = 0.05  # of the height between runs with the same setting
_NUM_BEND = 24  # points of a line between two axes
Positions = Float[np.ndarray, " cells"]


def parallel_figure(grid: Grid, measures: Sequence[Measure]) -> Figure | None:
    """None where fewer than two runs have a number."""
    cells = [
        cell
        for cell in reversed(grid.ranked)
        if grid.score(cell) is not None and cell.name in grid.values and grid.is_comparable(cell)
    ]
    if len(cells) < 2 or not grid.axes:
        return None
    columns = [_setting(grid, cells, axis) for axis in grid.axes]
    columns += [_outcome(grid, cells, measure) for measure in measures]
    figure = Figure(figsize=(1.2 + 1.45 * len(columns), 3.1))
    plot = figure.subplots()
    place(figure, left=0.3, right=0.1, bottom=0.3, top=0.3, gap=0.0)
    pale(plot)
    heights = np.array([heights for heights, _ in columns])
    for i, cell in enumerate(cells):
        _line(plot, heights[:, i], i / max(len(cells) - 1, 1), cell is grid.best)
    for x, (_, ticks) in enumerate(columns):
        plot.axvline(x, color=FAINT, lw=0.8, zorder=1)
        is_crossed = len(grid.axes) <= x < len(columns) - 1  # lines leave it where its texts stand
        for height, text in ticks:
            plot.plot([x - 0.02, x + 0.02], [height, height], color=FAINT, lw=0.8, zorder=5)
            plot.text(
                x + 0.03,
                height + (0.02 if is_crossed else 0.0),
                text,
                fontsize=7,
                va="bottom" if is_crossed else "center",
                zorder=6,
                bbox={"fc": PAPER, "ec": "none", "alpha": 0.85, "pad": 0.6},
            )
    names = [axis.name for axis in grid.axes] + [measure.label for measure in measures]
    plot.set_xticks(range(len(names)), names)
    plot.xaxis.tick_top()
    plot.set_yticks([])
    plot.set_xlim(-0.1, len(names) - 0.6)
    figure.supxlabel(
        f"up is better on the right-hand axes; light is better by {grid.measure.title}, "
        "the thick line is the best run",
        fontsize=7.5,
        color=FAINT,
    )
    return figure


def _setting(
    grid: Grid, cells: list[Cell], axis: Axis
) -> tuple[Positions, list[tuple[float, str]]]:
    """Evenly spaced values; runs with the same one fan out a little by rank."""
    step = 1 / max(len(axis.values) - 1, 1)
    places = [axis.values.index(grid.value(cell, axis)) * step for cell in cells]
    fan = np.linspace(-_SPREAD, _SPREAD, len(cells))
    ticks = [(i * step, axis.text(value, TICK)) for i, value in enumerate(axis.values)]
    return np.array(places) + fan, ticks


def _outcome(
    grid: Grid, cells: list[Cell], measure: Measure
) -> tuple[Positions, list[tuple[float, str]]]:
    """The best on top; runs far off stand at the bottom, so that they do not squeeze the rest."""
    estimates = [grid.estimate(cell, measure.name) for cell in cells]
    values = np.array([np.nan if e is None else e.value for e in estimates])
    sign = -1.0 if measure.is_error else 1.0
    finite = sign * values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(cells)), []
    low, high = float(np.quantile(finite, 0.1)), float(finite.max())
    low = float(finite.min()) if finite.min() > low - 2 * (high - low) else low
    span = max(high - low, 1e-12)
    heights = np.clip((sign * values - low) / span, 0.0, 1.0)
    texts = {measure.text(sign * (low + t * span)): t for t in (0.5, 0.0, 1.0)}  # each once
    return np.nan_to_num(heights), [(t, text) for text, t in texts.items()]


def _line(plot: Plot, heights: Positions, share: float, is_best: bool) -> None:
    """A smooth line, so that the eye can follow it through a point that many share."""
    t = np.linspace(0, 1, _NUM_BEND)
    ease = t * t * (3 - 2 * t)
    pairs = itertools.pairwise(heights)
    y = np.concatenate([a + (b - a) * ease for a, b in pairs])
    x = np.concatenate([i + t for i in range(len(heights) - 1)])
    color = ACCENT if is_best else level_colors(NUM_SHADES)[int(share * (NUM_SHADES - 0.01))]
    plot.plot(
        x,
        y,
        color=color,
        lw=2.6 if is_best else 1.1,
        alpha=1 if is_best else 0.85,
        zorder=4 if is_best else 2,
    )
