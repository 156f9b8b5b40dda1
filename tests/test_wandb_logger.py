"""Weights & Biases as it is: its own files, its own service, and a server of our own.

What was written is read by `wandb leet inspect`, what would be sent by `wandb sync`.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_grid
import wandb
from tiny_training import Trainings, tiny, trainings_in
from wandb_server import WandbServer

from blippose import wandb_logger as ours
from blippose.cli import main
from blippose.errors import UserError
from blippose.wandb_logger import RowLogger, wandb_logger
from blippose.wandb_settings import WandbSettings, check_environment, run_name

KEY = "0123456789" * 4
Online = Callable[[str], None]


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    named = [name for name in os.environ if name.startswith("WANDB_")]
    for name in (*named, "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.chdir(tmp_path)
    yield
    wandb.teardown()


@pytest.fixture
def log_in(monkeypatch: pytest.MonkeyPatch) -> Online:
    """Have a key, and a server at an address, as a process has that starts now."""

    def log_in(url: str) -> None:
        wandb.teardown()
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", url)

    return log_in


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    server = WandbServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, release_root: Path) -> Iterator[Trainings]:
    with trainings_in(tmp_path_factory.mktemp("trainings"), tiny(release_root, "wandb")) as begun:
        yield begun


def parts(folder: Path) -> list[Path]:
    """Files of W&B's in a run folder, the oldest first; names begin with a time."""
    return sorted(folder.glob("wandb/*run-*/run-*.wandb"))


def inspected(path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def history(path: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in inspected(path).splitlines()]
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def logged(folder: Path) -> list[dict[str, float]]:
    """Rows of metrics.csv without empty cells."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def assert_is_table(rows: list[dict[str, Any]], folder: Path) -> None:
    """W&B's rows are those of metrics.csv, numbered, each once."""
    table = logged(folder)
    assert [row["_step"] for row in rows] == [*range(len(table))]
    for row, cells in zip(rows, table, strict=True):
        wanted = {"trainer/global_step" if k == "step" else k: v for k, v in cells.items()}
        found = {key: float(row[key]) for key in wanted}
        assert found == pytest.approx(wanted, nan_ok=True)


def assert_best(summary: dict[str, Any], folder: Path) -> None:
    """Summaries are those of the best epoch of all."""
    for name, best in (("val/mae_all", min), ("val/acc_5px", max), ("val/loss", min)):
        values = [row[name] for row in logged(folder) if name in row]
        assert summary[name] == {best.__name__: pytest.approx(best(values))}


def test_cells_are_runs_of_their_own_with_name_group_config_best_values_and_samples(
    release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    axes = {"data.batch_size": [4, 8], "optimizer.lr": [2e-2]}
    common = tiny_grid.settings(release_root, logger="wandb", trainer__max_epochs=2)
    file = tiny_grid.write(tmp_path / "sweep.yaml", axes, common)
    assert main(["sweep", str(file), "name=study"]) == 0
    assert wandb.run is None
    printed = capfd.readouterr()
    assert printed.err == ""
    ids = set()
    for size in (4, 8):
        cell = Path(f"runs/study/batch_size={size},lr=0.02")
        assert f"send it later with: wandb sync {cell}/wandb" in printed.out
        [part] = parts(cell)
        record = json.loads((cell / "run.json").read_text())
        assert part.name == f"run-{record['wandb_id']}.wandb"
        ids.add(record["wandb_id"])
        seen = json.loads(inspected(part, "--summary"))
        assert (seen["name"], seen["state"]) == (f"bs{size}-lr0.02", "finished")
        assert seen["config"] == record["config"]
        assert_best(seen["summary"], cell)
        assert_is_table(history(part), cell)
        [started] = [json.loads(x) for x in inspected(part).splitlines() if '"type":"run"' in x]
        assert started["run"]["run_group"] == "study"
        assert_has_samples(part)
    assert len(ids) == 2


def assert_has_samples(part: Path) -> None:
    """A table of pictures and captions, and a sheet, in each row of a validation."""
    validated = [row for row in history(part) if "val/mae_all" in row]
    assert len(validated) == 2
    for row in validated:
        assert row["val/samples._type"] == "image-file"
        stored = part.parent / "files" / row["val/samples_table.path"]
        table = json.loads(stored.read_text())
        assert table["columns"] == ["image", "predicted and true", "MAE px", "joints", "caption"]
        assert len(table["data"]) == row["val/samples_table.nrows"] > 1
    artifacts = [json.loads(x) for x in inspected(part).splitlines() if '"type":"artifact"' in x]
    pictures = [
        x for x in artifacts if "media/images" in json.dumps(x)
    ]  # a table keeps them there
    assert len(pictures) == 2


def test_killed_run_goes_on_in_its_own_run_and_sends_what_the_kill_had_lost(
    trainings: Trainings, tmp_path: Path
) -> None:
    """Of a run of seconds wandb has written nothing yet: the table in the checkpoint has it."""
    words = ["checkpoint.every_n_steps=3", f"runs={tmp_path}", "name=killed"]
    offline = {"HOME": str(tmp_path)}
    assert trainings.train(*words, die_at=7, environment=offline) == -signal.SIGKILL
    [lost] = parts(tmp_path / "killed")
    os.truncate(lost, 7)  # its header: on a busy machine a part of it is there by now
    assert trainings.train(*words, environment=offline) == 0
    [part] = parts(tmp_path / "killed")
    assert part.name == lost.name
    assert_is_table(history(part), tmp_path / "killed")
    assert_best(json.loads(inspected(part, "--summary"))["summary"], tmp_path / "killed")


def test_killed_run_goes_on_online_where_it_was(
    trainings: Trainings, tmp_path: Path, wandb_server: WandbServer
) -> None:
    words = ["checkpoint.every_n_steps=3", f"runs={tmp_path}", "name=killed"]
    online = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": wandb_server.url}
    assert trainings.train(*words, die_at=7, environment=online) == -signal.SIGKILL
    assert trainings.train(*words, environment=online) == 0
    assert f"W&B: {wandb_server.url}/me/blippose/runs/" in trainings.log
    [kept] = wandb_server.runs.values()
    assert kept.exit_codes[-1] == 0
    assert_is_table(kept.history, tmp_path / "killed")
    assert_best(kept.summary, tmp_path / "killed")


ROWS = [{"step": n, "val/mae": float(abs(3 - n)), "train/loss": 9.0 - n} for n in range(9)]
CONFIG = {"optimizer": {"lr": 2e-5}, "seed": 0}


def begun(folder: Path, **settings: Any) -> RowLogger:
    logger = wandb_logger(folder, "abcd1234", "group", CONFIG, **settings)
    assert logger is not None
    return logger


def log(folder: Path, rows: list[dict[str, Any]], restored: int = 0, code: int = 0) -> None:
    """A process that goes on from a checkpoint with as many rows, and ends."""
    folder.mkdir(exist_ok=True)
    logger = begun(folder)
    logger.go_on(ROWS[:restored])
    for row in rows:
        logger.log_metrics({k: v for k, v in row.items() if k != "step"}, row["step"])
    logger.close(code)
    wandb.teardown()  # waits until its service has written all, as the end of a process does


def assert_whole(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    assert [row["_step"] for row in rows] == [row["trainer/global_step"] for row in rows]
    assert [row["trainer/global_step"] for row in rows] == [row["step"] for row in ROWS]
    assert [row["train/loss"] for row in rows] == [row["train/loss"] for row in ROWS]
    assert summary["val/mae"] == {"min": 0}
    assert summary["train/loss"] == ROWS[-1]["train/loss"]


def test_sync_makes_one_run_of_parts_that_went_back_and_jumped_ahead(
    tmp_path: Path, wandb_server: WandbServer, log_in: Online
) -> None:
    """Cut off behind its checkpoint, then with rows that were lost."""
    folder = tmp_path / "run"
    log(folder, ROWS[:5], code=1)
    log(folder, ROWS[3:6], restored=3)
    log(folder, ROWS[8:], restored=8)
    [first, *_, last] = parts(folder)
    assert [row["_step"] for row in history(first)] == [0, 1, 2, 3, 4]
    assert [row["_step"] for row in history(last)] == [6, 7, 8]
    log_in(wandb_server.url)
    sync = [sys.executable, "-m", "wandb", "sync", str(folder / "wandb")]
    subprocess.run(sync, check=True, capture_output=True, timeout=100)
    [kept] = wandb_server.runs.values()
    assert_whole(kept.history, kept.summary)
    assert kept.config == CONFIG
    assert (kept.variables["displayName"], kept.variables["groupName"]) == ("run", "group")


def test_run_online_is_gone_on_with_behind_its_last_row(
    tmp_path: Path, wandb_server: WandbServer, log_in: Online
) -> None:
    log_in(wandb_server.url)
    log(tmp_path / "run", ROWS[:5], code=1)
    log(tmp_path / "run", ROWS[3:6], restored=3)
    log(tmp_path / "run", ROWS[8:], restored=8)
    [kept] = wandb_server.runs.values()
    assert_whole(kept.history, kept.summary)
    assert kept.exit_codes == [1, 0, 0]


def test_run_that_began_offline_goes_online_once_its_part_is_sent(
    tmp_path: Path,
    wandb_server: WandbServer,
    log_in: Online,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before that the server lacks the beginning, which could only be sent behind the end."""
    folder = tmp_path / "run"
    log(folder, ROWS[:3])
    log_in(wandb_server.url)
    log(folder, ROWS[3:6], restored=3)
    assert "W&B stays offline" in capsys.readouterr().out
    assert not wandb_server.runs
    sync = [sys.executable, "-m", "wandb", "sync", str(folder / "wandb")]
    subprocess.run(sync, check=True, capture_output=True, timeout=100)
    log(folder, ROWS[6:], restored=6)
    [kept] = wandb_server.runs.values()
    assert_whole(kept.history, kept.summary)


@contextmanager
def closed() -> Iterator[str]:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def hanging() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def refusing() -> Iterator[str]:
    """A server to which every key is unknown."""

    class Refuse(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(401)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_error(401)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("serve", [closed, hanging, refusing])
def test_key_without_a_server_costs_seconds_and_a_line_and_loses_nothing(
    serve: Callable[[], Any],
    tmp_path: Path,
    log_in: Online,
    wandb_server: WandbServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with serve() as url:
        log_in(url)
        began = time.monotonic()
        logger = begun(folder)
        assert time.monotonic() - began < 60  # W&B itself waits 90
        logger.go_on(ROWS)
        logger.close(0)
    printed = capfd.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("blippose: W&B cannot be used (")
    assert line.endswith(f"the run is logged offline, nothing is lost; send it later with: "
                         f"wandb sync {folder}/wandb")  # fmt: skip
    assert printed.out == ""
    [part] = parts(folder)
    assert part.parent.name.startswith("offline-run-")
    assert_whole(history(part), json.loads(inspected(part, "--summary"))["summary"])


@pytest.mark.parametrize("mode", ["online", "run", "shared"])
def test_modes_that_need_a_server_are_offline_without_a_key(
    tmp_path: Path,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    log(tmp_path / "run", ROWS)
    assert capfd.readouterr().out.startswith("W&B is offline, as there is no key; send it later")
    [part] = parts(tmp_path / "run")
    assert_whole(history(part), json.loads(inspected(part, "--summary"))["summary"])


def test_mode_online_without_a_server_is_offline_with_a_line(
    tmp_path: Path,
    log_in: Online,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    with closed() as url:
        log_in(url)
        log(tmp_path / "run", ROWS)
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("blippose: W&B cannot be used (")
    [part] = parts(tmp_path / "run")
    assert_whole(history(part), json.loads(inspected(part, "--summary"))["summary"])


@pytest.mark.parametrize("mode", ["offline", "dryrun"])
def test_modes_without_a_server_send_each_row_once_also_after_a_stop(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    log(tmp_path / "run", ROWS[:5])
    log(tmp_path / "run", ROWS[5:], restored=5)
    rows = [row for part in parts(tmp_path / "run") for row in history(part)]
    assert [row["_step"] for row in rows] == [*range(len(ROWS))]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_server_that_is_lost_on_the_way_does_not_keep_the_run_from_its_end(
    tmp_path: Path,
    log_in: Online,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nor one row of numbers from its file. Slow: wandb asks for 19 s whether a table may come."""
    monkeypatch.setattr(ours, "_FINISH_SECONDS", 2)
    folder = tmp_path / "run"
    folder.mkdir()
    server = WandbServer()
    log_in(server.url)
    logger = begun(folder)
    server.close()
    logger.go_on(ROWS[:4])
    picture = np.zeros((8, 8, 3), np.uint8)
    logger.log_pictures("val/samples", picture, ["image"], [[picture]])
    logger.go_on(ROWS[4:])
    began = time.monotonic()
    logger.close(0)
    assert time.monotonic() - began < 45  # W&B itself waits for ever
    first, last = capfd.readouterr().err.splitlines()
    assert first.startswith("blippose: W&B takes no pictures (")
    assert last.endswith(f"wandb sync {folder}/wandb --include-online")
    [part] = parts(folder)
    assert_whole(history(part), json.loads(inspected(part, "--summary"))["summary"])


def test_agents_of_wandb_bring_the_id_of_the_run(
    tmp_path: Path,
    wandb_server: WandbServer,
    log_in: Online,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in (("SWEEP_ID", "sweep123"), ("RUN_ID", "agents01"), ("PROJECT", "blippose")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    log_in(wandb_server.url)
    log(tmp_path / "run", ROWS)
    kept = wandb_server.runs.pop("agents01")
    assert kept.variables["sweep"] == "sweep123"
    assert_whole(kept.history, kept.summary)
    assert not wandb_server.runs
    assert capfd.readouterr().err == ""


FLAWED = {
    "WANDB_API_KEY": (f"{KEY} ", "API key cannot start or end with whitespace"),
    "WANDB_BASE_URL": ("127.0.0.1:9", "Input should be a valid URL"),
    "WANDB_SILENT": ("maybe", "Input should be a valid boolean"),
    "WANDB_MODE": ("of", "Input should be 'online', 'offline'"),
    "WANDB_TAGS": ("x" * 65, "is 65 characters"),
    "WANDB_PROJECT": ("a/b", "Invalid project name"),
}


@pytest.mark.parametrize("name", FLAWED)
def test_a_variable_that_wandb_refuses_is_named_without_its_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, why = FLAWED[name]
    monkeypatch.setenv("WANDB_NOTES", "good")
    check_environment()
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^{name}: W&B refuses its value") as told:
        check_environment()
    assert why in str(told.value)
    assert "\n" not in str(told.value)
    assert KEY not in str(told.value)


@pytest.mark.parametrize("words", [[], ["-m", "seed=1,2"]])
def test_a_variable_that_wandb_refuses_ends_train_before_data_are_drawn_and_leaves_no_run(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "of")
    assert main(["train", "data.synthetic.num_persons=3", *words]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("blippose: WANDB_MODE: W&B refuses its value (Input should be 'online'")
    assert not list(tmp_path.glob("*/*"))


def test_wandb_that_cannot_even_be_offline_costs_a_line_and_not_the_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    assert wandb_logger(tmp_path / "run", "no/id", "group", CONFIG) is None
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("blippose: W&B cannot be used (UsageError: Run ID cannot contain")
    assert line.endswith("training goes on, metrics.csv has it all")
    log(tmp_path / "run", ROWS)  # as the next of a grid may


def test_names_and_groups_are_cut_to_what_wandb_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    cell = ",".join(f"setting_number_{n}=value_number_{n}" for n in range(7))
    assert len(run_name(cell)) == 128
    (tmp_path / cell).mkdir()
    logger = wandb_logger(tmp_path / cell, "abcd1234", "g" * 200, CONFIG)
    assert logger is not None
    assert (logger.run.name, logger.run.group) == (run_name(cell), "g" * 128)
    logger.close(0)


def test_project_and_tags_are_those_of_the_config_or_else_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")

    def told(**settings: Any) -> tuple[str, tuple[str, ...]]:
        (tmp_path / "run").mkdir(exist_ok=True)
        logger = begun(tmp_path / "run", **settings)
        logger.close(0)
        wandb.teardown()
        return logger.name, tuple(logger.run.tags or ())

    assert told(tags=[]) == ("blippose", ())
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_TAGS", "a,b")
    assert told(tags=[]) == ("mine", ("a", "b"))
    assert told(project="theirs", tags=["c"]) == ("theirs", ("c",))


@pytest.mark.parametrize("project", ["", "x" * 129, *(f"a{sign}b" for sign in "/\\#?%:")])
def test_projects_that_wandb_refuses_are_refused_and_the_others_taken(project: str) -> None:
    with pytest.raises(UserError, match=r"^logger\.project="):
        WandbSettings(project=project)
    if project:
        with pytest.raises(wandb.Error):
            wandb.Settings(project=project)
    WandbSettings(project="x" * 128, tags=["é", "x" * 64])
    wandb.Settings(project="x" * 128, run_tags=["é", "x" * 64])
