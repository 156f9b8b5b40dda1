"""Captions under the grammar are `generate`'s, whatever the images, the batch and the weights.

The shipped model made more or less confused, on noise and on drawn people; and in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from transformers import BlipForConditionalGeneration

from blippose.blip import load_blip, load_tokenizer
from blippose.caption import CaptionFormat
from blippose.decoding import (
    CaptionReader,
    ClipNormalization,
    Constrained,
    Decoding,
    Free,
    Parallel,
    TokenGrammar,
    constrained_tokens,
    parallel_tokens,
)
from blippose.decoding.grammar import NUM_NUMBERS
from blippose.pose import NUM_JOINTS
from blippose.synthetic.scene import render_frame

TINY = CaptionFormat(96)
GRAMMAR = TokenGrammar.of(load_tokenizer("tiny"), TINY)
WAYS: tuple[Decoding, ...] = (
    Free(),
    Constrained(),
    Constrained(expectation=True),
    Parallel(0),
    Parallel(1),
    Parallel(None),
)


@pytest.fixture(scope="module")
def exact() -> BlipForConditionalGeneration:
    """In float64, as the order of sums must not decide between numbers that are as likely."""
    return load_blip("tiny").eval().double()


def drawn(num: int) -> Tensor:
    """People as the model knows them, and a mirror image of each."""
    frames = (render_frame(seed=3, video=video, frame=0).image for video in range(num))
    inputs = [
        Image.fromarray(frame).resize((96, 96), Image.Resampling.BICUBIC) for frame in frames
    ]
    pixels = torch.from_numpy(np.stack([np.asarray(each) for each in inputs]))
    images = ClipNormalization()(pixels.permute(0, 3, 1, 2))
    return torch.cat([images, images.flip(-1)])


@contextmanager
def confused(blip: BlipForConditionalGeneration, noise: float, seed: int) -> Iterator[None]:
    """The decoder's weights with noise of so many of their standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    kept = {name: weight.clone() for name, weight in blip.text_decoder.state_dict().items()}
    with torch.no_grad():
        for weight in blip.text_decoder.parameters():
            away = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.add_(noise * weight.std().nan_to_num() * away)
    try:
        yield
    finally:
        blip.text_decoder.load_state_dict(kept)


def allowed(_: int, prefix: Tensor) -> list[int]:
    """What may follow in captions whose numbers are one piece each."""
    at = len(prefix)
    for run in GRAMMAR.fixed:
        if at < len(run):
            return [run[at]]
        if at == len(run):
            return [number[0] for number in GRAMMAR.numbers]
        at -= len(run) + 1
    raise AssertionError("nothing follows [SEP]")


def follows_grammar(tokens: Tensor) -> bool:
    """Whether every token of every row may follow those before it."""
    return all(
        token in allowed(0, row[:place])
        for row in tokens
        for place, token in enumerate(row.tolist())
        if place
    )


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    noise=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    num_noise=st.integers(0, 2),
    people=st.lists(st.integers(0, 7), max_size=2),
    ahead=st.sampled_from([None, 1, 2, 3, 7, NUM_NUMBERS]),
)
def test_under_the_grammar_captions_are_those_of_generate(
    exact: BlipForConditionalGeneration,
    seed: int,
    noise: float,
    num_noise: int,
    people: list[int],
    ahead: int | None,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    spots = 2 * torch.randn(num_noise + 1, 3, 3, 3, generator=generator)
    spots = torch.nn.functional.interpolate(spots, (96, 96), mode="bicubic")
    pixels = torch.cat([spots, drawn(4)[people]]).double()
    with confused(exact, noise, seed), torch.no_grad():
        expected = exact.generate(
            pixel_values=pixels,
            max_new_tokens=GRAMMAR.longest - 1,
            do_sample=False,
            num_beams=1,
            prefix_allowed_tokens_fn=allowed,
        )
        image = exact.vision_model(pixel_values=pixels)[0]
        assert torch.equal(constrained_tokens(exact, GRAMMAR, image, ahead), expected)
        assert torch.equal(parallel_tokens(exact, GRAMMAR, image, None).tokens, expected)
        alone = constrained_tokens(exact, GRAMMAR, image[-1:], ahead)
        assert torch.equal(alone, expected[-1:])


@pytest.fixture(scope="module")
def reading_in_bf16() -> Callable[[Decoding], tuple[Tensor, list[tuple[str | None, ...]], Tensor]]:
    """Tokens, why joints are missing, and confidence of eight images by a decoding."""
    blip, pixels = load_blip("tiny").eval(), drawn(4)

    def read(decoding: Decoding) -> tuple[Tensor, list[tuple[str | None, ...]], Tensor]:
        reader = CaptionReader(blip, load_tokenizer("tiny"), TINY, decoding)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            states = blip.vision_model(pixel_values=pixels)[0]
            reading = reader.read(lambda _, states=states: states, with_confidence=True)
        assert reading.confidence is not None
        reasons = [parsed.reasons for parsed in reading.parsed]
        return reading.tokens, reasons, torch.from_numpy(reading.confidence)

    return read


@pytest.mark.parametrize("decoding", WAYS, ids=lambda decoding: decoding.name)
def test_every_way_says_captions_of_the_grammar_in_bfloat16(
    reading_in_bf16: Callable[[Decoding], tuple[Tensor, list[tuple[str | None, ...]], Tensor]],
    decoding: Decoding,
) -> None:
    tokens, reasons, confidence = reading_in_bf16(decoding)
    assert reasons == [(None,) * NUM_JOINTS] * 8
    assert follows_grammar(tokens)
    assert ((confidence > 0) & (confidence <= 1 + 1e-3)).all()


def test_bfloat16_changes_few_numbers_as_their_scores_are_in_float32() -> None:
    """Scores in bfloat16 would change one of ten, as those of neighbours are often equal there."""
    pixels = drawn(16)
    said = []
    for dtype in (torch.float32, torch.bfloat16):
        blip = load_blip("tiny").eval().to(dtype)
        with torch.no_grad():
            image = blip.vision_model(pixel_values=pixels.to(dtype))[0]
            said.append(parallel_tokens(blip, GRAMMAR, image, 0).numbers)
    assert 0 < (said[0] != said[1]).float().mean() < 0.05
