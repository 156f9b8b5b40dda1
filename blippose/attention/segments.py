"""Which tokens of finished captions belong to which joint, and which of them write its numbers.

A joint's tokens run from its name to the name of the next joint: name, brackets, numbers and the
comma behind them. A caption may be anything: a joint that it does not name has no tokens, and one
that it names twice has none either, as neither is believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import BertTokenizer

from blippose.caption import CaptionFormat
from blippose.decoding import number_places
from blippose.pose import JOINTS, NUM_JOINTS

OUTSIDE = -1  # of a token that belongs to no joint: [DEC], [SEP], [PAD], stray words


@final
@dataclass(frozen=True, eq=False)
class Segments:
    """Captions of one batch, token by token.

    Args:
        joint: id of the joint that a token belongs to, or `OUTSIDE`.
        is_number: whether it is a number of its joint, or a piece of one. A joint that does not
            parse has none.
    """

    joint: Int[Tensor, "batch length"]
    is_number: Bool[Tensor, "batch length"]

    @staticmethod
    def of(
        tokens: Int[Tensor, "batch length"],
        tokenizer: BertTokenizer,
        caption_format: CaptionFormat,
    ) -> Segments:
        """Of captions as the decoder wrote them, [DEC] first, padded."""
        names = [tuple(tokenizer(name, add_special_tokens=False).input_ids) for name in JOINTS]
        closing = {tokenizer.sep_token_id, tokenizer.pad_token_id}
        rows = tokens.tolist()
        joint = torch.tensor([_joints_of(row, names, closing) for row in rows], dtype=torch.long)
        is_number = torch.zeros_like(joint, dtype=torch.bool)
        for row, ids in enumerate(rows):
            for x, y in number_places(tokenizer, caption_format, ids).values():
                is_number[row, [*x, *y]] = True
        return Segments(joint.to(tokens.device), is_number.to(tokens.device))

    def members(self) -> Bool[Tensor, "batch 16 length"]:
        """Whether a token belongs to each joint."""
        joints = torch.arange(NUM_JOINTS, device=self.joint.device)
        return self.joint[:, None] == joints[:, None]


def _joints_of(
    tokens: Sequence[int], names: Sequence[tuple[int, ...]], closing: set[int]
) -> list[int]:
    """The joint of each token of one caption.

    >>> _joints_of([9, 1, 5, 6, 2, 5, 3], [(1,), (2,)], {3})
    [-1, 0, 0, 0, 1, 1, -1]
    >>> _joints_of([9, 5, 6, 3], [(1,), (2,)], {3})  # names no joint
    [-1, -1, -1, -1]
    """
    starts = list(_starts(tokens, names))
    named = [joint for _, joint in starts]
    end = next((i for i, token in enumerate(tokens) if token in closing), len(tokens))
    joints = [OUTSIDE] * len(tokens)
    for (start, joint), (stop, _) in pairwise([*starts, (end, OUTSIDE)]):
        if named.count(joint) == 1:
            joints[start:stop] = [joint] * max(0, stop - start)
    return joints


def _starts(tokens: Sequence[int], names: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    """Where each name begins, and whose it is."""
    for place in range(len(tokens)):
        for joint, name in enumerate(names):
            if tuple(tokens[place : place + len(name)]) == name:
                yield place, joint
