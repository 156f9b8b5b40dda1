"""`blippose eval` as a user runs it, on two short runs of drawn people."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from blippose.__main__ import main
from blippose.calibration import Calibration, load_calibrations
from blippose.cli.config import UNSTATED
from blippose.decoding import CONFIDENCE_PX, Constrained, Parallel
from blippose.evaluation.subject import Subject
from blippose.predictor import PosePredictor

FEW = "data.synthetic.num_persons=16"
SMALL = [FEW, "trainer.max_epochs=1", "logger=csv", "name=grid", "seed=0,1"]
WRITTEN = {"eval.json", "eval.md", "per_joint.csv", "per_image.csv"}
PICTURES = {"error_cdf.png", "per_joint.png", "reliability.png", "overlays.png"}
QUICK = "samples=50"
BEST = "parallel, refine 0, expectation, 2 test views, close-up"
KEPT = "parallel_refine_0_expectation_2_test_views_close_up.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds grid/seed=0 and grid/seed=1, trained, and data; seed=0 is judged."""
    folder = tmp_path_factory.mktemp("eval")
    assert main(["train", "-m", f"runs={folder}", f"data.root={folder}/data", *SMALL]) == 0
    assert main(["eval", f"run={folder}/grid/seed=0", QUICK]) == 0
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return folder / "grid" / "seed=0"


@pytest.fixture
def without_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds, and those of the first run are looked at."""
    monkeypatch.setattr("blippose.evaluation.report_files._write_pictures", lambda *_: None)


def report_in(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "eval.json").read_text()))


def texts(report: dict[str, Any]) -> list[str]:
    return [warning["text"] for warning in report["warnings"]]


def values(report: dict[str, Any], row: str) -> dict[str, float]:
    metrics = next(each["metrics"] for each in report["rows"] if each["name"] == row)
    return {name: cell["value"] for name, cell in metrics.items()}


def test_everything_is_written(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= WRITTEN | PICTURES
    for name in PICTURES:
        with Image.open(run / name) as picture:
            assert min(picture.size) > 500
    assert not list(run.glob(".*.json*"))


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ("model, free-running", "free_running"),
        ("model, teacher-forced, one look", "teacher_forced"),
        ("mean pose of training", "mean_pose"),
    ],
)
def test_figures_are_those_that_training_measured(run: Path, row: str, key: str) -> None:
    """Two roads to the same numbers: torchmetrics in training, sums by person here."""
    measured = json.loads((run / "run.json").read_text())["results"][key]
    found = values(report_in(run), row)
    for name, value in measured.items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_the_table_has_every_kind_of_row_on_the_same_images(run: Path) -> None:
    report = report_in(run)
    assert {row["kind"] for row in report["rows"]} == {"model", "baseline", "control", "ceiling"}
    assert (
        report["about"]["num_images"]
        == json.loads((run / "run.json").read_text())["results"]["num_val"]
    )


def test_a_run_is_judged_as_it_was_validated(run: Path) -> None:
    validated = json.loads((run / "run.json").read_text())["results"]["decoding"]
    assert report_in(run)["about"]["decoding"] == validated == BEST


@pytest.mark.usefixtures("without_pictures")
def test_a_model_that_does_not_say_how_it_was_validated_is_said_to_be_asked_by_free(
    folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(run / "best.ckpt", weights_only=True)
    del checkpoint["blippose"]["decoding"]
    torch.save(checkpoint, tmp_path / "older.ckpt")
    ckpt, image = f"ckpt={tmp_path}/older.ckpt", next((folder / "data/images").iterdir())
    judged = ["eval", ckpt, f"data.root={folder}/data", QUICK]
    assert main(judged) == 0
    assert UNSTATED in capsys.readouterr().out
    assert report_in(tmp_path / "older_eval")["about"]["decoding"] == "free"
    predicted = ["predict", ckpt, f"images={image}", f"out={tmp_path}/predicted"]
    assert main(predicted) == 0
    assert UNSTATED in capsys.readouterr().out
    for command in (judged, predicted):
        assert main([*command, "decoding=free"]) == 0
    assert UNSTATED not in capsys.readouterr().out


@pytest.mark.usefixtures("without_pictures")
def test_a_decoding_that_training_did_not_teach_is_cautioned_against(
    folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt, image = f"ckpt={run}/best.ckpt", next((folder / "data/images").iterdir())
    place = [f"data.root={folder}/data", f"out={tmp_path}/judged", QUICK]
    assert main(["eval", ckpt, *place, "decoding=prompted"]) == 0
    first = report_in(tmp_path / "judged")["warnings"][0]
    assert "no training caption named one alone" in str(first)
    predicted = ["predict", ckpt, f"images={image}", f"out={tmp_path}/predicted"]
    for decoding, is_said in (("prompted", True), ("parallel", False)):
        capsys.readouterr()
        assert main([*predicted, f"decoding={decoding}"]) == 0
        assert ("its poses are made up" in capsys.readouterr().out) == is_said


def calibrated_by(shift: float) -> Callable[..., Calibration]:
    """Stands in for what is fitted: the few persons here would not do."""

    def fitted(subject: Subject, _: Any) -> Calibration:
        ones, shifts = (1.0,) * 16, (shift,) * 16
        return Calibration(ones, shifts, subject.decoding.name, CONFIDENCE_PX, 300, subject.sha256)

    return fitted


def test_of_few_training_persons_no_calibration_is_fitted(run: Path) -> None:
    assert "calibrated" not in report_in(run)["confidence"]
    assert not load_calibrations(run)


@pytest.mark.usefixtures("without_pictures")
def test_a_calibration_that_harms_is_not_kept_nor_is_an_earlier_one(
    folder: Path,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged = Path(shutil.copytree(run, tmp_path / "seed=0"))
    for shift, is_kept in ((0.0, True), (-8.0, False)):
        monkeypatch.setattr("blippose.evaluation.evidence._calibration", calibrated_by(shift))
        capsys.readouterr()
        assert main(["eval", f"run={judged}", f"data.root={folder}/data", QUICK]) == 0
        assert ("what calibrates its confidence" in capsys.readouterr().out) == is_kept
        assert bool(load_calibrations(judged)) == is_kept
        assert ("not calibrated" not in PosePredictor.from_run(judged).confidence_is) == is_kept
        said = any("The calibration is not kept" in text for text in texts(report_in(judged)))
        assert said != is_kept


@pytest.mark.usefixtures("without_pictures")
def test_a_later_eval_of_few_persons_keeps_the_calibration_there_is(
    folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Path(shutil.copytree(run, tmp_path / "seed=0"))
    for fitted in (calibrated_by(0.0), lambda *_: None):
        monkeypatch.setattr("blippose.evaluation.evidence._calibration", fitted)
        assert main(["eval", f"run={judged}", f"data.root={folder}/data", QUICK]) == 0
        assert load_calibrations(judged)


@pytest.mark.usefixtures("without_pictures")
def test_a_judged_run_predicts_with_calibrated_confidence_by_each_decoding_judged(
    folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = tmp_path / "seed=0"
    shutil.copytree(run, judged)
    monkeypatch.setattr("blippose.evaluation.evidence._calibration", calibrated_by(0.0))
    place = f"data.root={folder}/data"
    assert main(["eval", f"run={judged}", place, QUICK]) == 0
    assert "calibrated on" in PosePredictor.from_run(judged).confidence_is
    raw = report_in(judged)["confidence"]
    assert raw["raw"]["ece"]["low"] <= raw["raw"]["ece"]["value"] <= raw["raw"]["ece"]["high"]
    monkeypatch.setattr("blippose.evaluation.predictions._features", None)  # asked of no way anew
    assert main(["eval", f"run={judged}", place, QUICK, "decoding=parallel"]) == 0
    assert report_in(judged)["about"]["decoding"] == BEST, "its own report stays"
    other = report_in(judged / "eval_parallel_refine_0")
    assert other["about"]["decoding"] == "parallel, refine 0"
    predictor = PosePredictor.from_run(judged)
    decodings = [each.decoding for each in predictor.stated.calibrations]
    assert decodings == [BEST, "parallel, refine 0"]
    assert "not calibrated" not in predictor.confidence_is
    assert "not calibrated" not in predictor.decode_by(Parallel()).confidence_is
    assert "not calibrated" in predictor.decode_by(Constrained()).confidence_is


def test_cautions_are_on_the_page(run: Path) -> None:
    report, page = report_in(run), (run / "eval.md").read_text()
    assert "| weights before training | `tiny` |" in page
    said = texts(report)
    assert any("synthetic" in text for text in said)
    assert any("chosen by its score on these same images" in text for text in said)
    assert all(text in page for text in said)


def test_rows_of_images_average_to_the_figures(run: Path) -> None:
    rows = list(csv.DictReader((run / "per_image.csv").open()))
    free = [row for row in rows if row["answer"] == "model, free-running"]
    parsed = np.array([float(row["parsed"]) for row in free])
    epe = np.array([float(row["epe"] or 0) for row in free])
    expected = values(report_in(run), "model, free-running")["epe"]
    assert (epe * parsed).sum() / parsed.sum() == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("without_pictures")
def test_the_second_time_the_model_is_not_asked(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked again")

    before = (run / "eval.json").read_text()
    monkeypatch.setattr("blippose.evaluation.predictions._features", asked)
    monkeypatch.setattr("blippose.evaluation.predictions.ask", asked)
    assert main(["eval", f"run={run}", QUICK]) == 0
    printed = capsys.readouterr().out
    assert "used again" in printed
    assert all(name in printed for name in WRITTEN | PICTURES)
    assert json.loads(before) == report_in(run)


@pytest.mark.usefixtures("without_pictures")
def test_damaged_features_are_made_again(run: Path) -> None:
    kept = run / "predictions" / "features_val.npz"
    before, good = (run / "eval.json").read_text(), kept.read_bytes()
    kept.write_bytes(good[:100])
    assert main(["eval", f"run={run}", QUICK]) == 0
    assert len(kept.read_bytes()) == len(good)
    assert (run / "eval.json").read_text() == before


@pytest.mark.usefixtures("without_pictures")
def test_two_processes_report_what_one_does_to_the_last_digit(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun starts them; the second comes first here, and does not wait."""
    words = ["eval", f"run={run}", QUICK, "batch_size=1"]
    assert main([*words, f"out={tmp_path}/one"]) == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, written in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        assert main([*words, f"out={tmp_path}/two"]) == 0
        assert (tmp_path / "two" / "eval.json").exists() == written
    for name in WRITTEN | {f"predictions/{subset}_{KEPT}" for subset in ("val", "train")}:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name
    kept = [path.name for path in (tmp_path / "two" / "predictions").iterdir()]
    assert not [name for name in kept if name.startswith(".")]


@pytest.mark.usefixtures("without_pictures")
def test_a_held_out_test_side_is_what_is_reported(folder: Path) -> None:
    words = [f"runs={folder}", f"data.root={folder}/data", *SMALL[:3]]
    assert main(["train", *words, "name=held", "data.test_fraction=0.15"]) == 0
    run = folder / "held"
    results = json.loads((run / "run.json").read_text())["results"]
    assert main(["eval", f"run={run}", QUICK]) == 0
    report = report_in(run)
    images = [row["image"] for row in csv.DictReader((run / "per_image.csv").open())]
    asked = json.loads((run / "predictions" / f"test_{KEPT}").read_text())["rows"]
    assert report["about"]["subset"] == "test"
    assert "subset" not in [warning["kind"] for warning in report["warnings"]]
    assert len(asked) == report["about"]["num_images"] == len(set(images)) > 0
    assert main(["eval", f"run={run}", QUICK, "subset=val"]) == 0
    judged = report_in(run)
    assert judged["about"]["num_images"] == results["num_val"]
    assert "subset" in [warning["kind"] for warning in judged["warnings"]]
    val = {row["image"] for row in csv.DictReader((run / "per_image.csv").open())}
    assert val.isdisjoint(images)


@pytest.mark.usefixtures("without_pictures")
def test_a_run_that_goes_on_is_judged_on_its_best_epoch_so_far(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record |= {"state": "running", "results": None}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert main(["eval", f"run={tmp_path}/run", QUICK]) == 0
    report = report_in(tmp_path / "run")
    assert "The run is not done (cut off, or running elsewhere)" in " ".join(texts(report))
    assert "shared_video" in report["leaks"]  # the checkpoint knows what it was trained on


def test_weights_are_those_that_were_hashed_though_the_file_is_replaced(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that trains may put a better epoch in its place at any time."""
    path = Path(shutil.copy(run / "best.ckpt", tmp_path))
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.file_digest

    def digest_and_replace(*arguments: Any) -> Any:
        found = digest(*arguments)
        (tmp_path / "next.ckpt").write_bytes(b"another epoch")
        (tmp_path / "next.ckpt").replace(path)
        return found

    monkeypatch.setattr(hashlib, "file_digest", digest_and_replace)
    settings = {"root": str(run.parents[1] / "data"), "split": "random"}
    subject = Subject.of_checkpoint(path, settings)
    assert (subject.sha256, subject.epoch) == (expected, 0)


@pytest.mark.usefixtures("without_pictures")
def test_other_pixels_are_asked_about_again(folder: Path, run: Path, tmp_path: Path) -> None:
    """As when images are copied again in another quality: their names stay."""
    shutil.copytree(folder / "data", tmp_path / "data")
    words = ["eval", f"run={run}", f"data.root={tmp_path}/data", f"out={tmp_path}/out", QUICK]
    assert main(words) == 0
    kept = tmp_path / "out" / "predictions" / f"val_{KEPT}"
    before = json.loads(kept.read_text())
    for path in (tmp_path / "data" / "images").iterdir():
        with Image.open(path) as image:
            grey = Image.new("RGB", image.size, "gray")
        grey.save(path)
    assert main(words) == 0
    after = json.loads(kept.read_text())
    assert after["pixels_sha256"] != before["pixels_sha256"]
    said: dict[tuple[int, int], set[str]] = {}
    for row in after["rows"]:
        with Image.open(tmp_path / "data" / "images" / row["image"]) as image:
            said.setdefault(image.size, set()).add(row["caption"])
    assert all(len(captions) == 1 for captions in said.values())  # of images that are all alike
    assert len(said) < len(after["rows"])


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_views_that_cannot_be_asked_are_refused_before_a_model_is_read(
    run: Path,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    unread = tmp_path / "run"
    shutil.copytree(run, unread)
    (unread / "best.ckpt").write_bytes(b"no checkpoint")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("photo.png")
    words = ["run=run", "decoding=best", "decoding.test_views=3"]
    photos = ["images=photo.png"] if command == "predict" else []
    assert main([command, *words, *photos]) == 2
    assert "decoding.test_views=3: expected one of 1, 2, 4" in capfd.readouterr().err


def test_no_release_is_drawn_or_replaced_to_be_judged_on(
    folder: Path, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"ckpt={run}/best.ckpt", f"data.root={tmp_path}/typo"]) == 2
    assert "no such file" in capfd.readouterr().err
    assert not (tmp_path / "typo").exists()
    drawn = (folder / "data" / "release.json").read_bytes()
    words = [f"data.root={folder}/data", "data.synthetic.num_persons=99", f"out={tmp_path}", QUICK]
    assert main(["eval", f"ckpt={run}/best.ckpt", *words]) == 0
    assert (folder / "data" / "release.json").read_bytes() == drawn


@pytest.mark.usefixtures("without_pictures")
def test_several_runs_give_mean_and_deviation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"run={folder}/grid/seed=*", QUICK]) == 0
    assert "±" in capsys.readouterr().out
    each = [
        values(report_in(folder / "grid" / f"seed={seed}"), "model, free-running")["mae"]
        for seed in (0, 1)
    ]
    summary = report_in(folder / "grid")
    mae = summary["rows"][0]["metrics"]["mae"]
    assert mae["value"] == pytest.approx(np.mean(each))
    assert mae["deviation"] == pytest.approx(np.std(each, ddof=1))
    assert "2 runs" in (folder / "grid" / "eval.md").read_text()


@pytest.mark.usefixtures("without_pictures")
def test_a_checkpoint_is_judged_on_data_that_are_named(
    folder: Path, run: Path, tmp_path: Path
) -> None:
    words = [f"data.root={folder}/data", FEW, "data.split=random", f"out={tmp_path}/out", QUICK]
    assert main(["eval", f"ckpt={run}/best.ckpt", *words]) == 0
    report = report_in(tmp_path / "out")
    assert report["about"]["split"] == "random"
    # run.json beside it says what it was trained on, and that is still there.
    assert report["leaks"]["shared_video"]["num_images"] > 0
    assert any("share a video with a training image (another split)" in t for t in texts(report))
    seen = report["leaks"]["training_images"]["num_images"]
    assert any(f"{seen} of " in t and "training images themselves" in t for t in texts(report))
    assert not any("chosen by its score" in text for text in texts(report))
    assert "train_gap" in report["diagnostics"]
    shutil.copy(run / "best.ckpt", tmp_path)
    assert main(["eval", f"ckpt={tmp_path}/best.ckpt", *words]) == 0
    alone = report_in(tmp_path / "out")
    assert any("which is not there: these images may" in text for text in texts(alone))
    assert "shared_video" not in alone["leaks"]


@pytest.mark.usefixtures("without_pictures")
def test_data_that_moved_are_named_and_must_be_the_same(
    folder: Path, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "data", tmp_path / "moved")
    words = [f"data.root={tmp_path}/moved", f"out={tmp_path}/out", QUICK]
    assert main(["eval", f"run={run}", *words]) == 0
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["config"]["data"]["split_seed"] = 7  # as if it had been trained on others
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    capfd.readouterr()
    assert main(["eval", f"run={tmp_path}/run", *words]) == 2
    assert "not the data that" in capfd.readouterr().err


def test_a_disk_that_is_full_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (run / "eval.json").read_text()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("blippose.evaluation.report_files.write_texts", full)
    assert main(["eval", f"run={run}", QUICK]) == 2
    said = capfd.readouterr().err
    assert (
        f"out={run}: cannot be written (No space left on device); name a folder that can" in said
    )
    assert "Traceback" not in said
    assert (run / "eval.json").read_text() == before


def test_data_that_are_gone_are_not_drawn_again(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"run={run}", f"data.root={tmp_path}/gone"]) == 2
    assert "say where they are with data.root=" in capfd.readouterr().err
    assert not (tmp_path / "gone").exists()


def test_a_test_set_that_the_split_has_not_is_refused(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"run={run}", "subset=test"]) == 2
    assert "data.test_fraction=" in capfd.readouterr().err


def test_an_unfinished_run_is_refused(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(run / "run.json", tmp_path)
    assert main(["eval", f"run={tmp_path}"]) == 2
    assert "holds no best.ckpt" in capfd.readouterr().err
    assert main(["eval", f"run=['{run}','{tmp_path}']"]) == 2  # nor is it left out of a mean
    assert "holds no best.ckpt" in capfd.readouterr().err


WRONG = {
    "nothing": ([], "nothing to judge"),
    "no run": (["run=nowhere"], "run=nowhere: no such folder"),
    "no match": (["run=nowhere/seed=*"], "no folder matches"),
    "two models": (["run=a", "ckpt=b"], "give one of them"),
    "no truth": (["preds=a.mat"], "add gt=FILE.mat"),
    "no predictions": (["gt=a.mat"], "add preds=FILE.mat"),
    "no file": (["preds=a.mat", "gt=b.mat"], "no such file"),
    "no checkpoint": (["ckpt=nowhere.ckpt", "data.root=data", FEW], "nowhere.ckpt"),
    "unknown subset": (["run=a", "subset=all"], "expected one of val, test, auto"),
    "another split": (["run=a", "data.split=random"], "judged on its own data"),
    "other data": (["run=a", "data=mpii"], "judged on its own data"),
    "another frame": (["ckpt=a", "data.resize=letterbox"], "the checkpoint says"),
    "no samples": (["run=a", "samples=0"], "samples=0: expected 1 or more"),
    "text": (["run=a", "samples=many"], "samples=many: expected int"),
    "threshold": (["preds=a", "gt=b", "tenth=0"], "tenth=0"),
    "a file as folder": (["run=a", f"out={__file__}/out"], "is no folder; name a folder that"),
    "a word": (["nowhere"], "run=nowhere: no such folder"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_one_line_and_status_2(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("blippose: ")
    assert said in line
    assert not list(tmp_path.iterdir())


def write_mats(folder: Path, off: float, down: float = 0.0) -> list[str]:
    """Three persons with heads of 60 px, and predictions `off` px right of them, `down` below."""
    xy = np.random.default_rng(0).uniform(100, 200, (3, 16, 2))
    box = np.array([[0.0, 0.0], [60.0, 80.0]])  # diagonal 100
    savemat(folder / "pred.mat", {"preds": xy + np.array([off, down])})
    truth = {
        "pos_gt_src": np.moveaxis(xy, 0, 2),
        "jnt_missing": np.zeros((16, 3)),
        "headboxes_src": np.repeat(box[..., None], 3, axis=2),
    }
    savemat(folder / "gt.mat", truth)
    return [f"preds={folder}/pred.mat", f"gt={folder}/gt.mat"]


def test_a_file_of_predictions_that_count_from_0_is_cautioned_against(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_mats(tmp_path, off=-1, down=-1)
    assert main(["eval", *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "median of predictions less truth: x -1.00 px, y -1.00 px" in said
    assert "caution" in said
    assert main(["eval", *write_mats(tmp_path, off=-1)]) == 0
    assert "caution" not in capsys.readouterr().out


def test_a_file_of_predictions_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_mats(tmp_path, off=6.3)  # 0.105 of the head
    assert main(["eval", *words, f"out={tmp_path}/out"]) == 0
    assert "100.00" in capsys.readouterr().out
    mean = report_in(tmp_path / "out")["mean"]
    assert (mean["pckh_0.5"]["value"], mean["pckh_0.1"]["value"]) == (1, 0)
    assert main(["eval", *words, "tenth=0.11", f"out={tmp_path}/out"]) == 0
    assert report_in(tmp_path / "out")["mean"]["pckh_0.1"]["value"] == 1
