"""Low-rank additions to BLIP's attention, trained in place of its weights, by peft.

A checkpoint keeps them apart, as training goes on from them; whoever reads one for a plain BLIP
gets the sum (`merged`) and needs no peft. Source: Hu et al. 2021, section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import BlipForConditionalGeneration

from blippose.errors import UserError

_TARGETS = ["qkv", "query", "key", "value"]  # of the vision tower's attention, and the text's
_BASE, _DOWN, _UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"


def add_lora(blip: BlipForConditionalGeneration, rank: int) -> None:
    """Freeze `blip`; queries, keys and values of all attention get an addition of `rank`, yet 0.

    The addition is B A with alpha = rank, so that the learning rate means the same at any rank.

    Raises:
        UserError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415  optional
    except ImportError as error:
        raise UserError(
            f"captioner.lora_rank={rank} needs peft: pip install 'blippose[lora]', or set 0"
        ) from error
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=_TARGETS, bias="none")
    inject_adapter_in_model(config, blip)


def merged(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights and additions as weights alone, under the names that they have without additions."""
    plain = {}
    for key, weight in state_dict.items():
        if key.endswith((_DOWN, _UP)):
            continue
        name = key.replace(_BASE, ".")
        layer = name.removesuffix(".weight")
        if layer + _DOWN in state_dict:
            down, up = state_dict[layer + _DOWN], state_dict[layer + _UP]  # (R, in), (out, R)
            plain[name] = weight + (up.float() @ down.float()).to(weight)
        else:
            plain[name] = weight
    return plain


def beside_lora(plain: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights under the names that they have in `names`, a state with additions."""
    renamed = {name.replace(_BASE, "."): name for name in names}
    return {renamed.get(key, key): weight for key, weight in plain.items()}


def is_addition(key: str) -> bool:
    """Whether a name is that of an addition, which may be missing: it is 0 then."""
    return key.endswith((_DOWN, _UP))
