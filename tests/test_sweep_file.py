from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import wandb.sdk.launch.sweeps.utils as wandb_sweeps
import yaml

from blippose.cli.sweep import expanded
from blippose.errors import UserError
from blippose.sweep_file import SweepFile

SWEEPS = Path(__file__).parents[1] / "sweeps"
POSTER = SWEEPS / "poster.yaml"


def read(path: Path, text: str) -> SweepFile:
    path.write_text(text)
    return SweepFile.read(path)


def test_poster_is_the_studys_grid() -> None:
    assert SweepFile.read(POSTER).overrides == [
        "data.batch_size=1,2,4",
        "optimizer.lr=5e-6,2e-5,5e-5",
        "optimizer=adam,adamw",
    ]


def test_values_become_words_that_hydra_reads_as_they_were(tmp_path: Path) -> None:
    text = "settings: {a: null, b: a b, c: [1, x], d: true, e: {f: 1}}\naxes: {g: [null, 'h,i']}"
    words = read(tmp_path / "sweep.yaml", text).overrides
    assert words == ["a=null", "b='a b'", "c=[1,x]", "d=true", "e={f:1}", "g=null,'h,i'"]


WRONG = {
    "text": ("just words", "expected the keys settings and axes"),
    "no YAML": ("axes: [", "not YAML"),
    "unknown key": ("axis: {a: [1]}", "axis: no such key; expected settings and axes"),
    "no axes": ("settings: {a: 1}", "axes: expected keys with lists of values"),
    "a value for values": ("axes: {a: 1}", "axes: a: expected a list of values, got 1"),
    "no values": ("axes: {a: []}", "a: expected a list of values"),
    "no key": ("axes: {'a b': [1]}", "a b: not a key"),
    "twice": ("settings: {a: 1}\naxes: {a: [1, 2]}", "a: stands in settings and in axes"),
    "list of axes": ("axes: [a]", "axes: expected keys with values"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_in_the_file_names_it(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as error:
        read(tmp_path / "sweep.yaml", text)
    assert str(error.value).startswith(str(tmp_path / "sweep.yaml"))


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_is_not_there_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        SweepFile.read(tmp_path / name)


def test_other_words_of_the_command_come_after_the_files() -> None:
    words, axes = expanded([str(POSTER), "data.batch_size=1", "dry_run=true"])
    assert words[0] == "-m"
    assert words[-2:] == ["data.batch_size=1", "dry_run=true"]
    assert axes == ["data.batch_size", "optimizer.lr", "optimizer"]


def test_wandbs_agents_run_the_cells_of_the_poster() -> None:
    """By W&B's own expansion of the command."""
    grid: dict[str, Any] = yaml.safe_load((SWEEPS / "wandb_poster.yaml").read_text())
    values = {key: parameter["values"] for key, parameter in grid["parameters"].items()}
    axes = SweepFile.read(POSTER).axes
    assert {key: [*map(str, found)] for key, found in values.items()} == {
        key: [str(float(v)) if key.endswith("lr") else str(v) for v in wanted]
        for key, wanted in axes.items()
    }
    chosen = {key: {"value": found[0]} for key, found in values.items()}
    command = wandb_sweeps.create_sweep_command(grid["command"])
    expansion = wandb_sweeps.create_sweep_command_args({"args": chosen})
    filled = [word for part in command for word in expansion["args_no_hyphens"]
              if part == "${args_no_hyphens}"]  # fmt: skip
    assert grid["command"][-3:] == ["sweep", "sweeps/poster.yaml", "${args_no_hyphens}"]
    assert filled == ["data.batch_size=1", "optimizer.lr=5e-06", "optimizer=adam"]
