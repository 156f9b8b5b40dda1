"""The whole road on drawn people, as a user walks it: data, train, train again, predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from blippose.__main__ import main
from blippose.pose import JOINTS

SMALL = ["data.synthetic.num_persons=16", "trainer.max_epochs=1", "logger=csv"]


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
