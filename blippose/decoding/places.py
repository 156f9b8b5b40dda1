"""Where the numbers of joints stand among the tokens of any caption, also of one that strays."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

from transformers import BertTokenizer

from blippose.caption import CaptionFormat

Places = tuple[int, ...]  # of the pieces of one number in a caption's tokens


def number_places(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, ids: Sequence[int]
) -> dict[int, tuple[Places, Places]]:
    """Where the pieces of x and y of each joint stand among a caption's tokens, by joint id."""
    text, spans = _spelled(tokenizer, ids)
    return {
        joint: (_covered(spans, x), _covered(spans, y))
        for joint, (x, y) in caption_format.number_spans(text).items()
    }


def _spelled(tokenizer: BertTokenizer, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """The caption as its pieces spell it, and the characters of each token."""
    special, text, spans = set(tokenizer.all_special_ids), "", []
    for token, piece in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        shown = "" if token in special else piece.removeprefix("##")
        if shown and text and not piece.startswith("##"):
            text += " "
        spans.append((len(text), len(text) + len(shown)))
        text += shown
    return text, spans


def _covered(spans: Sequence[tuple[int, int]], wanted: tuple[int, int]) -> Places:
    """The tokens that spell some of the characters from `wanted[0]` to before `wanted[1]`."""
    behind = bisect_left(spans, (wanted[1],))
    first = bisect_right(spans, wanted[0], hi=behind, key=itemgetter(1))
    return tuple(place for place in range(first, behind) if spans[place][0] < spans[place][1])
