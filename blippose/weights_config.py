"""What can be known of a model before its weights are loaded: from its config.json alone.

In milliseconds, and before images are drawn or cut for it. Knows nothing of torch.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blippose.errors import UserError, first_line

_CONFIG = "config.json"
_GROWS = "vocab_size"  # by location tokens, of which config.json says nothing


def check_weights(model: Mapping[str, Any]) -> None:
    """Refuse a `model` of train.yaml whose weights are not there or do not fit its other keys.

    Raises:
        UserError: no such folder or name on the hub, another architecture than
            `model.architecture`, or an input of another size; a tokenizer that is not there.
    """
    _check_tokenizer(model["tokenizer"])
    weights, size = model["weights"], model["caption"]["input_size"]
    asked = model["architecture"]["vision"]["image_size"]
    if isinstance(size, int) and isinstance(asked, int) and size != asked:
        raise UserError(
            f"model.caption.input_size={size}: BLIP has image_size = {asked}; set "
            f"model.architecture.vision.image_size={size} too, which random weights can have, or "
            "take the model= group that fits"
        )
    if weights in ("random", "tiny") or not isinstance(weights, str):
        return  # the shipped one is compared as it is loaded, at no cost
    _check_architecture(weights, _read(_config_file(weights), weights), model["architecture"])


def misfit(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first setting that weights have otherwise; how random ones are drawn is no matter."""
    keys = (key for key in wanted if key != "initializer_range")
    return next((key for key in keys if found.get(key) != wanted[key]), None)


def _check_tokenizer(name: object) -> None:
    """Of a folder alone; a name is found on the hub or not as it is loaded."""
    if name == "random":
        raise UserError(
            "model.tokenizer=random: words cannot be random; set tiny, a folder or a name on the "
            "hub"
        )
    if isinstance(name, str):
        check_folder(name, "model.tokenizer")


def check_folder(name: str, key: str) -> None:
    """Refuse a path, as no name on the hub looks, at which no folder lies.

    Raises:
        UserError: it names `key`.
    """
    if name.startswith((".", "/", "~")) and not _path(name).is_dir():
        raise UserError(f"{key}={name}: no such folder")


def check_model_folder(name: str, key: str) -> None:
    """The same, and refuse a folder that holds no model in Hugging Face's format.

    Raises:
        UserError: it names `key`.
    """
    if name == "tiny":  # whatever lies here by that name
        return
    check_folder(name, key)
    if _path(name).is_dir() and not (_path(name) / _CONFIG).is_file():
        raise UserError(
            f"{key}={name}: holds no {_CONFIG}; expected a Hugging Face folder, such as "
            "`blippose export` writes"
        )


def _path(name: str) -> Path:
    return Path(os.path.expanduser(name))  # noqa: PTH111  Path's raises where there is no such user


def quieten_hub() -> None:
    """Of a hub out of reach our own line is enough: its client tells each of five retries."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _config_file(weights: str) -> Path:
    """Where config.json lies: in a folder, in the hub's cache, or fetched into it."""
    check_model_folder(weights, "model.weights")
    folder = _path(weights)
    return folder / _CONFIG if folder.is_dir() else _of_hub(weights)


def _of_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache  # noqa: PLC0415  0.2 s
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    quieten_hub()
    try:
        cached = try_to_load_from_cache(name, _CONFIG)
        if isinstance(cached, str):
            return Path(cached)
        print(f"asking the hub for {name} ...", flush=True)  # half a minute where it is away
        return Path(hf_hub_download(name, _CONFIG))
    # The hub's own errors, and its HTTP client's, whichever that is.
    except Exception as error:
        is_away = isinstance(error, LocalEntryNotFoundError)
        why = "the hub is out of reach" if is_away else first_line(error)
        raise UserError(
            f"model.weights={name}: no such folder, and no model from the hub ({why}); set "
            "model.weights=FOLDER, or tiny or random"
        ) from error


def _read(path: Path, weights: str) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.weights={weights}: its {_CONFIG} cannot be read ({first_line(error)})"
        ) from error
    if not isinstance(config, dict) or config.get("model_type", "blip") != "blip":
        kind = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise UserError(f"model.weights={weights}: expected BLIP, got {kind}")
    return config


def _check_architecture(
    weights: str, config: Mapping[str, Any], architecture: Mapping[str, Mapping[str, Any]]
) -> None:
    """Of what config.json says: what it leaves out is compared once the weights are loaded."""
    for part, wanted in architecture.items():
        found = config.get(f"{part}_config") or {}
        told = {key: value for key, value in wanted.items() if key in found and key != _GROWS}
        if (key := misfit(found, told)) is not None:
            raise UserError(
                f"model.weights={weights}: have {part} {key} = {found[key]}, expected {told[key]} "
                f"(model.architecture.{part}.{key}): use the model= group that fits them, or "
                "mend their config.json"
            )
