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


HEADER = "# @package _global_\n"
FILES = {
    "a stray key": (
        HEADER + "emma_decay: 0.9\n",
        "emma_decay: no such key; did you mean ema_decay?",
    ),
    "a stray key below another": (
        HEADER + "checkpoint: {every_n_step: 4}\n",
        "checkpoint.every_n_step: no such key; did you mean checkpoint.every_n_steps?",
    ),
    "dots in a key": (
        HEADER + "checkpoint.every_n_steps: 4\n",
        "checkpoint.every_n_steps: no such key; write checkpoint: {every_n_steps: ...}",
    ),
    "no header": ("optimizer: {lr: 1e-3}\n", "begins without the line `# @package _global_`"),
    "a header that Hydra does not see": ("# mine\n" + HEADER, "begins without the line"),
    "broken": (HEADER + "optimizer: [a\n  b: c\n", ".yaml:3: expected ',' or ']', but got ':'"),
    "said twice": (HEADER + "seed: 1\nseed: 2\n", ".yaml:3: found duplicate key seed"),
    "a list": ("- seed\n", "expected keys with values"),
    "no text": ("\udcff", "can't decode byte 0xff"),
}


@pytest.mark.parametrize("how", ["a run", "a grid", "by defaults"])
@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES.keys())
def test_a_mistake_in_a_file_is_one_line_with_its_name(
    content: str, said: str, how: str, own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = content.encode(errors="surrogateescape")
    (own / "experiment" / "wrong.yaml").write_bytes(text)
    by_defaults = f"{HEADER}defaults: [mine, wrong]\n"
    (own / "experiment" / "other.yaml").write_text(by_defaults)
    words = {"a run": ["experiment=wrong"], "by defaults": ["experiment=other"]}
    asked = words.get(how, ["-m", "experiment=mine,wrong"])
    assert main(["train", "--config-dir", own.name, *asked]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"blippose: {own.name}/experiment/wrong.yaml")
    assert said in line
    assert not Path("runs").exists()


def test_a_choice_of_ours_does_not_silently_take_the_place_of_ones_own(
    own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (own / "optimizer").mkdir()
    (own / "optimizer" / "muon.yaml").write_text("lr: 1\n")
    assert main(["train", "--config-dir", str(own), "optimizer=muon"]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.endswith("muon.yaml: optimizer=muon is a choice of ours; give it another name")


def test_a_key_that_the_file_itself_reads_is_no_stray_one(
    own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = f"{HEADER}my: {{rate: 3e-4}}\noptimizer:\n  lr: ${{my.rate}}\n"
    (own / "experiment" / "reads.yaml").write_text(content)
    words = ["experiment=reads", "--cfg", "job", "--resolve"]
    assert main(["train", "--config-dir", str(own), *words]) == 0
    assert "  lr: 0.0003\n" in capfd.readouterr().out


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("grid", [[], ["-m", "seed=0,1"]], ids=["a run", "a grid"])
@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_one_line(
    given: list[str], said: str, grid: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *grid, *given]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert said in line
