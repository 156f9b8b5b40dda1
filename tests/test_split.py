"""The two splits and the manifest, mostly as properties."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blippose.errors import UserError
from blippose.mpii import Person, Release
from blippose.pose import Pose
from blippose.split import (
    Split,
    manifest,
    shared_video_count,
    split_persons,
    split_random,
    split_video,
    write_manifest,
)

fractions = st.floats(0.05, 0.95)
seeds = st.integers(0, 2**32 - 1)
videos_of_persons = st.lists(st.none() | st.integers(0, 8), min_size=2, max_size=40)


def person(index: int, video: int | None = None) -> Person:
    return Person(
        image_name=f"{index:03}.jpg",
        image_index=index,
        person_index=index % 2,
        pose=Pose.of(np.zeros((16, 2))),
        flags=(None,) * 16,
        head_size=1.0,
        head_box=None,
        center=None,
        scale=None,
        video=video,
        activity=None,
    )


def release(sha256: str = "ab") -> Release:
    return Release(Path("some.mat"), rows=(), synthetic=True, sha256=sha256)


def whole(product: float) -> int:
    """Rounded down, but for what floating point is short of a whole number."""
    return math.floor(product + 1e-9)


def video_split_or_skip(videos: list[int | None], fraction: float, seed: int) -> Split:
    assume(whole(fraction * len(videos)) > 0)
    assume(len(set(videos) - {None}) + videos.count(None) > 1)
    return split_video(videos, fraction, seed)


@given(num_persons=st.integers(2, 300), fraction=fractions, seed=seeds)
def test_random_split_is_disjoint_complete_and_of_the_size(
    num_persons: int, fraction: float, seed: int
) -> None:
    assume(whole(fraction * num_persons) > 0)
    split = split_random(num_persons, fraction, seed)
    assert sorted(split.train + split.val) == list(range(num_persons))
    assert len(split.train) == whole(fraction * num_persons)


def test_study_split_is_1170_to_293() -> None:
    split = split_random(1463, 0.8, seed=1)
    assert (len(split.train), len(split.val)) == (1170, 293)


@pytest.mark.parametrize(("num_persons", "fraction"), [(100, 0.29), (50, 0.58), (200, 0.145)])
def test_floating_point_takes_no_person_from_a_side(num_persons: int, fraction: float) -> None:
    wanted = round(fraction * num_persons)
    assert int(fraction * num_persons) == wanted - 1
    assert len(split_random(num_persons, fraction).train) == wanted
    three = split_random(num_persons, 0.1, test_fraction=fraction)
    assert len(three.test) == wanted


@given(num_persons=st.integers(2, 3000), part=st.integers(1, 2999))
def test_a_share_of_so_many_persons_is_so_many_persons(num_persons: int, part: int) -> None:
    assume(part < num_persons)
    assert len(split_random(num_persons, part / num_persons).train) == part


def test_same_seed_same_split_another_seed_another() -> None:
    assert split_random(100, 0.8, seed=3) == split_random(100, 0.8, seed=3)
    assert split_random(100, 0.8, seed=3).val != split_random(100, 0.8, seed=4).val


def test_random_split_is_the_same_on_every_machine() -> None:
    """Written down once with numpy 2.4: a change here changes every published split."""
    assert split_random(10, 0.5, seed=0).train == (2, 3, 4, 6, 7)
    assert split_video([1, 1, 2, 2, 2, 3, None, 4, 4, 5], 0.5, seed=0).train == (5, 6, 7, 8, 9)


@given(videos=videos_of_persons, fraction=fractions, seed=seeds)
def test_video_split_is_disjoint_and_complete(
    videos: list[int | None], fraction: float, seed: int
) -> None:
    split = video_split_or_skip(videos, fraction, seed)
    assert sorted(split.train + split.val) == list(range(len(videos)))
    assert split.train
    assert split.val


@given(videos=videos_of_persons, fraction=fractions, seed=seeds)
def test_video_split_shares_no_video(videos: list[int | None], fraction: float, seed: int) -> None:
    split = video_split_or_skip(videos, fraction, seed)
    sides = [{videos[i] for i in side} - {None} for side in (split.train, split.val)]
    assert not sides[0] & sides[1]
    assert shared_video_count(split, videos) == 0


@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=7), fraction=fractions, seed=seeds)
def test_video_split_is_as_near_as_whole_videos_allow(
    sizes: list[int], fraction: float, seed: int
) -> None:
    videos = [video for video, size in enumerate(sizes) for _ in range(size)]
    split = video_split_or_skip(list(videos), fraction, seed)
    num_train = whole(fraction * len(videos))
    sums = {
        sum(chosen)
        for count in range(1, len(sizes))
        for chosen in itertools.combinations(sizes, count)
    }
    assert abs(len(split.train) - num_train) == min(abs(total - num_train) for total in sums)


@given(videos=videos_of_persons, fraction=fractions, seed=seeds)
def test_video_split_is_deterministic(
    videos: list[int | None], fraction: float, seed: int
) -> None:
    assert video_split_or_skip(videos, fraction, seed) == split_video(videos, fraction, seed)


def test_video_split_differs_by_seed() -> None:
    videos = [i // 3 for i in range(90)]
    assert len({split_video(videos, 0.8, seed).val for seed in range(5)}) == 5


def test_every_video_can_come_to_either_side() -> None:
    videos = [0] * 12 + [1] * 3 + [2] * 3 + list(range(3, 15))
    in_val = {videos[i] for seed in range(60) for i in split_video(videos, 0.5, seed).val}
    in_train = {videos[i] for seed in range(60) for i in split_video(videos, 0.5, seed).train}
    assert in_val == in_train == set(range(15))


def test_unknown_videos_are_split_one_by_one() -> None:
    split = split_video([None] * 10, 0.8, seed=0)
    assert (len(split.train), len(split.val)) == (8, 2)
    assert shared_video_count(split, [None] * 10) == 0


def test_shared_videos_count_validation_persons() -> None:
    split = Split(train=(0, 1), val=(2, 3, 4), kind="random", seed=0, fraction=0.4)
    assert shared_video_count(split, [7, 8, 7, 7, 9]) == 2
    assert shared_video_count(split, [7, 8, 7, 7, 9], ()) == 0  # of a side that is empty


def test_of_two_sums_as_near_the_smaller_trains() -> None:
    assert len(split_video([0] * 3 + [1] * 5, 0.5, seed=0).train) == 3


@pytest.mark.parametrize("kind", ["random", "video"])
def test_kind_chooses_the_split(kind: str) -> None:
    persons = [person(i, video=i // 2) for i in range(20)]
    assert split_persons(persons, kind, 0.5, seed=0).kind == kind


def test_unknown_kind_names_the_choices() -> None:
    with pytest.raises(UserError, match=r"split=movie: .*random, video"):
        split_persons([person(0), person(1)], "movie")


@pytest.mark.parametrize("fraction", [0.0, 1.0, 80.0, -0.1, float("nan")])
def test_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match=r"fraction=.*more than 0 and less than 1"):
        split_random(10, fraction)


@pytest.mark.parametrize("num_persons", [0, 1])
def test_too_few_persons_are_refused(num_persons: int) -> None:
    with pytest.raises(UserError, match=f"{num_persons} persons .* leaves one side empty"):
        split_random(num_persons, 0.8)


def test_one_video_cannot_be_split() -> None:
    with pytest.raises(UserError, match="all 5 persons come from one video"):
        split_video([3] * 5, 0.8)


@pytest.fixture
def record() -> dict[str, Any]:
    persons = [person(i) for i in range(5)]
    return manifest(persons, split_random(5, 0.8, seed=0), release(), "visible")


def test_manifest_names_each_person_once(record: dict[str, Any]) -> None:
    entries = record["train"] + record["val"]
    assert sorted((e["image"], e["person_index"]) for e in entries) == [
        (f"{i:03}.jpg", i % 2) for i in range(5)
    ]
    assert (len(record["train"]), len(record["val"])) == (4, 1)


def test_manifest_hash_covers_all_the_rest(record: dict[str, Any]) -> None:
    rest = {key: value for key, value in record.items() if key != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    assert record["hash"] == hashlib.sha256(text.encode()).hexdigest()


def test_manifest_hash_changes_with_seed_reading_and_file(record: dict[str, Any]) -> None:
    persons = [person(i) for i in range(5)]
    split, other = split_random(5, 0.8, seed=0), split_random(5, 0.8, seed=1)
    hashes = {
        manifest(persons, split, release(), "visible")["hash"],
        manifest(persons, other, release(), "visible")["hash"],
        manifest(persons, split, release(), "annotated")["hash"],
        manifest(persons, split, release("cd"), "visible")["hash"],
    }
    assert len(hashes) == 4
    assert record["hash"] in hashes


def test_manifest_survives_the_file(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run" / "split.json"
    write_manifest(path, record)
    assert json.loads(path.read_text()) == record
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]


def test_failed_write_keeps_the_old_manifest(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    write_manifest(path, record)
    with pytest.raises(TypeError):
        write_manifest(path, {"train": object()})
    assert json.loads(path.read_text()) == record
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]


def test_manifest_that_cannot_be_written_is_one_line(
    record: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"manifest=.*split\.json: cannot be written"):
        write_manifest(tmp_path / "file" / "split.json", record)
    with pytest.raises(UserError, match="is a folder"):
        write_manifest(tmp_path, record)


@given(num_persons=st.integers(3, 300), fraction=fractions, test=st.floats(0, 0.95), seed=seeds)
def test_test_side_is_carved_out_of_validation(
    num_persons: int, fraction: float, test: float, seed: int
) -> None:
    num_train, num_test = whole(fraction * num_persons), whole(test * num_persons)
    assume(fraction + test < 1 and num_train > 0)
    assume(test == 0 or 0 < num_test < num_persons - num_train)
    two, three = (split_random(num_persons, fraction, seed, share) for share in (0.0, test))
    assert three.train == two.train
    assert sorted(three.val + three.test) == list(two.val)
    assert len(three.test) == num_test


@given(videos=st.lists(st.none() | st.integers(0, 20), min_size=12, max_size=40), seed=seeds)
def test_three_way_video_split_shares_no_video(videos: list[int | None], seed: int) -> None:
    try:
        split = split_video(videos, 0.5, seed, test_fraction=0.25)
    except UserError as error:
        assert "one video" in str(error)  # noqa: PT017  only some draws have it
        return
    assert split.train == split_video(videos, 0.5, seed).train
    sides = split.train, split.val, split.test
    assert sorted(i for side in sides for i in side) == list(range(len(videos)))
    assert all(sides)
    known = [{videos[i] for i in side} - {None} for side in sides]
    assert len(set.union(*known)) == sum(map(len, known))
    assert shared_video_count(split, videos, split.test) == 0


def test_study_split_with_a_test_side_keeps_its_training_set() -> None:
    split = split_random(1463, 0.8, seed=1, test_fraction=0.1)
    assert (len(split.train), len(split.val), len(split.test)) == (1170, 147, 146)
    assert split.train == split_random(1463, 0.8, seed=1).train


def test_shared_videos_are_counted_for_test_alone() -> None:
    split = Split((0, 1), (2,), "random", seed=0, fraction=0.4, test=(3, 4), test_fraction=0.4)
    videos = [7, 8, 7, 9, 8]
    assert shared_video_count(split, videos) == shared_video_count(split, videos, split.test) == 1


def test_one_video_left_cannot_be_validation_and_test() -> None:
    videos = [0] * 4 + [1] * 4
    with pytest.raises(UserError, match=r"one video alone \(4 persons\) is left"):
        split_video(videos, 0.5, test_fraction=0.25)


@pytest.mark.parametrize(
    ("fraction", "test_fraction", "message"),
    [
        (0.8, 0.2, "leaves nothing for validation"),
        (0.8, 0.7, "leaves nothing for validation"),
        (0.8, -0.1, "test_fraction=-0.1: expected 0 or more"),
        (0.8, float("nan"), "test_fraction=nan: expected 0 or more"),
        (0.5, 0.05, "leaves test or validation empty"),
    ],
)
def test_fractions_that_leave_a_side_empty_are_refused(
    fraction: float, test_fraction: float, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        split_random(10, fraction, test_fraction=test_fraction)


def test_manifest_of_a_two_way_split_is_as_ever(record: dict[str, Any]) -> None:
    """Written down before there was a test side: a change here orphans every stored hash."""
    assert "test" not in record
    assert "test_fraction" not in record
    assert record["hash"] == "d820070342956fefca6da99eec22b0fa484122fca6804426d91395ef9e6d991c"


def test_manifest_names_all_three_sides() -> None:
    persons = [person(i) for i in range(10)]
    split = split_random(10, 0.6, seed=0, test_fraction=0.2)
    record = manifest(persons, split, release(), "visible")
    assert [len(record[side]) for side in ("train", "val", "test")] == [6, 2, 2]
    assert record["test_fraction"] == 0.2
    assert record["hash"] != manifest(persons, split_random(10, 0.6), release(), "visible")["hash"]
