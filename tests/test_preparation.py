"""BLIP made ready to train: what is dropped, computed again or compiled, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod
from typing import Any

import pytest
import torch
from conftest import SIZE
from one_step import assert_same_step, forward_loss, kept_bytes, step_of
from torch import nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.blip import load_blip
from blippose.caption import CaptionFormat
from blippose.data import PoseBatch
from blippose.errors import UserError
from blippose.model import PoseCaptioner

MakeCaptioner = Callable[..., PoseCaptioner]


def test_layers_that_are_computed_again_keep_less_for_the_same_gradients(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    steps, num_bytes = [], []
    for checkpoint_layers in (False, True):
        captioner = make_captioner(checkpoint_layers=checkpoint_layers)
        num_bytes.append(kept_bytes(captioner, batch))
        steps.append(step_of(captioner, batch))
    assert_same_step(steps[1], steps[0])
    assert num_bytes[1] < 0.6 * num_bytes[0]


def test_a_compiled_step_is_the_same(
    make_captioner: MakeCaptioner, batch: PoseBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as for a GPU, but run without a C++ compiler, which would take minutes."""
    expected = step_of(make_captioner(), batch)
    names = list(make_captioner().state_dict())
    monkeypatch.setattr(
        nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager")
    )
    captioner = make_captioner(compiled=True)
    assert_same_step(step_of(captioner, batch), expected)
    assert list(captioner.state_dict()) == names


def test_an_input_of_another_size_is_refused(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer
) -> None:
    with pytest.raises(UserError, match="image_size = 32, its tokenizer and captions need 48"):
        PoseCaptioner(blip, tokenizer, CaptionFormat(48), torch.optim.AdamW)


def test_a_tokenizer_of_another_model_is_refused(
    blip: BlipForConditionalGeneration, bert_tokenizer: BertTokenizer
) -> None:
    with pytest.raises(UserError, match="vocab_size = 147"):
        PoseCaptioner(blip, bert_tokenizer, CaptionFormat(SIZE), torch.optim.AdamW)


def test_captions_longer_than_the_decoder_reads_are_refused(
    architecture: dict[str, dict[str, Any]], tokenizer: BertTokenizer
) -> None:
    text = {**architecture["text"], "max_position_embeddings": 100}
    blip = load_blip("random", {**architecture, "text": text})
    with pytest.raises(UserError, match="max_position_embeddings = 100"):
        PoseCaptioner(blip, tokenizer, CaptionFormat(SIZE), torch.optim.AdamW)


def test_dropout_draws_in_both_towers_in_training_and_in_neither_otherwise(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    expected = forward_loss(make_captioner().eval(), batch)
    captioner = make_captioner(dropout=0.2)
    looks = [captioner.look(batch["image"]) for _ in range(2)]
    assert not torch.equal(*looks)
    states = looks[0].detach()
    losses = set()
    for _ in range(2):
        decoded = captioner.blip.text_decoder(
            input_ids=batch["input_ids"], encoder_hidden_states=states
        )
        losses.add(float(decoded.logits.detach().sum()))
    assert len(losses) == 2
    assert forward_loss(captioner.eval(), batch) == expected


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_dropout_that_cannot_be_or_leaves_nothing_is_refused(
    make_captioner: MakeCaptioner, share: float
) -> None:
    with pytest.raises(UserError, match=rf"captioner\.dropout={share}: expected 0 to below 1"):
        make_captioner(dropout=share)
