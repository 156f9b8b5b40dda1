"""The caption loss is BLIP's own, and soft numbers go over into it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import BertTokenizer, BlipForConditionalGeneration, BlipTextConfig

from blippose.caption import CaptionFormat
from blippose.decoding import TokenGrammar
from blippose.loss import IGNORED, HardTokens, SoftNumbers, caption_loss, token_loss

VALUES = {3: 10, 5: 11, 6: 12, 8: 13}  # token id: integer
VOCABULARY = 10


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels with words, numbers and pads."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, 7, VOCABULARY, generator=generator)
    labels = torch.randint(0, VOCABULARY, (4, 7), generator=generator)
    labels[1, 5:] = IGNORED
    return logits, labels


def loss_of(
    of: HardTokens | SoftNumbers, logits: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    return caption_loss(of, nn.Identity(), logits, labels)


def own_and_stock(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, of: HardTokens
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of two captions, one of them padded, and transformers' own."""
    tokens = tokenizer(
        ["right ankle (1,2)", "pelvis (3,4), left wrist (5,6)"], padding=True, return_tensors="pt"
    )
    labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, IGNORED)
    pixel_values = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    states = blip.vision_model(pixel_values=pixel_values)[0]
    decoder = blip.text_decoder
    hidden = decoder.bert(**inputs, encoder_hidden_states=states, is_decoder=True)[0]
    own = caption_loss(of, decoder.cls, hidden, labels)
    return own, blip(pixel_values=pixel_values, labels=labels, **inputs).loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_caption_loss_and_its_gradients_are_blips_own(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, smoothing: float
) -> None:
    blip.text_decoder.label_smoothing = smoothing
    own, stock = own_and_stock(blip, tokenizer, HardTokens(smoothing))
    torch.testing.assert_close(own, stock, rtol=1e-6, atol=0)
    weights = [weight for weight in blip.parameters() if weight.requires_grad]
    gradients = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in (own, stock)]
    largest = max(float(gradient.abs().max()) for gradient in gradients[1])
    for found, expected in zip(*gradients, strict=True):
        assert float((found - expected).abs().max()) <= 2e-6 * largest


def test_the_head_is_asked_only_where_a_token_counts() -> None:
    rows: list[int] = []

    def head(hidden: torch.Tensor) -> torch.Tensor:
        rows.append(len(hidden))
        return hidden

    logits, labels = random_case()
    numbers = torch.isin(labels[:, 1:], torch.tensor(list(VALUES)))
    for of in (
        HardTokens(),
        SoftNumbers(VALUES, 1.0, VOCABULARY),
        SoftNumbers(VALUES, 1.0, VOCABULARY, fixed_weight=0.0),
    ):
        caption_loss(of, head, logits, labels)
    assert rows == [22, 22, int(numbers.sum())]  # 4 rows of 6 without 2 pads


def test_caption_loss_by_hand() -> None:
    # The next token is 1 with p = 3/4, then it is 0 with p = 1/2; the last logits say nothing.
    logits = torch.log(torch.tensor([[[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]]))
    labels = torch.tensor([[0, 1, 0]])
    expected = -(math.log(0.75) + math.log(0.5)) / 2
    assert loss_of(HardTokens(), logits, labels).item() == pytest.approx(expected)


@given(st.integers(0, 10_000))
def test_soft_numbers_without_width_are_the_caption_loss(seed: int) -> None:
    logits, labels = random_case(seed)
    soft = SoftNumbers(VALUES, 1e-3, VOCABULARY)
    expected = loss_of(HardTokens(), logits, labels)
    torch.testing.assert_close(loss_of(soft, logits, labels), expected)


def test_a_target_is_a_distribution_also_at_the_least_and_the_greatest_number() -> None:
    near = SoftNumbers({value: value for value in range(9)}, 1.0, 9).near
    torch.testing.assert_close(near.sum(dim=-1), torch.ones(9))
    weights = torch.exp(-0.5 * torch.arange(9.0) ** 2)
    torch.testing.assert_close(near[0], weights / weights.sum())


@pytest.mark.parametrize(("sigma", "at_its_number"), [(1e-300, 1.0), (1e300, 0.25)])
def test_a_target_of_any_width_is_a_distribution(sigma: float, at_its_number: float) -> None:
    near = SoftNumbers(VALUES, sigma, VOCABULARY).near
    torch.testing.assert_close(near.sum(dim=-1), torch.ones(4))
    torch.testing.assert_close(near.diagonal(), torch.full((4,), at_its_number))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_soft_numbers_by_hand(sigma: float) -> None:
    # Two numbers two apart: the Gaussian gives the right one 1 / (1 + exp(-4 / (2 sigma^2))).
    soft = SoftNumbers({0: 5, 1: 7}, sigma, vocabulary_size=3, fixed_weight=0.5)
    probability = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]])
    labels = torch.tensor([[2, 0, 2]])
    right = 1 / (1 + math.exp(-4 / (2 * sigma**2)))
    number = -(right * math.log(0.5) + (1 - right) * math.log(0.3))
    word = -math.log(0.8)
    expected = (number + 0.5 * word) / 1.5
    assert loss_of(soft, probability.log(), labels).item() == pytest.approx(expected)


def test_nearer_wrong_numbers_cost_less() -> None:
    soft = SoftNumbers(VALUES, 1.0, VOCABULARY)
    labels = torch.tensor([[0, 3]])  # the integer 10

    def cost(token: int) -> float:
        logits = torch.zeros(1, 2, VOCABULARY)
        logits[0, 0, token] = 5.0
        return float(loss_of(soft, logits, labels))

    costs = [cost(token) for token in VALUES]  # says 10, 11, 12, 13
    assert costs == sorted(costs)
    assert costs[-1] < cost(0)  # a word
    assert len(set(costs)) == len(costs)


def test_pads_and_their_logits_have_no_effect() -> None:
    soft = SoftNumbers(VALUES, 1.0, VOCABULARY, fixed_weight=0.3)
    logits, labels = random_case()
    changed = logits.clone()
    changed[1, 4:] = 100.0
    torch.testing.assert_close(loss_of(soft, changed, labels), loss_of(soft, logits, labels))


def test_fixed_weight_zero_counts_numbers_alone() -> None:
    logits, labels = random_case()
    numbers = labels.masked_fill(~torch.isin(labels, torch.tensor(list(VALUES))), IGNORED)
    soft = SoftNumbers(VALUES, 1.0, VOCABULARY, fixed_weight=0.0)
    whole = SoftNumbers(VALUES, 1.0, VOCABULARY)
    torch.testing.assert_close(loss_of(soft, logits, labels), loss_of(whole, logits, numbers))


def test_soft_numbers_of_berts_vocabulary_stay_small(bert_tokenizer: BertTokenizer) -> None:
    values = TokenGrammar.of(bert_tokenizer, CaptionFormat(384)).values
    soft = SoftNumbers(values, 1.0, len(bert_tokenizer))
    num_bytes = sum(buffer.nbytes for buffer in soft.buffers())
    assert num_bytes < 20e6  # a table of the whole vocabulary would have 3.7e9


@pytest.mark.parametrize(("asked", "expected"), [(None, 0.1), (0.0, 0.0), (0.2, 0.2)])
def test_smoothing_that_is_set_holds_also_where_it_is_none_at_all(
    tokenizer: BertTokenizer, asked: float | None, expected: float
) -> None:
    grammar = TokenGrammar.of(tokenizer, CaptionFormat(32))
    made = token_loss(grammar, BlipTextConfig(label_smoothing=0.1), 0.0, 1.0, asked)
    assert isinstance(made, HardTokens)
    assert made.label_smoothing == expected


def test_soft_numbers_leave_nothing_in_a_checkpoint() -> None:
    assert SoftNumbers(VALUES, 1.0, VOCABULARY).state_dict() == {}
