"""Two pictures of a trust report: how far each joint is off, and each joint's figures as bars.

Drawn without pyplot, so that no window system and no global state is touched; matplotlib is
imported late, as it takes a second. Colours stay apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from blippose.evaluation.facts import num_resampled
from blippose.pose import JOINTS

# Source: Okabe and Ito, "Color Universal Design", 2008. Sides as in `drawing.PREDICTED`.
_SIDES = {"right": "#E69F00", "left": "#0072B2", "": "#332288"}
MODEL, OTHER, INK, FAINT = "#0072B2", "#555555", "#1F2328", "#B8BDC4"
_MARKED = (1, 5, 25)  # px, as the study reports
_LEAST = 0.5  # px, where the axis begins
DPI = 130
_CHARACTERS = 130.0  # that fit into an inch of a line, times their size in pt
_FAR = 1e5  # px; beyond any axis
# From the head down, left and right side by side: how a reader looks for a joint.
_PARTS = (
    *("head top", "upper neck", "thorax", "shoulder", "elbow", "wrist"),
    *("pelvis", "hip", "knee", "ankle"),
)


@dataclass(frozen=True, eq=False)
class Curve:
    """Distances of one way of answering, in input pixels: NaN where the answer has no joint."""

    name: str
    distance: Float[np.ndarray, "persons 16"]


def write_error_cdf(
    path: Path,
    model: Curve,
    others: Sequence[Curve],
    valid: Bool[np.ndarray, "persons 16"],
    input_size: int,
    subtitle: str,
) -> None:
    """For each joint the share that lies within a distance; what did not parse never does."""
    figure = new_figure(11.0, 8.2, "How far the joints are off", subtitle)
    grid = figure.subplots(3, 4, sharex=True, sharey=True)
    for axes, part in zip(grid.flat, [*_PARTS, "all joints"], strict=False):
        _cdf_panel(axes, part, model, others, valid)
        _distance_axis(axes, input_size)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of annotated joints")
    for axes in grid[-1, :3]:
        axes.set_xlabel(f"distance, px of the {input_size} px input")
    grid[-2, 3].tick_params(labelbottom=True)
    _cdf_legend(grid[-1, 3], model, others)
    figure.savefig(path, dpi=DPI)


def _cdf_panel(
    axes: Any,
    part: str,
    model: Curve,
    others: Sequence[Curve],
    valid: Bool[np.ndarray, "persons 16"],
) -> None:
    axes.set_title(part, fontsize=10, color=INK)
    joints = joints_of(part)
    for other, dashes in zip(others, _DASHES, strict=False):
        _draw_cdf(axes, other.distance, valid, joints, color=OTHER, ls=dashes, lw=1.0)
    if len(joints) == len(JOINTS):
        _draw_cdf(axes, model.distance, valid, joints, color=_SIDES[""], lw=2.0)
        return
    for joint in joints:
        _draw_cdf(axes, model.distance, valid, [joint], color=_SIDES[_side(joint)], lw=1.8)


_DASHES = ("--", ":", "-.")


def _draw_cdf(
    axes: Any,
    distance: Float[np.ndarray, "persons 16"],
    valid: Bool[np.ndarray, "persons 16"],
    joints: Sequence[int],
    **style: Any,
) -> None:
    known = distance[:, joints][valid[:, joints]]
    steps, share = cdf(known)
    last = share[-1] if len(share) else 0.0
    axes.step([0, *steps, _FAR], [0, *share, last], where="post", **style)


def cdf(
    distance: Float[np.ndarray, " joints"],
) -> tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]:
    """Distances in rising order, and the share of all joints, missing ones too, that reach them.

    >>> cdf(np.array([2.0, np.nan, 1.0, 4.0]))
    (array([1., 2., 4.]), array([0.25, 0.5 , 0.75]))
    """
    steps = np.sort(distance[np.isfinite(distance)])
    share: Float[np.ndarray, " _"] = np.arange(1, len(steps) + 1) / max(1, len(distance))
    return steps, share


def joints_of(part: str) -> list[int]:
    """Ids of the joints of a body part, right before left; all of them for "all joints"."""
    if part == "all joints":
        return list(range(len(JOINTS)))
    ids = [j for j, name in enumerate(JOINTS) if name == part or name.endswith(f" {part}")]
    return sorted(ids, key=lambda joint: JOINTS[joint], reverse=True)


def reading_order() -> list[int]:
    """Ids of all joints from the head down, right beside left."""
    return [joint for part in _PARTS for joint in joints_of(part)]


def _side(joint: int) -> str:
    side = JOINTS[joint].split()[0]
    return side if side in _SIDES else ""


def _distance_axis(axes: Any, input_size: int) -> None:
    axes.set_xscale("log")
    axes.set_xlim(_LEAST, input_size)
    axes.set_ylim(0, 1.02)
    axes.set_xticks((_LEAST, *_MARKED), [f"{mark}" for mark in (_LEAST, *_MARKED)])
    axes.minorticks_off()
    for mark in _MARKED:
        axes.axvline(mark, color=FAINT, lw=0.7, zorder=0)
    quiet(axes)


def _cdf_legend(axes: Any, model: Curve, others: Sequence[Curve]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    axes.axis("off")
    titles = {"right": "right", "left": "left", "": "middle, all"}
    lines = [
        Line2D([], [], color=_SIDES[side], lw=2, label=f"{model.name}: {title}")
        for side, title in titles.items()
    ]
    lines += [
        Line2D([], [], color=OTHER, lw=1, ls=dashes, label=other.name)
        for other, dashes in zip(others, _DASHES, strict=False)
    ]
    axes.legend(handles=lines, loc="center", frameon=False, fontsize=8.5)


@dataclass(frozen=True, eq=False)
class Bars:
    """One figure for each joint, with its interval, and what a blind model reaches."""

    title: str
    unit: str
    value: Float[np.ndarray, "16"]
    low: Float[np.ndarray, "16"]
    high: Float[np.ndarray, "16"]
    reference: Float[np.ndarray, "16"]


def write_per_joint(
    path: Path, panels: Sequence[Bars], model: str, reference: str, subtitle: str
) -> None:
    """Bars for each joint with their intervals, a panel for each figure."""
    figure = new_figure(11.0, 6.6, "Joint by joint", subtitle)
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    order = reading_order()
    for axes, bars in zip(row, panels, strict=True):
        _bar_panel(axes, bars, order)
    row[0].set_yticks(range(len(order)), [JOINTS[joint] for joint in order])
    row[0].set_ylim(len(order) - 0.4, -0.6)
    handles, _ = row[0].get_legend_handles_labels()
    labels = [f"{model}, with its interval", reference]
    figure.legend(
        handles[::-1], labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9
    )
    figure.savefig(path, dpi=DPI)


def _bar_panel(axes: Any, bars: Bars, order: Sequence[int]) -> None:
    places = np.arange(len(order))
    value, reference = bars.value[order], bars.reference[order]
    reach = np.stack([value - bars.low[order], bars.high[order] - value])
    error = {"ecolor": INK, "elinewidth": 1.1, "capsize": 2.5}
    reach = np.where(np.isfinite(reach), np.maximum(reach, 0), 0)
    axes.plot(
        reference, places, "D", color=OTHER, ms=4.5, mfc="white", label="reference", clip_on=False
    )
    axes.barh(places, value, xerr=reach, color=MODEL, alpha=0.75, error_kw=error, label="model")
    axes.set_xlabel(bars.unit)
    axes.set_title(bars.title, fontsize=10, color=INK)
    axes.set_xlim(0, 1.0 if bars.unit.startswith("share") else None)
    quiet(axes)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)


def printable(text: str) -> str:
    """With a mark in place of bytes of a file's name that are no characters."""
    return text.encode("utf-8", "replace").decode()


def new_figure(width: float, height: float, title: str, subtitle: str) -> Any:
    """A figure in inches, with its title and what it is of."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    as_is: dict[str, Any] = {"parse_math": False}  # names may hold a $
    style: dict[str, Any] = {"fontsize": 14, "fontweight": "bold", "linespacing": 1.5}
    figure.suptitle(f"{printable(title)}\n", color=INK, x=0.01, ha="left", **style, **as_is)
    size = min(9.0, _CHARACTERS * width / max(1, len(subtitle)))
    below = 0.01, 1 - 0.43 / height
    figure.text(*below, printable(subtitle), fontsize=size, color=OTHER, va="center", **as_is)
    return figure


def quiet(axes: Any) -> None:
    """Leave out what carries nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, length=2.5)
    axes.xaxis.label.set_size(8.5)
    axes.yaxis.label.set_size(8.5)


def subtitle_of(about: Mapping[str, Any]) -> str:
    """What a picture is of, in one line, so that it can be shown alone."""
    interval = about["interval"]
    if num_resampled(about) == 1:
        return f"{people_of(about)}, no intervals"
    return f"{people_of(about)}, {interval['level']:.0%} intervals over {interval['unit']}s"


def people_of(about: Mapping[str, Any]) -> str:
    """Which run, and which of its images."""
    people = "synthetic people" if about["synthetic"] else "real images"
    subset = {"val": "validation"}.get(about["subset"], about["subset"])
    return (
        f"{about['run'] or about['source']}: {about['num_images']:,} {subset} images ({people}, "
        f"split={about['split']}){asked_by(about)}"
    )


def asked_by(about: Mapping[str, Any]) -> str:
    """How the model was asked, behind what it was asked of."""
    decoding = about["decoding"]
    other = "" if about.get("own_decoding", decoding) == decoding else ", not the model's own"
    return f", decoding: {decoding}{other}"
