"""Inputs that are cut once: the same pixels, made once, shared, and made again when they must."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import NUM_PERSONS, SIZE
from fake_terminal import fake_terminal
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blippose import mpii, readings
from blippose.data import Cutter, PoseDataModule, pixel_cache
from blippose.data.pixel_cache import PixelCache, PixelFile, cache_folders
from blippose.decoding import ClipNormalization
from blippose.errors import UserError
from blippose.geometry import Resize

MakeData = Callable[..., PoseDataModule]


class Usage(NamedTuple):
    """As shutil.disk_usage says it."""

    total: int
    used: int
    free: int


@pytest.fixture
def root(release_root: Path, tmp_path: Path) -> Path:
    """A copy of the release without cut images; times of images are kept."""
    ignore = shutil.ignore_patterns("pixels")
    return Path(shutil.copytree(release_root, tmp_path / "release", ignore=ignore))


@pytest.fixture
def persons(release_root: Path) -> tuple[mpii.Person, ...]:
    return readings.select(mpii.read_release(release_root / mpii.ANNOTATIONS))


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the images that are decoded, as they are."""
    names: list[str] = []
    cut = Cutter.cut

    def counted(self: Cutter, person: mpii.Person) -> Any:
        names.append(person.image_name)
        return cut(self, person)

    monkeypatch.setattr(Cutter, "cut", counted)
    return names  # type: ignore[return-value]  # read by tests


def cutter(root: Path, **settings: Any) -> Cutter:
    settings = {"size": SIZE, "resize": Resize.STRETCH, "crop": "full", **settings}
    return Cutter(root / "images", **settings)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.npy"))


@pytest.mark.parametrize("size", [SIZE, 384])
def test_pixels_are_those_of_blips_processor(
    root: Path, persons: tuple[mpii.Person, ...], size: int
) -> None:
    kept = PixelCache(cutter(root, size=size), (root / "pixels",)).make(persons[:5])
    assert kept is not None
    processor = BlipImageProcessorPil(size={"height": size, "width": size})
    expected, planes = [], []
    for row, person in enumerate(persons[:5]):
        with Image.open(root / "images" / person.image_name) as image:
            expected.append(processor(image, return_tensors="pt").pixel_values)
            raw = processor(image, do_normalize=False, do_rescale=False).pixel_values[0]
        planes.append(np.array(kept[row][0]).transpose(2, 0, 1))
        np.testing.assert_array_equal(planes[-1], raw)
    normalized = ClipNormalization()(torch.from_numpy(np.stack(planes)))  # more than one part
    torch.testing.assert_close(normalized, torch.cat(expected), rtol=0, atol=1e-6)


def test_no_images_are_normalised_to_none() -> None:
    assert ClipNormalization()(torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8)).shape[0] == 0


def test_kept_rows_become_planes_of_a_batch_by_one_copy(
    root: Path, persons: tuple[mpii.Person, ...]
) -> None:
    kept = PixelCache(cutter(root), (root / "pixels",)).make(persons[:3])
    assert kept is not None
    together = np.stack([kept[row][0] for row in range(3)])
    assert together.shape == (3, SIZE, SIZE, 3)
    assert together.transpose(0, 3, 1, 2).flags.c_contiguous


@pytest.mark.parametrize("crop", ["full", "person"])
@pytest.mark.parametrize("resize", list(Resize))
def test_a_kept_row_is_what_the_cutter_cuts(
    root: Path, persons: tuple[mpii.Person, ...], resize: Resize, crop: str
) -> None:
    cuts_it = cutter(root, resize=resize, crop=crop)
    kept = PixelCache(cuts_it, (root / "pixels",)).make(persons)
    assert kept is not None
    for row, person in enumerate(persons):
        pixels, crop_of_it = cuts_it.cut(person)
        np.testing.assert_array_equal(kept[row][0], pixels)
        assert kept[row][1] == kept.rectangle(row) == crop_of_it == cuts_it.rectangle(person)


def test_images_are_cut_once_for_all_splits(
    make_data: MakeData, root: Path, cuts: list[str]
) -> None:
    first = make_data(root=str(root))
    assert len(cuts) == NUM_PERSONS
    make_data(root=str(root), split="random", train_fraction=0.5, test_fraction=0.2)
    again = make_data(root=str(root), split_seed=3)
    assert len(cuts) == NUM_PERSONS
    assert len(files(root / "pixels")) == 1
    assert first.train_set.pixels is not again.train_set.pixels


def test_rows_keep_their_order_where_images_are_cut_by_parts(
    root: Path, persons: tuple[mpii.Person, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_cache, "_AT_ONCE", 3)
    kept = PixelCache(cutter(root), (root / "pixels",)).make(persons)
    assert kept is not None
    for row, person in enumerate(persons):
        np.testing.assert_array_equal(kept[row][0], cutter(root).cut(person)[0])


def test_a_person_with_another_rectangle_is_cut_again(
    root: Path, persons: tuple[mpii.Person, ...]
) -> None:
    cache = PixelCache(cutter(root, crop="person"), (root / "pixels",))
    cache.make(persons)
    assert cache.find(persons) is not None
    assert cache.find((replace(persons[0], center=(1.0, 2.0)), *persons[1:])) is None


def test_another_pillow_cuts_again(
    root: Path, persons: tuple[mpii.Person, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PixelCache(cutter(root), (root / "pixels",))
    cache.make(persons)
    monkeypatch.setattr(pixel_cache.PIL, "__version__", "0.0")
    assert cache.find(persons) is None


@pytest.mark.parametrize(
    "setting", [{"size": SIZE + 1}, {"resize": Resize.LETTERBOX}, {"crop": "person"}]
)
def test_another_setting_makes_another_file(
    root: Path, persons: tuple[mpii.Person, ...], setting: dict[str, Any]
) -> None:
    folder = root / "pixels"
    PixelCache(cutter(root), (folder,)).make(persons)
    other = PixelCache(cutter(root, **setting), (folder,))
    assert other.find(persons) is None
    other.make(persons)
    assert len(files(folder)) == 2
    assert PixelCache(cutter(root), (folder,)).find(persons) is not None


def test_a_changed_image_is_cut_again(make_data: MakeData, root: Path, cuts: list[str]) -> None:
    before = make_data(root=str(root)).train_set
    path = root / "images" / before.persons[2].image_name
    Image.fromarray(np.full((60, 80, 3), 200, dtype=np.uint8)).save(path)
    after = make_data(root=str(root)).train_set
    assert len(cuts) == 2 * NUM_PERSONS
    assert (after[2].image == 200).mean() > 0.99
    assert (before[2].image == 200).mean() < 0.5  # as it was mapped
    assert before.pixels_sha256() != after.pixels_sha256()


def test_a_touched_image_is_cut_again(root: Path, persons: tuple[mpii.Person, ...]) -> None:
    cache = PixelCache(cutter(root), (root / "pixels",))
    cache.make(persons)
    os.utime(root / "images" / persons[1].image_name, ns=(1, 1))
    assert cache.find(persons) is None


def test_other_persons_have_another_file(root: Path, persons: tuple[mpii.Person, ...]) -> None:
    cache = PixelCache(cutter(root), (root / "pixels",))
    cache.make(persons)
    assert cache.find(persons[::-1]) is None
    assert cache.find(persons[:-1]) is None


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"not a file of ours"])
def test_a_damaged_file_is_made_again(
    root: Path, persons: tuple[mpii.Person, ...], content: bytes
) -> None:
    cache = PixelCache(cutter(root), (root / "pixels",))
    cache.make(persons)
    [name] = files(root / "pixels")
    (root / "pixels" / name).write_bytes(content)
    assert cache.find(persons) is None
    kept = cache.make(persons)
    assert kept is not None
    np.testing.assert_array_equal(kept[0][0], cutter(root).cut(persons[0])[0])


def test_a_cut_off_file_is_made_again(root: Path, persons: tuple[mpii.Person, ...]) -> None:
    cache = PixelCache(cutter(root), (root / "pixels",))
    cache.make(persons)
    [name] = files(root / "pixels")
    os.truncate(root / "pixels" / name, 5000)
    assert cache.find(persons) is None


def test_a_broken_image_leaves_no_file(root: Path, persons: tuple[mpii.Person, ...]) -> None:
    (root / "images" / persons[3].image_name).write_bytes(b"no image")
    with pytest.raises(UserError, match=f"{persons[3].image_name}: cannot be decoded"):
        PixelCache(cutter(root), (root / "pixels",)).make(persons)
    assert [path.name for path in (root / "pixels").iterdir()] == [".lock"]


def test_what_a_killed_process_left_is_removed_before_images_are_cut(
    root: Path, persons: tuple[mpii.Person, ...]
) -> None:
    (root / "pixels").mkdir()
    left, others = root / "pixels" / ".24px-left.4711.partial.npy", root / "pixels" / "notes.npy"
    for path in (left, others):
        path.write_bytes(b"half of it")
        os.utime(path, (0, 0))
    PixelCache(cutter(root), (root / "pixels",)).make(persons)
    assert not left.exists()
    assert others.read_bytes() == b"half of it"


def test_images_are_cut_on_several_threads_in_their_order(
    root: Path, persons: tuple[mpii.Person, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first waits until the second is cut, which one thread alone would not get to."""
    monkeypatch.setattr(pixel_cache, "num_cores", lambda: 2)
    second_is_cut, plain = threading.Event(), Cutter.cut

    def cut(self: Cutter, person: mpii.Person) -> Any:
        if person == persons[0]:
            assert second_is_cut.wait(20)
        row = plain(self, person)
        if person == persons[1]:
            second_is_cut.set()
        return row

    monkeypatch.setattr(Cutter, "cut", cut)
    kept = PixelCache(cutter(root), (root / "pixels",)).make(persons)
    assert kept is not None
    for place, person in enumerate(persons[:3]):
        np.testing.assert_array_equal(kept[place][0], plain(cutter(root), person)[0])


def test_size_and_place_are_told_before_images_are_cut(
    make_data: MakeData, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data(root=str(root))
    size = f"{NUM_PERSONS * (SIZE * SIZE * 3 + 32) / 1000:.0f} kB"
    line = f"cutting {NUM_PERSONS} images to {SIZE} px into {root / 'pixels'}, {size}\n"
    assert capsys.readouterr() == (line, "")
    make_data(root=str(root))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_while_images_are_cut(
    make_data: MakeData, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = fake_terminal(monkeypatch)
    make_data(root=str(root))
    assert "cutting images" in terminal.getvalue()
    assert f"{NUM_PERSONS}/{NUM_PERSONS}" in terminal.getvalue()
    terminal.truncate(0)
    make_data(root=str(root))  # they lie there now
    assert "cutting images" not in terminal.getvalue()


def test_a_short_disk_is_told_and_images_are_cut_when_seen(
    make_data: MakeData,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 80_000))
    data = make_data(root=str(root), cache=str(root / "kept"))
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "kept: 74 kB are needed, 80 kB are free" in line
    assert "data.cache=FOLDER" in line
    assert data.train_set.pixels is None
    assert files(root / "kept") == []
    kept = make_data(cache=str(root / "other")).train_set
    np.testing.assert_array_equal(data.train_set[1].image, kept[1].image)


def test_a_disk_that_is_full_in_the_middle_leaves_nothing(
    make_data: MakeData, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        data = make_data(root=str(root), cache=str(root / "kept"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert data.train_set.pixels is None
    assert [path.name for path in (root / "kept").iterdir()] == [".lock"]
    assert "File too large" in capsys.readouterr().err


def test_where_the_release_is_read_only_the_users_cache_is_used(
    make_data: MakeData, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (root / "pixels").write_text("stands for a folder that cannot be made, also for root\n")
    data = make_data(root=str(root))
    assert data.train_set.pixels is not None
    assert len(files(tmp_path / "home" / "blippose" / "pixels")) == 1


def test_cache_is_beside_the_images_then_the_users_or_as_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/her")
    users = Path("/home/her/.cache/blippose/pixels")
    assert cache_folders("auto", tmp_path) == (tmp_path / "pixels", users)
    assert cache_folders("~/fast", tmp_path) == (Path("/home/her/fast"),)
    assert cache_folders(None, tmp_path) == ()


def test_without_a_cache_nothing_is_written(make_data: MakeData, root: Path) -> None:
    before = sorted(root.rglob("*"))
    make_data(root=str(root), cache=None).train_set[0]
    assert sorted(root.rglob("*")) == before


def test_another_process_gets_the_file_not_the_pixels(
    root: Path, persons: tuple[mpii.Person, ...]
) -> None:
    kept = PixelCache(cutter(root), (root / "pixels",)).make(persons)
    sent = pickle.dumps(kept)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[4][0], kept[4][0])


def test_kept_pixels_cannot_be_changed(root: Path, persons: tuple[mpii.Person, ...]) -> None:
    kept = PixelCache(cutter(root), (root / "pixels",)).make(persons)
    assert kept is not None
    with pytest.raises(ValueError, match="read-only"):
        kept[0][0][:] = 0


def test_processes_that_ask_at_once_cut_once(
    root: Path, persons: tuple[mpii.Person, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")  # as loader processes are
    counts, together = context.SimpleQueue(), context.Barrier(3)
    cut = Cutter.cut
    num_cut: list[str] = []

    def slow(self: Cutter, person: mpii.Person) -> Any:
        num_cut.append(person.image_name)
        time.sleep(0.02)
        return cut(self, person)

    def ask() -> None:
        together.wait()
        kept = PixelCache(cutter(root), (root / "pixels",)).make(persons)
        counts.put((len(num_cut), None if kept is None else kept[3][0].tolist()))

    monkeypatch.setattr(Cutter, "cut", slow)
    processes = [context.Process(target=ask) for _ in range(3)]
    for process in processes:
        process.start()
    said = sorted((counts.get() for _ in processes), key=lambda each: int(each[0]))
    for process in processes:
        process.join()
    assert [num for num, _ in said] == [0, 0, NUM_PERSONS]
    assert all(pixels == cut(cutter(root), persons[3])[0].tolist() for _, pixels in said)
    assert len(files(root / "pixels")) == 1


def test_a_file_says_how_many_rows_of_what_it_holds(
    root: Path, persons: tuple[mpii.Person, ...]
) -> None:
    PixelCache(cutter(root), (root / "pixels",)).make(persons)
    [name] = files(root / "pixels")
    with pytest.raises(ValueError, match=f"not 3 inputs of {SIZE} px"):
        PixelFile(root / "pixels" / name, 3, SIZE)


def mapped_kilobytes(file: Path) -> int:
    """What of it counts as this process's memory."""
    entries = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    of_file = (entry for entry in entries if str(file) in entry.partition("\n")[0])
    return sum(int(kb) for entry in of_file for kb in re.findall(r"(?m)^Rss: +(\d+) kB", entry))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells it")
def test_rows_that_were_looked_at_do_not_stay_the_processs_memory(
    root: Path, persons: tuple[mpii.Person, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = PixelCache(cutter(root, size=384), (root / "pixels",)).make(persons)
    assert kept is not None
    [name] = files(root / "pixels")

    def peak() -> int:
        return max(
            mapped_kilobytes(root / "pixels" / name)
            for row in range(len(persons))
            if kept[row][0].sum()
        )

    monkeypatch.setattr(pixel_cache, "_MAPPED", 3 * 384 * 384 * 3)
    few, first = peak(), kept[0][0]
    monkeypatch.setattr(pixel_cache, "_MAPPED", 2**40)
    assert peak() > 3 * few
    np.testing.assert_array_equal(first, kept[0][0])
