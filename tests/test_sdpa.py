"""Torch's attention kernels in BLIP: the stock model is the reference, to rounding."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from captioned_batch import batch
from torch import Tensor
from transformers import BlipForConditionalGeneration

from blippose.blip import load_blip
from blippose.predictor import PosePredictor
from blippose.sdpa import attend

Architecture = dict[str, dict[str, Any]]


def stock(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """The same weights in a model that transformers made."""
    eager = BlipForConditionalGeneration(copy.deepcopy(blip.config))
    eager.load_state_dict(blip.state_dict())
    return eager.train(blip.training)


def assert_equal_steps(blip: BlipForConditionalGeneration, inputs: dict[str, Tensor]) -> None:
    """Patches, logits, loss and gradients, to a few times float32's rounding.

    Each against the largest of its kind: sums of large numbers are rounded as those are, and
    gradients of the keys' biases are nothing but rounding.
    """
    eager = stock(blip)
    expected, found = eager(**inputs), blip(**inputs)
    for name in ("image_embeds", "logits"):
        most = 2e-6 * float(expected[name].detach().abs().max())
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=most)
    torch.testing.assert_close(found.loss, expected.loss, rtol=2e-6, atol=0)
    expected.loss.backward()
    found.loss.backward()
    largest = max(float(weight.grad.abs().max()) for weight in eager.parameters())
    for (name, weight), other in zip(blip.named_parameters(), eager.parameters(), strict=True):
        assert float((weight.grad - other.grad).abs().max()) <= 2e-6 * largest, name


def uses_sdpa(blip: BlipForConditionalGeneration) -> bool:
    return any("sdpa" in type(module).__module__ for module in blip.modules())


@pytest.mark.parametrize("is_training", [False, True])
def test_loss_and_gradients_are_the_stock_models(
    blip: BlipForConditionalGeneration, is_training: bool
) -> None:
    assert_equal_steps(blip.train(is_training), batch(blip))


def test_they_are_in_the_tiny_model_too() -> None:
    blip = load_blip("tiny").train()
    assert_equal_steps(blip, batch(blip, length=127))


def test_they_are_in_one_layer_of_full_size() -> None:
    width = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 1}
    vision = {**width, "num_attention_heads": 12, "image_size": 384, "patch_size": 16}
    text = {**width, "num_attention_heads": 12, "vocab_size": 512, "encoder_hidden_size": 768}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0}
    torch.manual_seed(0)
    blip = load_blip("random", {"vision": vision, "text": {**text, **tokens}}).train()
    assert_equal_steps(blip, batch(blip, length=129))


def test_a_mask_over_the_image_is_obeyed(blip: BlipForConditionalGeneration) -> None:
    inputs = batch(blip)
    states = torch.randn(2, 17, 32)
    seen = torch.ones(2, 17).long()
    seen[0, 5:] = 0
    found, expected = (
        each.text_decoder(
            input_ids=inputs["input_ids"],
            encoder_hidden_states=states,
            encoder_attention_mask=seen,
        ).logits
        for each in (blip, stock(blip))
    )
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=1e-5)


def test_maps_are_given_where_asked_for(blip: BlipForConditionalGeneration) -> None:
    inputs = batch(blip)
    del inputs["labels"]
    eager = stock(blip)
    expected = eager(**inputs, output_attentions=True).attentions
    found = blip(**inputs, output_attentions=True).attentions
    states = torch.randn(2, 17, 32)
    texts = [
        each.text_decoder(
            input_ids=inputs["input_ids"], encoder_hidden_states=states, output_attentions=True
        )
        for each in (blip, eager)
    ]
    for kind in ("attentions", "cross_attentions"):
        found, expected = (*found, *texts[0][kind]), (*expected, *texts[1][kind])
    assert [each.shape for each in found] == [(2, 2, 17, 17), (2, 2, 20, 20), (2, 2, 20, 17)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_dropout_draws_what_it_drew(architecture: Architecture) -> None:
    vision = {**architecture["vision"], "attention_dropout": 0.5}
    text = {**architecture["text"], "attention_probs_dropout_prob": 0.5}
    torch.manual_seed(0)
    blip = load_blip("random", {"vision": vision, "text": text}).train()
    losses = []
    for model in (blip, stock(blip)):
        inputs = batch(blip)
        torch.manual_seed(2)
        losses.append(model(**inputs).loss.item())
    assert losses[0] == losses[1]


def test_generate_says_the_same(blip: BlipForConditionalGeneration) -> None:
    pixels = batch(blip)["pixel_values"]
    expected, found = (
        each.generate(pixel_values=pixels, max_length=12, do_sample=False)
        for each in (stock(blip), blip)
    )
    assert torch.equal(found, expected)


def test_no_map_is_kept_for_the_backward_pass(blip: BlipForConditionalGeneration) -> None:
    """A map has as many rows as columns and a head axis: (2, 2, 17, 17) here."""
    kept: list[tuple[int, ...]] = []
    for model in (stock(blip), blip):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (kept.append(tuple(t.shape)), t)[1], lambda t: t
        ):
            model.train()(**batch(blip))
        has_maps = (2, 2, 17, 17) in kept or (4, 17, 17) in kept
        assert has_maps == (model is not blip)


def test_in_bfloat16_on_a_processor_attention_is_the_stock_models_products(
    blip: BlipForConditionalGeneration,
) -> None:
    """Torch's kernel takes twice their time there; what is left of rounding is bfloat16's."""
    inputs = batch(blip)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = stock(blip)(**inputs), blip(**inputs)
    assert found.image_embeds.equal(expected.image_embeds)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=2e-2)
    kinds = []
    for dtype in (torch.float32, torch.bfloat16):
        query, key, value = torch.randn(3, 2, 2, 5, 8, dtype=dtype, requires_grad=True)
        kinds.append(attend(query, key, value).grad_fn.name())  # type: ignore[union-attr]  # there
    assert "FlashAttention" in kinds[0]
    assert "FlashAttention" not in kinds[1]


@pytest.mark.parametrize("is_truth", [True, False])
def test_a_mask_hides_the_same_tokens_in_either_precision(is_truth: bool) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, 5, 8)
    seen = torch.ones(5, 5).tril().bool()[None, None]
    mask = seen if is_truth else torch.zeros(seen.shape).masked_fill(~seen, -1e9)
    exact = attend(query, key, value, mask)
    rounded = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), mask)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=5e-2)
    assert not exact.allclose(attend(query, key, value), atol=5e-2)


def test_names_of_weights_and_what_is_saved_stay(
    blip: BlipForConditionalGeneration, tmp_path: Path
) -> None:
    eager = stock(blip)
    assert list(blip.state_dict()) == list(eager.state_dict())
    blip.save_pretrained(tmp_path / "sdpa")
    eager.save_pretrained(tmp_path / "eager")
    for name in ("model.safetensors", "config.json"):
        files = [(tmp_path / kind / name).read_bytes() for kind in ("sdpa", "eager")]
        assert files[0] == files[1]


def test_every_way_to_load_a_model_uses_them(
    blip: BlipForConditionalGeneration, architecture: Architecture, tmp_path: Path
) -> None:
    blip.save_pretrained(tmp_path)
    assert not uses_sdpa(stock(blip))
    for loaded in (load_blip("random", architecture), load_blip(str(tmp_path))):
        assert uses_sdpa(loaded)
    assert uses_sdpa(PosePredictor.from_pretrained("tiny").blip)
    assert uses_sdpa(copy.deepcopy(blip))
