"""Grids by the program: the same cells by both ways in, states, mistakes, one process for many."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny_grid

from blippose.cli import main
from blippose.spelling import in_quotes
from blippose.sweep import PlannedCell, Sweep, read_record

POSTER = Path(__file__).parents[1] / "sweeps" / "poster.yaml"
POSTER_WORDS = ["data.batch_size=1,2,4", "optimizer.lr=5e-6,2e-5,5e-5", "optimizer=adam,adamw"]
AXES = {"data.batch_size": [4, 8], "optimizer": ["adam", "adamw"]}
NAMES = [f"batch_size={size},optimizer={name}" for size in (4, 8) for name in ("adam", "adamw")]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture(scope="module")
def done(release_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a grid has run to its end, and its file."""
    folder = tmp_path_factory.mktemp("grid")
    common = tiny_grid.settings(release_root, runs=f"{folder}/runs")
    file = tiny_grid.write(folder / "sweep.yaml", AXES, common)
    assert main(["sweep", str(file)]) == 0
    return folder


def copied(done: Path, folder: Path) -> tuple[Path, list[str]]:
    """A copy to change, and the command of its grid."""
    shutil.copytree(done / "runs", folder / "runs")
    return folder / "runs/grid", ["sweep", str(done / "sweep.yaml"), f"runs={folder}/runs"]


def test_both_ways_in_make_the_same_18_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sweep] = []

    def look(sweep: Sweep) -> None:
        seen.append(sweep)

    monkeypatch.setattr(Sweep, "check", look)
    assert main(["sweep", str(POSTER), "dry_run=true"]) == 0
    assert main(["train", "-m", *POSTER_WORDS, "dry_run=true"]) == 0
    by_file, by_words = ([(c.folder, c.config) for c in sweep.cells] for sweep in seen)
    assert len(by_file) == 18
    assert by_file == by_words
    assert by_file[0][0] == Path("runs/grid/batch_size=1,lr=5e-6,optimizer=adam")


def test_a_dry_run_leaves_nothing(
    in_an_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(POSTER), "dry_run=true"]) == 0
    assert "18 cells: 18 missing, in runs/grid" in capsys.readouterr().out
    assert list(in_an_empty_folder.iterdir()) == []


def test_a_glob_lists_the_choices_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", "optimizer=glob(adam*)", "dry_run=true"]) == 0
    printed = capsys.readouterr().out
    assert "2 cells: 2 missing" in printed
    assert "optimizer=adamw" in printed


@pytest.mark.parametrize("word", ["optimizer=glob(x*)", "data.batch_size=range(5,5)"])
def test_an_axis_without_values_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", word, "dry_run=true"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"blippose: {word}: there are no such values"


def test_cells_are_what_a_run_of_its_own_would_be(done: Path) -> None:
    """Composed once for all and by Hydra for the run: the record is the run's."""
    cell = json.loads((done / "runs/grid" / NAMES[3] / "run.json").read_text())
    words = [*map(str, tiny_grid.words({}, {**cell_settings(done), "name": "alone"}))]
    alone = [*words, "data.batch_size=8", "optimizer=adamw"]
    assert main(["train", *alone]) == 0
    record = json.loads((done / "runs/alone/run.json").read_text())
    assert record["config_hash"] == cell["config_hash"]
    for name in ("metrics.csv", "best.ckpt"):
        assert (done / "runs/alone" / name).read_bytes() == (
            done / "runs/grid" / NAMES[3] / name
        ).read_bytes(), name


def cell_settings(done: Path) -> dict[str, Any]:
    return dict(json.loads((done / "sweep.yaml").read_text())["settings"])


def test_the_folder_keeps_axes_cells_and_command(done: Path) -> None:
    record = read_record(done / "runs/grid")
    assert record["axes"] == AXES
    assert [cell["name"] for cell in record["cells"]] == NAMES
    assert record["cells"][1]["values"] == {"data.batch_size": 4, "optimizer": "adamw"}
    assert record["command"].startswith("blippose sweep ")


def test_done_cells_are_told_without_torch(done: Path) -> None:
    code = (
        "import sys; from blippose.cli import main; "
        f"status = main(['sweep', {str(done / 'sweep.yaml')!r}]); "
        "print(status, sorted({'torch', 'lightning', 'transformers'} & sys.modules.keys()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "4 cells: 4 done" in printed.stdout
    assert printed.stdout.endswith("0 []\n")


def test_a_cell_that_is_missing_is_run_and_the_others_are_left(done: Path, tmp_path: Path) -> None:
    grid, command = copied(done, tmp_path)
    shutil.rmtree(grid / NAMES[1])
    before = (grid / NAMES[0] / "run.json").stat().st_mtime_ns
    assert main(command) == 0
    assert tiny_grid.states(grid) == dict.fromkeys(NAMES, "done")
    assert (grid / NAMES[0] / "run.json").stat().st_mtime_ns == before


def test_a_grid_made_wider_by_an_axis_goes_on_with_the_runs_that_it_has(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, command = copied(done, tmp_path)
    before = (grid / NAMES[0] / "run.json").stat().st_mtime_ns
    assert main([*command, "seed=0,1", "optimizer=adam", "data.batch_size=4"]) == 0
    assert "2 cells: 1 done, 1 missing" in capsys.readouterr().out
    assert (grid / NAMES[0] / "run.json").stat().st_mtime_ns == before
    new = "batch_size=4,optimizer=adam,seed=1"
    assert sorted(tiny_grid.states(grid)) == sorted([*NAMES, new])
    cells = {cell["name"]: cell["values"] for cell in read_record(grid)["cells"]}
    assert cells[NAMES[0]] == {"data.batch_size": 4, "optimizer": "adam", "seed": 0}
    assert main(["report", str(grid)]) == 0
    assert "repeat" not in capsys.readouterr().out


def test_values_that_change_nothing_do_not_share_a_run(done: Path, tmp_path: Path) -> None:
    """One goes on with the grid's; no run is told as another's."""
    grid, command = copied(done, tmp_path)
    one = [*command, "optimizer=adam", "data.batch_size=4"]
    assert main([*one, "data.num_workers=0,1"]) == 0
    assert main([*one, "data.num_workers=2,3", "dry_run=true"]) == 0
    values = {cell["name"]: cell["values"] for cell in read_record(grid)["cells"]}
    assert len(values) == len(NAMES) + 1
    assert values[NAMES[0]]["data.num_workers"] == 0


def test_a_grid_that_was_begun_under_the_names_of_earlier_versions_goes_on(
    release_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They wrote numbers as Python does: lr=0.0005. A new value has the name of today."""
    axes = {"optimizer.lr": ["5e-4", "2e-3"]}
    words = ["train", "-m", *tiny_grid.words(axes, tiny_grid.settings(release_root))]
    assert main(words) == 0
    grid = tmp_path / "runs/grid"
    (grid / "lr=5e-4").rename(grid / "lr=0.0005")
    record = (grid / "sweep.json").read_text()
    (grid / "sweep.json").write_text(record.replace("lr=5e-4", "lr=0.0005"))
    assert main(words) == 0
    assert "2 cells: 2 done, in runs/grid\n" in capsys.readouterr().out
    assert main([*words[:-1], "optimizer.lr=5e-4,1e-3"]) == 0
    assert "2 cells: 2 done, in runs/grid, beside 1 cell of earlier commands" in (
        capsys.readouterr().out
    )
    assert sorted(tiny_grid.states(grid)) == ["lr=0.0005", "lr=0.002", "lr=1e-3"]
    assert [cell["name"] for cell in read_record(grid)["cells"]][:1] == ["lr=0.0005"]


def test_one_cell_of_a_file_goes_into_the_grids_folder(done: Path, tmp_path: Path) -> None:
    _, command = copied(done, tmp_path)
    assert main([*command, "name=agents", "data.batch_size=8", "optimizer=adam"]) == 0
    assert list(tiny_grid.states(tmp_path / "runs/agents")) == [NAMES[2]]


def test_a_changed_config_is_refused_with_the_difference(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, command = copied(done, tmp_path)
    shutil.rmtree(grid / NAMES[3])
    assert main([*command, "seed=1"]) == 2
    assert "holds a run of another config (captioner.seed: 0 -> 1; " in capsys.readouterr().err
    assert not (grid / NAMES[3]).exists()


WRONG = {
    "unknown key": (["optimizer.rate=1,2"], "optimizer.rate: no such key"),
    "unknown choice": (["optimizer=sgd,adam"], "optimizer=sgd: no such choice"),
    "open value": (["data=mpii", "optimizer=adam,adamw"], "add data.root=VALUE"),
    "value twice": (["optimizer.lr=1e-3,0.001"], "lr=1e-3: two cells would share this folder"),
    "text among rates": (["optimizer.lr=1e-3,fast"], "optimizer.lr=fast: expected float"),
    "empty batch among others": (
        ["data.batch_size=4,0", "dry_run=true"],
        "batch_size=0: expected 1",
    ),
    "no number": (["optimizer.lr=1e-3,nan"], "optimizer.lr=nan: expected 0 or more"),
    "group without keys": (["seed=0,1", "checkpoint=null"], "checkpoint: missing"),
    "key taken out": (["seed=0,1", "~keep_last"], "keep_last: missing; leave ~keep_last out"),
    "interval": (["optimizer.lr=interval(1,2)"], "hydra/sweeper=optuna"),
    "no launcher": (["seed=0,1", "hydra/launcher=nowhere"], "launcher"),
    "no processes": (["seed=0,1", "hydra/launcher=local", "hydra.launcher.jobs=0"], "jobs=0"),
    "no number of processes": (
        ["seed=0,1", "hydra/launcher=local", "hydra.launcher.jobs=all"],
        "hydra.launcher.jobs=all: expected int",
    ),
    "no threads": (
        ["seed=0,1", "hydra/launcher=local", "hydra.launcher.threads=-1"],
        "hydra.launcher.threads=-1: expected 1 or more, or null",
    ),
    "one device for a list": (
        ["seed=0,1", "hydra/launcher=local", "hydra.launcher.devices=0"],
        "hydra.launcher.devices=0: expected list[int] or null",
    ),
    "no epoch validated": (
        ["seed=0,1", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=2"],
        "trainer.check_val_every_n_epoch=2: no epoch would be validated",
    ),
    "a key that a Trainer lacks": (["seed=0,1", "+trainer.max_epoch=2"], "trainer.max_epoch"),
    "a checkpoint that is not there": (["seed=0,1", "init_from=no.ckpt"], "init_from=no.ckpt"),
    "a way to read that nothing teaches": (
        ["seed=0,1", "captioner=plain,masked", "decoding=parallel"],
        "decoding",
    ),
    "a folder for each cell": (
        ["seed=0,1", "name=x_${seed}"],
        "name: x_1 of seed=1, x_0 of the grid; add one name= for all its cells",
    ),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_stops_before_anything_runs(
    words: list[str], said: str, in_an_empty_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", "logger=csv", *words]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert said in lines[0]
    assert not list(in_an_empty_folder.glob("runs/*/*/run.json"))


def test_experiments_side_by_side_lie_in_one_folder(
    in_an_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", "experiment=best,recipe", "dry_run=true"]) == 0
    assert "2 cells: 2 missing, in runs/grid\n" in capsys.readouterr().out


def test_a_cells_command_trains_in_its_folder_as_often_as_it_is_given(
    done: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "it's, a=b"
    shutil.copytree(done / "runs", runs)
    cell = runs / "grid" / NAMES[1]
    shutil.rmtree(cell)
    assert main(["sweep", str(done / "sweep.yaml"), f"runs={in_quotes(str(runs))}"]) == 0
    for _ in range(2):
        command = json.loads((cell / "run.json").read_text())["command"]
        for file in cell.iterdir():
            file.unlink()
        assert main(shlex.split(command)[1:]) == 0
        assert json.loads((cell / "run.json").read_text())["command"] == command


def test_a_single_run_in_a_grids_folder_is_refused(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(done, tmp_path)
    assert main(["train", f"runs={tmp_path / 'runs'}", "name=grid"]) == 2
    assert "runs/grid holds a grid; give the run another name=" in capsys.readouterr().err


def test_commands_that_write_one_grid_at_once_lose_no_cell(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for seed in range(10):
            name = f"seed={number}{seed}"
            cell = PlannedCell(name, tmp_path / name, {"seed": name}, (), {})
            Sweep(tmp_path, "", {"seed": [name]}, (cell,)).write()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert len(read_record(tmp_path)["cells"]) == len(read_record(tmp_path)["axes"]["seed"]) == 60


def test_a_single_runs_folder_is_no_grids(
    in_an_empty_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (in_an_empty_folder / "runs/grid").mkdir(parents=True)
    (in_an_empty_folder / "runs/grid/run.json").write_text("{}")
    assert main(["train", "-m", "seed=0,1"]) == 2
    assert "runs/grid holds a single run" in capfd.readouterr().err


def test_a_cell_that_fails_leaves_its_traceback_and_the_others_go_on(
    release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(release_root, tmp_path / "broken")
    for image in (broken / "images").iterdir():
        image.write_bytes(b"no picture")
    axes = {"data.root": [str(broken), str(release_root)]}
    file = tiny_grid.write(tmp_path / "s.yaml", axes, tiny_grid.settings(release_root))
    content = json.loads(file.read_text())
    del content["settings"]["data.root"]
    file.write_text(json.dumps(content))
    assert main(["sweep", str(file)]) == 1
    printed = capfd.readouterr().out
    assert "2 cells: 1 done, 1 failed" in printed
    [failed] = [n for n, s in tiny_grid.states(tmp_path / "runs/grid").items() if s == "failed"]
    assert "copy them again" in (tmp_path / "runs/grid" / failed / "traceback.txt").read_text()
    shutil.copytree(release_root / "images", broken / "images", dirs_exist_ok=True)
    assert main(["sweep", str(file)]) == 0
    assert not (tmp_path / "runs/grid" / failed / "traceback.txt").exists()


@pytest.mark.slow
def test_two_processes_of_this_machine_share_the_cells(done: Path, tmp_path: Path) -> None:
    """Slow: each process imports torch."""
    command = ["sweep", str(done / "sweep.yaml"), f"runs={tmp_path}/runs", "hydra/launcher=local"]
    assert main(command) == 0
    for name in NAMES:
        own, other = tmp_path / "runs/grid" / name, done / "runs/grid" / name
        assert (own / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_two_processes_a_cell_do_not_start_the_grid_twice(
    release_root: Path, tmp_path: Path
) -> None:
    """Slow: every cell starts a second process, which imports torch."""
    common = tiny_grid.settings(release_root, trainer="ddp", trainer__devices=2)
    common |= {"trainer.accelerator": "cpu", "trainer.precision": "32-true"}
    file = tiny_grid.write(tmp_path / "s.yaml", {"seed": [0, 1]}, common)
    done = subprocess.run(
        [sys.executable, "-m", "blippose", "sweep", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert tiny_grid.states(tmp_path / "runs/grid") == {"seed=0": "done", "seed=1": "done"}
    assert done.stdout.count("into runs/grid/seed=") == 4  # two processes a cell
    assert done.stdout.count("2 cells: ") == 2
