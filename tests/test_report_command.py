"""`blippose report` as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from example_grid import BEST_CELL, write_grid
from matplotlib.figure import Figure
from PIL import Image

from blippose.cli import main

PICTURES = ("loss", "accuracy", "mae", "grid", "heatmap", "effects", "parallel")


@pytest.fixture
def grid(poster_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(poster_grid, tmp_path / "grid"))


def test_everything_is_written_into_the_folder_without_torch(grid: Path) -> None:
    """How long it takes is measured by benchmarks/report.py."""
    heavy = "{'torch', 'transformers', 'lightning', 'wandb', 'pandas'}"
    code = (
        "import sys; from blippose.cli import main; status = main(['report', 'grid']); "
        f"print(status, sorted({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("0 []\n")
    assert "18 of 18 runs done. Best: " in done.stdout
    for name in PICTURES:
        with Image.open(grid / f"{name}.png") as image:
            assert min(image.size) > 200
        assert (grid / f"{name}.svg").read_text().startswith("<svg")
    assert (grid / "grid.pdf").read_bytes().startswith(b"%PDF")
    assert sum(path.stat().st_size for path in grid.glob("*.svg")) < 1e6
    for name in ("table.csv", "table.md", "table.tex", "report.html"):
        assert (grid / name).stat().st_size > 1000


def test_files_are_utf8_whatever_the_locale_says(tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    folder = write_grid(tmp_path / "seeds", seeds=(0, 1), num_epochs=2)
    command = [sys.executable, "-m", "blippose", "report", str(folder)]
    subprocess.run(command, env={**os.environ, **locale}, capture_output=True, check=True)
    assert "±" in (folder / "table.md").read_text(encoding="utf-8")
    assert "±" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_does_not_disturb_the_next_one(grid: Path) -> None:
    assert main(["report", "grid"]) == 0
    first = (grid / "table.csv").read_text(), (grid / "grid.svg").read_text()
    assert main(["report", "grid"]) == 0
    assert ((grid / "table.csv").read_text(), (grid / "grid.svg").read_text()) == first


def test_a_run_alone_and_a_run_of_no_epoch_are_reported(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", f"grid/{BEST_CELL}", "out=one"]) == 0
    (grid / BEST_CELL / "metrics.csv").write_text("epoch,step\n")
    record = (grid / BEST_CELL / "run.json").read_text()
    (grid / BEST_CELL / "run.json").write_text(
        record.replace('"done"', '"running"').replace('"results"', '"old"')
    )
    assert main(["report", f"grid/{BEST_CELL}", "out=none"]) == 0
    assert "no run was validated yet" in capsys.readouterr().out
    assert Path("none/report.html").is_file()
    assert not Path("none/heatmap.png").exists()


def test_several_folders_are_compared_in_one_of_their_own(grid: Path) -> None:
    names = [f"grid/batch_size=2,lr={lr},optimizer=adam" for lr in ("2e-05", "5e-05")]
    assert main(["report", *names, "metric=acc_5px"]) == 0
    assert Path("report/report.html").is_file()
    assert not (grid / "report.html").exists()


@pytest.mark.parametrize("out", [None, "mine"])
@pytest.mark.parametrize("name", ["report.html", "table.md", "grid.pdf", "loss.png"])
def test_what_no_report_wrote_is_kept(
    grid: Path, capfd: pytest.CaptureFixture[str], name: str, out: str | None
) -> None:
    runs = [str(path) for path in sorted(grid.glob("batch*"))[:2]]
    words = ["report", *runs, *([] if out is None else [f"out={out}"])]
    folder = Path(out or "report")
    assert main(words) == 0
    assert main(words) == 0
    (folder / name).write_text("my own")
    capfd.readouterr()
    assert main(words) == 2
    assert f"report would replace {folder / name}, which no earlier call" in capfd.readouterr().err
    assert (folder / name).read_text() == "my own"
    (folder / name).unlink()
    assert main(words) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["grid"],
        ["grid", "out=./grid"],
        ["grid/{first}", "grid/{second}", "out=grid/{first}"],
        ["grid/{first}", "grid/{second}", "out=grid"],
    ],
)
def test_it_is_kept_beside_runs_and_in_them_too(grid: Path, words: list[str]) -> None:
    first, second = (path.name for path in sorted(grid.glob("batch*"))[:2])
    words = [word.format(first=first, second=second) for word in words]
    mine = [folder / "table.tex" for folder in (grid, grid / first)]
    for path in mine:
        path.write_text("my own")
    assert main(["report", *words]) == 2
    assert [path.read_text() for path in mine] == ["my own"] * 2


@pytest.mark.parametrize("has_earlier", [False, True])
@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_after_a_report_that_was_stopped_in_a_picture_comes_another(
    grid: Path, monkeypatch: pytest.MonkeyPatch, ending: str, has_earlier: bool
) -> None:
    words = ["report", "grid", "out=mine"]
    if has_earlier:
        assert main(words) == 0
    save = Figure.savefig

    def stop(figure: Figure, path: Any, **settings: Any) -> None:
        save(figure, path, **settings)
        if str(path).endswith(ending):
            Path(path).write_bytes(b"half")
            raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(Figure, "savefig", stop)
        assert main(words) != 0
    assert main(words) == 0
    assert (Path("mine") / "grid.pdf").read_bytes().startswith(b"%PDF")


def test_pictures_of_an_earlier_report_over_more_runs_go(grid: Path) -> None:
    assert main(["report", "grid"]) == 0
    assert (grid / "heatmap.svg").is_file()
    for run in sorted(grid.glob("batch*"))[1:]:
        shutil.rmtree(run)
    assert main(["report", "grid"]) == 0
    assert not list(grid.glob("heatmap.*"))
    assert (grid / "grid.pdf").is_file()


def test_a_folder_that_cannot_be_written_is_named(
    grid: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "grid", "out=/dev/null/a"]) == 2
    assert "name a folder that can, with room left" in capfd.readouterr().err


def test_without_runs_in_wandb_the_files_are_written_and_the_rest_is_said(
    grid: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    assert main(["report", "grid", "wandb=true"]) == 2
    assert "none of these runs was logged to W&B" in capfd.readouterr().err
    assert (grid / "report.html").is_file()
