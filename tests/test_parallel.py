"""All numbers at once: what a pass says, and that passes end where reading one by one does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from talkative import make_talkative_at_length
from tiny_tokenizer import write_tiny_tokenizer
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.blip import load_blip, load_tokenizer
from blippose.caption import CaptionFormat
from blippose.decoding import (
    Constrained,
    Parallel,
    TokenGrammar,
    Writer,
    constrained_tokens,
    number_log_probability,
    parallel_tokens,
)
from blippose.decoding.cached import CachedDecoder
from blippose.decoding.grammar import NUM_NUMBERS
from blippose.decoding.layout import CaptionLayout
from blippose.predictor import PosePredictor
from blippose.synthetic.scene import render_frame

NUM_BINS = (10, 100, 300)  # numbers of one piece, of up to two, of up to three: a piece a digit


@pytest.fixture
def talkative(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    return make_talkative_at_length(blip)


@pytest.fixture
def image(talkative: BlipForConditionalGeneration) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    pixels = 2 * torch.randn(6, 3, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        states: Tensor = talkative.vision_model(pixel_values=pixels)[0]
    return states


def rows(tokens: Tensor, sep: int) -> list[list[int]]:
    return [row[: row.index(sep) + 1] for row in tokens.tolist()]


def grammar_of(tokenizer: BertTokenizer, num_bins: int) -> TokenGrammar:
    return TokenGrammar.of(tokenizer, CaptionFormat(32, num_bins))


@pytest.fixture(scope="module")
def few_numbers(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    """Knows 0 to 9 as one piece; larger numbers take a piece a digit."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, 10)
    return load_tokenizer(str(folder))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    values=st.lists(st.integers(0, 300), min_size=NUM_NUMBERS, max_size=NUM_NUMBERS),
)
def test_layout_writes_captions_as_the_tokenizer_does(
    few_numbers: BertTokenizer, values: list[int]
) -> None:
    grammar = grammar_of(few_numbers, 300)
    layout = CaptionLayout(grammar, torch.device("cpu"))
    numbers = torch.tensor([values, values[::-1]])  # rows of other lengths, 300 is unknown
    tokens, starts = layout.tokens(numbers), layout.starts(numbers)
    for row, of_row in enumerate(numbers.tolist()):
        expected = list(grammar.fixed[0])
        for place, (number, behind) in enumerate(zip(of_row, grammar.fixed[1:], strict=True)):
            assert starts[row, place] == len(expected)
            expected += [grammar.mask] if number == 300 else grammar.numbers[number]
            expected += behind
        padding = [grammar.pad] * (grammar.longest - len(expected))
        assert tokens[row].tolist() == expected + padding


def naive_round(
    blip: BlipForConditionalGeneration, grammar: TokenGrammar, image: Tensor, fed: Sequence[int]
) -> list[int]:
    """The best number in each place after what was fed before it: one forward for each choice."""
    said, prefix = [], list(grammar.fixed[0])
    for number, behind in zip(fed, grammar.fixed[1:], strict=True):
        pieces: list[int] = []
        while True:
            with torch.no_grad():
                ids = torch.tensor([prefix + pieces])
                scores = blip.text_decoder(input_ids=ids, encoder_hidden_states=image[None]).logits
            begun = tuple(pieces)
            going_on = {n[len(begun)] for n in grammar.numbers if n[: len(begun)] == begun != n}
            allowed = going_on | ({behind[0]} if begun in grammar.numbers else set())
            best = max(sorted(allowed), key=lambda token: float(scores[0, -1, token]))
            if best in going_on:
                pieces.append(best)
            if best not in going_on or not any(
                n[: len(pieces)] == tuple(pieces) != n for n in grammar.numbers
            ):
                break
        said.append(grammar.numbers.index(tuple(pieces)))
        known = number < len(grammar.numbers)
        prefix += [*(grammar.numbers[number] if known else (grammar.mask,)), *behind]
    return said


@pytest.mark.parametrize("num_bins", NUM_BINS)
def test_a_pass_says_the_best_number_after_what_was_fed(
    talkative: BlipForConditionalGeneration,
    few_numbers: BertTokenizer,
    image: Tensor,
    num_bins: int,
) -> None:
    grammar = grammar_of(few_numbers, num_bins)
    some = image[:2]
    hidden = [naive_round(talkative, grammar, each, [num_bins] * NUM_NUMBERS) for each in some]
    assert parallel_tokens(talkative, grammar, some, 0).numbers.tolist() == hidden
    start = torch.arange(NUM_NUMBERS) % num_bins
    shown = [naive_round(talkative, grammar, each, start.tolist()) for each in some]
    assert parallel_tokens(talkative, grammar, some, 0, start).numbers.tolist() == shown
    again = [
        naive_round(talkative, grammar, each, said)
        for each, said in zip(some, hidden, strict=True)
    ]
    found = parallel_tokens(talkative, grammar, some, 1)
    is_open = [before != after for before, after in zip(hidden, again, strict=True)]
    assert found.numbers.tolist() == again
    assert any(is_open)
    assert found.num_passes == 2


@pytest.mark.parametrize("num_bins", NUM_BINS)
@pytest.mark.parametrize("from_hidden", [True, False])
def test_to_the_end_it_is_the_constrained_caption_whatever_was_guessed_first(
    talkative: BlipForConditionalGeneration,
    few_numbers: BertTokenizer,
    image: Tensor,
    num_bins: int,
    from_hidden: bool,
) -> None:
    grammar = grammar_of(few_numbers, num_bins)
    start = None if from_hidden else torch.arange(NUM_NUMBERS) * 7 % num_bins
    found = parallel_tokens(talkative, grammar, image, None, start)
    expected = constrained_tokens(talkative, grammar, image)
    assert rows(found.tokens, grammar.sep) == rows(expected, grammar.sep)
    assert found.is_final.all()
    assert 2 < found.num_passes <= NUM_NUMBERS
    assert len({tuple(row) for row in found.numbers.tolist()}) > 1


def test_what_is_said_to_be_final_is_and_stays(
    talkative: BlipForConditionalGeneration, few_numbers: BertTokenizer, image: Tensor
) -> None:
    grammar = grammar_of(few_numbers, 100)
    expected = rows(constrained_tokens(talkative, grammar, image), grammar.sep)
    num_final = []
    for refine in range(NUM_NUMBERS):
        found = parallel_tokens(talkative, grammar, image, refine)
        said = rows(found.tokens, grammar.sep)
        for row, is_final in enumerate(found.is_final.tolist()):
            assert said[row] == expected[row] or not is_final
        num_final.append(int(found.is_final.sum()))
    assert num_final == sorted(num_final)
    assert num_final[0] == 0
    assert num_final[-1] == len(image)


def test_a_guess_that_is_right_takes_one_pass(
    talkative: BlipForConditionalGeneration, tokenizer: BertTokenizer, image: Tensor
) -> None:
    grammar = grammar_of(tokenizer, 32)
    one = image[:1]
    right = parallel_tokens(talkative, grammar, one, None).numbers[0]
    assert parallel_tokens(talkative, grammar, one, None, right).num_passes == 1


def test_final_numbers_are_not_read_again(
    talkative: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    image: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths: list[int] = []
    read = CachedDecoder.read

    def counted(self: CachedDecoder, tokens: Tensor, *args: Tensor, **options: bool) -> Tensor:
        lengths.append(tokens.shape[1])
        return read(self, tokens, *args, **options)

    monkeypatch.setattr(CachedDecoder, "read", counted)
    found = parallel_tokens(talkative, grammar_of(tokenizer, 32), image[:1], None)
    assert len(lengths) == found.num_passes
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < lengths[0] / 2


@pytest.mark.parametrize("num_bins", NUM_BINS)
def test_probabilities_are_those_of_the_pass_that_said_the_number(
    talkative: BlipForConditionalGeneration,
    few_numbers: BertTokenizer,
    image: Tensor,
    num_bins: int,
) -> None:
    grammar = grammar_of(few_numbers, num_bins)
    writer = Writer(talkative, few_numbers, CaptionFormat(32, num_bins), grammar)
    for refine in (0, 2, None):
        found = parallel_tokens(talkative, grammar, image, refine, with_probability=True)
        assert found.log_probability is not None
        assert found.log_probability.shape == (len(image), NUM_NUMBERS, num_bins)
        total = found.log_probability.exp().sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-4)
        if refine is None:  # all were read as they are: as if the caption were given
            alone = number_log_probability(writer, image, found.tokens)
            torch.testing.assert_close(
                found.log_probability, alone.flatten(1, 2), rtol=1e-3, atol=1e-3
            )
        if num_bins == 10:  # where pieces are numbers the likeliest is what greed says
            assert (found.log_probability.argmax(-1) == found.numbers).all()


@pytest.mark.slow  # a full-size BLIP
def test_full_size_to_the_end_is_the_constrained_caption(bert_tokenizer: BertTokenizer) -> None:
    """BLIP base, random weights: BERT's vocabulary, in which 26 of 384 numbers are two pieces."""
    torch.manual_seed(0)
    architecture = {
        "vision": {"image_size": 384, "num_hidden_layers": 1},
        "text": {"vocab_size": 30524, "num_attention_heads": 12, "bos_token_id": 30522},
    }
    blip = load_blip("random", architecture).eval()
    for name, weight in blip.named_parameters():
        if "position_embeddings" in name or "crossattention" in name:
            weight.data *= 4  # what is said changes along the caption, and with the image
    grammar = TokenGrammar.of(bert_tokenizer, CaptionFormat(384))
    pixels = torch.randn(2, 3, 384, 384, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        image = blip.vision_model(pixel_values=pixels)[0]
    found = parallel_tokens(blip, grammar, image, None)
    expected = constrained_tokens(blip, grammar, image)
    assert rows(found.tokens, grammar.sep) == rows(expected, grammar.sep)


def test_the_shipped_model_says_as_much_at_once_as_one_by_one() -> None:
    """It was trained with hidden coordinates, so that it need not read the others."""
    predictor = PosePredictor.from_pretrained("tiny")
    frames = [render_frame(seed=11, video=video, frame=0) for video in range(24)]

    def error(decoding: Constrained | Parallel) -> float:
        predictions = predictor.decode_by(decoding)([frame.image for frame in frames])
        truth = [frame.people[-1].xy_img for frame in frames]  # the nearest
        away = [p.pose.xy - xy for p, xy in zip(predictions, truth, strict=True)]
        return float(np.median(np.abs(away)))

    assert error(Parallel(0)) < 1.5 * error(Constrained())
