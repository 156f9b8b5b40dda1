"""Choices of a user's own, in a folder beside conf/: --config-dir in every way of training."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_grid

from blippose.cli import main

MINE = """# @package _global_
# Two steps and no more. For a look.
defaults:
  - recipe
trainer:
  limit_train_batches: 2
  check_val_every_n_epoch: 1
"""


@pytest.fixture
def own(in_an_empty_folder: Path) -> Path:
    """A folder with an experiment, beside the one that the user stands in."""
    folder = in_an_empty_folder / "my choices"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "mine.yaml").write_text(MINE)
    return folder


def words(release_root: Path) -> list[str]:
    return tiny_grid.words({}, tiny_grid.settings(release_root, experiment="mine", name="looked"))


def batches_of(record: Path) -> int:
    return int(json.loads(record.read_text())["config"]["trainer"]["limit_train_batches"])


def test_a_runs_command_has_the_folder_and_is_the_same_from_elsewhere(
    own: Path, release_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", "--config-dir", own.name, *words(release_root)]) == 0
    record = own.parent / "runs/looked/run.json"
    assert batches_of(record) == 2
    command = json.loads(record.read_text())["command"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(shlex.split(command)[1:]) == 0
    assert json.loads((elsewhere / "runs/looked/run.json").read_text())["command"] == command


def grid(own: Path, release_root: Path) -> list[str]:
    return ["train", "-m", "--config-dir", str(own), *words(release_root), "seed=0,1"]


def test_cells_of_a_grid_know_them(own: Path, release_root: Path) -> None:
    assert main(grid(own, release_root)) == 0
    for seed in (0, 1):
        assert batches_of(own.parent / f"runs/looked/seed={seed}/run.json") == 2


@pytest.mark.slow
def test_cells_in_processes_of_their_own_know_them(own: Path, release_root: Path) -> None:
    program = [sys.executable, "-m", "blippose", *grid(own, release_root), "hydra/launcher=local"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert batches_of(own.parent / "runs/looked/seed=1/run.json") == 2


def test_help_lists_them(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config-dir", str(own), "experiment=mine", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "* experiment=mine           Two steps and no more\n" in printed
    assert "  experiment=poster " in printed


@pytest.mark.parametrize("command", ["eval", "report"])
def test_the_folder_is_no_run_of_commands_that_take_paths(
    command: str, own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config-dir", own.name, "--help"]) == 0
    (own.parent / "empty").mkdir()
    capfd.readouterr()
    assert main([command, "--config-dir", own.name, "empty"]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert "empty" in line
    assert own.name not in line


WRONG = {
    "nowhere": (["--config-dir", "nowhere"], "--config-dir nowhere: no such folder"),
    "said twice": (
        ["--config-dir", ".", "hydra.searchpath=[file:///a]"],
        "hydra.searchpath=[file:///a]: stands beside --config-dir, which sets it; "
        "give one of them",
    ),
    "no choice": (["--config-dir", "my choices", "experiment=min"], "choose one of best, mine, "),
}


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("grid", [[], ["-m", "seed=0,1"]], ids=["a run", "a grid"])
@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_one_line(
    given: list[str], said: str, grid: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *grid, *given]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert said in line
