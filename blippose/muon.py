"""Muon for the matrices of layers, AdamW for all other weights: one optimizer with one schedule.

Muon brings the singular values of a matrix's momentum together before it steps along it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

NUM_MATRICES = "num_matrices"  # a group's key: how many each weight holds; 0: it is AdamW's
_QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at 0, so that 1 becomes 0.7 to 1.2
_NUM_ITERATIONS = 5
_STEP = 0.2  # root mean square of AdamW's steps at a rate of 1, once they have a direction
_MOST_AT_ONCE = 2**22  # numbers of equal matrices, so that base's hundred take 50 MB and not 1 GB


class Muon(Optimizer):
    """Muon on groups of matrices, `torch.optim.AdamW` on the others.

    The captioner tells the groups apart, as it knows its weights by name; weights without groups
    are AdamW's. A matrix's step is about as long as AdamW's at the same rate, so that both share
    `lr`, its schedule and `weight_decay`. It is `torch.optim.Muon` with
    `adjust_lr_fn="match_rms_adamw"`, for equal matrices at once, and in float32 on a processor,
    where bfloat16 may take many times as long. A step costs products of its own, whatever the
    batch: as many as 5 samples of the tiny model, or 8 of BLIP base.

    Args:
        params: weights, or groups of them. Those of a group with `num_matrices` above 0 are of two
            dimensions, and so many matrices on each other, as queries, keys and values are.
        lr: learning rate.
        betas: of AdamW's averages.
        eps: of AdamW's division.
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
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        fused: bool | None = True,
    ) -> None:
        shared = {"lr": lr, "weight_decay": weight_decay, NUM_MATRICES: 0}
        adamw = {"betas": tuple(betas), "eps": eps, "fused": fused}
        super().__init__(params, {**shared, **adamw, "momentum": momentum})
        self._share()

    def _share(self) -> None:
        """Give AdamW its groups and this one's state, so that `state_dict` holds both."""
        keys = ("lr", "betas", "eps", "weight_decay", "fused")  # as arguments AdamW checks them
        self._adamw = [
            AdamW([group], **{key: group[key] for key in keys})
            for group in self.param_groups
            if not group[NUM_MATRICES]
        ]
        for part in self._adamw:
            part.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take groups and state, as `load_state_dict` and a copy do."""
        super().__setstate__(state)
        self._share()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from another's state.

        Raises:
            ValueError: it is that of another kind of optimizer, or of other groups.
        """
        if not all(NUM_MATRICES in group for group in state_dict["param_groups"]):
            raise ValueError("the state of another optimizer than Muon")
        super().load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it does not set is the constructor's.

        Raises:
            ValueError: a value out of its range, or matrices of other than two dimensions.
        """
        super().add_param_group(param_group)
        try:
            _check(self.param_groups[-1])
            if hasattr(self, "_adamw"):  # not while the first ones are added
                self._share()
        except ValueError:
            del self.param_groups[-1]
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all weights, after `closure`, whose value it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group[NUM_MATRICES]:
                for weights in _equal([w for w in group["params"] if w.grad is not None]):
                    self._step(weights, group)
        for part in self._adamw:
            part.step()
        return loss

    def _step(self, weights: Sequence[nn.Parameter], group: Mapping[str, Any]) -> None:
        """Move weights of one shape."""
        ahead = torch.stack([self._nesterov(weight, group["momentum"]) for weight in weights])
        matrices = ahead.reshape(len(weights) * group[NUM_MATRICES], -1, ahead.shape[-1])
        dtype = torch.float32 if ahead.device.type == "cpu" else torch.bfloat16
        steps = orthogonal(matrices.to(dtype)).to(ahead.dtype).reshape(ahead.shape)
        lr = group["lr"]
        length = _STEP * math.sqrt(max(matrices.shape[-2:]))
        for weight, step in zip(weights, steps, strict=True):
            weight.mul_(1 - lr * group["weight_decay"]).add_(step, alpha=-lr * length)

    def _nesterov(self, weight: nn.Parameter, momentum: float) -> Tensor:
        """The momentum as the next gradient would find it, after this one was taken up."""
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum_buffer"], momentum)


def orthogonal(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Each matrix with singular values of 0.7 to 1.2 where they were above .002 of its norm.

    Smaller ones grow by the five iterations' 485, at most.

    Source: Jordan et al. 2024, a quintic Newton-Schulz.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def _equal(weights: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Weights that can be stacked, some at a time."""

    def kind(weight: nn.Parameter) -> tuple[str, ...]:
        return str(tuple(weight.shape)), str(weight.dtype), str(weight.device)

    for _, found in itertools.groupby(sorted(weights, key=kind), key=kind):
        equal = list(found)
        most = max(1, _MOST_AT_ONCE // equal[0].numel())
        yield from (equal[first : first + most] for first in range(0, len(equal), most))


def _check(group: Mapping[str, Any]) -> None:
    """Refuse what torch's two would, in their words."""
    ranges = {
        "learning rate": (group["lr"], math.inf),
        "weight_decay value": (group["weight_decay"], math.inf),
        "momentum value": (group["momentum"], 1.0),
    }
    for name, (value, end) in ranges.items():
        if not 0 <= value < end:
            raise ValueError(f"Invalid {name}: {value}")
    shapes = [tuple(weight.shape) for weight in group["params"]] if group[NUM_MATRICES] else []
    if other := [s for s in shapes if len(s) != 2 or s[0] % group[NUM_MATRICES]]:
        raise ValueError(f"a weight of shape {other[0]} is not {group[NUM_MATRICES]} matrices")
