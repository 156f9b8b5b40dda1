"""`blippose data`, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from blippose.cli import main

CSV = "logger=csv"

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_data_prints_json_alone(release_root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [f"data.root={release_root}", "data.synthetic=null", "format=json"]
    assert main(["data", *arguments, "manifest=split.json"]) == 0
    counts = json.loads(capfd.readouterr().out)
    assert counts["synthetic"] is True
    chosen = next(split for split in counts["splits"] if split["kind"] == "video")
    assert json.loads(Path("split.json").read_text())["hash"] == chosen["manifest_hash"]


@pytest.mark.parametrize(
    "words",
    [["data=mpii"], ["data=synthetic"], ["data=synthetic", "data.synthetic=null"]],
    ids=" ".join,
)
def test_data_counts_annotations_alone(
    words: list[str], release_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("data/synthetic_1500_seed0/images").mkdir(parents=True)
    annotations = release_root / "mpii_human_pose_v1_u12_1.mat"
    assert main(["data", *words, f"data.annotations={annotations}"]) == 0
    assert "images: not at hand" in capfd.readouterr().out


def test_data_are_checked_before_weights_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("blippose.blip.load_blip", None)
    assert main(["train", CSV, "data=mpii", "data.root=nowhere"]) == 2
    assert "no such file" in capfd.readouterr().err


def test_data_say_of_a_drawn_release_that_was_cut_off_how_it_is_drawn_again(
    release_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(release_root, "copy")
    annotations = Path(copy, "mpii_human_pose_v1_u12_1.mat")
    annotations.write_bytes(annotations.read_bytes()[:1000])
    assert main(["data", "data.root=copy", "data.synthetic=null"]) == 2
    said = capfd.readouterr().err
    assert "remove copy, and `blippose data data.root=copy data.synthetic.num_persons=" in said
    assert "human-pose.mpi-inf.mpg.de" not in said


def test_data_writes_a_missing_release(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["data.root=drawn", "data.synthetic.num_persons=3"]
    assert main(["data", *arguments]) == 0
    assert "reading=visible" in capfd.readouterr().out
    assert Path("drawn/images").is_dir()


def test_releases_of_different_persons_lie_side_by_side(capfd: pytest.CaptureFixture[str]) -> None:
    for num_persons in (2, 3):
        assert main(["data", f"data.synthetic.num_persons={num_persons}"]) == 0
        images = f"data/synthetic_{num_persons}_seed0/images"
        assert f"{num_persons} of {num_persons} at hand in {images}" in capfd.readouterr().out


def test_a_value_may_be_made_of_other_keys(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["data", "data.root=drawn_${data.split_seed}", "data.synthetic.num_persons=2"]
    assert main(words) == 0
    assert "at hand in drawn_0/images" in capfd.readouterr().out


def test_root_of_the_environment_holds_its_images(
    release_root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELEASE", str(release_root))
    annotations = release_root / "mpii_human_pose_v1_u12_1.mat"
    words = ["data=mpii", f"data.annotations={annotations}", "data.root=${oc.env:RELEASE}"]
    assert main(["data", *words]) == 0
    assert f"at hand in {release_root}/images" in capfd.readouterr().out.replace("\n", "")
