"""What is cheap to compute and large to keep is computed again in the backward pass.

Every number is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


# Plain types, as in `sdpa.attend`.
def projected(project: nn.Module, cheap: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """`project(cheap(states))`, of which training keeps `states` and not `cheap(states)`.

    A linear layer with frozen weights keeps nothing, and one with LoRA would multiply again: they
    do as torch does. So does a GPU, whose small batches wait for launches as it is, and a
    compiler, which decides by itself what it computes again.

    Args:
        project: a linear layer.
        cheap: a module or function without chance in it.
        states: float[..., width].
    """

    def forward(states: Tensor) -> Tensor:
        product: Tensor = project(cheap(states))
        return product

    weights = list(project.parameters())
    keeps = torch.is_grad_enabled() and bool(weights) and all(w.requires_grad for w in weights)
    if not keeps or states.device.type != "cpu" or torch.compiler.is_compiling():
        return forward(states)
    # The backward pass runs `forward` until it has what the product kept, and not the product.
    again: Tensor = checkpoint(forward, states, use_reentrant=False, preserve_rng_state=False)
    return again
