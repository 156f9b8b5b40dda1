"""Captions as token ids, put together of pieces that the tokenizer was asked for once.

A caption is sixteen names and numbers between brackets, and a word-piece tokenizer splits at each
bracket: what it says of the parts is what it says of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from transformers import BertTokenizer

from blippose.caption import CaptionFormat
from blippose.pose import JOINTS

_Pieces = tuple[int, ...]


@dataclass(frozen=True)
class CaptionTokens:
    """Ids of the parts of captions.

    Args:
        caption_format: of the captions.
        opened: each joint's name and the bracket behind it.
        numbers: each number that may be written, by its value.
        comma: between numbers, and between joints.
        close: the bracket behind a joint's numbers.
        begin: [DEC], as `generate` starts from it; the tokenizer would write [CLS].
        end: [SEP].
    """

    caption_format: CaptionFormat
    opened: tuple[_Pieces, ...]
    numbers: tuple[_Pieces, ...]
    comma: _Pieces
    close: _Pieces
    begin: int
    end: int

    @staticmethod
    def of(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> CaptionTokens:
        """The parts as a tokenizer writes them."""
        numbers = [*map(caption_format.number, range(caption_format.bins))]
        parts = [*(f"{name} (" for name in JOINTS), ",", ")", *numbers]
        ids = tokenizer(parts, add_special_tokens=False, padding=False).input_ids
        pieces = [tuple(each) for each in ids]
        first = len(JOINTS)
        return CaptionTokens(
            caption_format,
            opened=tuple(pieces[:first]),
            numbers=tuple(pieces[first + 2 :]),
            comma=pieces[first],
            close=pieces[first + 1],
            begin=tokenizer.bos_token_id,
            end=tokenizer.sep_token_id,
        )

    def encode(
        self,
        xy_input: Float[np.ndarray, "16 2"],
        valid: Bool[np.ndarray, "16"],
        order: Sequence[int] | None = None,
    ) -> _Pieces:
        """What the tokenizer says of `caption_format.encode`, from [DEC] to [SEP].

        Args:
            xy_input: the pose, input pixels.
            valid: which joints are written.
            order: joint ids as they are written; None as the format has them.
        """
        xy_bin = self.caption_format.quantize(np.where(valid[:, None], xy_input, 0.0)).tolist()
        tokens = [self.begin]
        for joint in self.caption_format.joint_order if order is None else order:
            if valid[joint]:
                x, y = (self.numbers[number] for number in xy_bin[joint])
                tokens += self.comma if len(tokens) > 1 else ()
                tokens += (*self.opened[joint], *x, *self.comma, *y, *self.close)
        return (*tokens, self.end)
