"""What one step reads, and how it is put together of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from transformers import BertTokenizer

from blippose.caption import CaptionFormat
from blippose.data.dataset import Sample
from blippose.loss import IGNORED


class PoseBatch(TypedDict):
    """What one step reads. Joints that are not annotated are NaN and not `valid`."""

    image: UInt8[Tensor, "batch 3 size size"]  # RGB, as it came from the crop
    input_ids: Int[Tensor, "batch length"]  # [DEC] caption [SEP] [PAD]...
    attention_mask: Int[Tensor, "batch length"]
    labels: Int[Tensor, "batch length"]  # input_ids, with -100 for [PAD]
    xy_input: Float[Tensor, "batch 16 2"]
    xy_img: Float[Tensor, "batch 16 2"]
    valid: Bool[Tensor, "batch 16"]
    crop: Float[Tensor, "batch 4"]  # left, top, width, height, in image pixels
    head_size: Float[Tensor, "batch"]  # 0.6 x the head box's diagonal, image pixels
    index: Int[Tensor, "batch"]  # of the person in the filtered release


@dataclass(frozen=True)
class Collator:
    """Samples to a batch, with their captions as BLIP trains on them."""

    tokenizer: BertTokenizer
    caption_format: CaptionFormat

    def __call__(self, samples: Sequence[Sample]) -> PoseBatch:
        """The batch of `samples`, in their order."""
        captions = [
            self.caption_format.encode(sample.pose_input.xy, sample.pose_input.valid)
            for sample in samples
        ]
        tokens = self.tokenizer(captions, padding=True, return_tensors="pt")
        # `generate` starts from [DEC]; the tokenizer writes [CLS].
        tokens.input_ids[:, 0] = self.tokenizer.bos_token_id
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, IGNORED)
        crops = [(s.crop.left, s.crop.top, s.crop.width, s.crop.height) for s in samples]
        images = np.stack([sample.image for sample in samples])  # (B, S, S, 3)
        return PoseBatch(
            image=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            labels=labels,
            xy_input=_float(np.stack([s.pose_input.xy for s in samples])),
            xy_img=_float(np.stack([s.pose_img.xy for s in samples])),
            valid=torch.from_numpy(np.stack([s.pose_input.valid for s in samples])),
            crop=torch.tensor(crops, dtype=torch.float32),
            head_size=torch.tensor([s.head_size for s in samples], dtype=torch.float32),
            index=torch.tensor([s.index for s in samples]),
        )


def _float(values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(values).float()
