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
    assert CaptionTokens.of(tokenizer, caption_format).encode(xy, valid).ids == tuple(expected)


@same_tokenizer
@given(coordinates, masks)
def test_tokens_are_the_tokenizers(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, xy: np.ndarray, valid: np.ndarray
) -> None:
    assert_as_the_tokenizer(tokenizer, caption_format, xy, valid)


def test_nobody_is_begin_and_end(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> None:
    nobody = np.full((NUM_JOINTS, 2), np.nan)
    tokens = CaptionTokens.of(tokenizer, caption_format).encode(nobody, np.zeros(16, dtype=bool))
    assert tokens.ids == (tokenizer.bos_token_id, tokenizer.sep_token_id)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_of_several_pieces_are_the_tokenizers(
    bert_tokenizer: BertTokenizer, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    xy, valid = draw.uniform(330, 400, (NUM_JOINTS, 2)), draw.random(NUM_JOINTS) < 0.8
    assert_as_the_tokenizer(bert_tokenizer, CaptionFormat(384), xy, valid)


@same_tokenizer
@given(coordinates, masks)
def test_the_first_token_of_each_number_knows_where_its_joint_lies(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, xy: np.ndarray, valid: np.ndarray
) -> None:
    encoded = CaptionTokens.of(tokenizer, caption_format).encode(xy, valid)
    assert len(encoded.exact) == len(encoded.ids)
    exact = np.array(encoded.exact)
    known = [joint for joint in caption_format.joint_order if valid[joint]]
    places = caption_format.locate(xy[known]).ravel()
    np.testing.assert_array_equal(exact[np.isfinite(exact)], places)
    written = caption_format.quantize(xy[known]).ravel()
    first = [tokenizer(str(n), add_special_tokens=False).input_ids[0] for n in written]
    assert np.array(encoded.ids)[np.isfinite(exact)].tolist() == first
    assert np.abs(places - written).max(initial=0) <= 0.5


def test_the_places_of_an_order_of_ones_own_follow_it(tokenizer: BertTokenizer) -> None:
    tokens = CaptionTokens.of(tokenizer, CaptionFormat(32))
    xy = np.full((NUM_JOINTS, 2), np.nan)
    xy[[3, 9]] = [[3.25, 4.5], [9.0, 8.75]]
    exact = np.array(tokens.encode(xy, np.isfinite(xy).all(axis=-1), (9, 3)).exact)
    assert exact[np.isfinite(exact)].tolist() == [9.0, 8.75, 3.25, 4.5]
