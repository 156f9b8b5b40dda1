"""Feed-forward blocks that keep one tensor less: the same step to the last bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipMLP

from blippose.blip import load_blip
from blippose.lean_mlp import use_lean_mlps

Architecture = dict[str, dict[str, Any]]


@pytest.fixture(params=["float32", "autocast"])
def context(request: pytest.FixtureRequest) -> Any:
    if request.param == "float32":
        return torch.autocast("cpu", enabled=False)
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.fixture
def plain(architecture: Architecture) -> BlipForConditionalGeneration:
    text = {**architecture["text"], "hidden_dropout_prob": 0.1}
    return load_blip("random", {**architecture, "text": text}).train()


def step(blip: BlipForConditionalGeneration, context: Any) -> Tensor:
    """The loss of two images with captions."""
    torch.manual_seed(1)
    size, vocabulary = blip.vision_model.config.image_size, blip.text_decoder.config.vocab_size
    tokens = torch.randint(1, vocabulary, (2, 20))
    with context:
        loss: Tensor = blip(torch.randn(2, 3, size, size), tokens, labels=tokens).loss
    return loss


def test_loss_and_gradients_are_the_same_to_the_last_bit(
    plain: BlipForConditionalGeneration, context: Any
) -> None:
    lean = copy.deepcopy(plain)
    use_lean_mlps(lean)
    assert list(lean.state_dict()) == list(plain.state_dict())
    losses = [step(blip, context) for blip in (plain, lean)]
    assert losses[0].item() == losses[1].item()
    for loss in losses:
        loss.backward()
    for (name, weight), other in zip(lean.named_parameters(), plain.parameters(), strict=True):
        assert (weight.grad is None) == (other.grad is None)
        assert weight.grad is None or torch.equal(weight.grad, other.grad), name


def num_kept(blip: BlipForConditionalGeneration) -> tuple[int, int]:
    """Of what the activations of a step say, how much waits for its gradients; and of how many."""
    said: list[StorageWeakRef] = []
    for name, module in blip.named_modules():
        if name.endswith(("activation_fn", "intermediate_act_fn")):
            module.register_forward_hook(
                lambda *called: said.append(StorageWeakRef(called[-1].untyped_storage()))
            )
    loss = step(blip, torch.autocast("cpu", enabled=False))
    assert loss.requires_grad
    return sum(not one.expired() for one in said), len(said)


def test_nothing_keeps_what_the_activations_say(plain: BlipForConditionalGeneration) -> None:
    lean = copy.deepcopy(plain)
    use_lean_mlps(lean)
    kept, all_of_plain = num_kept(plain)
    assert kept == all_of_plain >= 2
    assert num_kept(lean) == (0, all_of_plain)


def test_layers_that_compute_again_stay_as_they_are(make_captioner: Any) -> None:
    for checkpoint_layers in (True, False):
        blip = make_captioner(checkpoint_layers=checkpoint_layers).blip
        mlp = blip.vision_model.encoder.layers[0].mlp
        assert (type(mlp) is BlipMLP) == checkpoint_layers
