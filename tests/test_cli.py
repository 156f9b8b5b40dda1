"""The program itself: words, configs, pipes, names of cells."""

from __future__ import annotations

import string
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from blippose import threads
from blippose.cli import main
from blippose.cli.cell_names import cell_name
from blippose.cli.grammar import named, quoted

CSV = "logger=csv"

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_grid_may_be_asked_for_anywhere_after_the_command(
    flag: str, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["optimizer.lr=1,2", "dry_run=true", CSV]
    assert main(["train", *words[:place], flag, *words[place:]]) == 0
    assert "2 cells: 2 missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["train", "--cfg", "job"],
        ["predict", "--info", "defaults"],
        ["train", "nonsense"],
    ],
    ids=" ".join,
)
def test_a_pipe_that_has_ended_is_no_traceback(words: list[str]) -> None:
    """As of `blippose ... 2>&1 | head`, which has gone before the first word is written."""
    shell = 'import os, sys; sys.stdin.read(); os.execv(sys.executable, [sys.executable, "-m", '
    shell += '"blippose", *sys.argv[1:]])'
    process = subprocess.Popen(
        [sys.executable, "-c", shell, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if words[-1] != "nonsense" else subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.close()
    said = process.stderr.read() if process.stderr else ""
    assert process.wait() == 1
    assert said == ""


def test_composed_config_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "optimizer=adam", "--cfg", "job"]) == 0
    assert "torch.optim.Adam\n" in capsys.readouterr().out


def test_null_is_a_choice_where_it_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiment=null", "optimizer=adam", "--cfg", "job"]) == 0
    without = capsys.readouterr().out
    assert main(["train", "optimizer=adam", "--cfg", "job"]) == 0
    assert capsys.readouterr().out == without


def test_the_tiny_model_is_no_folder_of_that_name() -> None:
    Path("tiny").mkdir()
    Image.new("RGB", (60, 40)).save("photo.png")
    assert main(["predict", "images=photo.png", "weights=tiny"]) == 0


def test_predict_takes_no_more_threads_than_it_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "num_cores", lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        Image.new("RGB", (60, 40)).save("photo.png")
        assert main(["predict", "images=photo.png"]) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_predict_says_in_short_lines_what_a_model_of_drawn_people_is_worth(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (60, 40)).save("photo.png")
    assert main(["predict", "images=photo.png", "format=coco"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == "loading the model for 1 image ..."
    assert lines[2].startswith("confidence: ")
    assert lines[-4:] == [
        "it has learned from drawn people alone: poses of photos mean nothing",
        "overlays, predictions.json, predictions.csv, coco_images.json and",
        "  coco_results.json in predictions",
        "1 image done, 0 skipped",
    ]


def test_an_existing_path_needs_no_quotes(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a,b=(1)").mkdir()
    assert main(["predict", "images=a,b=(1)"]) == 2
    assert "holds no image" in capfd.readouterr().err


@pytest.mark.parametrize("sign", [*string.punctuation.replace("/", ""), " ", "\n", "é"])
def test_a_path_that_is_there_is_read_as_it_stands_whatever_its_name(sign: str) -> None:
    for name in (f"a{sign}b", f"a{sign}"):
        Path(name).mkdir()
        override = OverridesParser.create().parse_override(quoted(f"out={name}"))
        assert override.value() == name


@pytest.mark.parametrize("sign", "#;&!^<>`~é")
def test_a_value_that_is_not_there_yet_may_hold_what_hydra_does_not_read(sign: str) -> None:
    parser, value = OverridesParser.create(), f"d{sign}1"
    assert parser.parse_override(quoted(f"data.root={value}")).value() == value
    swept = parser.parse_override(quoted(f"name={value},b"))
    assert list(swept.sweep_string_iterator()) == [f"'{value}'", "'b'"]
    assert parser.parse_override(quoted(f"images=[{value},b]")).value() == [value, "b"]


@pytest.mark.parametrize("word", ["runs=~/x", "runs='~/x'"])
def test_runs_may_lie_at_home(
    word: str,
    tmp_path: Path,
    in_an_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main(["train", word, "dry_run=true"]) == 0
    assert "home/x/demo" in capsys.readouterr().out
    assert not (in_an_empty_folder / "~").exists()


def test_a_file_that_may_not_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "best.ckpt"))

    monkeypatch.setattr("blippose.runs.best_checkpoint", refuse)
    assert main(["eval", f"run={tmp_path}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"blippose: {tmp_path}/best.ckpt: Permission denied; give this user")


def test_cell_names_are_short_sorted_and_one_for_one_value() -> None:
    swept = ["optimizer.lr", "data.batch_size", "optimizer"]
    overrides = ["name=grid", "optimizer.lr=2e-5", "optimizer=adamw", "data.batch_size=2"]
    assert cell_name(overrides, swept) == "batch_size=2,lr=2e-5,optimizer=adamw"
    overrides[1] = "optimizer.lr=0.00002"
    assert cell_name(overrides, swept) == "batch_size=2,lr=2e-5,optimizer=adamw"


def test_cell_names_keep_apart_keys_that_end_alike() -> None:
    assert cell_name(["data.seed=1", "seed=2"], ["data.seed", "seed"]) == "data.seed=1,seed=2"


def test_cell_names_are_one_folder() -> None:
    assert "/" not in cell_name(["data.root=a/b"], ["data.root"])


def test_words_that_stand_alone_are_runs() -> None:
    Path("a=1,b=2").mkdir()
    assert named(["runs/a", "metric=epe"], "run") == ["metric=epe", "run='runs/a'"]
    assert named(["a=1,b=2", "c"], "run") == ["run=['a=1,b=2','c']"]
    assert named(["--cfg", "job", "it's"], "run") == ["--cfg", "job", r"run='it\'s'"]
    assert named(["metric=epe"], "run") == ["metric=epe"]
