"""Pictures with skeletons in a titled grid; everything comes back as an array.

Coordinates as in `blippose.drawing`. Knows nothing of files, frames, captions or models.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from blippose.drawing import PREDICTED, RGB, TRUE, Number, Style, draw_comparison, draw_poses
from blippose.pose import JOINTS, Pose

Point = tuple[Number, Number]

_PAPER: RGB = (255, 255, 255)
_INK: RGB = (31, 35, 40)
_FAINT_INK: RGB = (101, 109, 118)
_MAT: RGB = (235, 237, 240)  # behind a tile that does not fill its square


def pose_tile(
    image: UInt8[np.ndarray, "h w 3"],
    pred: Pose,
    target: Pose | None = None,
    size: int = 320,
) -> UInt8[np.ndarray, "tile_h tile_w 3"]:
    """`image` made `size` long on its longer side, with skeletons drawn at that resolution.

    Args:
        image: RGB.
        pred: predicted, in pixels of `image`.
        target: true, likewise; None draws the prediction alone.
        size: px.
    """
    small = _fitted(Image.fromarray(image), size)
    factor = np.array(small.size) / (image.shape[1], image.shape[0])
    pred_tile = pred.enlarged(factor)
    if target is None:
        return draw_poses(np.asarray(small), [pred_tile])
    target_tile = target.enlarged(factor)
    return draw_comparison(np.asarray(small), pred_tile, target_tile)


def contact_sheet(
    tiles: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    labels: Sequence[str],
    columns: int = 4,
    tile_size: int = 320,
    title: str = "",
    subtitle: str = "",
) -> UInt8[np.ndarray, "h w 3"]:
    """A grid of tiles, each with its label below, under a title and a legend of the skeletons.

    Args:
        tiles: RGB; each is scaled to `tile_size` on its longer side, so make them that large.
        labels: one a tile; a line break starts a second line.
        columns: of the grid; fewer when there are fewer tiles.
        tile_size: px.
        title: in large type.
        subtitle: one line below it.

    Raises:
        ValueError: not one label a tile.
    """
    if len(tiles) != len(labels):
        raise ValueError(f"{len(tiles)} tiles and {len(labels)} labels: one a tile is needed")
    layout = _Layout(max(1, min(columns, len(tiles))), tile_size)
    pictures = [_fitted(Image.fromarray(tile), tile_size) for tile in tiles]
    rows = [
        _draw_row(layout, pictures[first : first + columns], labels[first : first + columns])
        for first in range(0, len(tiles), columns)
    ]
    parts = [_draw_header(layout, title, subtitle), *rows]
    width = max(part.width for part in parts)
    sheet = Image.new("RGB", (width, sum(part.height for part in parts)), _PAPER)
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    return np.array(sheet)


def _fitted(image: Image.Image, size: int) -> Image.Image:
    """The image with its longer side `size` px."""
    scale = size / max(image.size)
    fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if fitted == image.size else image.resize(fitted, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class _Layout:
    """Measures of a sheet, px, all from the side of a tile."""

    columns: int
    tile: int

    @property
    def text_size(self) -> int:
        return max(11, round(self.tile * 0.05))

    @property
    def title_size(self) -> int:
        return round(self.text_size * 1.6)

    @property
    def line(self) -> int:
        return round(self.text_size * 1.35)

    @property
    def gap(self) -> int:
        return max(8, round(self.tile * 0.06))

    @property
    def width(self) -> int:
        return self.gap + self.columns * (self.tile + self.gap)


def _draw_row(
    layout: _Layout, pictures: Sequence[Image.Image], labels: Sequence[str]
) -> Image.Image:
    """Pictures side by side, as high as the highest, their labels below."""
    high = max(picture.height for picture in pictures)
    num_lines = max(len(label.splitlines()) for label in labels)
    below = round(layout.line * (num_lines + 0.3)) + layout.gap
    row = Image.new("RGB", (layout.width, high + below), _PAPER)
    draw, x = ImageDraw.Draw(row), layout.gap
    for picture, label in zip(pictures, labels, strict=True):
        draw.rectangle((x, 0, x + layout.tile - 1, high - 1), fill=_MAT)
        inset = (layout.tile - picture.width) // 2, (high - picture.height) // 2
        row.paste(picture, (x + inset[0], inset[1]))
        for number, line in enumerate(label.splitlines()):
            corner = x, high + round(layout.line * (number + 0.3))
            color = _FAINT_INK if number else _INK
            _draw_text(draw, corner, line, layout.text_size, color, layout.tile)
        x += layout.tile + layout.gap
    return row


def _draw_header(layout: _Layout, title: str, subtitle: str) -> Image.Image:
    """Title, subtitle and legend; wider than the grid where the legend needs it."""
    legend = _draw_legend(layout)
    title_height = round(layout.title_size * 1.35) if title else 0
    height = layout.gap + title_height + (layout.line if subtitle else 0)
    width = max(layout.width, legend.width + layout.gap)
    header = Image.new("RGB", (width, height + legend.height), _PAPER)
    draw, room = ImageDraw.Draw(header), width - 2 * layout.gap
    _draw_text(draw, (layout.gap, layout.gap), title, layout.title_size, _INK, room)
    below = layout.gap, layout.gap + title_height
    _draw_text(draw, below, subtitle, layout.text_size, _FAINT_INK, room)
    header.paste(legend, (0, height))
    return header


def _draw_legend(layout: _Layout) -> Image.Image:
    """Swatches with their names, side by side in one line."""
    size = layout.text_size
    entries: list[tuple[str, tuple[RGB, ...], Style]] = [
        ("predicted: right limbs", (PREDICTED.right,), PREDICTED),
        ("left limbs", (PREDICTED.left,), PREDICTED),
        ("torso, head", (PREDICTED.torso,), PREDICTED),
        ("true: the same, paler", (TRUE.right, TRUE.torso, TRUE.left), TRUE),
    ]
    steps = [round(_font(size).getlength(name) + size * 4.4) for name, _, _ in entries]
    legend = Image.new("RGB", (layout.gap + sum(steps), size * 3), _PAPER)
    x, top = layout.gap, size * 0.8
    for (name, colors, style), step in zip(entries, steps, strict=True):
        ends = np.linspace(x + size * 0.3, x + size * 2.1, len(colors) + 1)
        for color, columns in zip(colors, itertools.pairwise(ends), strict=True):
            # A bone as the skeletons have it: ankle and knee are as good as any two joints.
            xy = np.full((len(JOINTS), 2), np.nan)
            xy[:2] = [(column, top + size * 0.6) for column in columns]
            colored = replace(style, right=color)
            drawn = draw_poses(np.asarray(legend), [Pose.of(xy)], colored, size * 0.24)
            legend = Image.fromarray(drawn)
        _draw_text(ImageDraw.Draw(legend), (x + size * 2.8, top), name, size, _INK, math.inf)
        x += step
    return legend


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _draw_text(
    draw: ImageDraw.ImageDraw, corner: Point, text: str, size: int, color: RGB, room: Number
) -> None:
    """One line, cut with dots where it is wider than `room`."""
    font = _font(size)
    if draw.textlength(text, font) > room:
        while text and draw.textlength(f"{text}...", font) > room:
            text = text[:-1]
        text = f"{text.rstrip()}..."
    draw.text(corner, text, color, font)
