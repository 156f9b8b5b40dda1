"""The cells that a sweep's own record asks for and that have no run yet.

sweep.json names each cell and the values of the keys that were swept, as they were written on the
command line: `optimizer: adamw`. What else such a value brings is read off a run that has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blippose.identity import identity

RECORD = "sweep.json"  # blippose.sweep writes it, and imports this package


def planned(folder: Path) -> dict[str, dict[str, Any]]:
    """Swept values by the cell's name; empty without a record that can be read."""
    try:
        cells = json.loads((folder / RECORD).read_text(encoding="utf-8"))["cells"]
        return {str(cell["name"]): dict(cell["values"]) for cell in cells}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def settings_of_missing(
    plan: Mapping[str, Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Dotted settings of each planned cell that has no config, as its run would record them."""
    flat = {name: identity(config) for name, config in configs.items() if name in plan and config}
    template = next(iter(flat.values()), {})
    return {
        name: _settings(values, template, plan, flat)
        for name, values in plan.items()
        if name not in flat
    }


def _settings(
    values: Mapping[str, Any],
    template: Mapping[str, Any],
    plan: Mapping[str, Mapping[str, Any]],
    flat: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    # A choice that is no key of the config, as experiment=best, is known by a run that made it.
    foreign = {k for k in values if not any(_below(k, own) for own in flat.values())}
    alike = (
        own for name, own in flat.items() if all(plan[name].get(k) == values[k] for k in foreign)
    )
    settings = dict(next(alike, template))
    for key in sorted(values.keys() - foreign, key=lambda key: key.count(".")):  # groups first
        donors = [own for name, own in flat.items() if plan[name].get(key) == values[key]]
        new = _below(key, donors[0]) if donors else {key: values[key]}
        copies = _copies(key, settings, flat.values())
        settings = {k: v for k, v in settings.items() if k not in _below(key, settings)}
        settings |= new | dict.fromkeys(copies, new.get(key))
    return settings


def _below(key: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k == key or k.startswith(f"{key}.")}


def _copies(
    key: str, settings: Mapping[str, Any], runs: Iterable[Mapping[str, Any]]
) -> Sequence[str]:
    """Keys that follow this one in every run, as captioner.seed follows seed."""
    if key not in settings:
        return []
    end, every = f".{key.rpartition('.')[2]}", list(runs)
    follow = [k for k in settings if k.endswith(end) and k != key]
    return [k for k in follow if all(own.get(k) == own.get(key) for own in every)]
