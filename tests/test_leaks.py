"""Leaks between training and judged persons: videos, and images by perceptual hash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from blippose.data import PoseDataModule
from blippose.errors import UserError
from blippose.evaluation.leaks import (
    HASH_BITS,
    THRESHOLD,
    image_hashes,
    leaks_between,
    nearest_hashes,
)
from blippose.evaluation.learned import Learned
from blippose.frame_file import Stated
from blippose.model import PoseCaptioner
from blippose.mpii import Person
from blippose.pose import Pose
from blippose.predictor import PosePredictor
from blippose.synthetic import write_release

MakeData = Callable[..., PoseDataModule]
MakeFolder = pytest.TempPathFactory


def person(image_name: str, video: int | None = None) -> Person:
    return Person(
        image_name=image_name,
        image_index=0,
        person_index=0,
        pose=Pose.of(np.zeros((16, 2))),
        flags=(None,) * 16,
        head_size=1.0,
        head_box=None,
        center=None,
        scale=None,
        video=video,
        activity=None,
    )


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Four smooth random scenes, a.png to d.png."""
    rng = np.random.default_rng(0)
    for name in "abcd":
        rough = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        rough.resize((320, 240), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    return tmp_path


def save_as_jpeg(folder: Path, name: str, image: Image.Image, quality: int = 90) -> Person:
    image.convert("RGB").save(folder / name, quality=quality)
    return person(name)


def test_copies_in_other_sizes_and_qualities_are_found(scenes: Path) -> None:
    scene = Image.open(scenes / "b.png")
    judged = [
        save_as_jpeg(scenes, "same.jpg", scene),
        save_as_jpeg(scenes, "bad.jpg", scene, quality=20),
        save_as_jpeg(scenes, "small.jpg", scene.resize((160, 120))),
        save_as_jpeg(scenes, "bright.jpg", ImageEnhance.Brightness(scene).enhance(1.2)),
        save_as_jpeg(scenes, "cut.jpg", scene.crop((3, 2, 317, 238))),
        person("d.png"),
    ]
    train = [person(f"{name}.png") for name in "abc"]
    leaks = leaks_between(train, judged, scenes)
    assert leaks.near_duplicate.tolist() == [True] * 5 + [False]
    assert {pair.train for pair in leaks.pairs} == {"b.png"}
    assert all(pair.distance <= THRESHOLD for pair in leaks.pairs)


def test_real_photos_are_no_duplicates_of_each_other_but_of_their_copies(
    mpii_images: list[Path], tmp_path: Path
) -> None:
    for path in mpii_images:
        shutil.copy(path, tmp_path)
    first, *others = mpii_images
    photo = Image.open(first)
    copy = save_as_jpeg(tmp_path, "copy.jpg", photo.resize((640, 360)), quality=60)
    train = [person(path.name) for path in others]
    assert not leaks_between(train, [person(first.name)], tmp_path).near_duplicate.any()
    leaks = leaks_between([*train, person(first.name)], [copy], tmp_path)
    assert [pair.train for pair in leaks.pairs] == [first.name]


def test_scenes_of_one_layout_in_other_colours_are_no_duplicates(scenes: Path) -> None:
    """The hash knows brightness alone; red under grey and blue under grey are two scenes."""
    for name, wall in (("x.png", (230, 60, 60)), ("y.png", (60, 90, 230))):
        scene = Image.new("RGB", (320, 240), wall)
        scene.paste((40, 40, 40), (0, 150, 320, 240))
        scene.save(scenes / name)
    first, second = image_hashes([scenes / "x.png", scenes / "y.png"]).values()
    assert (first ^ second).bit_count() <= THRESHOLD
    leaks = leaks_between([person("x.png")], [person("y.png")], scenes)
    assert not leaks.near_duplicate.any()


def test_threshold_decides_and_its_end_counts(scenes: Path) -> None:
    copy = save_as_jpeg(scenes, "c.jpg", Image.open(scenes / "a.png").crop((12, 9, 308, 231)))
    train = [person("a.png")]
    distance = leaks_between(train, [copy], scenes, threshold=HASH_BITS).pairs[0].distance
    assert distance > 0
    assert leaks_between(train, [copy], scenes, threshold=distance).near_duplicate.all()
    assert not leaks_between(train, [copy], scenes, threshold=distance - 1).near_duplicate.any()


def test_persons_of_a_training_video_are_marked(scenes: Path) -> None:
    train = [person("a.png", video=7), person("b.png", video=None)]
    judged = [person("c.png", video=7), person("d.png", video=8), person("d.png", video=None)]
    leaks = leaks_between(train, judged, scenes)
    assert leaks.shared_video.tolist() == [True, False, False]
    assert (leaks.num_unknown, leaks.num_train_unknown) == (1, 1)


def test_record_is_json_with_the_nearest_pairs_first(scenes: Path) -> None:
    scene = Image.open(scenes / "a.png")
    judged = [
        save_as_jpeg(scenes, f"{i:02}.jpg", scene.crop((d, d, 320 - d, 240 - d)))
        for i in range(25)
        for d in [i // 5]
    ]
    leaks = leaks_between([person("a.png", video=1)], judged, scenes, threshold=HASH_BITS)
    record = leaks.record("ab")
    assert json.loads(json.dumps(record)) == record
    assert record["manifest"] == "ab"
    assert record["shared_video"] == {
        "num_images": 0,
        "num_left": 25,
        "num_unknown": 25,
        "num_train_unknown": 0,
    }
    near = record["near_duplicates"]
    assert (near["num_images"], near["num_left"], len(near["pairs"])) == (25, 0, 20)
    distances = [pair["distance"] for pair in near["pairs"]]
    assert distances == sorted(distances)
    assert near["pairs"][0] == {"val": "00.jpg", "train": "a.png", "distance": 0}


def test_hash_is_that_of_imagehash(scenes: Path) -> None:
    hashes = image_hashes([scenes / "a.png", scenes / "b.png"])
    for path, value in hashes.items():
        with Image.open(path) as image:
            assert f"{value:016x}" == str(imagehash.phash(image))


def test_nearest_hash_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    hashes, others = (rng.integers(0, 2**64, n, dtype=np.uint64) for n in (600, 70))
    distance, nearest = nearest_hashes(hashes, others)
    for i in range(0, 600, 7):
        bits = [(int(hashes[i]) ^ int(other)).bit_count() for other in others]
        assert distance[i] == min(bits) == bits[nearest[i]]


def test_the_whole_of_mpii_is_looked_through() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 11_503, dtype=np.uint64)
    distance, nearest = nearest_hashes(hashes, hashes[::-1])
    assert not distance.any()
    assert (nearest == 11_502 - np.arange(11_503)).all()


def test_without_training_images_nothing_leaks(scenes: Path) -> None:
    leaks = leaks_between([], [person("a.png", video=1)], scenes)
    assert not leaks.near_duplicate.any()
    assert not leaks.shared_video.any()


def test_frames_of_a_video_leak_under_the_random_split_alone(make_data: MakeData) -> None:
    for split, leaks in (("random", True), ("video", False)):
        data = make_data(split=split)
        sides = data.train_set.persons, data.val_set.persons
        found = leaks_between(*sides, data.release_source.images)
        assert found.shared_video.any() == leaks


def test_videos_of_another_release_have_nothing_to_say(scenes: Path) -> None:
    train, judged = [person("a.png", video=1)], [person("b.png", video=1), person("c.png")]
    leaks = leaks_between(train, judged, scenes, has_same_videos=False)
    assert not leaks.shared_video.any()
    assert leaks.num_unknown == 2


def test_an_image_of_another_video_by_the_same_name_is_no_training_image(scenes: Path) -> None:
    """Names alone are drawn anew with each number of persons."""
    train = [person("a.png", video=1)]
    judged = [person("a.png", video=1), person("a.png", video=2)]
    assert leaks_between(train, judged, scenes).in_training.tolist() == [True, False]


@pytest.mark.parametrize(
    ("seed", "version", "are_same"), [(0, 3, True), (1, 3, False), (0, 2, True), (0, 1, False)]
)
def test_drawn_people_are_known_in_a_release_of_another_number_of_them(
    make_data: MakeData,
    make_captioner: Callable[..., PoseCaptioner],
    release_root: Path,
    tmp_path: Path,
    seed: int,
    version: int,
    are_same: bool,
) -> None:
    """Version 3 draws the people of version 2; in version 1 others were annotated."""
    root = write_release(tmp_path / "few", 12, seed, num_workers=1, progress=False)
    mark = json.loads((root / "release.json").read_text())
    (root / "release.json").write_text(json.dumps(mark | {"generator_version": version}))
    trained, judged = make_data(), make_data(root=str(root))
    of = make_captioner()
    predictor = PosePredictor(of.blip, of.tokenizer, Stated(of.frame), "test")
    settings = {"root": str(release_root)}
    learned = Learned.of(trained.manifest["hash"], (), judged, settings, predictor)
    assert learned.persons is not None
    persons, images = judged.persons, judged.release_source.images
    leaks = leaks_between(
        learned.persons.persons,
        persons,
        images,
        train_images=learned.persons.images,
        has_same_videos=learned.has_same_videos,
    )
    poses = {each.pose.xy.tobytes() for each in learned.persons.persons}
    seen = np.array([each.pose.xy.tobytes() in poses for each in persons])
    assert seen.any() == (seed == 0)
    assert leaks.shared_video.any() == are_same
    assert leaks.shared_video[seen].all() == (are_same or not seen.any())
    assert leaks.num_unknown == (0 if are_same else len(persons))


def test_copies_in_another_folder_are_found(scenes: Path, tmp_path_factory: MakeFolder) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(scenes / "a.png", elsewhere / "z.png")
    shutil.copy(scenes / "b.png", elsewhere / "c.png")  # a name of another image here
    train = [person("z.png"), person("c.png")]
    judged = [person(f"{name}.png") for name in "abcd"]
    leaks = leaks_between(train, judged, scenes, train_images=elsewhere)
    assert leaks.near_duplicate.tolist() == [True, True, False, False]


def test_an_image_on_both_sides_is_found(make_data: MakeData) -> None:
    data = make_data()
    twin = replace(data.val_set.persons[0], image_name=data.train_set.persons[0].image_name)
    leaks = leaks_between(data.train_set.persons, [twin], data.release_source.images)
    assert leaks.pairs[0].distance == 0


def test_a_broken_image_is_named(scenes: Path) -> None:
    (scenes / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.png: cannot be decoded"):
        leaks_between([person("b.png")], [person("a.png")], scenes)


@pytest.mark.parametrize("threshold", [-1, 65])
def test_impossible_thresholds_are_refused(scenes: Path, threshold: int) -> None:
    with pytest.raises(UserError, match=f"threshold={threshold}: expected 0 to 64 bits"):
        leaks_between([person("a.png")], [person("b.png")], scenes, threshold=threshold)
