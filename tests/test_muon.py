"""Muon on the matrices of layers, AdamW on the rest."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from blippose.model import PoseCaptioner
from blippose.muon import NUM_MATRICES, Muon, orthogonal

MakeCaptioner = Callable[..., PoseCaptioner]


def grouped(matrix: nn.Parameter, *others: nn.Parameter) -> list[dict[str, Any]]:
    return [{"params": list(others)}, {"params": [matrix], NUM_MATRICES: 1}]


def weights_of(seed: int = 0) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    """A matrix, and what is none of a layer."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((6, 4), (3, 5), (7,))
    first, second, third = (nn.Parameter(torch.randn(s, generator=generator)) for s in shapes)
    return first, second, third


def steps(
    optimizer: torch.optim.Optimizer, *weights: nn.Parameter, first: int = 0, last: int
) -> None:
    for step in range(first, last):
        for index, weight in enumerate(weights):
            generator = torch.Generator().manual_seed(100 * step + index)
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
def test_matrices_step_as_torchs_muon_but_for_its_bfloat16(shape: tuple[int, int]) -> None:
    ours = [nn.Parameter(torch.ones(shape)), nn.Parameter(torch.ones(shape))]
    theirs = copy.deepcopy(ours)
    steps(Muon([{"params": ours, NUM_MATRICES: 1}], lr=0.02, weight_decay=0.1), *ours, last=3)
    peer = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    steps(peer, *theirs, last=3)
    for own, other in zip(ours, theirs, strict=True):
        assert (own - other).norm() < 0.02 * (other - 1).norm()


def test_the_rest_steps_as_torchs_adamw() -> None:
    ours, theirs = weights_of(), weights_of()
    steps(Muon(grouped(*ours), lr=0.02, weight_decay=0.1), *ours, last=3)
    adamw = torch.optim.AdamW(theirs, lr=0.02, weight_decay=0.1, fused=True)
    steps(adamw, *theirs, last=3)
    assert not torch.equal(ours[0], theirs[0])
    for own, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


def test_queries_keys_and_values_step_apart() -> None:
    """Keys' gradients are often far smaller than values'; together they would hardly move."""
    scale = torch.tensor([0.01, 0.01, 1.0])[:, None, None]
    gradient = (scale * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))).flatten(
        0, 1
    )
    fused = nn.Parameter(torch.zeros(24, 8))
    apart = [nn.Parameter(torch.zeros(8, 8)) for _ in range(3)]
    fused.grad = gradient
    for weight, part in zip(apart, gradient.chunk(3), strict=True):
        weight.grad = part
    Muon([{"params": [fused], NUM_MATRICES: 3}]).step()
    Muon([{"params": apart, NUM_MATRICES: 1}]).step()
    torch.testing.assert_close(fused.detach(), torch.cat([w.detach() for w in apart]))
    lengths = fused.detach().unflatten(0, (3, 8)).norm(dim=(1, 2))
    assert lengths.min() > 0.8 * lengths.max()


def test_matrices_that_do_not_fit_at_once_step_as_if_they_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def moved() -> list[nn.Parameter]:
        weights = [nn.Parameter(torch.ones(6, 4)) for _ in range(5)]
        steps(Muon([{"params": weights, NUM_MATRICES: 1}]), *weights, last=2)
        return weights

    at_once = moved()
    monkeypatch.setattr("blippose.muon._MOST_AT_ONCE", 2 * 6 * 4)
    for own, other in zip(moved(), at_once, strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (48, 48)])
def test_singular_values_are_brought_together(shape: tuple[int, int], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    rank = min(shape)
    left, right = (
        torch.linalg.qr(torch.randn(side, rank, generator=generator))[0] for side in shape
    )
    values = torch.logspace(0, -2, rank)  # the last one .004 of the norm
    matrices = torch.stack([scale * (left * values) @ right.mT for scale in (1e-6, 1e3)])
    after = torch.linalg.svdvals(orthogonal(matrices.to(dtype)).float())
    assert after.min() > 0.6
    assert after.max() < 1.25
    around = (left.mT @ orthogonal(matrices.to(dtype)).float() @ right).diagonal(dim1=1, dim2=2)
    assert around.min() > 0.5  # each direction's own, with its sign


def test_a_matrix_without_a_gradient_stays_as_it_is() -> None:
    matrix, other, third = weights_of()
    before = matrix.detach().clone()
    steps(Muon(grouped(matrix, other, third)), other, last=1)
    assert torch.equal(matrix, before)
    matrix.grad = torch.zeros_like(matrix)
    Muon(grouped(matrix, other, third), weight_decay=0.0).step()
    assert torch.equal(matrix, before)  # and nothing is divided by nothing


@pytest.mark.parametrize("how", ["load_state_dict", "deepcopy"])
def test_going_on_from_its_state_is_going_on(how: str) -> None:
    whole, cut = weights_of(), weights_of()
    steps(Muon(grouped(*whole)), *whole, last=5)

    before = Muon(grouped(*cut))
    steps(before, *cut, last=3)
    if how == "deepcopy":
        cut, after = copy.deepcopy((cut, before))
    else:
        after = Muon(grouped(*cut), lr=0.5, momentum=0.1)  # the state says otherwise
        after.load_state_dict(copy.deepcopy(before.state_dict()))
    steps(after, *cut, first=3, last=5)
    for own, other in zip(cut, whole, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


def test_a_schedule_moves_both_rates_to_the_end() -> None:
    matrix, other, third = weights_of()
    before = [weight.detach().clone() for weight in (matrix, other, third)]
    optimizer = Muon(grouped(matrix, other, third), lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.0)
    steps(optimizer, matrix, other, third, last=2)
    for weight, was in zip((matrix, other, third), before, strict=True):
        assert torch.equal(weight, was)


def test_a_matrix_steps_about_as_far_as_by_adamw() -> None:
    """Once AdamW has a direction; its first step is of every number by the whole rate."""
    ours, theirs = nn.Parameter(torch.zeros(24, 96)), nn.Parameter(torch.zeros(24, 96))
    pairs = (
        (Muon([{"params": [ours], NUM_MATRICES: 1}], lr=1e-3, weight_decay=0.0), ours),
        (torch.optim.AdamW([theirs], lr=1e-3, weight_decay=0.0), theirs),
    )
    lengths = []
    for optimizer, weight in pairs:
        steps(optimizer, weight, last=50)
        before = weight.detach().clone()
        steps(optimizer, weight, first=50, last=51)
        lengths.append(float((weight.detach() - before).square().mean().sqrt()))
    assert lengths[0] == pytest.approx(lengths[1], rel=0.35)


def test_groups_that_come_later_are_divided_alike() -> None:
    matrix, other, third = weights_of()
    optimizer = Muon([other, third])
    optimizer.add_param_group({"params": [matrix], NUM_MATRICES: 1})
    steps(optimizer, matrix, other, third, last=1)
    assert "momentum_buffer" in optimizer.state[matrix]
    assert "exp_avg" in optimizer.state[other]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("shape", [(3,), (4, 2, 2)])
def test_a_group_of_matrices_takes_nothing_else(number: int, shape: tuple[int, ...]) -> None:
    _, other, _ = weights_of()
    bad = {"params": [nn.Parameter(torch.zeros(shape))], NUM_MATRICES: number}
    with pytest.raises(ValueError, match=f"is not {number} matrices"):
        Muon([bad])
    optimizer = Muon([other])
    with pytest.raises(ValueError, match=f"is not {number} matrices"):
        optimizer.add_param_group(bad)
    assert len(optimizer.param_groups) == 1


OUT_OF_RANGE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"lr": -1.0}, "Invalid learning rate: -1.0"),
    ({"lr": math.nan}, "Invalid learning rate: nan"),
    ({"weight_decay": -5.0}, "Invalid weight_decay value: -5.0"),
    ({"momentum": 2.0}, "Invalid momentum value: 2.0"),
)
OUT_OF_ADAMWS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"betas": (0.9, 2.0)}, "Invalid beta parameter at index 1: 2.0"),
    ({"eps": -1.0}, "Invalid epsilon value: -1.0"),
)


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize(
    ("number", "settings", "words"),
    [(0, *each) for each in (*OUT_OF_RANGE, *OUT_OF_ADAMWS)]
    + [(1, *each) for each in OUT_OF_RANGE],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_out_of_range_are_refused_in_torchs_words(
    number: int, settings: dict[str, Any], words: str, in_group: bool
) -> None:
    group = {"params": [nn.Parameter(torch.zeros(2, 2))], NUM_MATRICES: number}
    with pytest.raises(ValueError, match=re.escape(words)):
        Muon([{**group, **settings}]) if in_group else Muon([group], **settings)


def test_the_state_of_another_optimizer_is_refused() -> None:
    matrix, *_ = weights_of()
    state = torch.optim.AdamW([matrix]).state_dict()
    with pytest.raises(ValueError, match="the state of another optimizer than Muon"):
        Muon([{"params": [matrix], NUM_MATRICES: 1}]).load_state_dict(state)


def test_a_scaler_of_float16_takes_its_scale_back_before_a_fused_step() -> None:
    ours, theirs = weights_of(), weights_of()
    optimizer = Muon(grouped(*ours))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for weight in ours:
        weight.grad = 1024.0 * torch.ones_like(weight)
    scaler.scale(torch.ones(()))  # makes its state
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    for weight in theirs:
        weight.grad = torch.ones_like(weight)
    Muon(grouped(*theirs)).step()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


@pytest.mark.parametrize("make", [partial(Muon, lr=1e-3), lambda weights: Muon(weights, lr=1e-3)])
def test_the_captioner_tells_it_the_matrices_of_layers(
    make_captioner: MakeCaptioner, make: Callable[[Any], Muon]
) -> None:
    captioner = make_captioner(optimizer=make, layer_decay=0.5, split_weight_decay=True)
    optimizer = captioner.configure_optimizers()
    names = {id(weight): name for name, weight in captioner.named_parameters()}
    found: dict[int, set[str]] = {}
    for group in optimizer.param_groups:
        told = {names[id(weight)] for weight in group["params"]}
        found.setdefault(group[NUM_MATRICES], set()).update(told)
        assert group["lr"] == pytest.approx(1e-3 * group["lr_scale"])
    assert {re.sub(r"\.\d+\.", ".N.", name) for name in found[3]} == {
        "blip.vision_model.encoder.layers.N.self_attn.qkv.weight"
    }
    assert "blip.text_decoder.bert.encoder.layer.0.crossattention.self.key.weight" in found[1]
    assert "blip.text_decoder.cls.predictions.transform.dense.weight" in found[1]
    matrices = {names[id(w)] for w in captioner.parameters() if w.ndim == 2}
    tables = {"position_embeddings", "word_embeddings"}  # the head is the words' table
    assert {name.split(".")[-2] for name in matrices - found[1] - found[3]} == tables
    assert sum(len(told) for told in found.values()) == len(names)


@pytest.mark.parametrize("settings", [{"freeze_vision": True}, {"lora_rank": 2}])
def test_what_is_frozen_is_not_its_concern(
    make_captioner: MakeCaptioner, settings: dict[str, Any]
) -> None:
    if "lora_rank" in settings:
        pytest.importorskip("peft")
    captioner = make_captioner(optimizer=partial(Muon, lr=1e-3), **settings)
    optimizer = captioner.configure_optimizers()
    trained = [weight for weight in captioner.parameters() if weight.requires_grad]
    members = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert {*map(id, members)} == {*map(id, trained)}
    before = [weight.detach().clone() for weight in trained]
    steps(optimizer, *trained, last=1)
    assert not any(torch.equal(w, was) for w, was in zip(trained, before, strict=True))


def test_additions_to_queries_keys_and_values_step_apart(
    make_captioner: MakeCaptioner,
) -> None:
    pytest.importorskip("peft")
    captioner = make_captioner(optimizer=partial(Muon, lr=1e-3), lora_rank=2)
    names = {id(weight): name for name, weight in captioner.named_parameters()}
    groups = captioner.configure_optimizers().param_groups
    three = [names[id(w)] for g in groups if g[NUM_MATRICES] == 3 for w in g["params"]]
    assert three
    assert all(name.endswith("qkv.lora_B.default.weight") for name in three)
