"""Captions of numbers that were chosen, as the tokens that the model would have written."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import BertTokenizer

from blippose.caption import CaptionFormat


def written(
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    xy_bin: Int[Tensor, "batch 16 2"],
    valid: Bool[Tensor, "batch 16"],
) -> Int[Tensor, "batch length"]:
    """The captions that say these numbers, of the valid joints: [DEC] ... [SEP] [PAD]..."""
    xy_input = caption_format.dequantize(xy_bin.cpu().numpy())
    captions = list(map(caption_format.encode, xy_input, valid.cpu().numpy()))
    ids = tokenizer(captions, padding=False).input_ids
    tokens = torch.full((len(ids), max(map(len, ids))), tokenizer.pad_token_id)
    for row, of_row in enumerate(ids):
        tokens[row, : len(of_row)] = torch.tensor(of_row)
    tokens[:, 0] = tokenizer.bos_token_id  # [DEC], as `generate` starts, not [CLS]
    return tokens.to(xy_bin.device)
