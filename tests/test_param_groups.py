"""Which weights learn slower, and which do not decay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from transformers import BlipForConditionalGeneration

from blippose.blip import load_blip
from blippose.errors import UserError
from blippose.model import PoseCaptioner
from blippose.param_groups import LR_SCALE, param_groups

MakeCaptioner = Callable[..., PoseCaptioner]


class AtStep:
    """A trainer of ten steps: `configure_optimizers` asks for nothing else of it."""

    estimated_stepping_batches = 10


@pytest.fixture(scope="module")
def tiny() -> BlipForConditionalGeneration:
    return load_blip("tiny")  # 4 layers of vision, 2 of text


def found(blip: BlipForConditionalGeneration, key: str, groups: list[dict[str, Any]]) -> Any:
    weight = blip.get_parameter(key)
    (group,) = [g for g in groups if any(weight is member for member in g["params"])]
    return group


@pytest.mark.parametrize(
    ("key", "layers_above"),
    [
        ("text_decoder.cls.predictions.bias", 0),
        ("text_decoder.bert.encoder.layer.1.crossattention.self.key.weight", 1),
        ("text_decoder.bert.encoder.layer.0.output.dense.bias", 2),
        ("text_decoder.bert.embeddings.word_embeddings.weight", 3),
        ("vision_model.post_layernorm.weight", 3),
        ("vision_model.encoder.layers.3.mlp.fc1.weight", 4),
        ("vision_model.encoder.layers.0.mlp.fc1.weight", 7),
        ("vision_model.embeddings.patch_embedding.weight", 8),
    ],
)
def test_each_layer_learns_slower_than_the_one_above_it(
    tiny: BlipForConditionalGeneration, key: str, layers_above: int
) -> None:
    groups = param_groups(tiny.named_parameters(), 0.5, split_weight_decay=False)
    assert found(tiny, key, groups)[LR_SCALE] == 0.5**layers_above


@pytest.mark.parametrize(
    ("key", "decays"),
    [
        ("vision_model.embeddings.class_embedding", False),
        ("vision_model.embeddings.position_embedding", False),
        ("vision_model.embeddings.patch_embedding.weight", True),
        ("vision_model.encoder.layers.3.layer_norm1.weight", False),
        ("vision_model.encoder.layers.3.self_attn.qkv.weight", True),
        ("text_decoder.bert.embeddings.word_embeddings.weight", False),
        ("text_decoder.bert.encoder.layer.0.output.dense.bias", False),
        ("text_decoder.bert.encoder.layer.0.output.dense.weight", True),
    ],
)
def test_biases_norms_and_embeddings_do_not_decay(
    tiny: BlipForConditionalGeneration, key: str, decays: bool
) -> None:
    groups = param_groups(tiny.named_parameters(), 1.0, split_weight_decay=True)
    assert len(groups) == 2
    assert ("weight_decay" not in found(tiny, key, groups)) == decays


def test_each_weight_is_in_one_group(tiny: BlipForConditionalGeneration) -> None:
    groups = param_groups(tiny.named_parameters(), 0.7, split_weight_decay=True)
    members = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(members) == sorted(id(weight) for weight in tiny.parameters())


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("settings", [{}, {"freeze_vision": True}, {"lora_rank": 2}])
def test_rates_follow_the_schedule_in_the_same_proportion(
    make_captioner: MakeCaptioner, kind: Any, settings: dict[str, Any]
) -> None:
    if "lora_rank" in settings:
        pytest.importorskip("peft")
    captioner = make_captioner(
        optimizer=partial(kind, lr=0.1, weight_decay=0.01),
        scheduler=lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 1 - step / steps
        ),
        layer_decay=0.5,
        split_weight_decay=True,
        **settings,
    )
    at = AtStep()  # Lightning keeps a weak reference
    captioner.trainer = at
    made = captioner.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    optimizer.step()
    schedule.step()
    rates = [group["lr"] for group in optimizer.param_groups]
    scales = [group[LR_SCALE] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.09 * scale for scale in scales])
    assert len(set(rates)) > 1
    trained = [weight for weight in captioner.parameters() if weight.requires_grad]
    members = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert {id(weight) for weight in members} == {id(weight) for weight in trained}


def test_without_either_all_weights_are_one_group_in_their_order(
    make_captioner: MakeCaptioner,
) -> None:
    captioner = make_captioner()
    (group,) = captioner.configure_optimizers().param_groups
    assert LR_SCALE not in group
    assert [id(weight) for weight in group["params"]] == [id(w) for w in captioner.parameters()]


@pytest.mark.parametrize("layer_decay", [0.0, 1.1, float("nan")])
def test_a_layer_decay_that_does_not_decay_is_refused(
    make_captioner: MakeCaptioner, layer_decay: float
) -> None:
    with pytest.raises(UserError, match=r"captioner\.layer_decay=.*expected above 0, at most 1"):
        make_captioner(layer_decay=layer_decay)
