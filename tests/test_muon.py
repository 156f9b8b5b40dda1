"""Muon on the matrices of layers, AdamW on the rest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from blippose.model import PoseCaptioner
from blippose.muon import IS_MATRIX, Muon, orthogonal

MakeCaptioner = Callable[..., PoseCaptioner]


def grouped(matrix: nn.Parameter, *others: nn.Parameter) -> list[dict[str, Any]]:
    return [{"params": list(others)}, {"params": [matrix], IS_MATRIX: True}]


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
    steps(Muon([{"params": ours, IS_MATRIX: True}], lr=0.02, weight_decay=0.1), *ours, last=3)
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


@pytest.mark.parametrize("shape", [(192, 768), (768, 192), (64, 96)])
def test_singular_values_are_brought_together(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = (
        torch.randn(2, *shape, generator=generator) * torch.tensor([1e-6, 1e3])[:, None, None]
    )
    before, after = (torch.linalg.svdvals(each) for each in (matrices, orthogonal(matrices)))
    assert (before.amax(-1) / before.amin(-1)).min() > 2.5
    assert after.min() > 0.6
    assert after.max() < 1.25


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


def test_a_matrix_steps_as_far_as_adamw_would() -> None:
    matrix = nn.Parameter(torch.zeros(192, 768))
    optimizer = Muon([{"params": [matrix], IS_MATRIX: True}], lr=1e-3, weight_decay=0.0)
    steps(optimizer, matrix, last=1)
    assert matrix.detach().square().mean().sqrt() == pytest.approx(0.2e-3, rel=0.15)


def test_groups_that_come_later_are_divided_alike() -> None:
    matrix, other, third = weights_of()
    optimizer = Muon([other, third])
    optimizer.add_param_group({"params": [matrix], IS_MATRIX: True})
    steps(optimizer, matrix, other, third, last=1)
    assert "momentum_buffer" in optimizer.state[matrix]
    assert "exp_avg" in optimizer.state[other]


def test_a_group_of_matrices_takes_nothing_else() -> None:
    with pytest.raises(ValueError, match="shape \\(3,\\), expected two dimensions"):
        Muon([{"params": [nn.Parameter(torch.zeros(3))], IS_MATRIX: True}])


@pytest.mark.parametrize("make", [partial(Muon, lr=1e-3), lambda weights: Muon(weights, lr=1e-3)])
def test_the_captioner_tells_it_the_matrices_of_layers(
    make_captioner: MakeCaptioner, make: Callable[[Any], Muon]
) -> None:
    captioner = make_captioner(optimizer=make)
    optimizer = captioner.configure_optimizers()
    matrices = {
        id(weight)
        for group in optimizer.param_groups
        if group[IS_MATRIX]
        for weight in group["params"]
    }
    names = {name for name, weight in captioner.named_parameters() if id(weight) in matrices}
    assert "blip.vision_model.encoder.layers.0.self_attn.qkv.weight" in names
    assert "blip.text_decoder.bert.encoder.layer.0.crossattention.self.key.weight" in names
    assert not [name for name in names if "embedding" in name or ".layer" not in name]
    rest = {name for name, weight in captioner.named_parameters() if weight.ndim == 2} - names
    assert not [name for name in rest if ".layer" in name]
