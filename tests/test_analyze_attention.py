"""`blippose analyze attention` as a user runs it, on a short run of drawn people."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blippose.__main__ import main
from blippose.evaluation.attention.evidence import measured
from blippose.evaluation.attention.sentences import limits, sentences
from blippose.evaluation.intervals import sign

FILES = {"attention.json", "attention.md", "attention.npz"}
PICTURES = {"self_head.png", "self_overview.png", "cross_joints.png"}
SHORT = ["data.synthetic.num_persons=16", "trainer.max_epochs=1", "logger=csv", "name=run"]
ANALYZE = ["analyze", "attention"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained, and looked into once."""
    folder = tmp_path_factory.mktemp("attention")
    assert main(["train", f"runs={folder}", f"data.root={folder}/data", *SHORT]) == 0
    assert main([*ANALYZE, f"run={folder}/run", "samples=100"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def report(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "attention" / "attention.json").read_text()))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("[!.]*")}


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in sorted(FILES | PICTURES)]


def test_files_and_pictures_are_there(run: Path) -> None:
    folder = run / "attention"
    assert visible(folder) == FILES | PICTURES
    for name in PICTURES:
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 500
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_every_head_is_counted_both_ways(report: dict[str, Any]) -> None:
    heads = [(each["layer_index"], each["head_index"]) for each in report["heads"]]
    assert heads == [(layer, head) for layer in range(2) for head in range(3)]
    for each in [*report["heads"], report["best"]["written"]]:
        assert each["layer_number"] == each["layer_index"] + 1
        assert each["head_number"] == each["head_index"] + 1


def test_every_axis_has_its_name(run: Path) -> None:
    with np.load(run / "attention" / "attention.npz", allow_pickle=False) as arrays:
        axes = [name for name in arrays if name.endswith("__axes")]
        for name in axes:
            shape = arrays[name.removesuffix("__axes")].shape
            labels = [
                label if label not in ("layer", "head") else f"{label}_number"
                for label in arrays[name].tolist()
            ]
            assert shape == tuple(len(arrays[f"axis__{label}"]) for label in labels), name
        assert arrays["axis__head_index"].tolist() == [0, 1, 2]
        assert arrays["axis__head_number"].tolist() == [1, 2, 3]
        rows = arrays["self_joint"]
        np.testing.assert_allclose(rows.sum(axis=-1)[np.isfinite(rows[..., 0])], 1, rtol=1e-5)


def test_distances_are_those_of_the_arrays(run: Path, report: dict[str, Any]) -> None:
    with np.load(run / "attention" / "attention.npz") as arrays:
        step = arrays["peak_xy_input"] - arrays["true_xy_input"][:, None, None, None]
    mean = np.nanmean(np.linalg.norm(step, axis=-1), axis=(0, -1))  # (step, layer, head)
    for each in report["heads"]:
        for i, name in enumerate(("written", "read")):
            found = each["cross"][name]["distance"]["value"]
            assert found == pytest.approx(mean[i, each["layer_index"], each["head_index"]])
    best = report["best"]["written"]
    assert best["distance"]["value"] == pytest.approx(mean[0].min())


def test_the_report_says_nearer_only_where_the_interval_excludes_equality(
    run: Path, report: dict[str, Any]
) -> None:
    page = (run / "attention" / "attention.md").read_text()
    assert all(sentence in page for sentence in report["sentences"] + report["limits"])
    said = next(each for each in report["sentences"] if each.startswith("When a number"))
    signs = [
        sign(report["best"]["written"][f"{name}_farther"])
        for name in ("other_image", "other_joint")
    ]
    assert said.count("That is nearer than") + said.count(" and nearer than") == signs.count(1)
    assert said.count("not shown to be nearer") == signs.count(0)


def test_a_terminal_of_80_columns_is_enough(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = [f"run={run}", "head=2", "layer=1", "samples=10", f"out={tmp_path}/out"]
    assert main([*ANALYZE, *words]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.split("\nin ")[0].splitlines()[1:])) <= 80
    assert "layer 2, head 3" in printed
    assert "uniform control" in printed
    shown = json.loads((tmp_path / "out" / "attention.json").read_text())["shown"]
    for which in ("self", "cross"):
        assert (shown[which]["layer_number"], shown[which]["head_number"]) == (1, 2)


def test_photos_have_pictures_and_no_distances(
    run: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ANALYZE, f"run={run}", f"images={photo}", "samples=10"]) == 0
    folder = run / "attention" / "photos"
    assert visible(folder) == FILES | PICTURES
    report = json.loads((folder / "attention.json").read_text())
    assert "best" not in report
    assert "distance" not in report["heads"][0]["cross"]["written"]
    assert "nobody has said where the joints" in " ".join(report["limits"])
    assert "nobody has said" in " ".join(capsys.readouterr().out.split())


def test_one_photo_has_no_intervals_and_nothing_is_counted_as_more_or_less(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"out={tmp_path}/out"
    assert main([*ANALYZE, f"run={run}", f"images={photo}", "samples=10", out]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "for 1 image ..." in printed
    assert ": 1 photo of yours" in printed
    assert "no intervals: 1 image cannot be resampled" in printed
    assert "One image has no intervals" in printed
    assert "heads, less in" not in printed
    assert "resamples" not in printed


def test_two_photos_and_a_copy_are_two_units_by_which_no_head_is_more_or_less(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copy(photo, photo.with_name("copy.png"))
    words = [f"images=[{photo},{other},{run}/samples.png]", "samples=10", f"out={tmp_path}/out"]
    assert main([*ANALYZE, f"run={run}", *words]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert ": 3 photos of yours (2 apart from copies)" in printed
    assert "10 resamples of the 2 images" in printed
    assert "uniform decoder" in printed
    assert "heads, less in" not in printed
    assert "of many heads, some exceed a control by chance" in printed


def test_images_of_one_video_have_no_intervals_and_none_are_spoken_of(
    report: dict[str, Any],
) -> None:
    alone = copy.deepcopy(report)
    alone["about"]["interval"]["num_units"] = 1
    alone["best"]["written"]["held_out"] = None
    for best in alone["best"].values():
        for name, cell in best.items():
            if name.startswith(("distance", "other")):
                cell["low"] = cell["high"] = None
    said = " ".join(sentences(alone))
    assert ", - to -" not in said
    assert "heads, less in" not in said
    assert "not shown to be nearer than the same joint of a person in another image (" in said
    assert any("All images are of one video: there are no intervals" in e for e in limits(alone))


def test_six_videos_are_enough_to_count_heads(report: dict[str, Any]) -> None:
    many = copy.deepcopy(report)
    for num, is_counted in ((5, False), (6, True)):
        many["about"]["interval"]["num_units"] = num
        assert ("heads, less in" in " ".join(sentences(many))) == is_counted


def test_the_page_says_how_many_joints_parsed_and_that_captions_are_free(
    run: Path, report: dict[str, Any]
) -> None:
    about, page = report["about"], (run / "attention" / "attention.md").read_text()
    with np.load(run / "attention" / "attention.npz") as arrays:
        annotated = np.isfinite(arrays["true_xy_input"]).all(axis=-1)
        said = np.isfinite(arrays["pred_xy_input"]).all(axis=-1)
    assert about["num_joints"] == annotated.sum()
    assert about["num_joints_parsed"] == (annotated & said).sum()
    own = json.loads((run / "run.json").read_text())["config"]["decoding"]["_target_"]
    assert "Free" not in own
    assert "decoding: free; the model's own is parallel" in page
    assert f"{annotated.sum()} annotated joints parsed; distances are over those" in page


@pytest.mark.parametrize(("num", "is_said"), [(94, True), (95, False)])
def test_few_joints_that_parsed_are_a_limit(
    report: dict[str, Any], num: int, is_said: bool
) -> None:
    few = copy.deepcopy(report)
    few["about"] |= {"num_joints": 100, "num_joints_parsed": num}
    assert any(f"Only {num} of 100 joints parsed" in each for each in limits(few)) == is_said


@pytest.mark.parametrize("of", ["run", "photos"])
def test_captions_that_name_no_joint_are_said_and_have_no_picture_of_self_attention(
    run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    def stray(_blip: Any, grammar: Any, states: torch.Tensor, _longest: int) -> torch.Tensor:
        words = [grammar.fixed[0][0], *grammar.numbers[0], grammar.fixed[-1][-1]]
        return torch.tensor([words] * len(states))

    monkeypatch.setattr("blippose.attention.maps.free_tokens", stray)
    words = [f"run={run}", "samples=10", f"out={tmp_path}/out"]
    assert main([*ANALYZE, *words, *([f"images={photo}"] if of == "photos" else [])]) == 0
    assert visible(tmp_path / "out") == FILES | {"cross_joints.png"}
    page = (tmp_path / "out" / "attention.md").read_text()
    assert "No caption names a joint: there is no self-attention from joint to joint" in page
    assert "; 0 of " in page
    assert "Bold" not in page


def test_bold_is_explained_only_where_a_row_is_bold(
    run: Path, photo: Path, tmp_path: Path
) -> None:
    told = {}
    for name, words in {"mean": ["head=2"], "one": []}.items():
        few = [f"run={run}", f"images={photo}", "samples=10", f"out={tmp_path}/{name}"]
        assert main([*ANALYZE, *few, *words]) == 0
        told[name] = (tmp_path / name / "attention.md").read_text()
    assert "Bold is the head of `self_head.png`" in told["one"]
    assert "| **" in told["one"]
    assert "Bold" not in told["mean"]
    assert "| **" not in told["mean"]


def test_pictures_of_earlier_photos_go_and_what_the_user_put_there_stays(
    run: Path, photo: Path, tmp_path: Path
) -> None:
    out, few = tmp_path / "out", [f"run={run}", f"out={tmp_path}/out", "samples=10"]
    assert main([*ANALYZE, *few, f"images=[{photo},{run}/samples.png]"]) == 0
    numbered = {"cross_joints_1.png", "cross_joints_2.png"}
    assert visible(out) == FILES | PICTURES - {"cross_joints.png"} | numbered
    (out / "cross_joints_3.png").write_text("mine")
    assert main([*ANALYZE, *few, f"images={photo}"]) == 0
    assert visible(out) == FILES | PICTURES | {"cross_joints_3.png"}


def test_cut_off_it_goes_on_and_two_processes_give_the_same_to_the_bit(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = [*ANALYZE, f"run={run}", "samples=10", "batch_size=1"]
    asked: list[int] = []

    def counted(*args: Any) -> Any:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measured(*args)

    monkeypatch.setattr("blippose.evaluation.attention.stored_evidence.measured", counted)
    words = [*few, f"out={tmp_path}/cut"]
    assert main(words) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert main(words) == 0
    num_images = len(np.load(tmp_path / "cut/attention.npz")["axis__image"])
    assert len(asked) == num_images + 1, "only what was cut off is asked for again"
    assert main(words) == 0
    assert len(asked) == num_images + 1
    assert "used again, as nothing has changed" in capsys.readouterr().out

    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):  # the first waits for the other
        monkeypatch.setenv("RANK", rank)
        assert main([*few, f"out={tmp_path}/two"]) == 0
        assert bool(capsys.readouterr().out) == (rank == "0")
    assert contents(tmp_path / "two") == contents(tmp_path / "cut")
    assert not list((tmp_path / "two").glob(".*part*"))


def test_a_photo_that_cannot_be_read_is_told_and_the_others_are_done(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    words = [f"images=[{broken},{photo},{photo.parent}/broken.jpg]", f"out={tmp_path}/out"]
    assert main([*ANALYZE, f"run={run}", *words, "samples=10"]) == 1
    assert "broken.jpg" in capsys.readouterr().err
    assert (tmp_path / "out" / "cross_joints.png").is_file()
    assert main([*ANALYZE, f"run={run}", f"images={broken}", f"out={tmp_path}/none"]) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["head=4"], "head=4: the text decoder has 3 heads; expected 1 to 3 or null"),
        (["head=0"], "head=0: the text decoder has 3 heads"),
        (["layer=3"], "layer=3: the text decoder has 2 layers; expected 1 to 2 or all"),
        (["layer=first"], "layer=first: expected all, or a number from 1"),
        (["head=best"], "head=best: expected int or null"),
        (["subset=dev"], "subset=dev: expected one of val, test, auto"),
        (["subset=test"], "the split has no such side"),
        (["samples=0"], "samples=0: expected 1 or more"),
        (["images=nowhere"], "images=nowhere: no such file"),
        (["data.root=nowhere"], "nowhere"),
        (["heads=1"], "heads"),
    ],
)
def test_a_mistake_is_one_line(
    run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ANALYZE, f"run={run}", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["analyze", "run=runs/demo"], "expected attention or occlusion as its second word"),
        (["analyze", "atention"], "did you mean attention?"),
        ([*ANALYZE], "run: not given; add run=VALUE"),
        ([*ANALYZE, "run=nowhere"], "run=nowhere: no such folder"),
    ],
)
def test_a_command_without_a_run_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_analyze_without_a_study_tells_of_both(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", *words]) == 0
    said = capsys.readouterr().out
    assert "blippose analyze attention run=runs/demo" in said
    assert "blippose analyze occlusion run=runs/demo" in said
    assert max(map(len, said.splitlines())) <= 100
