"""Which weights learn slower, and which do not decay: the optimizer's parameter groups.

Depth runs through the vision tower and on through the text decoder, which looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from blippose.muon import NUM_MATRICES, Muon

LR_SCALE = "lr_scale"  # a group's key, as timm has it
_VISION, _TEXT = r"\bvision_model\.", r"\btext_decoder\."


def make_optimizer(
    make: Callable[[Any], Optimizer],
    named: Sequence[tuple[str, nn.Parameter]],
    layer_decay: float,
    split_weight_decay: bool,
) -> Optimizer:
    """An optimizer over weights, or over groups of them where it or a setting asks for groups.

    Args:
        make: from parameters, or groups of them, to an optimizer.
        named: see `param_groups`.
        layer_decay: see `param_groups`.
        split_weight_decay: see `param_groups`.
    """
    is_whole = layer_decay == 1 and not split_weight_decay
    groups = partial(param_groups, named, layer_decay, split_weight_decay)
    optimizer = make(weight for _, weight in named) if is_whole else make(groups())
    if isinstance(optimizer, Muon):
        optimizer = make(groups(split_matrices=True))
    for group in optimizer.param_groups:  # before a schedule has its rate
        group["lr"] *= group.get(LR_SCALE, 1.0)
    return optimizer


def param_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    layer_decay: float,
    split_weight_decay: bool,
    split_matrices: bool = False,
) -> list[dict[str, Any]]:
    """Groups of weights that share a learning rate and a decay, those of the highest rate first.

    With 4 + 2 layers and `layer_decay` d, the decoder's head has the scale 1, its last layer d,
    its first d^2, its embeddings and the vision tower's last norm d^3, the tower's last layer d^4,
    its embeddings d^8.

    Args:
        named: weights of the captioner that are trained, by name.
        layer_decay: factor of the learning rate from each layer to the one below it.
        split_weight_decay: biases, norms, tokens and positions do not decay.
        split_matrices: matrices of layers have groups of their own, which say by `num_matrices`
            how many stand on each other in a weight: 3 where queries, keys and values do.

    Source: Bao et al. 2022 (BEiT), section 3.3 and its code's `optim_factory.py`.
    """
    named = list(named)
    depth = _Depth([name for name, _ in named])
    members: dict[tuple[int, bool, int], list[nn.Parameter]] = {}
    for name, weight in named:
        height = depth.top - depth(name) if layer_decay != 1 else 0
        decays = not split_weight_decay or _decays(name, weight)
        matrices = _num_matrices(name, weight) if split_matrices else 0
        members.setdefault((height, not decays, matrices), []).append(weight)
    highest_first = sorted(members.items(), key=lambda item: item[0])
    return [
        {"params": weights, LR_SCALE: layer_decay**height}
        | ({"weight_decay": 0.0} if is_exempt else {})
        | ({NUM_MATRICES: matrices} if matrices else {})
        for (height, is_exempt, matrices), weights in highest_first
    ]


def _num_matrices(name: str, weight: nn.Parameter) -> int:
    is_hidden = _layer(name) is not None or ".predictions.transform." in name
    if weight.ndim != 2 or not is_hidden:
        return 0
    return 3 if name.endswith((".qkv.weight", ".qkv.lora_B.default.weight")) else 1


def _decays(name: str, weight: nn.Parameter) -> bool:
    is_table = re.search(r"(class|position|word)_embedding", name)
    return weight.ndim > 1 and not is_table


class _Depth:
    """How many layers lie below a weight, of a model that has weights of these names."""

    def __init__(self, names: list[str]) -> None:
        self._num_vision = _num_layers(names, _VISION)
        self.top = self._num_vision + _num_layers(names, _TEXT) + 2

    def __call__(self, name: str) -> int:
        layer = _layer(name)
        if re.search(_VISION, name):
            if layer is not None:
                return layer + 1
            return 0 if "embeddings." in name else self._num_vision + 1
        if layer is not None:
            return self._num_vision + layer + 2
        return self._num_vision + 1 if "bert.embeddings." in name else self.top


def _layer(name: str) -> int | None:
    found = re.search(r"\.layers?\.(\d+)\.", name)
    return int(found[1]) if found else None


def _num_layers(names: list[str], tower: str) -> int:
    layers = [_layer(name) for name in names if re.search(tower, name)]
    return max((layer + 1 for layer in layers if layer is not None), default=0)
