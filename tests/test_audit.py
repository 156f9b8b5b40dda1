"""The audit as data and as tables, on a release made of plain rows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from blippose.audit import Audit, audit, print_audit
from blippose.errors import UserError
from blippose.mpii import ImageRow, Person, Release
from blippose.pose import Pose
from blippose.readings import READINGS

NUM_VISIBLE, NUM_HIDDEN = 20, 5


def row(index: int) -> ImageRow:
    """Rows in pairs share a video; the last `NUM_HIDDEN` have a hidden joint."""
    hidden = index >= NUM_VISIBLE
    person = Person(
        image_name=f"{index:03}.jpg",
        image_index=index,
        person_index=0,
        pose=Pose.of(np.ones((16, 2))),
        flags=(not hidden, *[None] * 15),
        head_size=1.0,
        head_box=None,
        center=None,
        scale=None,
        video=index // 2,
        activity=None,
    )
    return ImageRow(
        name=person.image_name,
        is_train=True,
        persons=(person,),
        num_annorects=1,
        single_person=(0,),
        video=person.video,
    )


@pytest.fixture
def release() -> Release:
    rows = tuple(row(i) for i in range(NUM_VISIBLE + NUM_HIDDEN))
    return Release(Path("folder[red]/some.mat"), rows, synthetic=True, sha256="ab" * 32)


def printed(result: Audit, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_audit(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_audit_is_plain_json(release: Release) -> None:
    result = audit(release, kind="video")
    assert json.loads(json.dumps(result)) == result


def test_all_readings_stand_side_by_side(release: Release) -> None:
    counts = {each["name"]: each["persons"] for each in audit(release, kind="video")["readings"]}
    assert counts == {
        **dict.fromkeys(READINGS, NUM_VISIBLE),
        "annotated": NUM_VISIBLE + NUM_HIDDEN,
        "strict": 0,
    }


def test_leak_is_counted_for_both_kinds_of_split(release: Release) -> None:
    random, video = audit(release, kind="video", seed=0)["splits"]
    assert (random["train"], random["val"]) == (video["train"], video["val"]) == (16, 4)
    assert video["shared_videos"] == 0
    assert random["shared_videos"]


def test_leak_of_the_test_side_is_counted_where_there_is_one(release: Release) -> None:
    result = audit(release, kind="video", fraction=0.6, test_fraction=0.2)
    random, video = result["splits"]
    assert [(s["train"], s["val"], s["test"]) for s in (random, video)] == [(12, 4, 4)] * 2
    assert video["test_shared_videos"] == 0
    assert random["test_shared_videos"]
    text = " ".join(printed(result, width=140).split())
    assert "splits at fraction=0.6, test_fraction=0.2, seed=0 (> chosen)" in text
    assert "test with a frame of its video in train" in text


def test_without_a_test_side_nothing_is_said_of_one(release: Release) -> None:
    result = audit(release, kind="video")
    assert [split["test"] for split in result["splits"]] == [0, 0]
    assert [split["test_shared_videos"] for split in result["splits"]] == [0, 0]
    assert "test" not in printed(result, width=140)


def test_fractions_without_validation_are_refused(release: Release) -> None:
    with pytest.raises(UserError, match=r"test_fraction=0\.2 .*leaves nothing for validation"):
        audit(release, kind="video", test_fraction=0.2)


def test_both_splits_have_their_own_manifest(release: Release) -> None:
    hashes = {split["manifest_hash"] for split in audit(release, kind="video")["splits"]}
    assert len(hashes - {None}) == 2


def test_reading_that_keeps_nobody_still_gets_its_audit(release: Release) -> None:
    result = audit(release, "strict", kind="video")
    assert result["steps"][-1]["persons"] == 0
    assert all("0 persons" in (split["problem"] or "") for split in result["splits"])
    assert "split=random: a split of 0 persons" in printed(result)


def test_audit_without_images_says_so(release: Release, tmp_path: Path) -> None:
    for images in (None, tmp_path / "nowhere"):
        result = audit(release, kind="video", images=images)
        assert result["images"]["at_hand"] is None
        text = "images: not at hand, counted from the annotations alone"
        assert text in printed(result)


def test_images_at_hand_are_counted(release: Release, tmp_path: Path) -> None:
    for name in ("000.jpg", "007.jpg", "unrelated.jpg"):
        (tmp_path / name).touch()
    counts = audit(release, kind="video", images=tmp_path)["images"]
    assert (counts["needed"], counts["at_hand"]) == (NUM_VISIBLE, 2)


def test_wrong_choices_are_refused(release: Release) -> None:
    with pytest.raises(UserError, match="reading=all"):
        audit(release, "all", kind="video")
    with pytest.raises(UserError, match="split=movie"):
        audit(release, kind="movie")
    with pytest.raises(UserError, match=r"fraction=80\.0"):
        audit(release, kind="video", fraction=80.0)


def test_tables_show_what_the_data_says(release: Release) -> None:
    result = audit(release, kind="video")
    text = printed(result)
    chosen = result["splits"][1]
    for expected in (
        "synthetic release folder[red]/some.mat",
        f"sha256 {'ab' * 32}",
        "reading=visible, step by step",
        "exactly one annotated person",
        "> visible",
        "> video",
        f"manifest {chosen['manifest_hash']}",
    ):
        assert expected in text


def test_paths_and_hashes_stay_whole_on_a_narrow_terminal(release: Release) -> None:
    result = audit(release, kind="video")
    text = printed(result, width=40)
    assert f"sha256 {result['sha256']}\n" in text


def test_leaks_are_shares_of_the_side_that_is_judged(release: Release) -> None:
    result = audit(release, kind="video")
    random = result["splits"][0]
    shared, val = random["shared_videos"], random["val"]
    assert shared is not None
    assert val is not None
    assert f"{shared} ({shared / val:.0%})" in printed(result, width=140)
    assert result["persons_without_video"] == 0


def test_splits_are_those_of_the_seed(release: Release) -> None:
    one, other = (audit(release, kind="video", seed=seed)["splits"] for seed in (0, 1))
    for first, second in zip(one, other, strict=True):
        assert first["manifest_hash"] != second["manifest_hash"]
