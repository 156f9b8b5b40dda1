"""What of a config decides the outcome: two runs that agree in it are the same run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

_SMALL, _LARGE = 1e-3, 1e6  # from these on a number is written with an exponent

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
    return {key: value for key, value in flatten(config) if not _is_free(key)}


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


def spelled(value: Any) -> str:
    """A value as one types it; a number is read back as the same, a float as a float.

    >>> [spelled(value) for value in (5e-06, 0.0001, 0.00125, 0.01, 16, 1.0, 2e6, None, True)]
    ['5e-6', '1e-4', '0.00125', '0.01', '16', '1.0', '2e6', 'null', 'true']
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if value == 0 or _SMALL < abs(value) < _LARGE:
        return repr(value)
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; an empty mapping is a value."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_free(key: str) -> bool:
    return any(
        key.startswith(free) if free.endswith(".") else key == free for free in _NOT_IDENTITY
    )
