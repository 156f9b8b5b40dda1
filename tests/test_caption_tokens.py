"""Captions put together of tokens are those that the tokenizer writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import BertTokenizer

from blippose.caption import CaptionFormat
from blippose.data.tokens import CaptionTokens
from blippose.pose import NUM_JOINTS

same_tokenizer = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
coordinates = arrays(np.float64, (NUM_JOINTS, 2), elements=st.floats(-20, 400))
masks = arrays(np.bool_, NUM_JOINTS)


def assert_as_the_tokenizer(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, xy: np.ndarray, valid: np.ndarray
) -> None:
    expected = tokenizer(caption_format.encode(xy, valid)).input_ids
    expected[0] = tokenizer.bos_token_id
    xy = np.where(valid[:, None], xy, np.nan)
    assert CaptionTokens.of(tokenizer, caption_format).encode(xy, valid) == tuple(expected)


@same_tokenizer
@given(coordinates, masks)
def test_tokens_are_the_tokenizers(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, xy: np.ndarray, valid: np.ndarray
) -> None:
    assert_as_the_tokenizer(tokenizer, caption_format, xy, valid)


def test_nobody_is_begin_and_end(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> None:
    nobody = np.full((NUM_JOINTS, 2), np.nan)
    tokens = CaptionTokens.of(tokenizer, caption_format).encode(nobody, np.zeros(16, dtype=bool))
    assert tokens == (tokenizer.bos_token_id, tokenizer.sep_token_id)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_of_several_pieces_are_the_tokenizers(
    bert_tokenizer: BertTokenizer, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    xy, valid = draw.uniform(330, 400, (NUM_JOINTS, 2)), draw.random(NUM_JOINTS) < 0.8
    assert_as_the_tokenizer(bert_tokenizer, CaptionFormat(384), xy, valid)
