"""`blippose analyze occlusion` as a user runs it, on a short run of drawn people."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blippose.__main__ import main
from blippose.pose import JOINTS

FILES = {"occlusion.json", "occlusion.md", "occlusion.npz"}
PICTURES = {"joints.png", "matrix.png", "radius.png", "example.png"}
QUICK = ["images=3", "radius=[1,0.5]", "curve_joints=1", "samples=50", "batch_size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a trained run and its data; the run is studied."""
    folder = tmp_path_factory.mktemp("occlusion")
    few = ["data.synthetic.num_persons=16", "trainer.max_epochs=1", "logger=csv", "name=run"]
    assert main(["train", f"runs={folder}", f"data.root={folder}/data", *few]) == 0
    assert main(["analyze", "occlusion", f"run={folder}/run", *QUICK]) == 0
    return folder


def report_in(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "occlusion.json").read_text()))


def test_everything_is_written_and_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    out = folder / "run" / "occlusion"
    assert {path.name for path in out.glob("[!.]*")} == FILES | PICTURES
    for name in PICTURES:
        with Image.open(out / name) as picture:
            assert min(picture.size) > 500
    monkeypatch.setenv("COLUMNS", "80")
    before = report_in(out)
    assert main(["analyze", "occlusion", f"run={folder}/run", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "used again" in printed
    assert all(name in printed for name in FILES | PICTURES)
    assert max(map(len, printed.splitlines()[1:-4])) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed  # nothing is cut
    assert report_in(out) == before


def test_the_page_says_what_the_report_says(folder: Path) -> None:
    out = folder / "run" / "occlusion"
    report, page = report_in(out), (out / "occlusion.md").read_text()
    assert set(report["joints"]) == set(JOINTS)
    assert all(sentence in page for sentence in [*report["findings"], *report["limits"]])
    assert all(name in page for name in PICTURES)
    assert any("drawn" in sentence for sentence in report["limits"])
    assert report["settings"]["num_looks"] <= 3 * (1 + 3 * 16 + 3)


def test_figures_of_the_report_are_those_of_the_arrays(folder: Path) -> None:
    """Read by someone who has the files alone."""
    out = folder / "run" / "occlusion"
    with np.load(out / "occlusion.npz") as kept:
        said, clean, true = kept["xy_input"], kept["clean_xy_input"], kept["true_xy_input"]
        mean_pose, asked = kept["mean_pose_input"], np.isfinite(kept["center_input"])[..., 0]
    said, clean = (np.where(np.isnan(xy), mean_pose, xy) for xy in (said, clean))
    pairs = np.argwhere(asked[:, 0].all(axis=-1))
    hidden = [np.linalg.norm(said[i, 0, j, 0, j] - true[i, j]) for i, j in pairs]
    bare = [np.linalg.norm(clean[i, j] - true[i, j]) for i, j in pairs]
    own = report_in(out)["all"]["own"]
    assert own["hidden"]["value"] == pytest.approx(np.mean(hidden))
    assert own["hidden - clean"]["value"] == pytest.approx(np.mean(hidden) - np.mean(bare))


def test_data_that_moved_and_another_picture_and_folder(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(folder / "data", data)
    other = [f"data.root={data}", f"out={out}", "radius=0.5", "fill=noise", "joint=left knee"]
    assert main(["analyze", "occlusion", f"run={run}", *QUICK[:1], *other, "samples=50"]) == 0
    report = report_in(out)
    assert report["example"].startswith("left knee of ")
    assert report["settings"]["radius_heads"] == [0.5]
    assert len(report["curve"]) == 1
    assert report["settings"]["fill"] == "noise"


def test_two_processes_give_the_same_to_the_bit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):  # the first waits for the other
        monkeypatch.setenv("RANK", rank)
        words = ["analyze", "occlusion", f"run={folder}/run", *QUICK, f"out={tmp_path}/two"]
        assert main(words) == 0
        assert bool(capsys.readouterr().out) == (rank == "0")
    for name in FILES | PICTURES:
        alone = (folder / "run" / "occlusion" / name).read_bytes()
        assert (tmp_path / "two" / name).read_bytes() == alone, name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["occlusion"], "run: not given; add run=VALUE"),
        (["occlusio", "run=x"], "did you mean occlusion?"),
        (["occlusion", "run=nowhere"], "run=nowhere: no such folder"),
        (["occlusion", "run=x", "fill=blur"], "fill=blur: expected one of mean, noise, black"),
        (["occlusion", "run=x", "radius=0"], "radius=0: expected head sizes above 0"),
        (["occlusion", "run=x", "radius=[]"], "expected head sizes above 0"),
        (["occlusion", "run=x", "radius=[1,1]"], "the same radius twice"),
        (["occlusion", "run=x", "radius=wide"], "radius=wide: expected float, int or list"),
        (["occlusion", "run=x", "images=0"], "images=0: expected 1 or more"),
        (["occlusion", "run=x", "images=photo.jpg"], "a photo has no annotated joints"),
        (["occlusion", "run=x", "images=[a.jpg,b.jpg]"], "expected how many of the run's own"),
        (["occlusion", "run=x", "images=true"], "images=True: expected how many"),
        (["occlusion", "run=x", "curve_joints=17"], "curve_joints=17: expected 16 or fewer"),
        (["occlusion", "run=x", "joint=left nee"], "did you mean left knee?"),
        (["occlusion", "run=x", "subset=train"], "subset=train: expected one of val, test, auto"),
        (["occlusion", "run=x", "samples=0"], "samples=0: expected 1 or more"),
        (["occlusion", "run=x", "samples=100001"], "expected 100,000 or fewer"),
        (["attention", "run=x", "samples=100001"], "expected 100,000 or fewer"),
        (["occlusion", "run=x", "seed=-1"], "seed=-1: expected 0 or more"),
        (["occlusion", "run=x", "radii=1"], "did you mean radius?"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1


def test_an_image_that_is_not_looked_at_is_no_example_which_is_told_before_any_is_asked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["analyze", "occlusion", f"run={folder}/run", *QUICK, "example=nobody.jpg"]
    assert main([*words, f"out={tmp_path}/out"]) == 2
    assert not (tmp_path / "out").exists()
    assert "example=nobody.jpg: not among the images of this study" in capsys.readouterr().err


def test_a_radius_at_which_nothing_can_be_compared_is_refused_before_anything_is_asked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["analyze", "occlusion", f"run={folder}/run", "images=3", "radius=50"]
    assert main([*words, f"out={tmp_path}/out"]) == 2
    assert not (tmp_path / "out").exists()
    assert "radius=50: no disc of so many head sizes has room" in capsys.readouterr().err


def test_one_image_has_no_intervals(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["analyze", "occlusion", f"run={folder}/run", "images=1", "radius=1", "samples=10"]
    assert main([*words, f"out={tmp_path}/out"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "out" / "occlusion.md").read_text()
    for text in (printed, page):
        assert "no intervals: 1 video cannot be resampled" in text
        assert "nan" not in text
        assert "(- to -)" not in text


def test_captions_without_a_joint_are_said_to_say_nothing_and_all_files_are_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stray(_blip: Any, grammar: Any, states: torch.Tensor, _longest: int) -> torch.Tensor:
        words = [grammar.fixed[0][0], *grammar.numbers[0], grammar.fixed[-1][-1]]
        return torch.tensor([words] * len(states))

    for module in ("attention.maps", "decoding.modes"):
        monkeypatch.setattr(f"blippose.{module}.free_tokens", stray)
    words = ["analyze", "occlusion", f"run={folder}/run", *QUICK, f"out={tmp_path}/out"]
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == FILES | PICTURES
    [said] = report_in(tmp_path / "out")["findings"]
    assert "no joint parsed" in said
    assert "decoding: free; the model's own is parallel" in said


def test_a_folder_that_cannot_be_written_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    words = ["analyze", "occlusion", f"run={folder}/run", *QUICK, f"out={tmp_path}/file/out"]
    assert main(words) == 2
    assert f"{tmp_path}/file is no folder; name a folder" in capsys.readouterr().err
