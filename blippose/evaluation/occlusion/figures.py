"""Three pictures of an occlusion study: bars by joint, the matrix, the curve over the radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from blippose.counted import counted
from blippose.evaluation.figures import (
    DPI,
    FAINT,
    INK,
    OTHER,
    new_figure,
    quiet,
    reading_order,
)
from blippose.evaluation.intervals import sign
from blippose.evaluation.quantities import number
from blippose.pose import JOINTS

# Source: Okabe and Ito, "Color Universal Design", 2008.
PLACE_COLORS = {"hidden": "#D55E00", "on body": "#0072B2", "off body": "#777777"}
_PLACE_TITLES = {
    "hidden": "disc over the joint",
    "on body": "same area elsewhere on the body",
    "off body": "same area off the body",
}
_PANELS = {"own": "the joint's own error", "others": "error of the others, not covered"}
_MARKS = {"hidden": "o", "on body": "s", "off body": "D"}
_MOSTLY_COVERED = 0.5  # of the images
_MARKS_TEXT = "bold: the interval excludes 0; framed: under the same disc in most images"


def write_joints(path: Path, report: Mapping[str, Any], subtitle: str) -> None:
    """What each disc adds to the error of the joint, and of the others, with intervals."""
    figure = new_figure(11.0, 7.2, "What a hidden joint costs", subtitle)
    row = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    order = reading_order()
    for axes, (key, title) in zip(row, _PANELS.items(), strict=True):
        for i, place in enumerate(PLACE_COLORS):
            cells = [report["joints"][JOINTS[joint]][key][f"{place} - clean"] for joint in order]
            _bars(axes, cells, np.arange(len(order)) + 0.27 * (i - 1), place)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_title(title, fontsize=10, color=INK)
        axes.set_xlabel(
            f"added by the disc, px of the {report['settings']['input_size']} px input"
        )
        quiet(axes)
        axes.grid(axis="x", color=FAINT, lw=0.5)
        axes.set_axisbelow(True)
    row[0].set_yticks(range(len(order)), [JOINTS[joint] for joint in order])
    row[0].set_ylim(len(order) - 0.4, -0.6)
    _legend(figure, row[0])
    figure.savefig(path, dpi=DPI)


def _bars(
    axes: Any, cells: Sequence[Mapping[str, float]], at: Float[np.ndarray, "16"], place: str
) -> None:
    value, low, high = _ends(cells)
    error = {"ecolor": INK, "elinewidth": 0.9, "capsize": 1.8}
    reach = np.stack([value - low, high - value]).clip(0)
    axes.barh(
        at,
        value,
        0.25,
        xerr=np.where(np.isfinite(reach), reach, 0),
        color=PLACE_COLORS[place],
        alpha=0.8,
        error_kw=error,
        label=_PLACE_TITLES[place],
    )


def write_radius(path: Path, report: Mapping[str, Any], subtitle: str) -> None:
    """What the discs cost by their radius, with intervals."""
    figure = new_figure(10.0, 5.2, "By the radius of the disc", subtitle)
    row = figure.subplots(1, 2)
    for axes, (key, title) in zip(row, _PANELS.items(), strict=True):
        _curve_panel(axes, report["curve"], key)
        num = report["curve"][0][{"own": "num", "others": "num_others"}[key]]
        axes.set_title(f"{title} ({counted(num, 'joint')})", fontsize=10, color=INK)
        axes.set_xlabel("radius, head sizes (median px of the input)")
    row[0].set_ylabel(f"added to the EPE, px of the {report['settings']['input_size']} px input")
    _legend(figure, row[0])
    figure.savefig(path, dpi=DPI)


def _curve_panel(axes: Any, curve: Sequence[Mapping[str, Any]], key: str) -> None:
    radius = np.array([point["radius_heads"] for point in curve])
    for place, title in _PLACE_TITLES.items():
        value, low, high = _ends([point[key][f"{place} - clean"] for point in curve])
        color, mark = PLACE_COLORS[place], _MARKS[place]
        axes.plot(radius, value, color=color, marker=mark, ms=4.5, lw=1.6, label=title)
        axes.fill_between(radius, low, high, color=color, alpha=0.15, lw=0)
    if key == "own":
        clean, _, _ = _ends([point[key]["clean"] for point in curve])
        blind, _, _ = _ends([point[key]["mean pose"] for point in curve])
        style = {"color": OTHER, "lw": 1.4, "label": "mean training pose instead"}
        axes.plot(radius, blind - clean, ":", **style)
    axes.axhline(0, color=INK, lw=0.8)
    labels = [f"{p['radius_heads']:g}\n({p['radius_input_px']:.1f})" for p in curve]
    axes.set_xticks(radius, labels)
    quiet(axes)
    axes.grid(axis="y", color=FAINT, lw=0.5)


def write_matrix(path: Path, report: Mapping[str, Any], subtitle: str) -> None:
    """What the disc over each joint adds to the error of every joint."""
    figure = new_figure(10.5, 9.2, "Hidden joint against measured joint", subtitle)
    axes = figure.subplots()
    order = reading_order()
    added = np.array([[c["value"] for c in row] for row in report["matrix"]["added_px"]])
    reach = float(np.nanmax(np.abs(added), initial=1e-9))
    picture = axes.imshow(added[np.ix_(order, order)], cmap="RdBu_r", vmin=-reach, vmax=reach)
    for y, hidden in enumerate(order):
        for x, measured in enumerate(order):
            _cell(axes, report["matrix"], hidden, measured, (x, y), reach)
    names = [JOINTS[joint] for joint in order]
    axes.set_xticks(range(len(order)), names, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(order)), names)
    axes.set_xlabel(f"measured\n\n{_MARKS_TEXT}")
    axes.set_ylabel("hidden")
    quiet(axes)
    bar = figure.colorbar(picture, ax=axes, shrink=0.7)
    bar.set_label("added to the error, px of the input", size=8.5)
    bar.ax.tick_params(labelsize=8.5)
    figure.savefig(path, dpi=DPI)


def _cell(
    axes: Any,
    matrix: Mapping[str, Any],
    hidden: int,
    measured: int,
    at: tuple[int, int],
    reach: float,
) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    cell = matrix["added_px"][hidden][measured]
    if not np.isfinite(cell["value"]):
        return
    axes.text(
        *at,
        number(cell["value"], 1),
        ha="center",
        va="center",
        fontsize=7,
        color="white" if abs(cell["value"]) > 0.6 * reach else INK,
        fontweight="bold" if sign(cell) else "normal",
    )
    if matrix["covered_share"][hidden][measured] > _MOSTLY_COVERED:
        corner = at[0] - 0.46, at[1] - 0.46
        axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec=INK, lw=0.9))


def _ends(cells: Sequence[Mapping[str, float]]) -> Float[np.ndarray, "3 cells"]:
    return np.array([[cell[key] for cell in cells] for key in ("value", "low", "high")])


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        frameon=False,
        fontsize=8.5,
    )
