"""What Hugging Face's BLIP says where it is shown the true caption: the reference of blippose's.

Random weights write no captions, so that nothing would be read of their own words: here the words
are the true ones, and the numbers alone are the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

_NEAR = 3  # bins to either side of the likeliest that an expectation is taken over


def number_ids(tokenizer: BertTokenizer, bins: int) -> Tensor:
    """Each number's token; it must be of one piece."""
    return torch.tensor(tokenizer.convert_tokens_to_ids([*map(str, range(bins))]))


def numbers_alone_are_its_own(
    logits: Tensor, input_ids: Tensor, numbers: Tensor, pad: int
) -> Tensor:
    """The logits of a model that is sure of each shown word, and of no number.

    Behind a caption's end they stay what they are: nothing may be read there.
    """
    following = input_ids[:, 1:, None]
    others = torch.ones(logits.shape[-1], dtype=torch.bool).index_fill(0, numbers, False)
    own = logits[:, :-1]
    word = torch.full_like(own, -1e4).scatter(-1, following, 1e4)
    said = torch.where(torch.isin(following, numbers), own.masked_fill(others, -1e4), word)
    return torch.cat([torch.where(following == pad, own, said), logits[:, -1:]], dim=1)


def sure_of_words(numbers: Tensor, pad: int) -> Callable[..., Any]:
    """A forward hook that makes such a model of a text decoder."""

    def change(_module: Any, _args: Any, given: dict[str, Any], output: Any) -> Any:
        output.logits = numbers_alone_are_its_own(output.logits, given["input_ids"], numbers, pad)
        return output

    return change


def stock_xy(
    blip: BlipForConditionalGeneration,
    pixel_values: Tensor,
    input_ids: list[int],
    numbers: Tensor,
    *,
    expectation: bool,
) -> np.ndarray:
    """The joints of one caption, as it has them in its order, by stock logits; (joints, 2).

    Each number is the likeliest after the true tokens before it, or the mean round that.
    """
    ids = torch.tensor([input_ids])
    with torch.no_grad():
        logits = blip(pixel_values=pixel_values[None], input_ids=ids).logits[0]
    places = torch.isin(ids[0], numbers).nonzero().squeeze(1)
    chosen = [_chosen(each, expectation) for each in logits[places - 1][:, numbers]]
    return np.array(chosen).reshape(-1, 2)


def _chosen(logits: Tensor, expectation: bool) -> float:
    peak = int(logits.argmax())
    if not expectation:
        return peak
    near = torch.arange(max(0, peak - _NEAR), min(len(logits), peak + _NEAR + 1))
    return float((logits[near].double().softmax(-1) * near).sum())
