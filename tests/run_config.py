"""A small config of a run, for tests of what a config decides."""

from __future__ import annotations

from typing import Any

CONFIG: dict[str, Any] = {
    "name": "demo",
    "data": {"batch_size": 2, "num_workers": 0},
    "optimizer": {"lr": 1e-3},
    "logger": {"project": "blippose"},
}


def changed(**values: Any) -> dict[str, Any]:
    """It, with other values."""
    return {**CONFIG, **values}
