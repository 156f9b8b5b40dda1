"""What of a config decides the outcome: two runs that agree in it are the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blippose.json_text import without_nan
from blippose.spelling import spelled

# Keys that do not change what comes out. A name ending in a dot stands for all below it.
_NOT_IDENTITY = (
    "name",
    "runs",
    "debug",
    "dry_run",
    "keep_last",
    "checkpoint.",
    "logger",
    "logger.",
    "data.cache",
    "data.num_workers",
    "trainer.enable_progress_bar",
)
# Keys that configs have gained, with what there was before: a run without one is a run of that.
_GAINED = {"captioner.patch_cells": 1, "data.close_up": None, "decoding.close_up": False}
_DECODING = "blippose.decoding"  # package of the ways that conf/decoding/ has choices of
# What each file of conf/decoding gives, but that of the default.
_GIVEN = {"refine": 0, "expectation": False, "test_views": 1, "close_up": False}


def config_hash(config: Mapping[str, Any]) -> str:
    """sha256 of what decides the outcome in `config`."""
    canonical = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys and values that decide the outcome.

    >>> identity({"name": "a", "data": {"batch_size": 2, "num_workers": 4}})
    {'data.batch_size': 2}
    """
    free = [*_NOT_IDENTITY, *(["data.root"] if _is_drawn(config) else [])]
    # An infinity is null on disk.
    decides = {k: without_nan(value) for k, value in flatten(config) if not _is_free(k, free)}
    if decides.get("decoding.flip_test") is False:  # as earlier versions said it
        del decides["decoding.flip_test"]
        decides["decoding.test_views"] = 1
    for key, before in _GAINED.items():
        if key in decides and decides[key] == before:
            del decides[key]
    return decides


def first_weights(config: Mapping[str, Any]) -> str | None:
    """What a run began with: `init_from` comes over the model's own weights."""
    weights = config.get("init_from") or (config.get("model") or {}).get("weights")
    return None if weights is None else str(weights)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two configs, of what decides the outcome.

    >>> difference({"data": {"batch_size": 2}, "seed": 0}, {"data": {"batch_size": 4}, "seed": 0})
    ['data.batch_size: 2 -> 4']
    """
    before, after = identity(old), identity(new)
    return [
        f"{key}: {spelled(_value(before, key))} -> {spelled(_value(after, key))}"
        for key in sorted(before.keys() | after.keys())
        if _value(before, key) != _value(after, key)
    ]


def words_of_decoding(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The words by which `new` would be `old`, where they differ in `decoding` alone.

    As a default may be another by now. None of somebody else's way, and of one that lacks keys of
    today's.
    """
    was, now = old.get("decoding"), new.get("decoding")
    is_alone = all(change.startswith("decoding.") for change in difference(old, new))
    if not was or not now or not is_alone:
        return None
    lacks = {f"decoding.{key}" for key in now.keys() - was.keys()}
    if lacks - _GAINED.keys() - {"decoding.refine"}:
        return None
    package, _, way = str(was["_target_"]).rpartition(".")
    if package != _DECODING:
        return None
    given = {"_target_": was["_target_"]} | _GIVEN
    own = {key: value for key, value in was.items() if value != given.get(key)}
    return " ".join(
        [f"decoding={way.lower()}", *(f"decoding.{key}={spelled(own[key])}" for key in own)]
    )


def _value(decides: Mapping[str, Any], key: str) -> Any:
    return decides.get(key, _GAINED.get(key, "(absent)"))


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; an empty mapping is a value."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_drawn(config: Mapping[str, Any]) -> bool:
    """Whether its persons are drawn: who they are says `data.synthetic`, wherever they lie."""
    data = config.get("data")
    return isinstance(data, Mapping) and data.get("synthetic") is not None


def _is_free(key: str, free: Sequence[str]) -> bool:
    return any(key.startswith(each) if each.endswith(".") else key == each for each in free)
