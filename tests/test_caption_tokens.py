"""Captions put together of tokens are those that the tokenizer writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import BertTokenizer

from blippose.caption import ORDERS, CaptionFormat
from blippose.data.tokens import CaptionTokens
from blippose.pose import JOINTS, NUM_JOINTS

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
@given(coordinates, masks, st.sampled_from(list(ORDERS)))
def test_tokens_are_the_tokenizers(
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    xy: np.ndarray,
    valid: np.ndarray,
    order: str,
) -> None:
    assert_as_the_tokenizer(tokenizer, replace(caption_format, order=order), xy, valid)


@same_tokenizer
@given(masks, st.permutations(range(NUM_JOINTS)))
def test_in_any_order_each_joint_keeps_its_coordinates(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, valid: np.ndarray, order: list[int]
) -> None:
    xy = np.arange(2.0 * NUM_JOINTS).reshape(NUM_JOINTS, 2) % caption_format.input_size
    tokens = CaptionTokens.of(tokenizer, caption_format).encode(xy, valid, order)
    said = tokenizer.decode(tokens, skip_special_tokens=True)
    pose = caption_format.decode(said).pose
    np.testing.assert_array_equal(pose.valid, valid)
    np.testing.assert_array_equal(pose.xy[valid], xy[valid])
    places = [said.index(f"{JOINTS[joint]} (") for joint in order if valid[joint]]
    assert places == sorted(places)


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
