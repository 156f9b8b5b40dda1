"""The files of an attention report: JSON, Markdown, pictures, each whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blippose.attention import Attention, PatchGrid
from blippose.evaluation.attention.about import people_line
from blippose.evaluation.attention.evidence import AttentionEvidence
from blippose.evaluation.attention.figures import (
    CrossMaps,
    write_cross_joints,
    write_self_head,
    write_self_overview,
)
from blippose.evaluation.attention.markdown import attention_markdown
from blippose.evaluation.attention.report import WRITTEN, Shown
from blippose.json_text import json_text
from blippose.output_folder import Filling, filled

JSON_FILE, MARKDOWN_FILE, ARRAYS_FILE = "attention.json", "attention.md", "attention.npz"
SELF_HEAD, SELF_OVERVIEW, CROSS_JOINTS = "self_head.png", "self_overview.png", "cross_joints.png"


@dataclass(frozen=True, eq=False)
class CrossPicture:
    """A picture of cross-attention: its file, its maps, what they are of."""

    name: str
    maps: CrossMaps
    label: str


def write_attention(
    folder: Path,
    report: Mapping[str, Any],
    evidence: AttentionEvidence,
    shown: Mapping[str, Shown],
    pictures: Iterator[CrossPicture],
    joint_order: Sequence[int],
) -> list[str]:
    """Write all of them into `folder`, beside the arrays; the names of all.

    Args:
        folder: holds the arrays.
        report: of `attention_report`.
        evidence: what it was made of.
        shown: which head each picture shows.
        pictures: of single images, drawn one by one.
        joint_order: joint ids as captions name them.

    Raises:
        UserError: the folder cannot be written.
    """
    drawn: list[str] = []
    of_self = {"One head": SELF_HEAD, "All layers and heads": SELF_OVERVIEW}
    if not evidence.names_joints:  # as the report's sentences say
        of_self = {}
    with filled(folder, "attention") as filling:
        filling.keep(ARRAYS_FILE)
        if of_self:
            _write_self(filling, report, evidence, shown["self"], joint_order)
        for picture in pictures:
            drawn.append(_write_cross(filling, report, shown["cross"], picture))
        titles = of_self | {f"Where each joint's numbers look: {name}": name for name in drawn}
        page = attention_markdown(report, titles)
        filling.write_whole(MARKDOWN_FILE, page)
        filling.write_whole(JSON_FILE, json_text(report))
    return [MARKDOWN_FILE, JSON_FILE, ARRAYS_FILE, *of_self.values(), *drawn]


def _write_self(
    filling: Filling,
    report: Mapping[str, Any],
    evidence: AttentionEvidence,
    shown: Shown,
    order: Sequence[int],
) -> None:
    people = people_line(report["about"])
    shares, uniform = evidence.self_mean[..., 1:], evidence.uniform_mean[:, 1:]
    one = shares if shown.layer is None else shares[[shown.layer]]
    one = one if shown.head is None else one[:, [shown.head]]
    with filling.whole_file(SELF_HEAD) as file:
        title = shown.title(len(shares))
        subtitle = f"{people}; {shown.why}"
        write_self_head(file, one.mean(axis=(0, 1)), uniform, order, title, subtitle)
    with filling.whole_file(SELF_OVERVIEW) as file:
        write_self_overview(file, shares, uniform, order, report, people)


def _write_cross(
    filling: Filling, report: Mapping[str, Any], shown: Shown, picture: CrossPicture
) -> str:
    title = shown.title(report["about"]["num_layers"])
    with filling.whole_file(picture.name) as file:
        write_cross_joints(file, picture.maps, title, picture.label)
    return picture.name


def cross_share(attention: Attention, shown: Shown, grid: PatchGrid) -> np.ndarray:
    """The patches that the first caption's numbers look at when they are chosen: (16, S, S)."""
    maps = attention.cross[0, WRITTEN].cpu().numpy()  # (L, H, 16, 1 + P)
    one = maps if shown.layer is None else maps[[shown.layer]]
    one = one if shown.head is None else one[:, [shown.head]]
    share: np.ndarray = one.mean(axis=(0, 1))[:, 1:].reshape(-1, grid.side, grid.side)
    return share
