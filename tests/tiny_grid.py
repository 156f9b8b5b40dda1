"""A grid whose cells take a second: a random BLIP of one layer on a small release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SIDES = ("model.architecture.vision", "model.architecture.text")
LAYER = {"num_hidden_layers": 1, "hidden_size": 24, "intermediate_size": 24}
AXES = {"data.batch_size": [2, 4, 8], "optimizer.lr": [1e-3, 2e-3, 5e-3],
        "optimizer": ["adam", "adamw"]}  # fmt: skip


def settings(release: Path, **others: Any) -> dict[str, Any]:
    """What all cells have in common; `__` in a keyword stands for a dot."""
    small = {f"{side}.{key}": value for side in SIDES for key, value in LAYER.items()}
    data = {"data.root": str(release), "data.synthetic": None, "data.split": "random"}
    return {
        **small,
        **data,
        "model.architecture.vision.image_size": 32,
        "model.architecture.text.encoder_hidden_size": 24,
        "model.weights": "random",
        "model.caption.input_size": 32,
        "trainer.max_epochs": 1,
        "logger": "csv",
        **{key.replace("__", "."): value for key, value in others.items()},
    }


def write(path: Path, axes: Mapping[str, Sequence[Any]], common: Mapping[str, Any]) -> Path:
    """A sweep file; JSON is YAML."""
    path.write_text(json.dumps({"settings": common, "axes": axes}))
    return path


def words(axes: Mapping[str, Sequence[Any]], common: Mapping[str, Any]) -> list[str]:
    """The same for `blippose train -m`."""
    fixed = [f"{key}={'null' if value is None else value}" for key, value in common.items()]
    return [*fixed, *(f"{key}={','.join(map(str, values))}" for key, values in axes.items())]


def states(folder: Path) -> dict[str, str]:
    """Of the runs in a folder, by their names."""
    records = sorted(folder.glob("*/run.json"))
    return {path.parent.name: json.loads(path.read_text())["state"] for path in records}
