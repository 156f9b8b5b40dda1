"""Layers that compute activations and norms again: those that keep them are the reference.

What attention computes: `test_sdpa.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captioned_batch import batch
from torch import Tensor
from transformers import BlipConfig, BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipAttention, BlipEncoderLayer, BlipMLP
from transformers.models.blip.modeling_blip_text import BlipTextLayer, BlipTextSelfAttention

from blippose.blip import load_blip
from blippose.model import PoseCaptioner
from blippose.own_layers import with_own_layers
from blippose.sdpa import TextAttention, VisionAttention

Architecture = dict[str, dict[str, Any]]
WITHIN = 80  # width inside a feed-forward layer, which nothing else has
WIDTH = 32  # of a token
ATTENTIONS: dict[type, type] = {
    BlipAttention: VisionAttention,
    BlipTextSelfAttention: TextAttention,
}


@pytest.fixture
def models(architecture: Architecture) -> tuple[BlipForConditionalGeneration, ...]:
    """One that keeps activations, and one of the same weights that does not."""
    vision, text = (
        {**architecture[part], "intermediate_size": WITHIN} for part in ("vision", "text")
    )
    torch.manual_seed(0)
    vision = {**vision, "initializer_range": 0.02}  # or it never sees the image: `blip.py`
    kept = BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text))
    for module in kept.modules():
        if isinstance(module, torch.nn.LayerNorm):  # whose weights would be 1 and 0
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
        if own := ATTENTIONS.get(type(module)):
            module.__class__ = own
    return kept.train(), with_own_layers(copy.deepcopy(kept))


def step(blip: BlipForConditionalGeneration) -> tuple[Tensor, list[Tensor]]:
    """The loss, and the gradient of each weight."""
    blip.zero_grad()
    loss = blip(**batch(blip)).loss
    loss.backward()
    return loss.detach(), [weight.grad for weight in blip.parameters() if weight.grad is not None]


def kept_widths(blip: BlipForConditionalGeneration) -> list[int]:
    """Tensors that a forward pass keeps for its backward pass, by their last dimension."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        blip(**batch(blip))
    weights = {weight.data_ptr() for weight in blip.parameters()}
    others = [tensor for pointer, tensor in kept.items() if pointer not in weights]
    return [tensor.shape[-1] for tensor in others if tensor.dim()]


def as_it_is(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    return blip


def with_checkpointed_layers(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    blip.activation_checkpointing_enable()
    return blip


def with_dropout(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    for module in blip.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    return blip


@pytest.mark.parametrize("change", [as_it_is, with_checkpointed_layers, with_dropout])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_loss_and_gradients_are_those_of_the_stock_layers_to_the_bit(
    models: tuple[BlipForConditionalGeneration, ...],
    change: Callable[[BlipForConditionalGeneration], BlipForConditionalGeneration],
    precision: torch.dtype,
) -> None:
    found = []
    for blip in models:
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            found.append(step(change(blip)))
    (loss, gradients), (again, others) = found
    assert loss.equal(again)
    assert len(gradients) == len(others) > 0
    assert all(one.equal(other) for one, other in zip(gradients, others, strict=True))


def test_of_each_layer_one_tensor_of_the_inner_width_is_kept_and_not_two(
    models: tuple[BlipForConditionalGeneration, ...],
) -> None:
    kept, again = (kept_widths(blip).count(WITHIN) for blip in models)
    config = models[0].config
    layers = config.vision_config.num_hidden_layers + config.text_config.num_hidden_layers
    assert kept == 2 * layers
    assert again == layers


def test_of_each_vision_layer_no_norm_is_kept(
    models: tuple[BlipForConditionalGeneration, ...],
) -> None:
    kept, again = (kept_widths(blip).count(WIDTH) for blip in models)
    assert kept - again == 2 * models[0].config.vision_config.num_hidden_layers


def test_a_part_that_is_called_alone_norms_nothing(
    models: tuple[BlipForConditionalGeneration, ...],
) -> None:
    states = torch.randn(2, 5, WIDTH)
    expected, found = (blip.vision_model.encoder.layers[0] for blip in models)
    assert found.mlp(states).equal(expected.mlp(states))
    assert found.self_attn(states)[0].equal(expected.self_attn(states)[0])


def test_without_gradients_nothing_is_computed_again(
    models: tuple[BlipForConditionalGeneration, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("checkpoint was called")

    monkeypatch.setattr("blippose.computed_again.checkpoint", refuse)
    with torch.no_grad():
        logits = [blip(**batch(blip)).logits for blip in models]
    assert logits[0].equal(logits[1])
    with pytest.raises(AssertionError, match="checkpoint was called"):
        step(models[1])


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_without_gradients_tokens_are_done_some_at_a_time(
    models: tuple[BlipForConditionalGeneration, ...],
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    ours = models[1]
    monkeypatch.setattr("blippose.feed_forward._TOKENS_AT_ONCE", at_once)
    of_patch = ours.vision_model.encoder.layers[0].mlp.fc1
    of_token = ours.text_decoder.bert.encoder.layer[0].intermediate.dense
    numbers: dict[Any, list[int]] = {of_patch: [], of_token: []}
    for layer, of_layer in numbers.items():
        layer.register_forward_hook(
            lambda _, given, __, of_layer=of_layer: of_layer.append(given[0][..., 0].numel())
        )
    with torch.no_grad():
        expected, found = (blip(**batch(blip)).logits for blip in models)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for of_layer in numbers.values():
        assert min(at_once, 7) <= max(of_layer) <= at_once
        assert len(of_layer) == -(-sum(of_layer) // at_once)


def test_loaded_models_have_them(architecture: Architecture) -> None:
    for blip in (load_blip("tiny"), load_blip("random", architecture)):
        mlps = [layer.mlp for layer in blip.vision_model.encoder.layers]
        layers = blip.text_decoder.bert.encoder.layer
        assert {type(mlp).__module__ for mlp in mlps} == {"blippose.feed_forward"}
        assert {type(layer).__module__ for layer in layers} == {"blippose.feed_forward"}


@pytest.mark.parametrize("settings", [{"freeze_vision": True}, {"lora_rank": 2}])
def test_where_the_product_is_frozen_nothing_is_computed_again(
    make_captioner: Callable[..., PoseCaptioner],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    """It keeps nothing then, so that there is nothing to save."""
    if "lora_rank" in settings:
        pytest.importorskip("peft")
    blip = make_captioner(**settings).blip
    called: list[Any] = []

    def count(forward: Any, states: Tensor, **_: Any) -> Any:
        called.append(forward)
        return forward(states)

    monkeypatch.setattr("blippose.computed_again.checkpoint", count)
    blip(**batch(blip)).loss.backward()
    num_text = len(blip.text_decoder.bert.encoder.layer)
    assert len(called) == (num_text if "freeze_vision" in settings else 0)


def test_a_captioner_has_them(make_captioner: Callable[..., PoseCaptioner]) -> None:
    blip = make_captioner().blip
    layers = [*blip.vision_model.encoder.layers, *blip.text_decoder.bert.encoder.layer]
    inner = blip.vision_model.config.intermediate_size
    assert inner == blip.text_decoder.config.intermediate_size
    assert kept_widths(blip.train()).count(inner) == len(layers)


class UsersAttention(BlipAttention):
    """Of a user, who knows nothing of norms."""


class UsersFeedForward(BlipMLP):
    """Likewise."""


@pytest.mark.parametrize(
    ("part", "theirs"), [("self_attn", UsersAttention), ("mlp", UsersFeedForward)]
)
def test_a_layer_with_a_part_of_the_users_own_still_norms(
    models: tuple[BlipForConditionalGeneration, ...], part: str, theirs: type
) -> None:
    stock = models[0]
    pixels = batch(stock)["pixel_values"]
    layers = stock.vision_model.encoder.layers
    setattr(layers[0], part, theirs(stock.config.vision_config).train())
    expected = stock.vision_model(pixels).last_hidden_state
    ours = with_own_layers(copy.deepcopy(stock))
    assert type(getattr(ours.vision_model.encoder.layers[0], part)) is theirs
    assert type(ours.vision_model.encoder.layers[0]) is type(layers[0])
    torch.testing.assert_close(ours.vision_model(pixels).last_hidden_state, expected)


def test_a_captioner_gives_them_to_a_blip_of_the_users_own(
    make_captioner: Callable[..., PoseCaptioner],
) -> None:
    ours = make_captioner()
    theirs = BlipForConditionalGeneration(ours.blip.config)
    PoseCaptioner(theirs, ours.tokenizer, ours.caption_format, ours.optimizer)
    kinds = {type(module) for module in theirs.modules()}
    assert not kinds & {BlipAttention, BlipTextSelfAttention, BlipMLP, BlipTextLayer}
    assert BlipEncoderLayer not in kinds


def test_an_empty_batch_says_nothing(models: tuple[BlipForConditionalGeneration, ...]) -> None:
    pixels = batch(models[1])["pixel_values"][:0]
    assert models[1].vision_model(pixels).last_hidden_state.shape[0] == 0


def test_only_the_given_model_is_changed(architecture: Architecture) -> None:
    config = BlipConfig(vision_config=architecture["vision"], text_config=architecture["text"])
    one, other = BlipForConditionalGeneration(config), BlipForConditionalGeneration(config)
    assert with_own_layers(one) is one
    kinds = [{type(module) for module in blip.modules()} for blip in (one, other)]
    assert BlipAttention in kinds[1] - kinds[0]


def test_names_of_weights_stay(models: tuple[BlipForConditionalGeneration, ...]) -> None:
    assert list(models[0].state_dict()) == list(models[1].state_dict())
