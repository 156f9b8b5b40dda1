"""What --help and --version tell."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from blippose import __version__
from blippose.cli import main
from blippose.cli.groups import conf

COMMANDS = ("data", "train", "sweep", "eval", "predict", "analyze", "report", "export")
PRIMARY = (
    *("data", "train", "eval", "predict", "report", "export"),
    *("analyze_attention", "analyze_occlusion"),
)

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_module_is_the_program() -> None:
    assert python("-m", "blippose", "--version") == f"blippose {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    commands = ("data", "train", "eval", "predict", "report", "export")
    assert all(f"blippose {command} " in printed for command in commands)


@pytest.mark.parametrize("words", [["export", "help"], ["help", "export"]])
def test_help_is_also_a_word(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "blippose export: a run as a plain Hugging Face folder" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from blippose.cli import main; main(['--help']); "
        "print(sorted({'torch', 'hydra', 'numpy', 'rich', 'beartype'} & sys.modules.keys()))"
    )
    assert python("-c", code).endswith("[]\n")


@pytest.mark.parametrize("command", ["data", "train", "eval", "predict", "report", "export"])
def test_each_command_explains_its_groups_and_keys(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"blippose {command}:" in printed
    assert "debug=false" in printed


@pytest.mark.parametrize("command", PRIMARY)
def test_help_names_each_key_with_its_value_and_the_comment_of_conf(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split("_"), "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    path = conf() / f"{command}.yaml"
    lines = path.read_text().partition("\nhydra:")[0].splitlines()
    explained = [re.fullmatch(r"([a-z_]+): (.*?) # (.*)", line) for line in lines]
    keys = [found.groups() for found in explained if found]
    assert keys
    for key, value, comment in keys:
        said = f"VALUE needed: {comment}" if value == "???" else f"{value} {comment}"
        assert f" {key}={said.replace(', 0', ',0').replace(', 2', ',2')}" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "data.batch_size=16 persons a step and a process"),
        ([], "data.synthetic.num_persons=1500 persons that the default filter keeps"),
        ([], "optimizer.weight_decay=0.01 decoupled from the gradient"),
        ([], "model.architecture. what random weights are built as"),
        (["data.batch_size=5"], "data.batch_size=5 persons a step"),
        (["data=mpii"], "data.root=VALUE needed: folder with mpii_human_pose_v1_u12_1.mat"),
        (["data=mpii"], "data.synthetic=null nothing is drawn"),
        (["trainer=ddp"], "trainer.devices=-1 how many; -1 takes all"),
        (["trainer=ddp"], "trainer.strategy. each process takes a share of every step"),
        (["experiment=poster", "data.root=a"], "data.split=random video: frames of a video on"),
        (["hydra/launcher=local"], "hydra.launcher.jobs=2 processes at the same time"),
        (["-m", "optimizer.lr=1,2"], "optimizer.lr=2e-5 highest learning rate"),
        ([], "* data=synthetic Drawn people in MPII's own format"),
        ([], "ingredient=rate_high A rate of 2e-4, ten times the default's"),
        (["trainer=gpu"], "* trainer=gpu One GPU"),
        ([], "hydra/launcher=slurm Jobs of a Slurm array"),
    ],
)
def test_help_tells_what_the_other_words_make_of_groups_and_keys(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words, "--help"]) == 0
    assert f" {said}" in f" {' '.join(capsys.readouterr().out.split())}"


@pytest.mark.parametrize("command", PRIMARY)
def test_help_lists_the_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split("_"), "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(
        f"\n  {flag} " in printed for flag in ("--cfg job", "--info defaults", "-h, --help")
    )
    assert ("\n  -m, --multirun" in printed) == (command == "train")


@pytest.mark.parametrize("command", ["predict", "eval", "train"])
def test_help_shows_the_ways_to_decode(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    header = capsys.readouterr().out.partition("debug=false")[0]
    assert f"blippose {command} " in header
    assert "decoding=constrained" in header
    of_its_keys = {"train": "decoding=parallel decoding.refine=1"}
    assert of_its_keys.get(command, "decoding=best decoding.test_views=4") in header


@pytest.mark.parametrize(
    "words",
    [
        [],
        *([command] for command in COMMANDS),
        ["analyze", "attention"],
        ["analyze", "occlusion"],
    ],
    ids=" ".join,
)
def test_help_fits_80_columns(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_a_grid_without_values_still_explains_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "-m", "--help"]) == 0
    assert "blippose train:" in capsys.readouterr().out
