"""What a run's folder tells, however broken it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_grid import BEST_CELL, cells, write_run
from filelock import FileLock

from blippose import loggers
from blippose.errors import UserError
from blippose.report.cells import Cell, CellState, find_cells, read_cell
from blippose.report.history import METRICS, TORN, Curve, read_history
from blippose.report.measures import MEASURES
from blippose.runs import LAST

MAE = MEASURES["mae_all"]


@pytest.fixture
def run(poster_grid: Path, tmp_path: Path) -> Path:
    """A copy of one run that is done."""
    return Path(shutil.copytree(poster_grid / BEST_CELL, tmp_path / "run"))


def ended(folder: Path, end: str) -> Cell:
    write_run(folder, next(cells((0,)))[1], 3, end)
    return read_cell(folder, folder.name)


def test_the_name_of_the_metrics_file_is_the_loggers() -> None:
    assert METRICS == loggers.METRICS


def test_rows_become_curves_over_epochs(tmp_path: Path) -> None:
    rows = "epoch,step,train/loss,val/mae\n0,4,3.0,\n0,9,,7.5\n1,14,2.0,\n1,19,,6.5\n"
    (tmp_path / METRICS).write_text(rows)
    history = read_history(tmp_path / METRICS)
    np.testing.assert_allclose(history["train/loss"].epochs, [0.5, 1.5])
    np.testing.assert_allclose(history["val/mae"].epochs, [1, 2])
    np.testing.assert_allclose(history["val/mae"].values, [7.5, 6.5])
    assert history.num_epochs == 2
    assert history.faults == ()


@pytest.mark.parametrize("lost", [1, 5, 30])
def test_a_torn_last_line_is_left_out_and_said(run: Path, lost: int) -> None:
    whole = read_history(run / METRICS)
    text = (run / METRICS).read_text()
    (run / METRICS).write_text(text[:-lost])
    torn = read_history(run / METRICS)
    assert torn.faults == (TORN,)
    assert len(torn["val/mae"]) == len(whole["val/mae"]) - 1


def test_a_spoilt_line_in_the_middle_is_counted(run: Path) -> None:
    lines = (run / METRICS).read_text().splitlines(keepends=True)
    lines[3] = "what,is,this\n"
    (run / METRICS).write_text("".join(lines))
    assert read_history(run / METRICS).faults == (
        "1 lines of metrics.csv cannot be read and are left out",
    )


def test_a_value_that_is_no_number_is_no_point(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text("epoch,step,val/mae\n0,9,nan\n1,19,6.5\n")
    np.testing.assert_allclose(read_history(tmp_path / METRICS)["val/mae"].epochs, [2])


def test_an_epoch_that_has_a_validation_in_its_middle_gets_no_other(tmp_path: Path) -> None:
    """Two validations an epoch, and +trainer.max_steps ends the third one in its middle."""
    rows = [f"{step // 10},{step},{9 - step // 5}.0" for step in (4, 9, 14, 19, 24)]
    (tmp_path / METRICS).write_text("\n".join(["epoch,step,val/mae", *rows, ""]))
    history = read_history(tmp_path / METRICS)
    assert history.num_validations == 5
    assert history.with_validation(3, {"mae": 5.0}).num_validations == 5
    assert history.with_validation(4, {"mae": 4.0})["val/mae"].epochs[-1] == 4


def test_thinning_keeps_the_mean_and_the_end() -> None:
    curve = Curve(np.arange(100.0), np.arange(100.0)).thinned(10)
    assert len(curve) == 10
    assert curve.values.mean() == pytest.approx(49.5)
    assert curve.epochs[-1] == 99


def test_a_done_run_tells_its_best_epoch_and_its_value(run: Path) -> None:
    cell = read_cell(run, "run")
    results = json.loads((run / "run.json").read_text())["results"]
    estimate = cell.estimate("mae_all", MAE)
    assert cell.state is CellState.DONE
    assert cell.notes == []
    assert cell.best_epoch(MAE) == results["epoch"] + 1
    assert estimate is not None
    assert estimate.value == pytest.approx(results["free_running"]["mae_all"])
    assert estimate.low is None


def test_what_a_torn_line_lost_of_a_done_run_is_read_from_its_results(run: Path) -> None:
    whole = read_cell(run, "run").estimate("mae_all", MAE)
    text = (run / METRICS).read_text()
    (run / METRICS).write_text(text[:-9])
    cell = read_cell(run, "run")
    assert cell.notes == [TORN]
    assert cell.estimate("mae_all", MAE) == whole
    assert cell.history.num_epochs == 8


def test_other_metrics_are_read_at_the_chosen_epoch(tmp_path: Path) -> None:
    rows = "epoch,step,val/mae_all,val/acc_5px\n0,9,5.0,0.9\n1,19,4.0,0.3\n"
    (tmp_path / METRICS).write_text(rows)
    cell = read_cell(tmp_path, "run")
    estimate = cell.estimate("acc_5px", MAE)
    assert estimate is not None
    assert estimate.value == pytest.approx(0.3)


def validated_twice_an_epoch(folder: Path) -> Cell:
    """Each metric is best in another validation than the others."""
    rows = "0,4,4.0,0.9\n0,9,5.0,0.3\n1,14,6.0,0.5\n1,19,4.5,0.95\n"
    (folder / METRICS).write_text("epoch,step,val/mae_all,val/acc_5px\n" + rows)
    return read_cell(folder, "run")


@pytest.mark.parametrize(
    ("chosen", "epoch", "mae", "accuracy"), [("mae_all", 1, 4.0, 0.9), ("acc_5px", 2, 4.5, 0.95)]
)
def test_metrics_of_validations_of_one_epoch_are_not_mixed(
    tmp_path: Path, chosen: str, epoch: int, mae: float, accuracy: float
) -> None:
    cell, measure = validated_twice_an_epoch(tmp_path), MEASURES[chosen]
    estimates = [cell.estimate(name, measure) for name in ("mae_all", "acc_5px")]
    assert [estimate and estimate.value for estimate in estimates] == [mae, accuracy]
    assert cell.best_epoch(measure) == epoch


def test_validations_of_one_epoch_stand_at_their_share_of_its_steps(tmp_path: Path) -> None:
    history = validated_twice_an_epoch(tmp_path).history
    for name, values in (("mae_all", [4.0, 5.0, 6.0, 4.5]), ("acc_5px", [0.9, 0.3, 0.5, 0.95])):
        assert history[f"val/{name}"].epochs.tolist() == [0.5, 1.0, 1.5, 2.0]
        assert history[f"val/{name}"].values.tolist() == values
    assert history.num_epochs == 2


@pytest.mark.parametrize(
    ("every", "num", "places"),
    [
        (5, 3, [0.5, 1.0, 1.5]),  # of a run that goes on
        (4, 8, [0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2]),  # counted over epochs
        (20, 3, [2.0, 4.0, 6.0]),
    ],
)
def test_a_validation_in_mid_epoch_does_not_say_how_long_an_epoch_is(
    tmp_path: Path, every: int, num: int, places: list[float]
) -> None:
    """Epochs are of 10 steps."""
    steps = [every * (i + 1) - 1 for i in range(num)]
    rows = "".join(f"{step // 10},{step},,{i}.0\n" for i, step in enumerate(steps))
    (tmp_path / METRICS).write_text(f"epoch,step,train/loss,val/mae\n0,4,3.0,\n{rows}")
    history = read_history(tmp_path / METRICS)
    np.testing.assert_allclose(history["val/mae"].epochs, places)
    np.testing.assert_allclose(history["train/loss"].epochs, [0.5])


def evaluation(**about: Any) -> str:
    metrics = {"mae_all": {"value": 5.2, "low": 4.9, "high": 5.5}}
    return json.dumps(
        {"about": {"subset": "val", "epoch": None, **about}, "rows": [{"metrics": metrics}]}
    )


def test_an_evaluation_brings_the_interval(run: Path) -> None:
    (run / "eval.json").write_text(evaluation())
    estimate = read_cell(run, "run").estimate("mae_all", MAE)
    assert estimate is not None
    assert (estimate.value, estimate.low, estimate.high) == (5.2, 4.9, 5.5)


@pytest.mark.parametrize(("decoding", "is_taken"), [("free", True), ("parallel", False)])
def test_an_evaluation_by_another_decoding_does_not_stand_for_the_validation(
    run: Path, decoding: str, is_taken: bool
) -> None:
    record = json.loads((run / "run.json").read_text())
    record["results"]["decoding"] = "free"
    (run / "run.json").write_text(json.dumps(record))
    (run / "eval.json").write_text(evaluation(decoding=decoding))
    estimate = read_cell(run, "run").estimate("mae_all", MAE)
    assert estimate is not None
    assert (estimate.value == 5.2) == is_taken


@pytest.mark.parametrize("about", [{"subset": "test"}, {"epoch": 0}, {"manifest": "other"}])
def test_an_evaluation_of_something_else_does_not(run: Path, about: dict[str, Any]) -> None:
    (run / "eval.json").write_text(evaluation(**about))
    estimate = read_cell(run, "run").estimate("mae_all", MAE)
    assert estimate is not None
    assert estimate.low is None


@pytest.mark.parametrize(("later", "is_taken"), [(0, True), (1, False)])
def test_an_evaluation_of_the_best_epoch_alone_is_taken(
    run: Path, later: int, is_taken: bool
) -> None:
    epoch = json.loads((run / "run.json").read_text())["results"]["epoch"]
    (run / "eval.json").write_text(evaluation(epoch=epoch + later))
    estimate = read_cell(run, "run").estimate("mae_all", MAE)
    assert estimate is not None
    assert (estimate.value == 5.2) == is_taken


@pytest.mark.parametrize("text", ["{", "[]", '{"about": 1}', '{"rows": []}'])
def test_half_an_evaluation_is_none(run: Path, text: str) -> None:
    (run / "eval.json").write_text(text)
    estimate = read_cell(run, "run").estimate("mae_all", MAE)
    assert estimate is not None
    assert estimate.low is None


def test_a_failed_run_tells_why_and_how_far_it_came(tmp_path: Path) -> None:
    cell = ended(tmp_path / "run", "failed")
    assert cell.state is CellState.FAILED
    assert cell.reason == "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert cell.history.num_epochs == 3


def test_a_run_that_nobody_holds_is_cut_off(tmp_path: Path) -> None:
    cell = ended(tmp_path / "run", "cut off")
    assert cell.state is CellState.CUT_OFF
    assert "last wrote" in cell.reason


def test_a_run_that_was_stopped_is_cut_off_and_says_so(tmp_path: Path) -> None:
    ended(tmp_path / "run", "cut off")
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace('"state": "running"', '"state": "stopped"'))
    cell = read_cell(tmp_path / "run", "run")
    assert cell.state is CellState.CUT_OFF
    assert cell.reason.startswith("stopped ")
    assert cell.reason.endswith(" ago, to be gone on with")
    (tmp_path / "run" / LAST).unlink()
    assert read_cell(tmp_path / "run", "run").reason.endswith(" ago, before its first checkpoint")


@pytest.mark.skipif(not Path("/proc/locks").is_file(), reason="locks can be seen on Linux alone")
def test_a_run_that_somebody_holds_is_running(tmp_path: Path) -> None:
    ended(tmp_path / "run", "cut off")
    with FileLock(tmp_path / "run" / ".lock"):
        assert read_cell(tmp_path / "run", "run").state is CellState.RUNNING


def test_a_spoilt_record_leaves_the_settings_and_the_curves(run: Path) -> None:
    (run / "run.json").write_text('{"state": "do')
    cell = read_cell(run, "run")
    assert cell.state is CellState.UNREADABLE
    assert "cannot be read as a run (Unterminated string" in cell.reason
    assert cell.config["optimizer"]["lr"] == 2e-5
    assert cell.history.num_epochs == 8


def test_a_folder_without_a_record_never_began(run: Path) -> None:
    (run / "run.json").unlink()
    assert read_cell(run, "run").state is CellState.MISSING


def test_a_run_without_its_metrics_says_so(run: Path) -> None:
    (run / METRICS).unlink()
    cell = read_cell(run, "run")
    assert cell.notes == ["there is no metrics.csv"]
    assert cell.estimate("mae_all", MAE) is not None  # from the results


def test_a_folder_of_runs_and_a_run_are_both_found(poster_grid: Path) -> None:
    assert len(find_cells([poster_grid])) == 18
    assert [cell.name for cell in find_cells([poster_grid / BEST_CELL])] == [BEST_CELL]
    assert len(find_cells([poster_grid, poster_grid / BEST_CELL])) == 18


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        find_cells([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"no runs there"):
        find_cells([tmp_path])
