"""Location tokens: for each number of a caption a token of its own, in tokenizer and model.

    right ankle (<loc_120>,<loc_310>), ...

A word-piece vocabulary writes numbers that it does not know in several pieces. With these any
number of bins takes a token a number. Both sides keep them wherever they are saved.

Source: Pix2Seq (Chen et al. 2022), section 2.1; written as Florence-2 (Xiao et al. 2024) does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AddedToken, BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat

_TOKEN = re.compile(r"<loc_[0-9]+>")


def add_location_tokens(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> int:
    """How many tokens the tokenizer did not know and knows now; 0 where captions write digits."""
    if not caption_format.location_tokens:
        return 0
    written = map(caption_format.number, range(caption_format.bins))
    # Not special, or captions would be decoded without them.
    tokens = [AddedToken(each, normalized=False, special=False) for each in written]
    return int(tokenizer.add_tokens(tokens))


def with_location_tokens(
    architecture: Mapping[str, Mapping[str, Any]], tokenizer: BertTokenizer
) -> dict[str, dict[str, Any]]:
    """The architecture of a model that has the location tokens that its tokenizer has."""
    num_known = sum(_TOKEN.fullmatch(token) is not None for token in tokenizer.get_vocab())
    grown = {part: dict(settings) for part, settings in architecture.items()}
    if num_known:
        grown["text"]["vocab_size"] += num_known
    return grown


@torch.no_grad()
def grow_vocabulary(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    """Give the text decoder the tokens that its tokenizer has on top, as far as it lacks them.

    A location starts as the pixels round its middle are written in digits, nearer ones with more
    weight: embeddings, which are the head's rows too, and the head's bias.
    """
    decoder: Any = blip.text_decoder
    num_old = decoder.config.vocab_size
    if len(tokenizer) <= num_old:
        return
    decoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = decoder.get_input_embeddings().weight
    bias = decoder.get_output_embeddings().bias
    bins = np.arange(caption_format.bins)
    middles = caption_format.dequantize(np.stack([bins, bins], axis=-1))[:, 0]
    for value, middle in enumerate(middles.tolist()):
        token = tokenizer.convert_tokens_to_ids(caption_format.number(value))
        if token >= num_old:
            pixels = _nearest(middle, caption_format.input_size)
            rows[token] = sum(share * _mean(rows, tokenizer, at) for at, share in pixels.items())
            bias[token] = sum(share * _mean(bias, tokenizer, at) for at, share in pixels.items())


def _nearest(middle: float, input_size: int) -> dict[int, float]:
    """The pixels round a place, and their shares.

    >>> _nearest(1.75, 96)
    {1: 0.25, 2: 0.75}
    """
    at = min(max(middle, 0.0), input_size - 1.0)
    below = math.floor(at)
    return {below: 1 - (at - below)} | ({below + 1: at - below} if at > below else {})


def _mean(
    of: Float[Tensor, " token *width"], tokenizer: BertTokenizer, pixel: int
) -> Float[Tensor, "*width"]:
    """Over the pieces of a number in digits."""
    pieces = tokenizer(str(pixel), add_special_tokens=False).input_ids
    return of[pieces].mean(dim=0)
