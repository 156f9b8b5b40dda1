"""Confidence of joints: a distribution over the numbers that the grammar allows, in one pass."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.blip import load_tokenizer, number_values
from blippose.caption import CaptionFormat
from blippose.decoding import TokenGrammar, constrained_tokens, joint_confidence, number_places
from blippose.decoding.cached import CachedDecoder
from blippose.pose import JOINTS
from blippose.vocabulary import write_tiny_tokenizer

NUM_IMAGES = 3


@pytest.fixture
def keen(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """Weights so large that it has preferences, and looks at the image."""
    torch.manual_seed(1)
    for weight in blip.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return blip


@pytest.fixture
def image(keen: BlipForConditionalGeneration) -> Tensor:
    size = keen.vision_model.config.image_size
    with torch.no_grad():
        states: Tensor = keen.vision_model(torch.randn(NUM_IMAGES, 3, size, size))[0]
    return states


def written(tokenizer: BertTokenizer, *captions: str) -> Tensor:
    tokens: Tensor = tokenizer(list(captions), padding=True, return_tensors="pt").input_ids
    tokens[:, 0] = tokenizer.bos_token_id
    return tokens


def test_confidence_is_the_mean_of_the_numbers_probabilities_as_hugging_face_gives_them(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
) -> None:
    tokens = constrained_tokens(keen, TokenGrammar.of(tokenizer, caption_format), image)
    confidence = joint_confidence(keen, tokenizer, caption_format, image, tokens)
    with torch.no_grad():
        logits = keen.text_decoder(input_ids=tokens, encoder_hidden_states=image).logits
    values = number_values(tokenizer)
    allowed = [token for token, value in values.items() if value < caption_format.bins]
    is_number = torch.isin(tokens, torch.tensor(allowed))
    for row in range(NUM_IMAGES):
        places = is_number[row].nonzero().squeeze(1)
        chosen = logits[row, places - 1].double()
        shares = chosen[:, allowed].softmax(-1)
        said = [allowed.index(token) for token in tokens[row, places].tolist()]
        probability = shares[torch.arange(len(said)), said].view(16, 2)
        expected = probability.prod(dim=1).sqrt().numpy()
        np.testing.assert_allclose(confidence[row], expected, rtol=1e-4)
    assert 0 < confidence.min() < confidence.max() <= 1
    assert np.ptp(confidence, axis=0).max() > 1e-3, "the same for every image"


def test_numbers_of_several_pieces_share_one_whole_probability(
    keen: BlipForConditionalGeneration, image: Tensor, tmp_path: Path
) -> None:
    write_tiny_tokenizer(tmp_path, 8)
    tokenizer, caption_format = load_tokenizer(str(tmp_path)), CaptionFormat(12)
    assert tokenizer.tokenize("11") == ["1", "##1"]
    pairs = [f"right ankle ({x},{y})" for x, y in itertools.product(range(12), repeat=2)]
    tokens = written(tokenizer, *pairs)
    assert int(tokens.max()) < keen.text_decoder.config.vocab_size
    states = image[:1].expand(len(pairs), -1, -1)
    confidence = joint_confidence(keen, tokenizer, caption_format, states, tokens)
    assert (confidence[:, 0] ** 2).sum() == pytest.approx(1, abs=1e-4)
    assert (confidence[:, 1:] == 0).all()


def test_what_is_missing_or_no_number_of_the_grammar_has_no_confidence(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
) -> None:
    captions = (
        "right ankle (3,4), right knee (99,4), pelvis (1,2), pelvis (1,2)",
        "right ankle (007,4), right knee (5,6)",
        "hello",
    )
    assert caption_format.decode(captions[1]).pose.xy[0].tolist() == [7, 4]
    tokens = written(tokenizer, *captions)
    confidence = joint_confidence(keen, tokenizer, caption_format, image, tokens)
    assert (confidence > 0).nonzero()[0].tolist() == [0, 1]
    assert (confidence > 0).nonzero()[1].tolist() == [0, 1]


def test_it_takes_one_pass_of_the_decoder_for_a_batch(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = constrained_tokens(keen, TokenGrammar.of(tokenizer, caption_format), image)
    passes: list[int] = []
    read = CachedDecoder.read

    def counted(self: CachedDecoder, tokens: Tensor, start: Tensor) -> Tensor:
        passes.append(len(tokens))
        return read(self, tokens, start)

    monkeypatch.setattr(CachedDecoder, "read", counted)
    joint_confidence(keen, tokenizer, caption_format, image, tokens)
    assert passes == [NUM_IMAGES]


WORDS = st.sampled_from(
    [
        *JOINTS,
        "(",
        ")",
        ",",
        "(3,4)",
        "( 31 , 0 )",
        "(32,1)",
        "007",
        "right",
        "##7",
        "a",
        "'s",
        "?",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(words=st.lists(WORDS, max_size=40), glue=st.sampled_from(["", " "]))
def test_the_numbers_of_a_joint_are_found_exactly_where_the_caption_has_one(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, words: list[str], glue: str
) -> None:
    ids = tokenizer(glue.join(words)).input_ids
    caption = tokenizer.decode(ids, skip_special_tokens=True)
    parsed = caption_format.decode(caption).pose
    places = number_places(tokenizer, caption_format, ids)
    assert sorted(places) == np.flatnonzero(parsed.valid).tolist()
    for joint, numbers in places.items():
        for number, value in zip(numbers, parsed.xy[joint], strict=True):
            pieces = tokenizer.convert_ids_to_tokens([ids[place] for place in number])
            assert int("".join(piece.removeprefix("##") for piece in pieces)) == value
