"""What is kept of the attention over many captions: per image a few numbers by layer and head.

Maps are dropped as soon as they are measured, so that memory grows by kilobytes an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from blippose.attention import RELATIONS, Attention, AttentionReader, PatchGrid, relation_shares
from blippose.data import PoseDataset
from blippose.evaluation.asking import tracked
from blippose.evaluation.parts import batches


@dataclass(frozen=True, eq=False)
class AttentionEvidence:
    """Of N captions, by layer and head; NaN where a joint is not in its caption.

    Args:
        grid: of the patches.
        self_mean: mean over the captions of how each joint shares its attention; the first entry
            is what goes to no joint.
        uniform_mean: the same of a decoder that looks alike at all tokens so far.
        statistics: of each caption, "entropy" (bits), "outside" (share that goes to no joint) and
            the `RELATIONS`.
        uniform: the same of the uniform decoder.
        peak: patch that each joint's numbers look at most, at both `STEPS`; -1 without numbers.
        on_class: share of the cross-attention that goes to [CLS], at both `STEPS`.
        xy_input: the poses that the captions say.
        captions: as they were written.
    """

    grid: PatchGrid
    self_mean: Float[np.ndarray, "layer head 16 17"]
    uniform_mean: Float[np.ndarray, "16 17"]
    statistics: dict[str, Float[np.ndarray, "captions layer head"]]
    uniform: dict[str, Float[np.ndarray, "captions"]]
    peak: Int[np.ndarray, "captions 2 layer head 16"]
    on_class: Float[np.ndarray, "captions 2 layer head"]
    xy_input: Float[np.ndarray, "captions 16 2"]
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)


def collect(
    reader: AttentionReader, images: Iterable[UInt8[Tensor, "_ 3 size size"]]
) -> AttentionEvidence:
    """Measure the captions of batches of inputs, in their order; at least one image.

    Args:
        reader: the model.
        images: batches of inputs.
    """
    grid: PatchGrid | None = None
    means = _Mean(), _Mean()
    rows: list[dict[str, Any]] = []
    for batch in images:
        for attention in reader(batch):
            grid = PatchGrid.of(attention.cross.shape[-1], reader.caption_format.input_size)
            means[0].add(attention.self_joint)
            means[1].add(attention.uniform_joint)
            rows.append(_measured(attention, grid))
    assert grid is not None  # at least one image
    numbers = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    names = ("entropy", "outside", *RELATIONS)
    return AttentionEvidence(
        grid,
        means[0].value(),
        means[1].value(),
        statistics={name: numbers[name] for name in names},
        uniform={name: numbers[f"uniform_{name}"] for name in names},
        peak=numbers["peak"],
        on_class=numbers["on_class"],
        xy_input=numbers["xy_input"],
        captions=tuple(numbers["captions"].tolist()),
    )


def inputs_of(
    dataset: PoseDataset, batch_size: int, *, progress: bool
) -> Iterator[UInt8[Tensor, "batch 3 size size"]]:
    """The persons of a data set as batches of inputs, with a bar on stderr."""
    every = batches(len(dataset), batch_size)
    numbers = range(len(every))
    for number in tracked(
        numbers, 0, len(every), description="attention, batches", shown=progress
    ):
        yield as_input([dataset[position].image for position in every[number]])


def as_input(
    pixels: Sequence[UInt8[np.ndarray, "size size 3"]],
) -> UInt8[Tensor, "batch 3 size size"]:
    """Crops as the model takes them."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


class _Mean:
    """A running mean over captions that leaves NaN out."""

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count: Any = 0

    def add(self, values: Tensor) -> None:
        known = ~values.isnan()
        self._sum = self._sum + values.nan_to_num().double().sum(dim=0).cpu().numpy()
        self._count = self._count + known.sum(dim=0).cpu().numpy()

    def value(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a joint that no caption has
            mean: np.ndarray = self._sum / self._count
        return mean


def _measured(attention: Attention, grid: PatchGrid) -> dict[str, Any]:
    """Of a few captions, as arrays whose first axis is the caption."""
    xy_input = np.stack([parsed.pose.xy for parsed in attention.parsed])
    is_known = np.isfinite(xy_input).all(axis=-1)[:, None, None, None]  # (B, 1, 1, 1, 16)
    peak = _array(grid.peak(attention.cross)).astype(np.int16)
    on_class = attention.cross[..., 0].nanmean(dim=-1)
    return {
        **_self_statistics("", attention.self_joint, attention.self_entropy),
        **_self_statistics("uniform_", attention.uniform_joint, attention.uniform_entropy),
        "peak": np.where(is_known, peak, np.int16(-1)),
        "on_class": _array(on_class),
        "xy_input": xy_input,
        "captions": np.array(attention.captions, dtype=object),
    }


def _self_statistics(prefix: str, self_joint: Tensor, entropy: Tensor) -> dict[str, Any]:
    shares = relation_shares(self_joint)
    return {
        f"{prefix}entropy": _array(entropy.nanmean(dim=-1)),
        f"{prefix}outside": _array(self_joint[..., 0].nanmean(dim=-1)),
        **{f"{prefix}{name}": _array(shares[..., i]) for i, name in enumerate(RELATIONS)},
    }


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
