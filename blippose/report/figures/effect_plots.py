"""Main effects above, pairs of axes below, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes as Plot
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blippose.counted import counted
from blippose.report.axes import Axis
from blippose.report.effects import Effects, Interaction, MainEffect
from blippose.report.figures.style import (
    FAINT,
    INK,
    PAPER,
    TICK,
    at_least_a_tenth,
    level_colors,
    place,
)
from blippose.report.grid import Grid

_MOST_ABREAST = 8  # values of one axis that have room beside each other
_ABREAST = 3  # effects that one row has room for: two axes and their pair
_LONG_TEXT = 24  # characters of a value that has a row


def effects_figure(grid: Grid, effects: Effects, reference: float | None = None) -> Figure | None:
    """None where there are too few runs for an effect.

    Where one axis has many values `reference`, the mean of the choice that they are held against,
    is a line.
    """
    if not effects.main:
        return None
    if len(effects.main) == 1 and len(effects.main[0].means) > _MOST_ABREAST:
        return _long(grid, effects, reference)
    if len(effects.main) + len(effects.pairs) <= _ABREAST:
        return _abreast(grid, effects)
    num_rows = 2 if effects.pairs else 1
    num_columns = max(len(effects.main), len(effects.pairs))
    figure = Figure(figsize=(max(0.8 + 2.5 * num_columns, 3.4), 0.6 + 2.5 * num_rows))
    table = figure.subplots(num_rows, num_columns, squeeze=False, sharey="row").tolist()
    place(figure, left=0.7, right=0.1, bottom=0.45, top=0.65, gap=0.18, row_gap=1.05)
    for plot, main in zip(table[0], effects.main, strict=False):
        _main(plot, main, effects)
    for plot, pair in zip(table[-1], effects.pairs, strict=False):
        _pair(plot, pair, effects)
    drawn = [len(effects.main), len(effects.pairs)][:num_rows]
    for row, num in zip(table, drawn, strict=True):
        row[0].set_ylabel(grid.measure.label)
        for plot in row[num:]:
            plot.set_visible(False)
    figure.suptitle(_caption(effects), fontsize=7.5, color=FAINT, y=0.995)
    return figure


def _abreast(grid: Grid, effects: Effects) -> Figure:
    """All in one row, on one scale."""
    num = len(effects.main) + len(effects.pairs)
    figure = Figure(figsize=(max(0.8 + 2.5 * num, 3.8), 3.2))
    plots = figure.subplots(1, num, squeeze=False, sharey=True)[0].tolist()
    top = 0.9 if effects.pairs else 0.65
    place(figure, left=0.7, right=0.1, bottom=0.45, top=top, gap=0.18)
    for plot, main in zip(plots, effects.main, strict=False):
        _main(plot, main, effects)
    for plot, pair in zip(plots[len(effects.main) :], effects.pairs, strict=True):
        _pair(plot, pair, effects)
    plots[0].set_ylabel(grid.measure.label)
    if effects.noise is None:  # no interval says how little a difference is
        pairs = [pair.means.ravel() for pair in effects.pairs]
        means = np.concatenate([*(main.means for main in effects.main), *pairs])
        low, high = at_least_a_tenth(means[np.isfinite(means)], grid.measure.most)
        plots[0].set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    figure.suptitle(_caption(effects), fontsize=7.5, color=FAINT, y=0.99)
    return figure


def _long(grid: Grid, effects: Effects, reference: float | None) -> Figure:
    """One axis of many values: a row each, the best on top."""
    [effect] = effects.main
    order = np.argsort([-grid.measure.key(mean) for mean in effect.means])
    height = 1.3 + 0.17 * len(order)
    figure = Figure(figsize=(5.6, height))
    plot = figure.subplots()
    place(figure, left=1.6, right=0.2, bottom=0.45, top=0.75, gap=0.0)
    y = np.arange(len(order))
    means, halves = effect.means[order], np.nan_to_num(effect.halves)[order]
    far = far_off(means)
    plot.errorbar(means[~far], y[~far], xerr=halves[~far], color=INK, fmt="o", markersize=4,
                  capsize=2.5, elinewidth=1.2)  # fmt: skip
    if reference is not None and reference not in means[far]:
        plot.axvline(reference, color=FAINT, lw=0.8, ls="--", zorder=0)
    for mean, row in zip(means[far].tolist(), y[far].tolist(), strict=True):
        is_high = mean > float(np.nanmax(means[~far]))
        _beyond(plot, row, grid.measure.text(mean), is_high=is_high)
    texts = [effect.axis.text(effect.axis.values[i], _LONG_TEXT) for i in order]
    plot.set_yticks(y, texts)
    plot.set_ylim(-0.6, len(order) - 0.4)
    plot.set_xlabel(grid.measure.label)
    plot.set_title(", ".join(filter(None, [effect.axis.name, _strength(effect, effects)])))
    figure.suptitle(_caption(effects), fontsize=7.5, color=FAINT, y=1 - 0.05 / height)
    return figure


def far_off(means: np.ndarray) -> np.ndarray:
    """Which of many means would leave the others no room on one axis; NaN is not among them.

    Those farther from the middle half than six times its width, where they take most of the axis.

    >>> far_off(np.array([3.9, 3.8, 3.7, 4.0, 4.3, 33.0])).tolist()
    [False, False, False, False, False, True]
    """
    low, high = np.nanquantile(means, (0.25, 0.75))
    reach = 6 * (high - low)
    far = (means < low - reach) | (means > high + reach)
    is_worth_it = np.ptp(means[~far]) < 0.5 * (np.nanmax(means) - np.nanmin(means))
    return far if is_worth_it else np.zeros_like(far)


def _beyond(plot: Plot, y: int, text: str, *, is_high: bool) -> None:
    """A mean beyond the axis, as an arrow at its edge with the number."""
    x, side, arrow = (
        (1.0, "right", f"{text} \u2192") if is_high else (0.0, "left", f"\u2190 {text}")
    )
    paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}  # over the grid's lines
    frame = plot.get_yaxis_transform()
    plot.text(
        x, y, arrow, transform=frame, ha=side, va="center", fontsize=7, color=INK, bbox=paper
    )


def _caption(effects: Effects) -> str:
    if effects.noise is None:
        return "means over the grid; too few runs for intervals"
    lacking = "; where pairs lack runs as if settings did not interact, without one"
    what = f"means over the grid with 95 % intervals{lacking if effects.num_lacking else ''}"
    if num := len(effects.noise.own):
        return f"{what}; noise, shares and p without {counted(num, 'choice')} of unsteady seeds"
    return f"{what}; noise: {effects.noise.source}"


def _main(plot: Plot, effect: MainEffect, effects: Effects) -> None:
    x = np.arange(len(effect.means))
    plot.errorbar(
        x,
        effect.means,
        yerr=np.nan_to_num(effect.halves),
        color=INK,
        marker="o",
        markersize=4,
        capsize=2.5,
        lw=1.0,
        elinewidth=1.2,
    )
    _ticks(plot, effect.axis)
    plot.set_title("\n".join(filter(None, [effect.axis.name, _strength(effect, effects)])))


def _pair(plot: Plot, effect: Interaction, effects: Effects) -> None:
    """Lines for the axis with fewer values."""
    a, b = effect.axes
    means, halves = effect.means, np.nan_to_num(effect.halves)
    if len(b.values) > len(a.values):
        a, b, means, halves = b, a, means.T, halves.T
    colors = level_colors(len(b.values))
    for j in range(means.shape[1]):
        shift = 0.06 * (j - (len(b.values) - 1) / 2)
        x = np.arange(len(means)) + shift
        plot.errorbar(
            x,
            means[:, j],
            yerr=halves[:, j],
            color=colors[j],
            marker="o",
            markersize=3,
            capsize=2,
            lw=1.2,
            elinewidth=0.8,
        )
    _ticks(plot, a)
    plot.set_title(f"{a.name} x {b.name}\n{_strength(effect, effects)}", pad=17)
    _values(plot, b)


def _values(plot: Plot, axis: Axis) -> None:
    """The colour of each value, between title and lines."""
    colors = level_colors(len(axis.values))
    handles = [
        Line2D([], [], color=color, marker="o", markersize=3, label=axis.text(value, TICK))
        for color, value in zip(colors, axis.values, strict=True)
    ]
    plot.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.98),
        borderaxespad=0.0,
        ncols=len(handles),
        fontsize=6.5,
        handlelength=1.2,
        columnspacing=0.9,
    )


def _ticks(plot: Plot, axis: Axis) -> None:
    values: Sequence[str] = [axis.text(value, TICK) for value in axis.values]
    plot.set_xticks(range(len(values)), values)
    plot.set_xlim(-0.4, len(values) - 0.6)
    plot.set_xlabel(axis.name)


def _strength(effect: MainEffect | Interaction, effects: Effects) -> str:
    """Empty of an axis that is alone with a run a value: all of the variance is its own.

    And of one on which the choices with steady seeds do not differ.
    """
    if np.isnan(effect.share) or (len(effects.main) == 1 and effects.noise is None):
        return ""
    percent = f"{effect.share:.0%}" if effect.share >= 0.005 or not effect.share else "< 1%"
    share = f"{percent} of variance"
    if np.isnan(effect.p_value):
        return share
    return f"{share}, {p_text(effect.p_value)}"


def p_text(p_value: float) -> str:
    """A p-value for readers.

    >>> p_text(0.0004), p_text(0.034)
    ('p < 0.001', 'p = 0.034')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
