"""The tiny vocabulary: numbers and words in one piece, and no text without pieces."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tiny_tokenizer import tiny_vocabulary, write_tiny_tokenizer
from transformers import BertTokenizer

from blippose.blip import load_tokenizer
from blippose.caption import CaptionFormat
from blippose.pose import JOINTS, NUM_JOINTS


@pytest.mark.parametrize("num_numbers", [1, 8, 96, 384])
def test_no_piece_stands_twice(num_numbers: int) -> None:
    pieces = tiny_vocabulary(num_numbers)
    assert len(pieces) == len(set(pieces))


@pytest.mark.parametrize("num_numbers", [8, 384])
def test_every_integer_is_one_piece(num_numbers: int, tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path, num_numbers)
    tokenizer = load_tokenizer(str(tmp_path))
    for number in range(num_numbers):
        assert tokenizer.tokenize(str(number)) == [str(number)]


def test_every_word_of_the_grammar_is_one_piece(tokenizer: BertTokenizer) -> None:
    for name in JOINTS:
        assert tokenizer.tokenize(name) == name.split()


@given(text=st.text(string.printable, max_size=90))
def test_printable_ascii_is_never_unknown(tokenizer: BertTokenizer, text: str) -> None:
    assume(not any(piece in text for piece in tokenizer.all_special_tokens))
    assert tokenizer.unk_token not in tokenizer.tokenize(text)


def test_special_tokens_follow_the_pieces(tokenizer: BertTokenizer) -> None:
    num_pieces = len(tiny_vocabulary(32))
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("[DEC]", num_pieces)
    assert tokenizer.convert_tokens_to_ids("[ENC]") == num_pieces + 1
    assert len(tokenizer) == num_pieces + 2
    assert (tokenizer.pad_token_id, tokenizer.sep_token_id) == (0, 3)


def test_a_caption_has_127_tokens(tokenizer: BertTokenizer) -> None:
    caption = CaptionFormat(32).encode(np.full((NUM_JOINTS, 2), 12.0))
    assert len(tokenizer(caption).input_ids) == 127  # BERT: 129, two words in two pieces
