"""What one step reads, and how it is put together of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from transformers import BertTokenizer

from blippose.caption import CaptionFormat
from blippose.data.dataset import Sample
from blippose.data.tokens import CaptionTokens
from blippose.loss import IGNORED
from blippose.views import Views, seen


class _Persons(TypedDict):
    """What is known of a batch's persons beside pixels."""

    input_ids: Int[Tensor, "batch length"]  # [DEC] caption [SEP] [PAD]...
    attention_mask: Int[Tensor, "batch length"]
    labels: Int[Tensor, "batch length"]  # input_ids, with -100 for [PAD]
    xy_input: Float[Tensor, "batch 16 2"]
    xy_img: Float[Tensor, "batch 16 2"]
    valid: Bool[Tensor, "batch 16"]
    crop: Float[Tensor, "batch 4"]  # left, top, width, height, in image pixels
    head_size: Float[Tensor, " batch"]  # 0.6 x the head box's diagonal, image pixels
    index: Int[Tensor, " batch"]  # of the person in the filtered release


class PoseBatch(_Persons):
    """What one step reads. Joints that are not annotated are NaN and not `valid`."""

    image: UInt8[Tensor, "batch 3 size size"]  # RGB
    image_path: NotRequired[tuple[Path, ...]]  # where to look again; not of views


class ViewsBatch(_Persons):
    """A batch of augmented samples, of which the device has yet to make the pixels."""

    views: Views


@dataclass(frozen=True)
class Collator:
    """Samples to a batch, with their captions as BLIP trains on them."""

    tokenizer: BertTokenizer
    caption_format: CaptionFormat

    @cached_property
    def tokens(self) -> CaptionTokens:
        """The parts of its captions."""
        return CaptionTokens.of(self.tokenizer, self.caption_format)

    def __call__(self, samples: Sequence[Sample]) -> PoseBatch:
        """The batch of `samples`, in their order; all are augmented, or none is."""
        if samples[0].view is not None:
            return with_pixels(self.views(samples))
        images = torch.from_numpy(_images(samples)).permute(0, 3, 1, 2).contiguous()
        paths = tuple(sample.image_path for sample in samples)
        return PoseBatch(**self._persons(samples), image=images, image_path=paths)

    def views(self, samples: Sequence[Sample]) -> ViewsBatch | PoseBatch:
        """The batch of augmented samples, without their pixels yet.

        Samples that no epoch is named for, as Lightning's `overfit_batches` asks for them, have no
        view: they come as they are.
        """
        views = [sample.view for sample in samples if sample.view is not None]
        if not views:
            return self(samples)
        return ViewsBatch(**self._persons(samples), views=Views.of(_images(samples), views))

    def _persons(self, samples: Sequence[Sample]) -> _Persons:
        rows = [self.tokens.encode(s.pose_input.xy, s.pose_input.valid, s.order) for s in samples]
        input_ids, attention_mask = _padded(rows, self.tokenizer.pad_token_id)
        crops = [(s.crop.left, s.crop.top, s.crop.width, s.crop.height) for s in samples]
        return _Persons(
            input_ids=input_ids,
            attention_mask=attention_mask,
            labels=input_ids.masked_fill(attention_mask == 0, IGNORED),
            xy_input=_float(np.stack([s.pose_input.xy for s in samples])),
            xy_img=_float(np.stack([s.pose_img.xy for s in samples])),
            valid=torch.from_numpy(np.stack([s.pose_input.valid for s in samples])),
            crop=torch.tensor(crops, dtype=torch.float32),
            head_size=torch.tensor([s.head_size for s in samples], dtype=torch.float32),
            index=torch.tensor([s.index for s in samples]),
        )


def with_pixels(batch: PoseBatch | ViewsBatch) -> PoseBatch:
    """The batch as a step reads it, made where it lies: on the processor or a GPU."""
    if "views" not in batch:
        return batch
    persons = {name: value for name, value in batch.items() if name != "views"}
    return cast(PoseBatch, {**persons, "image": seen(cast(ViewsBatch, batch)["views"])})


def _images(samples: Sequence[Sample]) -> UInt8[np.ndarray, "batch size size 3"]:
    """Together, and in memory as they are: by planes where they come from the cache."""
    return np.stack([sample.image for sample in samples])


def _padded(
    rows: Sequence[tuple[int, ...]], pad: int
) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    """The rows as one tensor with `pad` behind the shorter ones, and 1 where there is a row."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad)
    ids[mask] = np.concatenate(rows)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


def _float(values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(values).float()
