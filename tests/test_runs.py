from __future__ import annotations

import errno
import json
import math
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from run_config import CONFIG, changed

from blippose.cli import main
from blippose.errors import UserError
from blippose.identity import config_hash, difference
from blippose.runs import (
    BEST,
    LAST,
    PREVIOUS,
    Run,
    RunDoneError,
    RunFailedError,
    is_first_process,
)
from blippose.usage import Usage


def started(folder: Path, *, failing: bool = False) -> Run:
    """A run that was begun, with a checkpoint of its first epoch."""
    run = Run.open(folder, CONFIG)
    try:
        with run.started():
            (folder / LAST).write_text("weights")
            (folder / BEST).write_text("weights")
            if failing:
                raise RuntimeError("out of luck")
    except RunFailedError:
        pass
    return run


def test_a_run_tells_its_state_and_versions(tmp_path: Path) -> None:
    started(tmp_path / "a")
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["state"] == "running"
    assert record["config"] == CONFIG
    assert record["config_hash"] == config_hash(CONFIG)
    assert {"torch", "blippose", "python", "platform", "commit"} <= record["versions"].keys()


@pytest.mark.parametrize("is_done", [False, True])
def test_a_run_that_is_interrupted_is_stopped_unless_it_is_done(
    tmp_path: Path, is_done: bool
) -> None:
    run = Run.open(tmp_path / "a", CONFIG)

    def interrupted() -> None:
        with run.started():
            if is_done:
                run.finish({}, keep_last=False)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["state"] == ("done" if is_done else "stopped")


def test_cut_off_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    started(tmp_path)
    assert Run.open(tmp_path, CONFIG).resume_from == tmp_path / LAST


def test_cut_off_run_resumes_from_the_checkpoint_before_where_the_last_is_gone(
    tmp_path: Path,
) -> None:
    started(tmp_path)
    (tmp_path / LAST).rename(tmp_path / PREVIOUS)
    assert Run.open(tmp_path, CONFIG).checkpoints == [tmp_path / PREVIOUS]


def test_failed_run_keeps_its_traceback_and_resumes(tmp_path: Path) -> None:
    run = Run.open(tmp_path, CONFIG)
    (tmp_path / LAST).write_text("weights")
    said = r"out of luck; traceback in .*traceback\.txt"
    with pytest.raises(RunFailedError, match=said), run.started():
        raise RuntimeError("out of luck")
    again = Run.open(tmp_path, CONFIG)
    assert again.record["state"] == "failed"
    assert "RuntimeError: out of luck" in (tmp_path / "traceback.txt").read_text()
    assert again.resume_from == tmp_path / LAST


def test_starting_again_clears_the_traceback(tmp_path: Path) -> None:
    started(tmp_path, failing=True)
    again = started(tmp_path)
    assert again.record["traceback"] is None
    assert not (tmp_path / "traceback.txt").exists()


def test_done_run_returns_its_results_and_drops_the_last_checkpoint(tmp_path: Path) -> None:
    run = started(tmp_path)
    (tmp_path / PREVIOUS).write_text("weights")
    run.finish({"mae": 1.5}, keep_last=False)
    again = Run.open(tmp_path, CONFIG)
    assert again.is_done
    assert again.record["results"] == {"mae": 1.5}
    assert not (tmp_path / LAST).exists()
    assert not (tmp_path / PREVIOUS).exists()
    assert (tmp_path / BEST).exists()


def test_done_run_that_was_killed_before_it_dropped_its_checkpoints_drops_them(
    tmp_path: Path,
) -> None:
    started(tmp_path).finish({}, keep_last=False)
    (tmp_path / LAST).write_text("weights")
    Run.open(tmp_path, CONFIG)
    assert not (tmp_path / LAST).exists()


def test_a_done_run_on_a_disk_that_is_only_read_tells_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(tmp_path).finish({"mae": 1.5}, keep_last=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert Run.open(tmp_path, CONFIG).record["results"] == {"mae": 1.5}


def test_a_run_with_an_infinite_value_is_the_run_that_it_was(tmp_path: Path) -> None:
    config = changed(trainer={"gradient_clip_val": math.inf})
    with Run.open(tmp_path, config).started():
        (tmp_path / LAST).write_text("weights")
    again = Run.open(tmp_path, config)
    assert again.resume_from == tmp_path / LAST
    assert again.config_hash == config_hash(config)


def test_the_most_memory_that_a_run_held_is_that_of_all_its_processes() -> None:
    earlier = {"seconds": 100.0, "peak_memory_mb": 1e6, "peak_memory_of": "host"}
    facts = Usage.begin(earlier).facts()
    assert facts["peak_memory_mb"] == 1e6
    assert facts["seconds"] >= 100
    of_gpu = Usage.begin({**earlier, "peak_memory_of": "GPU"}).facts()
    assert of_gpu["peak_memory_mb"] < 1e6


def test_keep_last_keeps_it_and_a_done_run_does_not_resume(tmp_path: Path) -> None:
    started(tmp_path).finish({}, keep_last=True)
    assert (tmp_path / LAST).exists()
    assert Run.open(tmp_path, CONFIG).resume_from is None


def test_other_config_under_the_same_name_is_refused_with_the_difference(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(UserError, match=r"another config \(optimizer.lr: 1e-3 -> 0.002\)"):
        Run.open(tmp_path, changed(optimizer={"lr": 2e-3}))


@pytest.mark.parametrize(
    ("was", "words"),
    [
        ({"_target_": "blippose.decoding.Free", "test_views": 1}, "add decoding=free for that"),
        (
            {"_target_": "blippose.decoding.Parallel", "refine": None, "test_views": 2},
            "add decoding=parallel decoding.refine=null decoding.test_views=2 for that",
        ),
        ({"_target_": "theirs.Beams", "test_views": 1}, r"\): choose"),
        ({"_target_": "blippose.decoding.Free"}, r"\): choose"),  # before there were test views
    ],
)
def test_what_reaches_a_run_that_is_only_read_otherwise_is_said(
    tmp_path: Path, was: dict[str, Any], words: str
) -> None:
    """Such as one that was begun when the default was another."""
    now = {"_target_": "blippose.decoding.Parallel", "refine": 0, "test_views": 1}
    with Run.open(tmp_path, changed(decoding=was)).started():
        (tmp_path / LAST).write_text("weights")
    with pytest.raises(UserError, match=words):
        Run.open(tmp_path, changed(decoding=now))
    with pytest.raises(UserError, match=r"\): choose another name="):
        Run.open(tmp_path, changed(decoding=now, optimizer={"lr": 2e-3}))


def test_run_without_a_checkpoint_does_not_hold_its_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError), Run.open(tmp_path, CONFIG).started():
        raise RuntimeError("out of luck")
    assert Run.open(tmp_path, changed(optimizer={"lr": 2e-3})).resume_from is None


def test_place_in_wandb_is_kept_when_a_run_begins_again_and_not_by_another_config(
    tmp_path: Path,
) -> None:
    """It was killed before its first checkpoint, and had told its id."""
    place = {"wandb_id": "abcd1234", "wandb_group": "study"}
    started(tmp_path).note(**place)
    for name in (LAST, BEST):
        (tmp_path / name).unlink()
    assert place.items() <= Run.open(tmp_path, CONFIG).record.items()
    assert not place.keys() & Run.open(tmp_path, changed(seed=1)).record.keys()


def test_nan_is_null_in_the_record(tmp_path: Path) -> None:
    started(tmp_path).finish({"mae": math.nan}, keep_last=False)
    assert Run.read(tmp_path).record["results"] == {"mae": None}


def test_corrupt_record_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: cannot be read as a run"):
        Run.open(tmp_path, CONFIG)


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = Run.open(tmp_path / "file" / "a", CONFIG)
    with pytest.raises(UserError, match="cannot be written"), run.started():
        pass


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from blippose.runs import Run\n"
        "with Run.open(Path(sys.argv[1]), {}).started(): print('in', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        run = Run.open(tmp_path, {})
        with pytest.raises(UserError, match="another process is training"), run.started():
            pass
        other.communicate("\n")
    with Run.open(tmp_path, {}).started():
        pass


@pytest.mark.skipif(not Path("/proc/locks").is_file(), reason="this system does not tell of locks")
def test_a_folder_where_another_trains_is_refused_before_anything_is_loaded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "logger=csv", f"runs={tmp_path}", "name=a"]
    with Run.open(tmp_path / "a", {}).started():
        assert main(words) == 2
    out, err = capfd.readouterr()
    assert "a: another process is training there; wait for it, or choose" in err
    assert "loading" not in out
    Run.open(tmp_path / "a", {}).check_free()


def test_run_of_another_config_that_began_meanwhile_is_left_alone(tmp_path: Path) -> None:
    late = Run.open(tmp_path, CONFIG)
    with Run.open(tmp_path, changed(seed=1)).started():
        (tmp_path / LAST).write_text("weights")
    with pytest.raises(UserError, match="another config"), late.started():
        pass
    with pytest.raises(UserError, match="another config"):
        late.fail(RuntimeError("out of luck"))
    assert Run.open(tmp_path, changed(seed=1)).resume_from == tmp_path / LAST


def test_run_goes_on_from_what_another_process_did_meanwhile(tmp_path: Path) -> None:
    late = Run.open(tmp_path, CONFIG)
    with Run.open(tmp_path, CONFIG).started():
        (tmp_path / LAST).write_text("weights")
        Run.open(tmp_path, CONFIG).note(wandb_id="abcd1234", seconds=50.0)
    with late.started():
        assert late.resume_from == tmp_path / LAST
        assert late.record["wandb_id"] == "abcd1234"
        assert late.record["seconds"] >= 50


def test_a_mistake_in_a_run_that_was_started_keeps_what_is_known_of_it(tmp_path: Path) -> None:
    """As of a cell of a grid, whose failure is recorded after all."""
    run = Run.open(tmp_path, CONFIG)
    mistake = UserError("no validation comes")
    with suppress(UserError), run.started():
        run.note(command="blippose train", wandb_id="abcd1234")
        raise mistake
    run.fail(mistake)
    record = Run.open(tmp_path, CONFIG).record
    assert record["wandb_id"] == "abcd1234"
    assert Run.read(tmp_path).record["command"] == "blippose train"


def test_drawn_persons_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    """And where an earlier version, whose hash told their places apart, has put them."""
    drawn = {"synthetic": {"num_persons": 3, "seed": 0}}
    old, new = ({**CONFIG, "data": {**drawn, "root": root}} for root in ("data/a", "data/b"))
    with Run.open(tmp_path, old).started():
        (tmp_path / LAST).write_text("weights")
    record = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | {"config_hash": "of another version"}))
    assert Run.open(tmp_path, new).resume_from == tmp_path / LAST
    assert difference({"data": {"root": "a"}}, {"data": {"root": "b"}}) == ["data.root: a -> b"]


def test_failure_of_a_run_that_another_process_has_ended_does_not_undo_it(tmp_path: Path) -> None:
    late = Run.open(tmp_path, CONFIG)
    started(tmp_path).finish({"mae": 1.5}, keep_last=False)
    with pytest.raises(RunDoneError):
        late.fail(RuntimeError("out of luck"))
    assert Run.open(tmp_path, CONFIG).is_done


def test_reading_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run there"):
        Run.read(tmp_path)


def test_users_mistake_before_training_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError), Run.open(tmp_path / "a", CONFIG).started():
        raise UserError("no such file")
    assert not (tmp_path / "a").exists()


def test_users_mistake_in_training_can_be_resumed_and_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / LAST).write_text("weights")
    with pytest.raises(UserError), Run.open(tmp_path, CONFIG).started():
        raise UserError("no such file")
    again = Run.open(tmp_path, CONFIG)
    assert again.record["state"] == "failed"
    assert again.resume_from == tmp_path / LAST
    assert not (tmp_path / "traceback.txt").exists()


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_one_process_of_several_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0")
    assert is_first_process()
    monkeypatch.setenv(name, "1")
    assert not is_first_process()


def test_what_a_run_took_that_was_asked_to_end_is_kept(tmp_path: Path) -> None:
    """By Ctrl-C or a cluster: its next process counts on."""

    def work() -> None:
        time.sleep(0.2)
        (tmp_path / LAST).write_text("weights")
        raise KeyboardInterrupt

    seconds = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), Run.open(tmp_path, CONFIG).started():
            work()
        seconds.append(Run.read(tmp_path).record["seconds"])
    assert seconds[0] >= 0.2
    assert seconds[1] >= seconds[0] + 0.2


def test_zero_as_a_float_is_the_run_that_zero_is_and_keeps_its_hash(tmp_path: Path) -> None:
    config = changed(optimizer={"lr": 1e-3, "weight_decay": 0})
    with Run.open(tmp_path, config).started():
        (tmp_path / LAST).write_text("weights")
    same = Run.open(tmp_path, changed(optimizer={"lr": 1e-3, "weight_decay": 0.0}))
    assert same.resume_from == tmp_path / LAST
    assert same.config_hash == config_hash(config)
