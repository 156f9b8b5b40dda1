"""Free-running captions: whole, greedy, and equal to a loop without a cache."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat
from blippose.decoding import caption_length, generate_free
from blippose.pose import NUM_JOINTS


@pytest.fixture
def pixel_values() -> torch.Tensor:
    return 2 * torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def talkative(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """Weights so large that what is said depends on the image and on what was said before."""
    generator = torch.Generator().manual_seed(2)
    for weight in blip.parameters():
        if weight.dim() > 1:
            weight.data = 0.4 * torch.randn(weight.shape, generator=generator)
    return blip


@torch.no_grad()
def naive_greedy(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    pixel_values: torch.Tensor,
    max_length: int,
) -> list[str]:
    """The whole prefix is fed for each token: no cache, no `generate`."""
    captions = []
    for image in pixel_values:
        tokens = [tokenizer.bos_token_id]
        while len(tokens) < max_length and tokens[-1] != tokenizer.sep_token_id:
            output = blip(pixel_values=image[None], input_ids=torch.tensor([tokens]))
            tokens.append(int(output.logits[0, -1].argmax()))
        captions.append(tokenizer.decode(tokens, skip_special_tokens=True))
    return captions


def test_generation_equals_a_loop_over_whole_prefixes(
    talkative: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    pixel_values: torch.Tensor,
) -> None:
    captions = generate_free(talkative, tokenizer, pixel_values, 60)
    assert captions == naive_greedy(talkative, tokenizer, pixel_values, 60)
    assert len(set(captions)) > 1  # the images differ, and are looked at


def test_generation_goes_on_to_the_last_token(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, pixel_values: torch.Tensor
) -> None:
    with torch.no_grad():  # it says "7" for ever, and never [SEP]
        blip.text_decoder.cls.predictions.bias.fill_(-100.0)
        blip.text_decoder.cls.predictions.bias[tokenizer.convert_tokens_to_ids("7")] = 100.0
    captions = generate_free(blip, tokenizer, pixel_values, 129)
    assert captions == [" ".join(["7"] * 128)] * 3  # [DEC] is the 129th


def test_generation_stops_at_sep(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, pixel_values: torch.Tensor
) -> None:
    with torch.no_grad():
        blip.text_decoder.cls.predictions.bias[tokenizer.sep_token_id] = 100.0
    assert generate_free(blip, tokenizer, pixel_values, 129) == [""] * 3


def test_the_callers_tensors_are_left_alone(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, pixel_values: torch.Tensor
) -> None:
    before = pixel_values.clone()
    generate_free(blip, tokenizer, pixel_values, 5)
    assert torch.equal(pixel_values, before)
    assert not any(weight.grad is not None for weight in blip.parameters())


@pytest.mark.parametrize("num_bins", [None, 4, 100, 1000])
def test_length_covers_the_longest_caption(tokenizer: BertTokenizer, num_bins: int | None) -> None:
    caption_format = CaptionFormat(32, num_bins)
    length = caption_length(tokenizer, caption_format)
    lengths = [
        len(tokenizer(caption_format.encode(xy_input)).input_ids)
        for number in range(caption_format.bins)
        for xy_input in [caption_format.dequantize(np.full((NUM_JOINTS, 2), number))]
    ]
    assert length == max(lengths)


def test_length_does_not_depend_on_the_number_of_joints_seen(tokenizer: BertTokenizer) -> None:
    xy_input = np.full((NUM_JOINTS, 2), 5.0)
    some = CaptionFormat(32).encode(xy_input, np.arange(NUM_JOINTS) < 9)
    assert len(tokenizer(some).input_ids) < caption_length(tokenizer, CaptionFormat(32)) == 127
