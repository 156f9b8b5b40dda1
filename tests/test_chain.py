"""The whole road on drawn people, as a user walks it: data, train, predict, export."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from blippose.__main__ import main
from blippose.pose import JOINTS

SMALL = ["data.synthetic.num_persons=16", "trainer.max_epochs=1", "logger=csv"]
HRNET = ["format=hrnet", "joint_names=true"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    assert main(["train", f"runs={folder}/runs", f"data.root={folder}/data", *SMALL]) == 0
    return folder


def test_a_run_ends_with_checkpoint_metrics_picture_and_results(folder: Path) -> None:
    run = folder / "runs" / "demo"
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "done"
    assert record["results"]["synthetic"] is True
    assert 0 <= record["results"]["free_running"]["parse_rate"] <= 1
    assert Image.open(run / "samples.png").width > 300
    assert (run / "best.ckpt").stat().st_size > 1_000_000
    assert not (run / "last.ckpt").exists()
    assert "val/mae" in (run / "metrics.csv").read_text().splitlines()[0]


def test_the_same_command_again_trains_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "runs/demo/best.ckpt").stat().st_mtime_ns
    assert main(["train", f"runs={folder}/runs", f"data.root={folder}/data", *SMALL]) == 0
    assert "is done" in capsys.readouterr().out
    assert (folder / "runs/demo/best.ckpt").stat().st_mtime_ns == before


def test_data_counts_what_train_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"data.root={folder}/data", "data.synthetic.num_persons=16", "format=json"]
    assert main(["data", *words]) == 0
    counts = json.loads(capsys.readouterr().out)
    record = json.loads((folder / "runs/demo/run.json").read_text())
    video = next(split for split in counts["splits"] if split["kind"] == "video")
    assert video["manifest_hash"] == record["results"]["manifest"]


def test_predict_writes_original_pixels_for_every_image(folder: Path) -> None:
    images = sorted((folder / "data/images").iterdir())[:3]
    out = folder / "predictions"
    listed = ",".join(f"'{image}'" for image in images)
    words = [f"run={folder}/runs/demo", f"images=[{listed}]", f"out={out}"]
    assert main(["predict", *words]) == 0
    predictions = json.loads((out / "predictions.json").read_text())
    assert predictions["model"]["synthetic"] is True
    assert [entry["file"] for entry in predictions["images"]] == [str(image) for image in images]
    for image, entry in zip(images, predictions["images"], strict=True):
        with Image.open(image) as original, Image.open(out / f"{image.stem}.png") as overlay:
            assert (entry["width"], entry["height"]) == original.size
            assert overlay.size == original.size
        for joint in filter(None, entry["joints"]):
            assert -1 <= joint[0] <= entry["width"]
            assert -1 <= joint[1] <= entry["height"]
    with (out / "predictions.csv").open() as table:
        assert len(list(csv.DictReader(table))) == len(images) * len(JOINTS)


def test_predict_says_its_precision_where_it_is_not_float32(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blippose.bfloat16.caution", lambda key, instead: f"{key}; set {instead}")
    image, out = min((folder / "data/images").iterdir()), folder / "bfloat16"
    words = [f"run={folder}/runs/demo", f"images={image}", f"out={out}"]
    assert main(["predict", *words, "precision=bfloat16"]) == 0
    said = capsys.readouterr().out
    assert "best.ckpt, bfloat16; decoding: parallel, refine 0, expectation, 2 test views" in said
    assert "precision=bfloat16; set precision=float32" in said
    record = json.loads((out / "predictions.json").read_text())
    assert record["model"]["precision"] == "bfloat16"


def test_a_list_on_standard_input_becomes_hrnets_file_that_eval_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((folder / "data/images").iterdir())[3:6]
    broken = folder / "broken.jpg"
    broken.write_text("no image")
    named = [images[2], broken, images[0], images[1]]
    listed = io.TextIOWrapper(io.BytesIO("".join(f"{path}\n" for path in named).encode()))
    monkeypatch.setattr("sys.stdin", listed)
    out = folder / "listed"
    assert main(["predict", f"run={folder}/runs/demo", "images=-", f"out={out}", *HRNET]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "3 images done, 1 skipped"
    assert f"skipped {broken}: is not an image" in printed.err
    record = json.loads((out / "predictions.json").read_text())
    assert [Path(entry["file"]) for entry in record["images"]] == [images[2], *images[:2]]
    assert all(0 < value <= 1 for entry in record["images"] for value in entry["confidence"])

    xy = np.array([entry["joints"] for entry in record["images"]], float)
    xy = np.insert(xy, 1, 0, axis=0)  # the broken one has a row too
    boxes = np.zeros((2, 2, 4))
    boxes[1] = 20
    truth = {"pos_gt_src": np.moveaxis(xy + 1, 0, 2), "headboxes_src": boxes}
    savemat(folder / "gt.mat", {**truth, "jnt_missing": np.zeros((16, 4))})
    words = [f"preds={out}/pred.mat", f"gt={folder}/gt.mat", f"out={folder}/scored"]
    assert main(["eval", *words]) == 0
    scores = json.loads((folder / "scored/eval.json").read_text())
    assert scores["mean"]["pckh_0.5"]["value"] == pytest.approx(0.75)  # all but the broken one
    assert scores["num_missing"] == 14


def test_export_then_predict_by_its_folder_says_the_same(folder: Path) -> None:
    image = min((folder / "data/images").iterdir())
    assert main(["export", f"run={folder}/runs/demo", f"out={folder}/exported"]) == 0
    captions = []
    for name, model in (("a", f"weights={folder}/exported"), ("b", f"run={folder}/runs/demo")):
        out = folder / "exported_says" / name
        assert main(["predict", model, f"images={image}", f"out={out}"]) == 0
        [entry] = json.loads((out / "predictions.json").read_text())["images"]
        captions.append(entry["caption"])
    assert captions[0] == captions[1]
