"""Predictions on disk: coordinates in original pixels, every image accounted for, whole files."""

from __future__ import annotations

import csv
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blippose.caption import CaptionFormat
from blippose.decoding import InputFrame
from blippose.errors import UserError
from blippose.geometry import Crop
from blippose.pose import JOINTS, Pose
from blippose.prediction_files import predict_files
from blippose.predictor import Prediction

FRAME = InputFrame(96, None, "stretch", "full")


class KnownPoses:
    """Answers with captions of given poses, as shares of each image's width and height.

    It suffices because files depend on a predictor only through its predictions; those of the
    real one are held to the pixel in test_predictor.
    """

    def __init__(self, shares: np.ndarray) -> None:
        self.shares = shares
        self.frame, self.source, self.synthetic = FRAME, "known poses", True
        self.batches: list[int] = []

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> list[Prediction]:
        self.batches.append(len(images))
        return [self.prediction(image) for image in images]

    def prediction(self, image: np.ndarray) -> Prediction:
        crop = Crop.of_image(image.shape[1], image.shape[0], FRAME.input_size)
        pose_input = Pose.of(self.shares * FRAME.input_size - 0.5)
        caption_format = CaptionFormat(FRAME.input_size)
        caption = caption_format.encode(pose_input.xy, pose_input.valid)
        parsed = caption_format.decode(caption)
        pose = Pose.of(crop.to_img(parsed.pose.xy))
        return Prediction(pose, parsed.pose, caption, parsed.reasons, crop)


def shares() -> np.ndarray:
    values = np.random.default_rng(0).uniform(0.1, 0.9, (16, 2))
    values[9] = np.nan
    return values


def photo(path: Path, width: int, height: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 90)).save(path, **options)
    return path


def read_json(out: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (out / "predictions.json").read_text(encoding="utf-8")
    record: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return record


def read_csv(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("width", "height"), [(160, 90), (50, 300), (96, 96)])
def test_json_and_csv_hold_original_pixels_whatever_the_aspect_ratio(
    tmp_path: Path, width: int, height: int
) -> None:
    path = photo(tmp_path / "a.png", width, height)
    assert predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False) == 0
    [record] = read_json(tmp_path / "out")["images"]
    expected = shares() * (width, height) - 0.5
    half_a_bin = np.array([width, height]) / FRAME.input_size / 2 + 1e-3
    rows = read_csv(tmp_path / "out")
    for joint, (xy, row) in enumerate(zip(record["joints"], rows, strict=True)):
        assert (row["file"], row["joint"]) == (str(path), JOINTS[joint])
        if joint == 9:
            assert xy is None
            assert (row["x"], row["y"], row["reason"]) == ("", "", "absent")
            continue
        assert (np.abs(np.array(xy) - expected[joint]) <= half_a_bin).all()
        assert [float(row["x"]), float(row["y"])] == xy
    assert record["reasons"][8:10] == [None, "absent"]
    assert (record["width"], record["height"]) == (width, height)


def test_the_json_says_frame_model_and_format(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 20, 10)
    predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False)
    record = read_json(tmp_path / "out")
    assert record["coordinates"].startswith("original image pixels, 0-based")
    assert record["joints"] == list(JOINTS)
    assert record["model"] == {"source": "known poses", "synthetic": True}
    assert record["input"] == {"size": 96, "resize": "stretch", "crop": "full"}
    assert record["caption_format"]["bins"] == 96
    [image] = record["images"]
    assert image["caption"].startswith("right ankle (")
    assert image["crop"] == {"left": 0.0, "top": 0.0, "width": 20.0, "height": 10.0}


def test_a_turned_photo_is_measured_and_drawn_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show it
    path = photo(tmp_path / "a.jpg", 160, 90, exif=exif)
    predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False)
    [record] = read_json(tmp_path / "out")["images"]
    assert (record["width"], record["height"]) == (90, 160)
    assert record["joints"][0] == pytest.approx(shares()[0] * (90, 160) - 0.5, abs=1)
    assert Image.open(tmp_path / "out/a.png").size == (90, 160)


def test_each_overlay_shows_its_skeleton_and_none_replaces_another(tmp_path: Path) -> None:
    names = ("one/a.jpg", "two/a.jpg", "two/A.png", "two/a_2.png", "b.jpg")
    paths = [photo(tmp_path / name, 60, 60) for name in names]
    predict_files(KnownPoses(shares()), paths, tmp_path / "out", progress=False)
    overlays = [record["overlay"] for record in read_json(tmp_path / "out")["images"]]
    assert len({overlay.casefold() for overlay in overlays}) == len(paths)
    assert overlays[0] == "a.png"
    for overlay in overlays:
        pixels = np.asarray(Image.open(tmp_path / "out" / overlay)).astype(int)
        assert (np.abs(pixels - (90, 120, 90)).sum(axis=-1) > 60).any()


def test_unreadable_images_are_listed_and_the_rest_is_done_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [photo(tmp_path / f"{index}.png", 30, 20) for index in range(6)]
    paths[1].write_bytes(b"")
    paths[4].write_text("no image")
    predictor = KnownPoses(shares())
    status = predict_files(predictor, paths, tmp_path / "out", batch_size=3, progress=False)
    assert status == 1
    record = read_json(tmp_path / "out")
    assert [Path(image["file"]).name for image in record["images"]] == [
        "0.png",
        "2.png",
        "3.png",
        "5.png",
    ]
    assert [Path(entry["file"]).name for entry in record["unreadable"]] == ["1.png", "4.png"]
    assert "empty" in record["unreadable"][0]["reason"]
    assert len(read_csv(tmp_path / "out")) == 4 * 16
    assert predictor.batches == [3, 1]
    assert not (tmp_path / "out/1.png").exists()
    printed = capsys.readouterr().err
    assert str(paths[1]) in printed
    assert str(paths[4]) in printed


def test_when_nothing_can_be_read_the_files_are_valid_and_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    status = predict_files(
        KnownPoses(shares()), [tmp_path / "a.jpg"], tmp_path / "out", progress=False
    )
    assert status == 1
    assert read_json(tmp_path / "out")["images"] == []
    assert read_csv(tmp_path / "out") == []


class Failing(KnownPoses):
    """Fails at its second batch, as a machine out of memory would."""

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> list[Prediction]:
        if self.batches:
            raise RuntimeError("out of memory")
        return super().__call__(images, batch_size=batch_size)


def test_an_interrupted_run_leaves_the_files_of_the_last_whole_one(tmp_path: Path) -> None:
    paths = [photo(tmp_path / f"{index}.png", 30, 20) for index in range(4)]
    out = tmp_path / "out"
    predict_files(KnownPoses(shares()), paths[:1], out, progress=False)
    before = [(out / f"predictions.{suffix}").read_bytes() for suffix in ("json", "csv")]
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_files(Failing(shares()), paths, out, batch_size=2, progress=False)
    after = [(out / f"predictions.{suffix}").read_bytes() for suffix in ("json", "csv")]
    assert before == after
    assert not list(out.glob(".*"))


class Counting(KnownPoses):
    """Counts the images that are alive at once."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(values)
        self.seen: list[weakref.ref[np.ndarray]] = []
        self.most_alive = 0

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> list[Prediction]:
        self.seen += [weakref.ref(image) for image in images]
        alive = sum(image() is not None for image in self.seen)
        self.most_alive = max(self.most_alive, alive)
        return super().__call__(images, batch_size=batch_size)


def test_memory_holds_no_more_than_two_batches(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 30, 20)
    predictor = Counting(shares())
    predict_files(predictor, [path] * 40, tmp_path / "out", batch_size=4, progress=False)
    assert len(predictor.seen) == 40
    assert predictor.most_alive <= 2 * 4


def test_large_photos_make_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blippose.prediction_files._MAX_BATCH_PIXELS", 30 * 20 * 2)
    path = photo(tmp_path / "a.png", 30, 20)
    predictor = KnownPoses(shares())
    predict_files(predictor, [path] * 5, tmp_path / "out", batch_size=16, progress=False)
    assert predictor.batches == [2, 2, 1]


def test_an_overlay_never_replaces_an_image(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 30, 20)
    before = path.read_bytes()
    with pytest.raises(UserError, match="would replace the image"):
        predict_files(KnownPoses(shares()), [path], tmp_path, progress=False)
    assert path.read_bytes() == before


def test_an_out_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 30, 20)
    with pytest.raises(UserError, match="cannot be written"):
        predict_files(KnownPoses(shares()), [path], path / "out", progress=False)


def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    path = photo(tmp_path / "d\udcffé, [bold]\n.png", 30, 20)
    (tmp_path / "[x] .jpg").write_text("no image")
    paths = [path, tmp_path / "[x] .jpg"]
    assert predict_files(KnownPoses(shares()), paths, tmp_path / "out", progress=True) == 1
    assert read_json(tmp_path / "out")["images"][0]["file"] == str(path)
    assert b"\xff" in (tmp_path / "out/predictions.csv").read_bytes()
