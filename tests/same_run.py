"""Two runs that must be one: to the byte, and in all that a run would go on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from blippose import checkpoint_files
from blippose.runs import BEST, LAST


def assert_same(run: Path, other: Path) -> None:
    """Results, history, pictures and weights to the byte; optimizer, schedule and draws equal."""
    results = [json.loads((folder / "run.json").read_text())["results"] for folder in (run, other)]
    assert results[0] == results[1]
    for name in ("metrics.csv", BEST, "samples.png"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    last, other_last = (checkpoint_files.read(folder / LAST) for folder in (run, other))
    kept = ("state_dict", "callbacks", "optimizer_states", "lr_schedulers", "resume", "epoch")
    for key in kept:
        assert plain(last[key]) == plain(other_last[key]), key


def plain(value: Any) -> Any:
    """Comparable by ==, with every bit of tensors, and of NaN."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        # The run's own number, and what rich and beartype draw from when they like.
        left_out = ("config_hash", "python")
        return {key: plain(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, float) else value
