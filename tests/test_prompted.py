"""Each joint asked by its own prompt: what `generate` says after it, joint by joint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from talkative import make_talkative_at_length
from tiny_tokenizer import write_tiny_tokenizer
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.blip import load_tokenizer
from blippose.caption import CaptionFormat
from blippose.decoding import CaptionReader, Prompted, TokenGrammar, Writer
from blippose.decoding.cached import CachedDecoder
from blippose.pose import JOINTS

FORMATS = (CaptionFormat(32, 10), CaptionFormat(32, 100), CaptionFormat(32, 300, "torso"))


@pytest.fixture(scope="module")
def few_numbers(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    """Knows 0 to 9 as one piece; larger numbers take a piece a digit."""
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, 10)
    return load_tokenizer(str(folder))


@pytest.fixture
def talkative(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    return make_talkative_at_length(blip)


@pytest.fixture
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.float64)


@torch.no_grad()
def look(blip: BlipForConditionalGeneration, pixels: Tensor) -> Tensor:
    states: Tensor = blip.vision_model(pixel_values=pixels)[0]
    return states


def generated(
    blip: BlipForConditionalGeneration, pixels: Tensor, grammar: TokenGrammar, prompt: list[int]
) -> list[list[int]]:
    """Hugging Face's tokens behind the prompt, under the grammar: x , y ) by pieces."""
    comma, close, sep = grammar.fixed[1][0], grammar.fixed[2][0], grammar.sep

    def allowed(_: int, tokens: Tensor) -> list[int]:
        said = tokens.tolist()[len(prompt) :]
        if close in said:
            return [sep]
        end = close if comma in said else comma
        begun = tuple(said[said.index(comma) + 1 :] if comma in said else said)
        on = {n[len(begun)] for n in grammar.numbers if n[: len(begun)] == begun != n}
        return sorted(on | ({end} if begun in grammar.numbers else set()))

    # The decoder's own: BLIP's puts the [DEC] of its configuration, and has no say in the end.
    tokens = blip.text_decoder.generate(
        input_ids=torch.tensor([prompt]).repeat(len(pixels), 1),
        encoder_hidden_states=look(blip, pixels),
        max_new_tokens=12,
        do_sample=False,
        num_beams=1,
        eos_token_id=sep,
        pad_token_id=grammar.pad,
        prefix_allowed_tokens_fn=allowed,
    )
    return [row[len(prompt) : row.index(sep)] for row in tokens.tolist()]


@pytest.mark.parametrize("caption_format", FORMATS, ids=str)
def test_each_joint_is_what_generate_says_after_its_prompt(
    talkative: BlipForConditionalGeneration,
    few_numbers: BertTokenizer,
    pixels: Tensor,
    caption_format: CaptionFormat,
) -> None:
    reader = CaptionReader(talkative, few_numbers, caption_format, Prompted())
    said = reader.read(lambda _: look(talkative, pixels))
    assert not said.truncated.any()
    grammar, seen = reader.writer.grammar, set()
    for joint, name in enumerate(JOINTS):
        prompt = few_numbers(f"{name} (", add_special_tokens=False).input_ids
        prompt = [few_numbers.bos_token_id, *prompt]
        for row, tokens in enumerate(generated(talkative, pixels, grammar, prompt)):
            [alone] = few_numbers.batch_decode([prompt + tokens], skip_special_tokens=True)
            expected = caption_format.decode(alone).pose.xy[joint]
            assert said.parsed[row].pose.xy[joint].tolist() == expected.tolist()
            seen.add(tuple(expected.tolist()))
    assert len(seen) > 10, "it says the same of all"


def test_probabilities_are_those_of_hugging_face_after_the_prompt(
    talkative: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    pixels: Tensor,
) -> None:
    grammar = TokenGrammar.of(tokenizer, caption_format)
    writer = Writer(talkative, tokenizer, caption_format, grammar)
    states = look(talkative, pixels)
    decoded = Prompted()(writer, states, with_probability=True)
    assert decoded.log_probability is not None
    numbers = [pieces[0] for pieces in grammar.numbers]
    best = decoded.log_probability.argmax(-1)
    for joint, name in enumerate(JOINTS):
        for row in range(len(pixels)):
            x = int(best[row, joint, 0])
            ids = tokenizer(f"{name} ({x},", add_special_tokens=False).input_ids
            ids = torch.tensor([[tokenizer.bos_token_id, *ids]])
            with torch.no_grad():
                logits = talkative.text_decoder(
                    input_ids=ids, encoder_hidden_states=states[row : row + 1]
                ).logits[0][:, numbers]
            expected = logits[[-3, -1]].log_softmax(-1)
            found = decoded.log_probability[row, joint].double()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_said_of_a_joint_does_not_depend_on_the_other_images(
    talkative: BlipForConditionalGeneration, tokenizer: BertTokenizer, pixels: Tensor
) -> None:
    reader = CaptionReader(talkative, tokenizer, CaptionFormat(32), Prompted(expectation=True))
    states = look(talkative, pixels)
    together = reader.read(lambda _: states, with_confidence=True)
    for row in range(len(pixels)):
        one = states[row : row + 1]
        alone = reader.read(lambda _, one=one: one, with_confidence=True)
        assert alone.captions[0] == together.captions[row]


def test_rows_of_an_image_read_as_if_each_had_its_own(
    talkative: BlipForConditionalGeneration, pixels: Tensor
) -> None:
    states = look(talkative, pixels)
    shared = CachedDecoder(talkative, states, 8, per_image=2)
    own = CachedDecoder(talkative, states.repeat_interleave(2, dim=0), 8)
    tokens = torch.arange(30).view(6, 5) + 5
    start, some = torch.zeros(6, dtype=torch.long), torch.tensor([1, 4, 5])
    torch.testing.assert_close(shared.read(tokens, start), own.read(tokens, start))
    start = torch.tensor([5, 5, 5])
    again = [each.read(tokens[some, :2], start, some) for each in (shared, own)]
    torch.testing.assert_close(*again)
