"""Predictions on disk: coordinates in original pixels, every image accounted for, whole files."""

from __future__ import annotations

import csv
import json
import re
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from blippose.caption import CaptionFormat
from blippose.decoding import InputFrame
from blippose.errors import UserError
from blippose.evaluation.protocol import read_preds
from blippose.geometry import Crop
from blippose.pose import JOINTS, Pose
from blippose.prediction_files import Counts, Format, predict_files
from blippose.predictor import Prediction

CONFIDENCE = np.linspace(0.1, 0.85, 16)
FRAME = InputFrame(96, None, "stretch", "full")


class KnownPoses:
    """Answers with captions of given poses, as shares of each image's width and height.

    It suffices because files depend on a predictor only through its predictions; those of the
    real one are held to the pixel in test_predictor.
    """

    def __init__(self, shares: np.ndarray) -> None:
        self.shares = shares
        self.frame, self.source, self.synthetic = FRAME, "known poses", True
        self.decoding, self.confidence_is = "by hand", "certainty"
        self.precision = "float32"
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
        return Prediction(
            pose, parsed.pose, caption, parsed.reasons, crop, CONFIDENCE * parsed.pose.valid
        )


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
    counts = predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False)
    assert counts == Counts(done=1, skipped=0)
    [record] = read_json(tmp_path / "out")["images"]
    expected = shares() * (width, height) - 0.5
    half_a_bin = np.array([width, height]) / FRAME.input_size / 2 + 1e-3
    rows = read_csv(tmp_path / "out")
    for joint, (xy, row) in enumerate(zip(record["joints"], rows, strict=True)):
        assert (row["file"], row["joint"]) == (str(path), JOINTS[joint])
        assert (row["width"], row["height"]) == (str(width), str(height))
        assert row["joint_id"] == str(joint)
        if joint == 9:
            assert xy is None
            assert (row["x"], row["y"], row["reason"]) == ("", "", "absent")
            assert (row["confidence"], record["confidence"][joint]) == ("", None)
            continue
        assert float(row["confidence"]) == record["confidence"][joint]
        assert record["confidence"][joint] == pytest.approx(CONFIDENCE[joint], abs=1e-4)
        assert (np.abs(np.array(xy) - expected[joint]) <= half_a_bin).all()
        assert [float(row["x"]), float(row["y"])] == xy
    assert record["reasons"][8:10] == [None, "absent"]
    assert (record["width"], record["height"]) == (width, height)


def test_the_json_says_how_many_bins_a_caption_counts(tmp_path: Path) -> None:
    predictor = KnownPoses(shares())
    predictor.frame = InputFrame(96, 48, "stretch", "full")
    path = photo(tmp_path / "a.png", 20, 10)
    predict_files(predictor, [path], tmp_path / "out", progress=False)
    assert read_json(tmp_path / "out")["caption_format"]["bins"] == 48


def test_the_json_says_frame_model_and_format(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 20, 10)
    predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False)
    record = read_json(tmp_path / "out")
    assert record["coordinates"].startswith("original image pixels, 0-based")
    assert record["joints"] == list(JOINTS)
    assert record["model"] == {
        "source": "known poses",
        "synthetic": True,
        "precision": "float32",
    }
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
    counts = predict_files(predictor, paths, tmp_path / "out", batch_size=3, progress=False)
    assert counts == Counts(done=4, skipped=2)
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
    counts = predict_files(
        KnownPoses(shares()), [tmp_path / "a.jpg"], tmp_path / "out", progress=False
    )
    assert counts == Counts(done=0, skipped=1)
    assert read_json(tmp_path / "out")["images"] == []
    assert read_csv(tmp_path / "out") == []


@pytest.mark.parametrize("format", ["json", "hrnet"])
def test_when_nothing_can_be_read_what_an_earlier_call_made_stays(
    tmp_path: Path, format: Format
) -> None:
    good, bad, out = photo(tmp_path / "a.png", 30, 20), tmp_path / "b.jpg", tmp_path / "out"
    bad.write_text("no image")
    predict_files(KnownPoses(shares()), [good], out, progress=False)
    before = {path: path.read_bytes() for path in out.glob("[!.]*")}
    assert len(before) == 3
    counts = predict_files(KnownPoses(shares()), [bad], out, progress=False, format=format)
    assert (counts, counts.files) == (Counts(done=0, skipped=1), ())
    assert {path: path.read_bytes() for path in out.glob("[!.]*")} == before
    predict_files(KnownPoses(shares()), [photo(tmp_path / "c.png", 30, 20)], out, progress=False)
    assert {path.name for path in out.glob("*.png")} == {"c.png"}


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
    assert [path.name for path in out.glob(".*")] == [".predict.files"]


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("json", "0.png"),
        ("json", "predictions.csv"),
        ("json", "predictions.json"),
        ("coco", "coco_results.json"),
        ("coco", "coco_images.json"),
        ("hrnet", "pred.mat"),
    ],
)
def test_a_call_that_was_killed_once_a_file_had_its_name_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any, name: str
) -> None:
    paths = [photo(tmp_path / f"{index}.png", 30, 20) for index in range(3)]
    out, replace = tmp_path / "out", Path.replace

    def replace_and_die(self: Path, target: Path) -> None:
        replace(self, target)
        if target == out / name:
            raise KeyboardInterrupt

    predict_files(KnownPoses(shares()), paths[:1], out, progress=False, format=format)
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", replace_and_die)
        with pytest.raises(KeyboardInterrupt):
            predict_files(KnownPoses(shares()), paths, out, progress=False, format=format)
    counts = predict_files(KnownPoses(shares()), paths[:2], out, progress=False, format=format)
    assert counts.done == 2
    assert (out / name).is_file()
    assert len(list(out.glob("[0-9].png"))) == 2


def test_the_folder_holds_what_the_last_call_wrote_and_what_the_user_put_there(
    tmp_path: Path,
) -> None:
    paths, out = predicted(tmp_path, "coco")
    (out / "notes.txt").write_text("mine")
    predict_files(KnownPoses(shares()), paths[:1], out, progress=False, format="hrnet")
    kept = {f"{paths[0].stem}.png", "predictions.json", "predictions.csv", "pred.mat"}
    assert {path.name for path in out.glob("[!.]*")} == kept | {"notes.txt"}


def test_hrnets_file_names_the_images_that_could_not_be_read_too(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("no image")
    paths = [photo(tmp_path / "a.png", 30, 20), tmp_path / "b.png"]
    out = tmp_path / "out"
    predict_files(KnownPoses(shares()), paths, out, progress=False, format="hrnet")
    found = loadmat(out / "pred.mat", squeeze_me=True)
    assert found["images"].tolist() == [str(path) for path in paths]
    assert np.isnan(found["preds"][1]).all()


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


def test_an_overlay_never_replaces_a_file_that_predict_did_not_write(tmp_path: Path) -> None:
    path, mine = photo(tmp_path / "a.jpg", 30, 20), photo(tmp_path / "a.png", 40, 40)
    before = mine.read_bytes()
    with pytest.raises(UserError, match=r"would replace .*a\.png, which no earlier call"):
        predict_files(KnownPoses(shares()), [path], tmp_path, progress=False)
    assert mine.read_bytes() == before
    mine.unlink()
    for _ in range(2):  # its own it does
        predict_files(KnownPoses(shares()), [path], tmp_path, progress=False)
    mine.write_bytes(before)
    with pytest.raises(UserError, match="wrote as it is"):
        predict_files(KnownPoses(shares()), [path], tmp_path, progress=False)
    assert mine.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("predictions.json", "json"),
        ("predictions.csv", "json"),
        ("coco_images.json", "coco"),
        ("coco_results.json", "coco"),
        ("pred.mat", "hrnet"),
    ],
)
def test_a_file_of_the_users_own_is_never_replaced_and_one_of_ours_is(
    tmp_path: Path, name: str, format: Format
) -> None:
    path, out = photo(tmp_path / "a.jpg", 30, 20), tmp_path / "out"
    mine = out / name
    out.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError, match=rf"would replace .*{name}, which no earlier call"):
        predict_files(KnownPoses(shares()), [path], out, progress=False, format=format)
    assert [each.name for each in out.iterdir()] == [name]
    assert mine.read_text() == "mine"
    mine.unlink()
    for _ in range(2):
        predict_files(KnownPoses(shares()), [path], out, progress=False, format=format)
    assert mine.read_bytes() != b"mine"


def test_what_a_format_does_not_write_is_the_users_and_stays(tmp_path: Path) -> None:
    path, out = photo(tmp_path / "a.jpg", 30, 20), tmp_path / "out"
    out.mkdir()
    (out / "pred.mat").write_text("mine")
    predict_files(KnownPoses(shares()), [path], out, progress=False)
    assert (out / "pred.mat").read_text() == "mine"


def test_an_out_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 30, 20)
    with pytest.raises(UserError, match="cannot be written"):
        predict_files(KnownPoses(shares()), [path], path / "out", progress=False)


def predicted(tmp_path: Path, format: Any, num_photos: int = 3) -> tuple[list[Path], Path]:
    """Photos of which the second cannot be read, and the folder of their predictions."""
    paths = [photo(tmp_path / f"{index}.png", 30 + index, 20) for index in range(num_photos)]
    paths[1].write_bytes(b"")
    out = tmp_path / "out"
    predict_files(KnownPoses(shares()), paths, out, 2, progress=False, format=format)
    return paths, out


def test_coco_results_refer_to_coco_images_and_name_mpiis_joints(tmp_path: Path) -> None:
    paths, out = predicted(tmp_path, "coco")
    dataset = json.loads((out / "coco_images.json").read_text())
    results = json.loads((out / "coco_results.json").read_text())
    assert [(image["id"], image["file_name"], image["width"]) for image in dataset["images"]] == [
        (1, str(paths[0]), 30),
        (3, str(paths[2]), 32),
    ]
    [category] = dataset["categories"]
    assert category["keypoints"] == [name.replace(" ", "_") for name in JOINTS]
    assert len(category["skeleton"]) == 15
    assert min(map(min, category["skeleton"])) == 1
    assert [result["image_id"] for result in results] == [1, 3]
    joints = read_json(out)["images"][1]["joints"]
    for result in results:
        triplets = np.reshape(result["keypoints"], (16, 3))
        assert triplets[9].tolist() == [0, 0, 0]
        np.testing.assert_allclose(triplets[:9, 2], CONFIDENCE[:9], atol=1e-4)
        assert result["score"] == pytest.approx(triplets[:, 2].mean(), abs=1e-3)
        assert result["category_id"] == category["id"]
    np.testing.assert_array_equal(triplets[:9, :2], joints[:9])


def test_hrnets_file_is_read_back_with_a_row_for_every_image(tmp_path: Path) -> None:
    paths, out = predicted(tmp_path, "hrnet")
    preds = read_preds(out / "pred.mat")
    assert preds.shape == (3, 16, 2)
    assert np.isnan(preds[1]).all()
    assert np.isnan(preds[[0, 2], 9]).all()
    for row, record in zip((0, 2), read_json(out)["images"], strict=True):
        joints = np.array([xy or (np.nan, np.nan) for xy in record["joints"]])
        np.testing.assert_allclose(preds[row], joints + 1, atol=1e-3)
    held = loadmat(out / "pred.mat", simplify_cells=True)
    assert held["images"][0] == str(paths[0])
    np.testing.assert_allclose(held["confidence"][2, :9], CONFIDENCE[:9])


@pytest.mark.parametrize("format", ["coco", "hrnet"])
def test_other_formats_stand_beside_json_and_csv_and_are_not_left_half_written(
    tmp_path: Path, format: Any
) -> None:
    paths = [photo(tmp_path / f"{index}.png", 30, 20) for index in range(4)]
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_files(Failing(shares()), paths, out, 2, progress=False, format=format)
    assert {path.suffix for path in out.glob("[!.]*")} == {".png"}
    predict_files(KnownPoses(shares()), paths, out, 2, progress=False, format=format)
    assert {"predictions.json", "predictions.csv"} < {path.name for path in out.iterdir()}


def test_joint_names_are_written_on_request_and_only_then(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 900, 900)
    plain, named = tmp_path / "plain", tmp_path / "named"
    predict_files(KnownPoses(shares()), [path], plain, progress=False)
    predict_files(KnownPoses(shares()), [path], named, progress=False, joint_names=True)
    changed = np.asarray(Image.open(plain / "a.png")) != np.asarray(Image.open(named / "a.png"))
    assert changed.any(axis=-1).sum() > 500


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 3000), (3000, 1), (6000, 4000)])
def test_tiny_narrow_and_huge_images_are_done(tmp_path: Path, width: int, height: int) -> None:
    path = photo(tmp_path / "a.png", width, height)
    predictor = KnownPoses(shares())
    counts = predict_files(predictor, [path], tmp_path / "out", progress=False, joint_names=True)
    assert counts == Counts(done=1, skipped=0)
    with Image.open(tmp_path / "out/a.png") as overlay:
        times = 4 if width == height else 1
        assert overlay.size == (times * width, times * height)


def test_small_images_are_drawn_larger_where_names_need_room(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 300, 200)
    predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False, joint_names=True)
    named = np.asarray(Image.open(tmp_path / "out/a.png").convert("RGB")).astype(int)
    assert named.shape == (600, 900, 3)
    joints = np.delete(shares(), 9, axis=0) * (900, 600) - 0.5  # drawn where the person stands
    x, y = joints.round().astype(int).T
    assert (np.abs(named[y, x] - (90, 120, 90)).max(axis=-1) > 20).all()


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    path = photo(tmp_path / ("é" * 125 + ".png"), 30, 20)
    predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False)
    assert (tmp_path / "out" / path.name).is_file()


def test_a_name_without_an_ending_leaves_room_for_one(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 30, 20).rename(tmp_path / ("y" * 253))
    predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False)
    [record] = read_json(tmp_path / "out")["images"]
    assert (tmp_path / "out" / record["overlay"]).is_file()


def test_ten_thousand_images_of_one_name_have_overlays_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / str(index) / "a.png" for index in range(10_000)]
    counts = predict_files(KnownPoses(shares()), paths, tmp_path / "out", progress=False)
    assert counts == Counts(done=0, skipped=10_000)


def resident_kb() -> int:
    """Memory that this process holds."""
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux tells what a process holds")
    found = re.search(r"VmRSS:\s*(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1])


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """An image is 270 kB: 300 that were kept would be 81 MB."""
    paths = [photo(tmp_path / f"{index}.png", 300, 300) for index in range(5)]
    predictor = KnownPoses(shares())
    predict_files(predictor, paths * 8, tmp_path / "out", progress=False, format="coco")
    before = resident_kb()
    predict_files(predictor, paths * 60, tmp_path / "out", progress=False, format="coco")
    assert resident_kb() - before < 20_000


def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    path = photo(tmp_path / "d\udcffé, [bold]\n.png", 30, 20)
    (tmp_path / "[x] .jpg").write_text("no image")
    paths = [path, tmp_path / "[x] .jpg"]
    predict_files(KnownPoses(shares()), paths, tmp_path / "out", progress=True)
    assert read_json(tmp_path / "out")["images"][0]["file"] == str(path)
    assert b"\xff" in (tmp_path / "out/predictions.csv").read_bytes()


def test_long_names_that_come_twice_get_a_number_all_the_same(tmp_path: Path) -> None:
    paths = [photo(tmp_path / folder / ("a" * 251 + ".png"), 30, 20) for folder in ("b", "c")]
    counts = predict_files(KnownPoses(shares()), paths, tmp_path / "out", progress=False)
    assert counts == Counts(done=2, skipped=0)
    assert len(list((tmp_path / "out").glob("a*.png"))) == 2


def test_a_carriage_return_in_a_name_leaves_the_table_whole(tmp_path: Path) -> None:
    path = photo(tmp_path / "car\rret.png", 30, 20)
    predict_files(KnownPoses(shares()), [path], tmp_path / "out", progress=False)
    rows = read_csv(tmp_path / "out")
    assert [row["file"] for row in rows] == [str(path)] * len(JOINTS)
