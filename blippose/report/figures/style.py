"""How the report's figures look: one type size, colours that colour-blind readers tell apart.

Colours of levels go from dark to light, so that they also read in grey. On the page they become
CSS variables, which is how one drawing serves a light and a dark page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

_ON_PAGE = 1.5  # times the size on paper
TICK, TITLE = 13, 24  # characters of a value on an axis, in a title or legend
INK, FAINT, RULE, PAPER, ACCENT = "#1f2328", "#656d76", "#d0d7de", "#ffffff", "#c2185b"
LINES = ("-", (0, (4, 1.6)), (0, (1, 1.4)), (0, (6, 1.5, 1, 1.5)))
_BELOW_TICKS, _EDGE = 0.25, 0.2  # inches from an axis to its label, from the page to a label
_SETTINGS: dict[Any, Any] = {  # matplotlib types each key
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titley": 1.0,  # or matplotlib measures every tick's text to find it
    "axes.labelsize": 8.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,  # names and values may hold a $
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "blippose",
    "pdf.fonttype": 42,  # fonts that journals accept
}


@contextmanager
def styled() -> Iterator[None]:
    """The settings, for what is drawn and saved inside."""
    with mpl.rc_context(_SETTINGS):
        yield


def level_colors(num: int, dark: bool = False) -> list[str]:
    """A colour for each of `num` ordered levels, for white paper or for a dark page."""
    low, high = (0.32, 1.0) if dark else (0.0, 0.8)
    ramp = mpl.colormaps["viridis"]
    return [to_hex(ramp(low + (high - low) * i / max(num - 1, 1))) for i in range(num)]


def place(
    figure: Figure,
    left: float,
    right: float,
    bottom: float,
    top: float,
    gap: float,
    row_gap: float | None = None,
) -> None:
    """Margins and gaps of subplots in inches: matplotlib's own layout is slower than drawing.

    Labels of axes stand in the left margin and below the ticks' texts.
    """
    width, height = figure.get_size_inches()
    grid = figure.axes[0].get_gridspec()
    assert grid is not None  # of subplots
    inner = width - left - right, height - bottom - top
    gaps = gap, gap if row_gap is None else row_gap
    sides = [
        (whole - one_gap * (num - 1)) / num
        for whole, one_gap, num in zip(inner, gaps, (grid.ncols, grid.nrows), strict=True)
    ]
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=gaps[0] / sides[0],
        hspace=gaps[1] / sides[1],
    )
    for axes in figure.axes:
        axes.xaxis.set_label_coords(0.5, -_BELOW_TICKS / sides[1])
        axes.yaxis.set_label_coords(-(left - _EDGE) / sides[0], 0.5)


def at_least_a_tenth(values: np.ndarray, most: float = math.inf) -> tuple[float, float]:
    """Lowest and highest, or a tenth of them apart about their middle; NaN of no values.

    An axis that is drawn tight round 1.872 and 1.874 would show noise as a difference.

    Args:
        values: what is drawn.
        most: that there can be, beyond which no axis goes.
    """
    if not len(values):
        return float("nan"), float("nan")
    low, high = float(values.min()), float(values.max())
    lacking = max(0.1 * max(abs(low), abs(high)) - (high - low), 0.0)
    above = min(lacking / 2, max(most - high, 0.0))
    return low - (lacking - above), high + above


def pale(axes: Axes) -> None:
    """No ticks, grid or frame: for what explains itself."""
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_png(figure: Figure, path: Path, dpi: int = 150) -> None:
    """For slides and quick looks."""
    figure.savefig(path, dpi=dpi, metadata={"Software": "blippose"})


def save_pdf(figure: Figure, path: Path) -> None:
    """For papers: vectors, without a date, so that the same runs give the same file."""
    figure.savefig(path, metadata={"CreationDate": None})


def svg(figure: Figure) -> str:
    """The figure as an <svg> element."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()[file.getvalue().index("<svg") :]


def themed(drawing: str, prefix: str, level_counts: Collection[int]) -> str:
    """An <svg> whose colours are the page's, and whose ids no other drawing on it has."""
    names = {INK: "--ink", FAINT: "--faint", RULE: "--rule", PAPER: "--paper", ACCENT: "--accent"}
    for num in level_counts:
        names |= {color: f"--level-{num}-{i}" for i, color in enumerate(level_colors(num))}
    for color, name in names.items():
        drawing = drawing.replace(color, f"var({name})")
    drawing = drawing.replace(' id="', f' id="{prefix}-')
    drawing = drawing.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    # As wide as the page, but no text larger than in the other figures.
    head, end, rest = drawing.partition(">")
    width = re.search(r' width="([\d.]+)pt"', head)
    assert width is not None  # matplotlib's
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} style="max-width: {_ON_PAGE * float(width[1]):.0f}pt"{end}{rest}'
