"""The study's picture: one image without and with the mask; caption, skeleton and attention.

One picture is an anecdote. It is therefore near the median of all, unless another is named: the
joint whose disc, and whose disc elsewhere on the body, add to its error as much as most do.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from blippose.caption import CaptionFormat
from blippose.drawing import draw_comparison
from blippose.errors import UserError
from blippose.evaluation.figures import DPI, INK, OTHER, new_figure
from blippose.evaluation.occlusion.answers import Occluded
from blippose.evaluation.occlusion.figures import PLACE_COLORS
from blippose.evaluation.occlusion.plan import Plan
from blippose.pose import JOINTS, Pose

_SIDE = 480  # px of the longer side of a tile
ROWS = ("nothing hidden", "disc over the joint", "same area elsewhere\non the body")
_CAPTION = "caption (bold: changed;\npx: off the truth)"
_COLUMNS = ("what the model sees", "predicted, and true, paler", "attention")


@dataclass(frozen=True, eq=False)
class Example:
    """One joint of one person, looked at three times: the `ROWS`."""

    plan: Plan
    person: int
    joint: int
    inputs: UInt8[np.ndarray, "3 size size 3"]
    captions: Sequence[str]
    attention: Float[np.ndarray, "3 rows columns"]
    caption_format: CaptionFormat
    choice: str  # how it was chosen, for people

    @property
    def title(self) -> str:
        """Whose joint it is."""
        return f"{JOINTS[self.joint]} of {self.plan.targets.image_names[self.person]}"


def chosen_example(
    answers: Occluded, image: str | None = None, joint: str | None = None
) -> tuple[int, int]:
    """Position and joint of what is nearest to the median of all, in ranks.

    Of what the disc over the joint adds to its error, and of what the one elsewhere on the body
    adds.

    Args:
        answers: what the model said.
        image: file name, to choose among its joints.
        joint: name, to choose among the images.

    Raises:
        UserError: as `example_pairs`.
    """
    pairs = example_pairs(answers.plan, image, joint)
    added = np.array([_added(answers, person, hidden) for person, hidden in pairs.tolist()])
    rank = added.argsort(axis=0, kind="stable").argsort(axis=0)
    away = np.abs(rank - len(pairs) // 2).sum(axis=1)
    person, hidden = pairs[away.argmin()].tolist()
    return person, hidden


def example_pairs(
    plan: Plan, image: str | None = None, joint: str | None = None
) -> Int[np.ndarray, "pairs 2"]:
    """Positions and joints among which the example is, before anything is asked.

    Raises:
        UserError: the study holds no such image, or no such joint of it that can be hidden.
    """
    among = plan.asked[:, 0, :, :2].all(axis=-1)
    if image is not None:
        if image not in plan.targets.image_names:
            raise UserError(
                f"example={image}: not among the images of this study (such as "
                f"{', '.join(plan.targets.image_names[:3])}); images=N takes more"
            )
        among = among & (np.array(plan.targets.image_names) == image)[:, None]
    if joint is not None:
        among = among & (np.arange(len(JOINTS)) == JOINTS.index(joint))
    pairs = np.argwhere(among)
    if not len(pairs) and (image, joint) != (None, None):
        raise UserError(
            f"example={image}, joint={joint}: no such joint with room for its control elsewhere "
            "on the body; name another, or a smaller radius"
        )
    return pairs


def _added(answers: Occluded, person: int, joint: int) -> Float[np.ndarray, "2"]:
    """To the joint's error, by the disc over it and by the one elsewhere on the body."""
    true = answers.plan.targets.xy_input[person, joint]
    discs = answers.hidden[person, 0, joint, :2, joint]
    said = np.concatenate([answers.clean[person, joint][None], discs])
    said = np.where(np.isfinite(said).all(axis=-1, keepdims=True), said, answers.mean_pose[joint])
    away = np.linalg.norm(said - true, axis=-1)
    return np.asarray(away[1:] - away[0])


def write_example(path: Path, example: Example, subtitle: str) -> None:
    """A row for each look: what the model sees, skeleton, attention, caption."""
    title = f"One image, hidden and not: {example.title} ({example.choice})"
    width, height = _tile_size(example)
    figure = new_figure(13.0, 3 * max(2.5, 3.4 * height / width) + 1.2, title, subtitle)
    grid = figure.subplots(3, 4, width_ratios=(1, 1, 1, 0.6))
    poses = [example.caption_format.decode(caption).pose for caption in example.captions]
    reach = float(np.nanmax(example.attention, initial=1e-9))
    for row, axes in enumerate(grid):
        tiles = _tiles(example, row, poses[row], reach)
        for place, tile in zip(axes[:3], tiles, strict=True):
            place.imshow(tile)
            place.set_xticks([])
            place.set_yticks([])
            place.spines[:].set_visible(False)
        axes[0].set_ylabel(ROWS[row], fontsize=9.5, color=INK)
        _write_caption(axes[3], example, row, poses[0])
    name = JOINTS[example.joint]
    for place, title in zip(grid[0], (*_COLUMNS, _CAPTION), strict=True):
        is_map = title == "attention"
        text = f"cross-attention of its numbers\n(ring: true {name})" if is_map else title
        place.set_title(text, fontsize=9.5, color=INK)
    figure.savefig(path, dpi=DPI)


def _tiles(
    example: Example, row: int, pose: Pose, reach: float
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The input at the image's proportions; with skeletons; with the attention."""
    size = _tile_size(example)
    image = np.asarray(Image.fromarray(example.inputs[row]).resize(size, Image.Resampling.BICUBIC))
    scale = np.array(size) / example.plan.targets.input_size
    pred, true = (one.enlarged(scale) for one in (pose, _true(example)))
    heat = _heat(image, example.attention[row] / reach)
    return [image, draw_comparison(image, pred, true), _ringed(heat, true.xy[example.joint])]


def _true(example: Example) -> Pose:
    targets, person = example.plan.targets, example.person
    return Pose.of(np.where(targets.valid[person, :, None], targets.xy_input[person], np.nan))


def _tile_size(example: Example) -> tuple[int, int]:
    """Width and height, in the proportions of what the input shows."""
    extent = example.plan.targets.crop[example.person, 2:]
    width, height = (extent * _SIDE / extent.max()).round().astype(int).clip(1).tolist()
    return width, height


def _heat(
    image: UInt8[np.ndarray, "h w 3"], attention: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "h w 3"]:
    """A map of values up to 1 over the image in grey; the image alone where there is none."""
    import matplotlib as mpl  # noqa: PLC0415

    grey = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=-1)
    if not np.isfinite(attention).all():
        return grey
    height, width = image.shape[:2]
    small = Image.fromarray(attention.astype(np.float32))
    values = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
    color = 255 * mpl.colormaps["inferno"](values)[..., :3]
    weight = 0.25 + 0.65 * values[..., None]
    mixed: UInt8[np.ndarray, "h w 3"]
    mixed = ((1 - weight) * 0.8 * grey + weight * color).round().clip(0, 255).astype(np.uint8)
    return mixed


def _ringed(
    image: UInt8[np.ndarray, "h w 3"], xy: Float[np.ndarray, "2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """With a ring round a point."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    away = np.hypot(x - xy[0], y - xy[1])
    radius = 0.03 * max(image.shape)
    ringed = image.copy()
    ringed[np.abs(away - radius) < 0.3 * radius] = 0
    ringed[np.abs(away - radius) < 0.14 * radius] = (86, 255, 255)
    return ringed


def _write_caption(axes: Any, example: Example, row: int, clean: Pose) -> None:
    """A line a joint: the hidden one in colour and how far it is off, what changed in ink."""
    axes.axis("off")
    parts = re.split(r"(?<=\)), ", example.captions[row])
    lines = [line for part in parts for line in textwrap.wrap(part, 34) or [""]]
    said = example.caption_format.decode(example.captions[row]).pose.xy
    changed = [
        name for j, name in enumerate(JOINTS) if not np.array_equal(said[j], clean.xy[j], True)
    ]
    name = JOINTS[example.joint]
    off = _error_text(said[example.joint] - _true(example).xy[example.joint])
    own = next((line for line in lines if line.startswith(name)), name)
    if own not in lines[:20]:
        lines = [*lines[:19], own]
    for number, line in enumerate(lines[:20]):
        is_hidden = line.startswith(name)
        is_changed = any(line.startswith(each) for each in changed)
        color = PLACE_COLORS["hidden"] if is_hidden else INK if is_changed else OTHER
        weight = "bold" if is_changed else "normal"
        place = 0.0, 1 - (number + 0.5) / 18.5
        style: dict[str, Any] = {"fontsize": 7.0, "family": "monospace", "va": "center"}
        style["parse_math"] = False  # a caption may hold any character
        text = f"{line} {off}" if is_hidden else line
        axes.text(*place, text, color=color, weight=weight, transform=axes.transAxes, **style)


def _error_text(off: Float[np.ndarray, "2"]) -> str:
    away = float(np.linalg.norm(off))
    return f"{away:.1f} px" if np.isfinite(away) else "did not parse"
