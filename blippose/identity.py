"""What of a config decides the outcome: two runs that agree in it are the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
    return {key: value for key, value in flatten(config) if not _is_free(key, free)}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two configs, of what decides the outcome.

    >>> difference({"data": {"batch_size": 2}, "seed": 0}, {"data": {"batch_size": 4}, "seed": 0})
    ['data.batch_size: 2 -> 4']
    """
    before, after = identity(old), identity(new)
    absent = "(absent)"
    return [
        f"{key}: {spelled(before.get(key, absent))} -> {spelled(after.get(key, absent))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, absent) != after.get(key, absent)
    ]


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
