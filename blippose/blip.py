"""BLIP and its tokenizer, loaded right: from the hub, a folder, the shipped tiny one, or random.

The traps it closes are listed in the README under "BLIP's traps". Knows nothing of poses.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
from transformers.utils import logging as transformers_logging

from blippose.errors import UserError, first_line
from blippose.own_layers import with_own_layers
from blippose.weights_config import misfit, quieten_hub

TINY = Path(__file__).parent / "blip_tiny"
_SETTINGS = ("*.json", "*.txt")  # a hub's repository holds the same weights in other formats too,
_ASIDE = "*/*"  # and in folders other models
_WEIGHTS, _OLD_WEIGHTS = "*.safetensors", "*.bin"


def load_blip(
    weights: str, architecture: Mapping[str, Mapping[str, Any]] | None = None
) -> BlipForConditionalGeneration:
    """BLIP in float32, with layers of ours.

    Args:
        weights: "tiny" (shipped with blippose), "random", a folder, or a name on the hub.
        architecture: `vision` and `text` settings of `BlipConfig`, for random weights; for given
            weights what they must have, as the released ones quietly work with a wrong number
            of heads.

    Raises:
        UserError: weights that cannot be loaded, or that have another architecture.
    """
    if weights == "random":
        if architecture is None:
            raise UserError("random weights need model.architecture: its vision and text settings")
        return _random_blip(architecture)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated
    quieten_hub()
    try:
        loaded: Any = BlipForConditionalGeneration.from_pretrained(
            _folder(weights, _WEIGHTS), dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"cannot load BLIP weights from {weights!r}: expected a Hugging Face folder or a hub "
            f"name within reach ({first_line(error)}); set model.weights=FOLDER (predict: "
            "weights=FOLDER)"
        ) from error
    blip, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"BLIP weights {weights!r} lack {len(missing)} tensors, the first {missing[0]}: they "
            "would be random; expected weights of BlipForConditionalGeneration that fit their "
            "config.json"
        )
    _check_architecture(blip.config, architecture or {}, weights)
    return with_own_layers(blip)


def load_tokenizer(name: str) -> BertTokenizer:
    """BLIP's tokenizer, with [DEC] as the token that starts a caption.

    A plain BERT vocabulary gets [DEC] and [ENC] added at its end, where BLIP has them.

    Raises:
        UserError: no tokenizer there. (`BertTokenizer(vocab_file=...)` would silently read
            everything as [UNK]; only a folder with tokenizer.json is right.)
    """
    quieten_hub()
    try:
        tokenizer = BertTokenizer.from_pretrained(_folder(name))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load a tokenizer from {name!r}: expected a folder with tokenizer.json or a "
            f"hub name within reach ({first_line(error)}); set model.tokenizer=FOLDER"
        ) from error
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    if tokenizer.tokenize("ankle")[0] == tokenizer.unk_token:
        raise UserError(f"the tokenizer in {name!r} knows no words: tokenizer.json is missing")
    return cast(BertTokenizer, tokenizer)


def _folder(name: str, *patterns: str) -> str:
    path = Path(os.path.expanduser(name))  # noqa: PTH111  Path's raises where there is no such user
    if name.startswith((".", "/", "~")) and not path.is_dir():  # the hub has no such names
        raise UserError(f"cannot load a model from {name!r}: no such folder")
    if name == "tiny":
        return str(TINY)
    return path.as_posix() if path.is_dir() else _from_hub(name, *patterns)


def _from_hub(name: str, *patterns: str) -> str:
    """The folder in the hub's cache, with what it lacks fetched.

    It asks the hub for all files at once, where transformers asks for each, and again and again if
    the hub is out of reach: minutes, before a message.

    Raises:
        OSError: the hub is out of reach, or has no such model.
    """
    fetch = partial(snapshot_download, name, ignore_patterns=_ASIDE)
    try:
        folder = Path(fetch(allow_patterns=[*_SETTINGS, *patterns]))
        if _WEIGHTS in patterns and not any(folder.glob(_WEIGHTS)):
            fetch(allow_patterns=[*_SETTINGS, _OLD_WEIGHTS])
            if not any(folder.glob(_OLD_WEIGHTS)):
                raise OSError("it has no weights, or cannot be reached for them")
    except (OSError, ValueError):
        raise
    except Exception as error:
        # A connection that broke: of the HTTP client's own kind, whichever that is.
        raise OSError(first_line(error)) from error
    return str(folder)


def _random_blip(
    architecture: Mapping[str, Mapping[str, Any]],
) -> BlipForConditionalGeneration:
    # The class default of 1e-10 leaves a vision tower that never sees the image.
    vision = {"initializer_range": 0.02, **architecture["vision"]}
    config = BlipConfig(vision_config=vision, text_config=dict(architecture["text"]))
    try:
        return with_own_layers(BlipForConditionalGeneration(config))
    except ValueError as error:
        raise UserError(f"model.architecture: {first_line(error)}") from error


def _check_architecture(
    config: BlipConfig, architecture: Mapping[str, Mapping[str, Any]], weights: str
) -> None:
    for part, wanted in architecture.items():
        settings = getattr(config, f"{part}_config")
        found = {key: getattr(settings, key, None) for key in wanted}
        if (key := misfit(found, wanted)) is not None:
            raise UserError(
                f"BLIP weights {weights!r} have {part} {key} = {found[key]}, expected "
                f"{wanted[key]}: use the model= group that fits them, or mend their config.json"
            )
