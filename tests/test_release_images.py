"""Images that are absent or damaged are named; sound ones pass."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mat_rows import Reader, annorect, one_line, points, row
from PIL import Image

from blippose import release_images
from blippose.errors import UserError
from blippose.mpii import Person
from blippose.readings import select


@pytest.fixture
def persons(read: Reader) -> tuple[Person, ...]:
    """One person in each of 000.jpg to 004.jpg."""
    return select(read(*[row(annorect(points())) for _ in range(5)]))


@pytest.fixture
def images(tmp_path: Path, persons: tuple[Person, ...]) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for person in persons:
        Image.fromarray(noise).save(folder / person.image_name)
    return folder


def test_sound_images_pass(persons: tuple[Person, ...], images: Path) -> None:
    release_images.check_images(persons, images)
    assert release_images.missing_images(persons, images) == []


def test_missing_folder_is_named(persons: tuple[Person, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder; expected the 5 images"):
        release_images.check_images(persons, tmp_path / "nowhere")


def test_absent_images_are_counted_and_the_first_named(
    persons: tuple[Person, ...], images: Path
) -> None:
    for name in ("000.jpg", "001.jpg", "003.jpg", "004.jpg"):
        (images / name).unlink()
    with pytest.raises(UserError, match=r"4 of 5 .* \(000\.jpg, 001\.jpg, 003\.jpg, \.\.\.\)"):
        release_images.check_images(persons, images)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-40],
        lambda data: b"<html>404</html>",
        lambda data: bytes(len(data)),
    ],
)
def test_damaged_image_is_named(
    persons: tuple[Person, ...], images: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = images / "002.jpg"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"1 of 5 images are empty, .* \(002\.jpg\)") as error:
        release_images.check_images(persons, images)
    assert one_line(error)


def test_png_with_a_wrong_checksum_is_named(persons: tuple[Person, ...], images: Path) -> None:
    path, buffer = images / "002.jpg", io.BytesIO()
    Image.open(path).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"\(002\.jpg\)"):
        release_images.check_images(persons, images)


def test_bytes_after_the_end_of_a_jpeg_are_no_damage(
    persons: tuple[Person, ...], images: Path
) -> None:
    path = images / "002.jpg"
    path.write_bytes(path.read_bytes() + bytes(64))
    release_images.check_images(persons, images)


@pytest.mark.parametrize("kind", ["MPO", "BMP", "TIFF", "GIF"])
def test_half_a_file_of_any_kind_is_named(
    persons: tuple[Person, ...], images: Path, kind: str
) -> None:
    path, buffer = images / "002.jpg", io.BytesIO()
    with Image.open(path) as image:
        image.save(buffer, kind)
    path.write_bytes(buffer.getvalue())
    release_images.check_images(persons, images)
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(UserError, match=r"\(002\.jpg\)"):
        release_images.check_images(persons, images)
