"""The reliability plot: how often a joint of a given confidence is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blippose.evaluation.figures import DPI, FAINT, INK, MODEL, OTHER, new_figure, quiet
from blippose.evaluation.quantities import decimals

_TITLES = {
    "raw": "raw: what the model itself holds for likely",
    "calibrated": "calibrated on training persons",
}


def write_reliability(path: Path, reliability: Mapping[str, Any], subtitle: str) -> None:
    """A panel for raw confidence, one for calibrated, with the joints of each bin below."""
    draw_reliability(reliability, subtitle).savefig(path, dpi=DPI)


def draw_reliability(reliability: Mapping[str, Any], subtitle: str) -> Any:
    """The figure that `write_reliability` writes."""
    kinds = [name for name in _TITLES if name in reliability]
    figure = new_figure(5.6 * len(kinds), 6.4, "Does confidence keep its promise?", subtitle)
    grid = figure.subplots(
        2, len(kinds), sharex=True, sharey="row", squeeze=False, height_ratios=[4, 1]
    )
    for column, name in enumerate(kinds):
        bins, error = reliability[name]["bins"], reliability[name]["ece"]
        _promise(grid[0, column], bins)
        grid[0, column].set_title(
            f"{_TITLES[name]}\nexpected calibration error {decimals(error)}",
            fontsize=10,
            color=INK,
        )
        _counts(grid[1, column], bins)
        grid[1, column].set_xlabel("confidence of a joint")
    radius = reliability["radius_px"]
    grid[0, 0].set_ylabel(f"share within {radius:g} px of the input")
    grid[1, 0].set_ylabel("joints")
    # Bins may lie anywhere in the panels.
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside lower left",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    return figure


def _promise(axes: Any, bins: Sequence[Mapping[str, Any]]) -> None:
    shown = [each for each in bins if each["num_joints"]]
    confidence = np.array([each["confidence"] for each in shown])
    value, low, high = (
        np.array([each["accuracy"][key] for each in shown]) for key in ("value", "low", "high")
    )
    reach = np.nan_to_num(np.stack([value - low, high - value]))
    axes.plot([0, 1], [0, 1], color=OTHER, lw=1, ls="--", label="a promise kept")
    axes.errorbar(
        confidence,
        value,
        yerr=np.maximum(reach, 0),
        fmt="o-",
        color=MODEL,
        ecolor=INK,
        elinewidth=1.1,
        capsize=2.5,
        label="the model, with 95% intervals",
        clip_on=False,  # most joints are at 1, on the border
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(color=FAINT, lw=0.5)
    quiet(axes)


def _counts(axes: Any, bins: Sequence[Mapping[str, Any]]) -> None:
    width = 1 / len(bins)
    places = (np.arange(len(bins)) + 0.5) * width
    axes.bar(places, [each["num_joints"] for each in bins], 0.9 * width, color=MODEL, alpha=0.75)
    quiet(axes)
