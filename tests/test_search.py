"""hydra/sweeper=optuna: what it proposes lies on disk, and the same command goes on with it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any
from unittest import mock

import forked
import pytest
import tiny_grid
from hydra.core.override_parser.overrides_parser import OverridesParser

from blippose.cli import main, search
from blippose.spelling import spelled

optuna = pytest.importorskip("optuna")
from optuna.distributions import (  # noqa: E402  where there is one
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-2))", "data.batch_size=4,8"]


def command(folder: Path, release: Path, *words: str, num_trials: int = 3) -> list[str]:
    common = tiny_grid.settings(release, runs=f"{folder}/runs", name="search")
    optuna = ["hydra/sweeper=optuna", f"hydra.sweeper.trials={num_trials}"]
    return ["train", "-m", *tiny_grid.words({}, common), *optuna, *SPACE, *words]


def cells(folder: Path) -> dict[str, str]:
    return tiny_grid.states(folder / "runs/search")


def values(folder: Path) -> list[tuple[dict[str, object], object]]:
    """What the journal says of each trial: its values and what came out."""
    journal = optuna.storages.journal.JournalFileBackend(str(folder / "runs/search/optuna.log"))
    study = optuna.load_study(
        study_name="blippose", storage=optuna.storages.JournalStorage(journal)
    )
    return [(trial.params, trial.value) for trial in study.trials]


@pytest.fixture(scope="module")
def done(release_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search of three trials has run to its end."""
    folder = tmp_path_factory.mktemp("search")
    assert main(command(folder, release_root)) == 0
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done / "runs", tmp_path / "runs")
    return tmp_path


def test_each_trial_has_a_cell_and_a_value(done: Path) -> None:
    assert list(cells(done).values()) == ["done"] * 3
    assert all(value is not None for _, value in values(done))
    words = [(p["data.batch_size"], spelled(p["optimizer.lr"])) for p, _ in values(done)]
    names = {f"batch_size={size},lr={rate}" for size, rate in words}
    assert names == cells(done).keys()


def test_the_same_command_proposes_nothing_and_more_trials_go_on(
    copy: Path, release_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = values(copy)
    assert main(command(copy, release_root)) == 0
    assert values(copy) == before
    assert "3 of 3 trials proposed; the best: optimizer.lr=" in capsys.readouterr().out
    assert main(command(copy, release_root, num_trials=4)) == 0
    assert values(copy)[:3] == before
    assert len(values(copy)) == len(cells(copy)) == 4


CHANGED = {
    "config": ("seed=1", "holds a run of another config (captioner.seed: 0 -> 1; "),
    "space": ("data.batch_size=4,8,16", "holds a search of other values (data.batch_size: "),
}


@pytest.mark.parametrize(("word", "said"), CHANGED.values(), ids=CHANGED.keys())
def test_a_changed_search_is_refused_with_the_difference(
    word: str, said: str, copy: Path, release_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = values(copy)
    assert main(command(copy, release_root, word, num_trials=9)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert values(copy) == before


WRONG = {
    "an end of an interval": (
        "optimizer.lr=interval(-1e-3,1e-2)",
        "optimizer.lr=-9.99",
    ),
    "a choice": ("data.batch_size=4,0", "data.batch_size=0: expected 1 or more"),
    "no interval": (
        "optimizer.lr=interval(2,1)",
        "optimizer.lr=interval(2,1): `low <= high` must hold",
    ),
    "an interval of choices": (
        "optimizer=interval(1,2)",
        "optimizer=interval(1,2): a group takes",
    ),
    "a logarithm of 0": (
        "optimizer.lr=tag(log,interval(0,1))",
        "interval(0,1)): `low > 0` must hold",
    ),
    "broken numbers for whole ones": (
        "data.batch_size=interval(1,4)",
        "data.batch_size=interval(1,4): draws broken numbers where whole ones are expected; int(",
    ),
    "a glob of nothing": ("optimizer=glob(x*)", "optimizer=glob(x*): there are no such values"),
    "what all share": ("data.split=vdeo", "data.split=vdeo: no such split"),
    "trials in words": ("hydra.sweeper.trials=many", "hydra.sweeper.trials=many: expected int"),
    "no job": ("hydra.sweeper.jobs=0", "hydra.sweeper.jobs=0: expected 1 or more"),
    "a seed below 0": ("hydra.sweeper.seed=-1", "hydra.sweeper.seed=-1: expected 0 or more"),
    "no journal": ("hydra.sweeper.storage=null", "hydra.sweeper.storage=null: expected str"),
}


@pytest.mark.parametrize(("word", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_at_an_end_of_the_space_is_told_before_the_first_trial(
    word: str, said: str, release_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, release_root, word)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("range(5)", IntDistribution(0, 4)),
        ("range(1,8,2)", IntDistribution(1, 7, step=2)),
        ("range(1,9,3)", IntDistribution(1, 7, step=3)),
        ("range(5,1,-2)", IntDistribution(3, 5, step=2)),
        ("tag(log,range(1,65))", IntDistribution(1, 64, log=True)),
        ("range(0.5,3)", CategoricalDistribution(("0.5", "1.5", "2.5"))),
        ("range(1,2,0.25)", CategoricalDistribution(("1.0", "1.25", "1.5", "1.75"))),
        ("int(interval(1,4))", IntDistribution(1, 4)),
        ("tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
    ],
)
def test_values_are_drawn_from_those_that_hydra_would_list(word: str, expected: object) -> None:
    item = OverridesParser.create().parse_override(f"a={word}")
    assert search.drawn_from(optuna.distributions, item) == expected


@pytest.mark.parametrize("word", ["range(5,5)", "range(1.5,1)"])
def test_a_range_without_values_is_no_search(word: str) -> None:
    item = OverridesParser.create().parse_override(f"a={word}")
    with pytest.raises(ValueError, match="no such values"):
        search.drawn_from(optuna.distributions, item)


def test_a_glob_is_of_the_choices_of_a_group(
    release_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(tmp_path, release_root, "optimizer=glob(adam*)", "dry_run=true")
    assert main(words) == 0
    assert "0 of 3 trials" in capsys.readouterr().out


def test_the_open_ends_of_an_interval_may_be_what_no_trial_could_have(
    release_root: Path, tmp_path: Path
) -> None:
    words = command(tmp_path, release_root, "data.train_fraction=interval(0,1)", "dry_run=true")
    assert main(words) == 0


def test_a_dry_run_proposes_nothing(
    copy: Path, release_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = values(copy)
    assert main(command(copy, release_root, "dry_run=true", num_trials=9)) == 0
    assert "3 cells: 3 done" in capsys.readouterr().out
    assert values(copy) == before
    assert main(command(copy / "new", release_root, "dry_run=true")) == 0
    assert not (copy / "new").exists()


def test_a_value_takes_an_axis_place(release_root: Path, tmp_path: Path) -> None:
    words = command(tmp_path, release_root, "seed=0,1", "optimizer.lr=1e-4", "dry_run=true")
    drawn: list[dict[str, Any]] = []

    def look(_: Any, space: dict[str, Any]) -> None:
        drawn.append(space)

    with mock.patch("blippose.cli.search._check_ends", look):
        assert main(words) == 0
    assert drawn[0].keys() == {"data.batch_size", "seed"}


def test_a_broken_journal_is_one_line(
    copy: Path, release_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "runs/search/optuna.log").write_text("no\njournal\n")
    assert main(command(copy, release_root)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "optuna.log: not a journal of Optuna's" in line


def test_a_trial_that_fails_is_run_again_by_the_next_command(
    release_root: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(release_root, tmp_path / "broken")
    for image in (broken / "images").iterdir():
        image.write_bytes(b"no picture")
    words = [word for word in command(tmp_path, release_root) if "data.root" not in word]
    words.append(f"data.root={broken},{release_root}")
    assert main(words) == 1
    assert sorted(set(cells(tmp_path).values())) == ["done", "failed"]
    before = [params for params, _ in values(tmp_path)]
    shutil.copytree(release_root / "images", broken / "images", dirs_exist_ok=True)
    assert main(words) == 0
    assert set(cells(tmp_path).values()) == {"done"}
    assert [params for params, _ in values(tmp_path)] == before
    assert all(value is not None for _, value in values(tmp_path))


def test_a_trial_that_diverges_is_told_as_failed_and_not_run_again(
    release_root: Path, tmp_path: Path
) -> None:
    words = command(tmp_path, release_root, num_trials=2)
    words[words.index(SPACE[0])] = "optimizer.lr=choice(1e30)"
    assert main(words) == 1
    assert set(cells(tmp_path).values()) == {"failed"}
    before = values(tmp_path)
    assert [value for _, value in before] == [None, None]
    main(words)
    assert values(tmp_path) == before


@pytest.mark.slow
def test_a_search_that_is_killed_ends_as_one_that_was_not(
    done: Path, release_root: Path, tmp_path: Path
) -> None:
    """By a SIGKILL as its second trial has begun."""
    words = command(tmp_path, release_root)
    end = time.monotonic() + 300
    with forked.started(words, tmp_path) as process:
        while len(cells(tmp_path)) < 2:
            assert process.is_alive(), (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.02)
    assert values(tmp_path)[-1][1] is None
    assert main(words) == 0
    assert values(tmp_path) == values(done)
    assert cells(tmp_path) == cells(done)
