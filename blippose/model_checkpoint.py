"""A checkpoint of blippose as a model: weights, tokenizer and what it is, without its training.

Only weights, numbers and text are read; no code in the file is run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

from blippose.blip import load_tokenizer
from blippose.calibration import Calibration, load_calibrations
from blippose.checkpoint_files import damage
from blippose.decoding import Decoding, from_config
from blippose.errors import UserError, first_line
from blippose.frame_file import Stated, decoding_of, frame_of
from blippose.lineage import Lineage
from blippose.lora import merged
from blippose.own_layers import with_own_layers
from blippose.runs import RECORD, Run, checkpoint_file


def load_checkpoint(path: Path, file: BinaryIO | None = None) -> dict[str, Any]:
    """What a checkpoint that blippose wrote holds, on the CPU; no code in it is run.

    Args:
        path: of the file.
        file: the same, where it is open already.

    Raises:
        UserError: there is no such file, it is damaged, or another program's.
    """
    archive = file or checkpoint_file(path)
    try:
        checkpoint = torch.load(archive, map_location="cpu", weights_only=True)
    # A damaged pickle can raise almost anything.
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as a checkpoint: {_damage(path)}; copy it again, or train "
            "again"
        ) from error
    if not isinstance(checkpoint, dict) or not {"blippose", "state_dict"} <= checkpoint.keys():
        raise UserError(
            f"{path}: not a checkpoint of blippose (it has no record of its frame and "
            "tokenizer); name one that `blippose train` wrote, such as RUN/best.ckpt"
        )
    return checkpoint


def model_in(
    checkpoint: Mapping[str, Any], path: Path, calibrations: Sequence[Calibration] = ()
) -> tuple[BlipForConditionalGeneration, BertTokenizer, Stated]:
    """The model in what `load_checkpoint` read from `path`, its tokenizer, and what it is.

    Raises:
        UserError: it is another program's.
    """
    try:
        record = checkpoint["blippose"]
        frame, lineage = frame_of(record["frame"]), Lineage.of(record)
        config = BlipConfig.from_dict(json.loads(record["blip_config"]))
        blip = with_own_layers(BlipForConditionalGeneration(config))
        blip.load_state_dict(_blip_weights(checkpoint["state_dict"]))
        tokenizer = _tokenizer(record["tokenizer"])
    # What another program put there can fail in any of these steps, in any way.
    except Exception as error:
        raise UserError(
            f"{path}: not a checkpoint of blippose ({first_line(error)}); name one that "
            "`blippose train` wrote, such as RUN/best.ckpt"
        ) from error
    decoding = _validated_by(record, path)
    stated = Stated(frame, lineage.synthetic, decoding, tuple(calibrations), lineage.taught)
    return blip, tokenizer, stated


def run_beside(checkpoint: Path) -> dict[str, Any]:
    """The record of the run whose folder holds a checkpoint; empty where there is none.

    Raises:
        UserError: it cannot be read.
    """
    folder = checkpoint.parent
    return Run.read(folder).record if (folder / RECORD).is_file() else {}


def calibrations_beside(checkpoint: Path) -> tuple[Calibration, ...]:
    """Those in a checkpoint's folder that are of this very file, not of an earlier one."""
    found = load_calibrations(checkpoint.parent)
    if not found:
        return ()
    sha256 = checkpoint_sha256(checkpoint)
    return tuple(each for each in found if each.checkpoint_sha256 == sha256)


def checkpoint_sha256(path: Path) -> str:
    """The hash of a checkpoint's file, which tells it from all others."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _validated_by(record: Mapping[str, Any], path: Path) -> Decoding | None:
    """How the model was decoded when it was validated; None where nothing says so.

    Checkpoints of versions before 2026-11-28 leave that to the config of their run.
    """
    try:
        if (said := decoding_of(record)) is not None:
            return said
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    decoding = run_beside(path).get("config", {}).get("decoding")
    try:
        return None if decoding is None else from_config(decoding)
    except UserError as error:
        raise UserError(f"{path.with_name(RECORD)}: {error}") from error


def _damage(path: Path) -> str:
    """Why torch refuses a file, in fewer words than its own."""
    return damage(path) or "it holds what is no weight, number or text, and could be code"


def _blip_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's own weights, without heads that only training needs; LoRA's added to them."""
    return {
        key.removeprefix("blip."): weight
        for key, weight in merged(state_dict).items()
        if key.startswith("blip.")
    }


def _tokenizer(serialized: str) -> BertTokenizer:
    # Only a folder gives BertTokenizer its special tokens right; see blip.load_tokenizer.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.json").write_text(serialized, encoding="utf-8")
        return load_tokenizer(folder)
