"""What is kept of the attention over many captions: per image a few numbers by layer and head.

Maps are dropped as soon as they are measured, so that memory grows by kilobytes an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from blippose.attention import RELATIONS, Attention, AttentionReader, PatchGrid, relation_shares
from blippose.caption import xy_said

STATISTICS = ("entropy", "outside", *RELATIONS)
_ROWS = {
    *("peak", "on_class", "xy_input", "captions"),
    *STATISTICS,
    *(f"uniform_{name}" for name in STATISTICS),
}
# Of a batch of captions: arrays of rows by these names, and sums.
Measured = dict[str, Any]


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
    uniform: dict[str, Float[np.ndarray, " captions"]]
    peak: Int[np.ndarray, "captions 2 layer head 16"]
    on_class: Float[np.ndarray, "captions 2 layer head"]
    xy_input: Float[np.ndarray, "captions 16 2"]
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def names_joints(self) -> bool:
        """Whether any caption names a joint once: else there is no self-attention to show."""
        return bool(np.isfinite(self.self_mean).any())

    @staticmethod
    def of(grid: PatchGrid, batches: Iterable[Measured]) -> AttentionEvidence:
        """What batches of captions add up to, in their order; at least one."""
        numbers = _joined(list(batches))
        with np.errstate(invalid="ignore"):  # a joint that no caption has
            self_mean = numbers["self_sum"] / numbers["self_count"]
            uniform_mean = numbers["uniform_sum"] / numbers["uniform_count"]
        return AttentionEvidence(
            grid,
            self_mean,
            uniform_mean,
            statistics={name: numbers[name] for name in STATISTICS},
            uniform={name: numbers[f"uniform_{name}"] for name in STATISTICS},
            peak=numbers["peak"],
            on_class=numbers["on_class"],
            xy_input=numbers["xy_input"],
            captions=tuple(numbers["captions"].tolist()),
        )


def measured(reader: AttentionReader, image: UInt8[Tensor, "_ 3 size size"]) -> Measured:
    """Measure the captions of a batch of inputs, in their order."""
    order = reader.caption_format.joint_order
    return _joined([_measured(attention, grid_of(reader), order) for attention in reader(image)])


def _joined(every: Sequence[Measured]) -> Measured:
    """Rows one after another, sums added up."""
    return {
        name: np.concatenate(parts) if name in _ROWS else sum(parts)
        for name in every[0]
        for parts in [[each[name] for each in every]]
    }


def grid_of(reader: AttentionReader) -> PatchGrid:
    """Of the vision tower's patches."""
    vision: Any = reader.blip.vision_model.config
    return PatchGrid(vision.image_size // vision.patch_size, reader.caption_format.input_size)


def as_input(
    pixels: Sequence[UInt8[np.ndarray, "size size 3"]],
) -> UInt8[Tensor, "batch 3 size size"]:
    """Crops as the model takes them."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


def _measured(attention: Attention, grid: PatchGrid, order: Sequence[int]) -> Measured:
    """Of a few captions: arrays whose first axis is the caption, and sums over the captions."""
    xy_input = xy_said(attention.parsed)
    is_known = np.isfinite(xy_input).all(axis=-1)[:, None, None, None]  # (B, 1, 1, 1, 16)
    peak = _array(grid.peak(attention.cross)).astype(np.int16)
    on_class = attention.cross[..., 0].nanmean(dim=-1)
    uniform = attention.uniform_joint
    return {
        **_self_statistics(
            "", attention.self_joint, attention.self_entropy, uniform[:, None, None], order
        ),
        **_self_statistics("uniform_", uniform, attention.uniform_entropy, uniform, order),
        "peak": np.where(is_known, peak, np.int16(-1)),
        "on_class": _array(on_class),
        "xy_input": xy_input,
        "captions": np.array(attention.captions),
        **_sum("self", attention.self_joint),
        **_sum("uniform", uniform),
    }


def _sum(name: str, values: Tensor) -> Measured:
    """Over captions, NaN left out, and how many there are of each."""
    return {
        f"{name}_sum": _array(values.nan_to_num().cpu().double().sum(dim=0)),
        f"{name}_count": _array((~values.isnan()).sum(dim=0)),
    }


def _self_statistics(
    prefix: str, self_joint: Tensor, entropy: Tensor, uniform: Tensor, order: Sequence[int]
) -> Measured:
    shares = relation_shares(self_joint, uniform, order)
    return {
        f"{prefix}entropy": _array(entropy.nanmean(dim=-1)),
        f"{prefix}outside": _array(self_joint[..., 0].nanmean(dim=-1)),
        **{f"{prefix}{name}": _array(shares[..., i]) for i, name in enumerate(RELATIONS)},
    }


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
