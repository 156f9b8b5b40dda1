"""Captions as token ids, put together of pieces that the tokenizer was asked for once.

A caption is sixteen names and numbers between brackets, and a word-piece tokenizer splits at each
bracket: what it says of the parts is what it says of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from transformers import BertTokenizer

from blippose.caption import CaptionFormat
from blippose.pose import JOINTS

_Pieces = tuple[int, ...]
_NOWHERE = float("nan")


class Encoded(NamedTuple):
    """A caption as the model learns it.

    Args:
        ids: its tokens, from [DEC] to [SEP].
        exact: of each token: where in the frame the joint lies whose number begins with it, bins;
            NaN where none does.
    """

    ids: tuple[int, ...]
    exact: tuple[float, ...]


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
    ) -> Encoded:
        """What the tokenizer says of `caption_format.encode`, and where its joints truly lie.

        Args:
            xy_input: the pose, input pixels.
            valid: which joints are written.
            order: joint ids as they are written; None as the format has them.
        """
        known = np.where(valid[:, None], xy_input, 0.0)
        xy_bin = self.caption_format.quantize(known).tolist()
        located = self.caption_format.locate(known).tolist()
        tokens, exact = [self.begin], {}
        for joint in self.caption_format.joint_order if order is None else order:
            if valid[joint]:
                tokens += self.comma if len(tokens) > 1 else ()
                tokens += self.opened[joint]
                for number, place, behind in zip(
                    xy_bin[joint], located[joint], (self.comma, self.close), strict=True
                ):
                    exact[len(tokens)] = place
                    tokens += (*self.numbers[number], *behind)
        tokens.append(self.end)
        return Encoded(
            tuple(tokens), tuple(exact.get(token, _NOWHERE) for token in range(len(tokens)))
        )
