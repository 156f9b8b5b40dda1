"""Three pictures of attention: one head, all of them, and sixteen joints on a photo.

Drawn without pyplot, as `evaluation.figures`. Layers and heads are counted from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from blippose.evaluation.attention.sentences import are_told_apart
from blippose.evaluation.figures import printable
from blippose.evaluation.intervals import sign
from blippose.geometry import Crop
from blippose.pose import JOINTS, Pose

_INK, _FAINT, _OTHER = "#1F2328", "#B8BDC4", "#555555"
# Source: Okabe and Ito, "Color Universal Design", 2008.
_PREDICTED, _TRUE, _PEAK = "#E69F00", "#FFFFFF", "#56B4E9"
_SHARES, _DIFFERENCES, _HEAT = "cividis", "PuOr_r", "inferno"
_DPI = 130
_BEHIND = "#8A9099"  # of legends, as grey as a photo
_PHOTO_SIDE = 400  # px, of a photo in a panel of 2 inches
_MOST_VISIBLE = 0.75  # opacity of the patch that is looked at most

SelfMap = Float[np.ndarray, "16 16"]


def write_self_head(
    path: Path,
    share: SelfMap,
    uniform: SelfMap,
    order: Sequence[int],
    title: str,
    subtitle: str,
) -> None:
    """One head's joint matrix, and by how much it is above the uniform decoder's.

    Args:
        path: PNG to write.
        share: of the head, by joint id.
        uniform: of the uniform decoder.
        order: joint ids as captions name them, which is that of rows and columns.
        title: the head.
        subtitle: what it is of.
    """
    figure = _figure(13.4, 6.9, f"Decoder self-attention from joint to joint: {title}", subtitle)
    panels = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.11, right=0.945, bottom=0.17, top=0.87, wspace=0.16)
    share, difference = _causal(share, order), _causal(share - uniform, order)
    reach = float(np.nanmax(np.abs(difference))) or 1.0
    names = [JOINTS[joint] for joint in order]
    limits = 0.0, float(np.nanmax(share))
    _matrix(figure, panels[0], share, names, _SHARES, limits, "share of attention")
    label = "share above a decoder that looks at all words so far alike"
    _matrix(figure, panels[1], difference, names, _DIFFERENCES, (-reach, reach), label)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylabel("joint that is being written", color=_INK, fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _matrix(
    figure: Any,
    axes: Any,
    values: SelfMap,
    names: Sequence[str],
    colors: str,
    limits: tuple[float, float],
    label: str,
) -> None:
    drawn = axes.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1])
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_xlabel("joint that is looked back at", color=_INK, fontsize=9)
    axes.tick_params(labelsize=8.5, length=0, labelcolor=_INK)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label(label, fontsize=9, color=_INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)


def _causal(
    values: Float[np.ndarray, "*heads 16 16"], order: Sequence[int]
) -> Float[np.ndarray, "*heads 16 16"]:
    """Rows and columns as captions name the joints; NaN for what is not written yet."""
    ordered = values[..., order, :][..., order]
    return np.asarray(np.where(np.tri(len(order), dtype=bool), ordered, np.nan))


def write_self_overview(
    path: Path,
    shares: Float[np.ndarray, "layer head 16 16"],
    uniform: SelfMap,
    order: Sequence[int],
    report: Mapping[str, Any],
    subtitle: str,
) -> None:
    """Every layer and head as a small matrix above the uniform decoder's, with its figures.

    Args:
        path: PNG to write.
        shares: joint matrices, by joint id.
        uniform: of the uniform decoder.
        order: joint ids as captions name them, which is that of rows and columns.
        report: has the figures of the heads and of the uniform decoder.
        subtitle: what it is of.
    """
    num_layers, num_heads = shares.shape[:2]
    text, left, top, right = 0.52, 0.75, 1.15, 0.3  # inches
    side = float(np.clip((_LEAST_WIDTH - left - right) / num_heads - 0.12, 1.55, 2.6))
    width = max(left + num_heads * (side + 0.12) + right, _LEAST_WIDTH)
    height = top + num_layers * (side + text) + 0.9
    figure = _figure(width, height, "Decoder self-attention: all layers and heads", subtitle)
    is_marked = are_told_apart(report["about"])
    control = _figures(report["uniform"], ", ")
    figure.text(0.15 / width, 1 - 0.83 / height, f"uniform: {control}", **_text(7.5))
    difference = _causal(shares - uniform, order)
    reach = float(np.nanmax(np.abs(difference))) or 1.0
    drawn = None
    for record in report["heads"]:
        layer, head = record["layer_index"], record["head_index"]
        corner = left + head * (side + 0.12), height - top - layer * (side + text) - side
        box = (corner[0] / width, corner[1] / height, side / width, side / height)
        axes = figure.add_axes(box)
        drawn = axes.imshow(difference[layer, head], _DIFFERENCES, vmin=-reach, vmax=reach)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=_FAINT, linewidth=0.6)
        if head == 0:
            axes.set_ylabel(f"layer {record['layer_number']}", fontsize=8.5, color=_INK)
        if layer == 0:
            axes.set_title(f"head {record['head_number']}", fontsize=8.5, color=_INK)
        axes.text(0, 16.0, _figures(record["self"], "\n", 2, is_marked), va="top", **_text(6.2))
    bar_axes = figure.add_axes(
        (left / width, 0.65 / height, min(4.0, width - 1.2) / width, 0.1 / height)
    )
    bar = figure.colorbar(drawn, cax=bar_axes, orientation="horizontal")
    bar.set_label(_OVERVIEW_LABEL + _MARKS_LABEL * is_marked, fontsize=7.5, color=_INK, loc="left")
    bar.outline.set_visible(False)
    bar_axes.tick_params(labelsize=7, length=2)
    figure.savefig(path, dpi=_DPI)


_LEAST_WIDTH = 7.6  # inches, for the words above and below
_OVERVIEW_LABEL = """\
share above the uniform decoder's; rows: joint being written, columns: looked back at
own, previous, neighbouring and mirrored joint"""
_MARKS_LABEL = "; + or -: the interval is above or below uniform"
_SHORT = {"own": "own", "previous": "prev", "neighbour": "nbr", "mirrored": "mirr"}

_MARKS = {1: "+", 0: "", -1: "\N{MINUS SIGN}"}


def _figures(
    cells: Mapping[str, Any], separator: str, in_line: int = 5, is_marked: bool = False
) -> str:
    """Entropy and shares in short: 4.1 bits  own .21  prev .12 and so on."""
    parts = [f"{cells['entropy']['value']:.1f} bits"]
    for name, short in _SHORT.items():
        mark = _MARKS[sign(cells[name]["above_uniform"])] if is_marked else ""
        parts.append(f"{short} {cells[name]['value']:.2f}{mark}".replace(" 0.", " ."))
    lines = [parts[:1], *(parts[i : i + in_line] for i in range(1, len(parts), in_line))]
    return separator.join("  ".join(line) for line in lines)


@dataclass(frozen=True, eq=False)
class CrossMaps:
    """Where the numbers of each joint look in one image.

    Args:
        image: the photo, RGB.
        crop: the part of it that the model sees.
        share: of each joint's attention on the patches; NaN for a joint without numbers.
        peak: middle of the patch that is looked at most, input px.
        pred: what the caption says, input px.
        target: the truth, input px; None where nobody has said it.
    """

    image: UInt8[np.ndarray, "h w 3"]
    crop: Crop
    share: Float[np.ndarray, "16 side side"]
    peak: Float[np.ndarray, "16 2"]
    pred: Pose
    target: Pose | None


def write_cross_joints(path: Path, maps: CrossMaps, title: str, subtitle: str) -> None:
    """Sixteen panels: the photo, and on it where one joint's numbers look when they are chosen."""
    left, top, right, bottom = _seen(maps)
    aspect = (bottom - top) / (right - left)
    across, gap, head = 2.05, 0.34, 0.95  # inches
    tall = float(np.clip(aspect * across, 0.7, 3.4))
    width, height = 4 * (across + 0.15) + 0.15, head + 4 * (tall + gap) + 0.3
    figure = _figure(width, height, f"Where each joint's numbers look: {title}", subtitle)
    photo = _small(maps)
    for joint, name in enumerate(JOINTS):
        row, column = divmod(joint, 4)
        x, y = 0.15 + column * (across + 0.15), height - head - row * (tall + gap) - tall
        axes = figure.add_axes((x / width, y / height, across / width, tall / height))
        _cross_panel(axes, maps, photo, joint)
        axes.set_title(f"{name}{_off(maps, joint)}", fontsize=8, color=_INK, pad=3)
        axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    _cross_legend(figure, maps.target is not None)
    _cross_bar(figure)
    figure.savefig(path, dpi=_DPI)


def _cross_panel(
    axes: Any, maps: CrossMaps, photo: UInt8[np.ndarray, "_ _ 3"], joint: int
) -> None:
    height, width = maps.image.shape[:2]
    axes.imshow(photo, extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect="auto")
    share = maps.share[joint]
    if np.isfinite(share).all():
        axes.imshow(_heat(share), extent=_crop_extent(maps.crop), aspect="auto")
        _mark(axes, maps.crop.to_img(maps.peak[joint]), "+", _PEAK, 9.0)
    if maps.target is not None:
        _mark(axes, maps.crop.to_img(maps.target.xy[joint]), "o", _TRUE, 5.5)
    _mark(axes, maps.crop.to_img(maps.pred.xy[joint]), "x", _PREDICTED, 5.0)


def _heat(share: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns 4"]:
    """Colours of the patches, the less looked at the clearer."""
    import matplotlib as mpl  # noqa: PLC0415

    strength = share / max(float(share.max()), 1e-12)
    colors: Float[np.ndarray, "rows columns 4"] = np.asarray(
        mpl.colormaps[_HEAT](0.25 + 0.7 * strength)
    )
    colors[..., 3] = _MOST_VISIBLE * strength
    return colors


def _mark(axes: Any, xy: Float[np.ndarray, "2"], marker: str, color: str, size: float) -> None:
    """A sign with a dark rim; none of a joint that is missing."""
    filled = "none" if marker == "o" else color
    for edge, width in ((_INK, 2.8), (color, 1.4)):
        style = {"marker": marker, "ms": size, "mfc": filled, "mec": edge, "mew": width}
        axes.plot(*xy, ls="none", **style)


def _off(maps: CrossMaps, joint: int) -> str:
    """How far the peak is from the true joint, where that is known."""
    if not np.isfinite(maps.share[joint]).all():
        return ": not in the caption"
    if maps.target is None or not maps.target.valid[joint]:
        return ""
    return f": {np.linalg.norm(maps.peak[joint] - maps.target.xy[joint]):.1f} px"


def _crop_extent(crop: Crop) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a crop, image px, the first pixel's centre at 0."""
    left, top = crop.left - 0.5, crop.top - 0.5
    return left, left + crop.width, top + crop.height, top


def _seen(maps: CrossMaps) -> tuple[float, float, float, float]:
    """The part of the photo that the model sees: left, top, right, bottom."""
    height, width = maps.image.shape[:2]
    left, right, bottom, top = _crop_extent(maps.crop)
    return max(left, -0.5), max(top, -0.5), min(right, width - 0.5), min(bottom, height - 0.5)


def _small(maps: CrossMaps) -> UInt8[np.ndarray, "_ _ 3"]:
    """The photo, so large that what is seen of it fills a panel."""
    left, top, right, bottom = _seen(maps)
    factor = min(1.0, _PHOTO_SIDE / max(right - left, bottom - top))
    height, width = maps.image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(maps.image).resize(size, Image.Resampling.BICUBIC))


def _cross_legend(figure: Any, is_true_known: bool) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    entries = [
        ("+", _PEAK, "peak of attention (brightest patch)"),
        ("x", _PREDICTED, "joint that the caption says"),
        *([("o", _TRUE, "true joint; px: from the peak to it")] if is_true_known else []),
    ]
    lines = [
        Line2D([], [], ls="none", marker=m, mfc="none", mec=c, mew=1.8, ms=8, label=label)
        for m, c, label in entries
    ]
    figure.legend(
        handles=lines,
        loc="lower left",
        bbox_to_anchor=(0.15 / figure.get_figwidth(), 0.0),  # below the panels' left end
        borderaxespad=0.2,
        ncols=3,
        fontsize=8.5,
        facecolor=_BEHIND,
        labelcolor="white",
        edgecolor="none",
    )


def _cross_bar(figure: Any) -> None:
    """What the colours of the patches mean, at the right of the legend."""
    width, height = figure.get_size_inches()
    left, long = width - 1.55, 1.4  # inches
    axes = figure.add_axes((left / width, 0.17 / height, long / width, 0.1 / height))
    axes.set_facecolor(_BEHIND)
    axes.imshow(_heat(np.linspace(0, 1, 256)[None]), extent=(0, 1, 0, 1), aspect="auto")
    axes.set_title("attention on a patch", fontsize=7, color=_INK, pad=2)
    axes.set(yticks=[], xticks=[])
    axes.spines[:].set_visible(False)
    for at, side, text in ((0, "left", "none"), (1, "right", "most in the panel")):
        axes.text(at, -0.25, text, ha=side, va="top", fontsize=7, color=_INK)


def _text(size: float) -> dict[str, Any]:
    return {"fontsize": size, "color": _INK, "ha": "left", "linespacing": 1.25}


def _figure(width: float, height: float, title: str, subtitle: str) -> Any:
    """A white figure with its title and what it is of, inches."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), facecolor="white")
    style: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(
        0.15 / width, 1 - 0.15 / height, title, fontsize=13, color=_INK, fontweight="bold", **style
    )
    figure.text(
        0.15 / width, 1 - 0.47 / height, printable(subtitle), fontsize=8.5, color=_OTHER, **style
    )
    return figure
