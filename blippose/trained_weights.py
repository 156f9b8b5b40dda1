"""Weights of a checkpoint, taken into a model that is to be trained or judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from blippose import checkpoint_files
from blippose.errors import UserError, first_line
from blippose.lora import beside_lora, is_addition, merged
from blippose.model import PoseCaptioner
from blippose.runs import checkpoint_file


def load_weights(captioner: PoseCaptioner, path: Path) -> dict[str, Any]:
    """The checkpoint, of which `captioner` takes the weights and nothing else.

    Raises:
        UserError: no checkpoint, or one of another architecture.
    """
    checkpoint = read_checkpoint(path)
    try:
        weights = _without_other_head(_fitting(checkpoint["state_dict"], captioner), captioner)
        missing, unexpected = captioner.load_state_dict(weights, strict=False)
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: not a checkpoint of this model ({first_line(error)})") from error
    for keys, how in ((missing, "is missing"), (unexpected, "has no place here")):
        if of_blip := [k for k in keys if k.startswith("blip.") and not is_addition(k)]:
            raise UserError(f"{path}: not a checkpoint of this model ({of_blip[0]} {how})")
    return dict(checkpoint)


def read_checkpoint(path: Path, *, mmap: bool = False) -> Any:
    """What a checkpoint holds; with `mmap` its tensors stay in the file until they are used.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    try:
        return checkpoint_files.read(checkpoint_file(path), mmap)
    except UserError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        why = checkpoint_files.damage(path) or "it holds what is no weight, number or text"
        raise UserError(
            f"{path}: not a checkpoint of this model ({why}); name one that `blippose train` wrote"
        ) from error


def misfit(captioner: PoseCaptioner, weights: Mapping[str, Tensor]) -> str | None:
    """What speaks against weights for this model, or None."""
    own = {key: weight.shape for key, weight in captioner.state_dict().items()}
    theirs = {key: weight.shape for key, weight in weights.items()}
    other = sorted({key for key, _ in own.items() ^ theirs.items()})
    return f"of another model ({other[0]} differs)" if other else None


def has_patch_head(path: Path) -> bool:
    """Whether the model of a checkpoint was told which patch holds each joint.

    Raises:
        UserError: not a checkpoint of this model.
    """
    return "patch_head.weight" in read_checkpoint(path, mmap=True).get("state_dict", {})


def _without_other_head(
    weights: Mapping[str, Tensor], captioner: PoseCaptioner
) -> Mapping[str, Tensor]:
    """Weights without a head for patches that says it of other cells, which then begins anew."""
    own = captioner.state_dict()
    return {
        key: weight
        for key, weight in weights.items()
        if not key.startswith("patch_head.") or key not in own or weight.shape == own[key].shape
    }


def _fitting(weights: Mapping[str, Tensor], captioner: PoseCaptioner) -> Mapping[str, Tensor]:
    """Weights under the names of `captioner`, with LoRA or without."""
    own = captioner.state_dict()
    shapes = {key: weight.shape for key, weight in weights.items() if is_addition(key)}
    if shapes == {key: weight.shape for key, weight in own.items() if is_addition(key)}:
        return weights
    return beside_lora(merged(weights), own)
