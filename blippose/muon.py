"""Muon for the matrices of layers, AdamW for all other weights: one optimizer with one schedule.

Muon makes of a matrix's momentum a step that changes all its directions alike. Weights that know
nothing learn to look in fewer steps by it than by AdamW (docs/recipe.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

IS_MATRIX = "is_matrix"  # a group's key: all its weights are matrices of layers
_QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at 0, at the cost of singular values of 0.7 to 1.2
_NUM_ITERATIONS = 5


class Muon(Optimizer):
    """Muon on groups of matrices, `torch.optim.AdamW` on the others.

    The captioner tells the groups apart, as it knows its weights by name; weights without groups
    are AdamW's. A matrix's step is about as long as AdamW's at the same rate, so that both share
    `lr`, its schedule and `weight_decay`. It is what `torch.optim.Muon` does with
    `adjust_lr_fn="match_rms_adamw"`, for matrices of one shape at once, and on a processor in
    float32: to one without bfloat16 torch's is ten times the work of a step.

    Args:
        params: weights, or groups of them; those with `is_matrix` true are of two dimensions.
        lr: learning rate.
        weight_decay: decoupled from the gradient.
        momentum: of the matrices, as Nesterov's.
        fused: AdamW in one pass over its weights.

    Raises:
        ValueError: a value out of its range, or a group of matrices with other weights.

    Source: Jordan et al. 2024, "Muon"; length of the step: Liu et al. 2025, "Muon is scalable for
    LLM training", section 2.2.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        fused: bool = True,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"Invalid momentum: {momentum}, expected 0 or more and less than 1")
        own = {"momentum": momentum, IS_MATRIX: False}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "fused": fused, **own})
        self._divide()

    def _divide(self) -> None:
        """AdamW over some of the groups and the same state, so that `state_dict` holds both."""
        matrices = {id(group): group for group in self.param_groups if group[IS_MATRIX]}
        shapes = {weight.shape for group in matrices.values() for weight in group["params"]}
        if other := [tuple(shape) for shape in shapes if len(shape) != 2]:
            raise ValueError(f"is_matrix: weights of shape {other[0]}, expected two dimensions")
        self._matrices = list(matrices.values())
        rest = [group for group in self.param_groups if id(group) not in matrices]
        self._adamw = AdamW(rest) if rest else None
        if self._adamw is not None:
            self._adamw.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also how `load_state_dict` ends, which replaces groups and state."""
        super().__setstate__(state)
        self._divide()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's."""
        super().add_param_group(param_group)
        if hasattr(self, "_matrices"):  # not while the first ones are added
            self._divide()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all weights, after `closure`, whose value it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self._matrices:
            learned = [weight for weight in group["params"] if weight.grad is not None]
            for _, alike in itertools.groupby(sorted(learned, key=_shape), key=_shape):
                self._step(list(alike), group)
        if self._adamw is not None:
            self._adamw.step()
        return loss

    def _step(self, weights: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Of matrices of one shape."""
        ahead = torch.stack([self._momentum(weight, group["momentum"]) for weight in weights])
        lr = group["lr"]
        length = 0.2 * math.sqrt(max(ahead.shape[-2:]))  # 0.2: root mean square of AdamW's steps
        for weight, step in zip(weights, orthogonal(ahead).to(ahead.dtype), strict=True):
            weight.mul_(1 - lr * group["weight_decay"]).add_(step, alpha=-lr * length)

    def _momentum(self, weight: nn.Parameter, momentum: float) -> Tensor:
        """The gradient as it would be a step ahead."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight.grad)
        state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum_buffer"], momentum)


def orthogonal(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Each matrix with its singular values brought to 0.7 to 1.2, in bfloat16 on a GPU.

    Source: Jordan et al. 2024: five iterations of a quintic Newton-Schulz.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices
    x = x if x.device.type == "cpu" else x.bfloat16()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def _shape(weight: nn.Parameter) -> tuple[int, ...]:
    return tuple(weight.shape)
