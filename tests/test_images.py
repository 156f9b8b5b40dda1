"""Finding and reading the user's image files, of every kind that people have."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blippose.errors import UserError
from blippose.images import find_images, read_image, shown_size

RED, BLUE = (220, 40, 30), (30, 60, 210)


def two_halves(width: int = 40, height: int = 20) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        two_halves().save(path)


def test_a_folder_gives_its_images_in_order_without_hidden_ones_or_other_files(
    tmp_path: Path,
) -> None:
    touch(*(tmp_path / name for name in ("b.PNG", "a.jpg", "._a.jpg", "deeper/c.jpg")))
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in find_images(str(tmp_path))] == ["a.jpg", "b.PNG"]


def test_a_link_that_leads_nowhere_is_found_so_that_it_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("nowhere")
    (tmp_path / "folder.jpg").mkdir()
    for images in (str(tmp_path), f"{tmp_path}/*"):
        assert find_images(images) == [tmp_path / "a.jpg"]
    with pytest.raises(UserError, match="No such file"):
        read_image(tmp_path / "a.jpg")


def test_a_glob_goes_deeper_and_a_list_keeps_its_order_without_repeats(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "deeper/c.jpg")
    found = find_images([f"{tmp_path}/**/c.jpg", str(tmp_path / "a.jpg"), f"{tmp_path}/*.jpg"])
    assert [path.name for path in found] == ["c.jpg", "a.jpg"]


def test_a_file_with_brackets_in_its_name_is_not_read_as_a_glob(tmp_path: Path) -> None:
    touch(tmp_path / "a [1].jpg")
    assert find_images(str(tmp_path / "a [1].jpg")) == [tmp_path / "a [1].jpg"]


@pytest.mark.parametrize("name", ["missing.jpg", "*.png", "empty"])
def test_finding_nothing_names_what_was_looked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as error:
        find_images([str(tmp_path / name)])
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_naming_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match="no images are named"):
        find_images([])


def test_a_list_is_read_line_by_line_in_its_order_as_often_as_a_line_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the list first, then from here; Windows' line ends and empty lines are no names."""
    here, there = tmp_path / "here", tmp_path / "there"
    touch(here / "b.png", here / "c.png", there / "c.png", there / "deep/a b.png")
    monkeypatch.chdir(here)
    lines = ["deep/a b.png", "", "b.png\r", "c.png", "b.png", "gone.png", str(here / "c.png")]
    (there / "list.TXT").write_text("\ufeff" + "\n".join(lines))
    assert find_images("../there/list.TXT") == [
        Path("../there/deep/a b.png"),
        Path("b.png"),
        Path("../there/c.png"),
        Path("b.png"),
        Path("gone.png"),
        here / "c.png",
    ]


def test_a_dash_reads_the_list_from_standard_input_seen_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "b.png", tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    text = io.TextIOWrapper(io.BytesIO(b"b.png\na.png\nno \xff.png\n"))
    monkeypatch.setattr("sys.stdin", text)
    names = ["b.png", "a.png", "no \udcff.png"]
    assert find_images(["-", "a.png"]) == [Path(name) for name in [*names, "a.png"]]


@pytest.mark.parametrize("text", ["", "\n \n", "gone.png\nlost.png\n", "a" * 5000])
def test_a_list_that_names_nothing_that_is_there_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=r"list\.txt: (the list is empty|none of its)") as error:
        find_images(str(tmp_path / "list.txt"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a" * 5000, "~nobody-at-all/a.jpg"])
def test_names_that_no_file_can_have_are_not_found(name: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        find_images(name)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = two_halves()
    # What a camera stores is the inverse of what a viewer does. Source: EXIF 2.3, tag 0x0112.
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = upright if stored is None else upright.transpose(stored)
    path = tmp_path / f"a{suffix}"
    image.save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), np.asarray(upright))
    with Image.open(path) as opened:
        assert shown_size(opened) == upright.size


MODES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "palette.png": lambda image: image.quantize(8),
    "palette.gif": lambda image: image.quantize(8),
    "alpha.png": lambda image: image.convert("RGBA"),
    "cmyk.tif": lambda image: image.convert("CMYK"),
    "cmyk.jpg": lambda image: image.convert("CMYK"),
    "ycbcr.jpg": lambda image: image.convert("YCbCr"),
}


@pytest.mark.parametrize("name", MODES)
def test_colors_survive_every_mode(tmp_path: Path, name: str) -> None:
    MODES[name](two_halves(64, 32)).save(tmp_path / name)
    pixels = read_image(tmp_path / name)
    assert pixels.shape == (32, 64, 3)
    np.testing.assert_allclose(pixels[16, 8], RED, atol=12)
    np.testing.assert_allclose(pixels[16, 56], BLUE, atol=12)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    Image.new("L", (9, 5), 255).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.full((5, 9, 3), 255))


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "b.png", transparency=0)
    assert (read_image(tmp_path / "b.png") == 255).all()
    grey = np.array([[40000, 20000]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "c.png", transparency=40000)
    assert read_image(tmp_path / "c.png")[0, :, 0].tolist() == [255, 78]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256)
    Image.fromarray(ramp).save(tmp_path / f"a{suffix}")
    pixels = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pixels[0, :, 1], np.arange(256))


@pytest.mark.parametrize("full", [1.0, 255.0])
def test_floats_are_taken_as_shares_or_as_bytes(tmp_path: Path, full: float) -> None:
    ramp = np.linspace(0, full, 256, dtype=np.float32).reshape(1, 256)
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0, :, 2], np.arange(256))


def test_the_first_picture_of_a_phones_multi_picture_jpeg_is_read(tmp_path: Path) -> None:
    first = Image.new("RGB", (16, 16), RED)
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    path = (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    np.testing.assert_allclose(read_image(path)[8, 8], RED, atol=6)


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])


def truncated(path: Path) -> None:
    two_halves(200, 200).save(path, format="PNG")
    path.write_bytes(path.read_bytes()[:200])


def half_a_jpeg(path: Path) -> None:
    Image.effect_noise((200, 200), 90).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def pages(path: Path) -> None:
    two_halves().save(path, format="TIFF", save_all=True, append_images=[two_halves()])


def moving_png(path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    frames[0].save(path, format="PNG", save_all=True, append_images=frames[1:])


def bomb(path: Path) -> None:
    """A PNG header that says 100,000 x 100,000 px (10^10), its checksum right, and no pixels."""
    two_halves(8, 8).save(path, format="PNG")
    data = bytearray(path.read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("hello"), "not an image"),
    "animated": (animated, "animated .*2 frames"),
    "truncated": (truncated, "cannot be read"),
    "bomb": (bomb, "too large"),
    "folder": (lambda path: path.mkdir(), "cannot be read"),
    "missing": (lambda path: None, "cannot be read: No such file"),
    "pages": (pages, "several pages .*2 frames"),
    "moving png": (moving_png, "animated .*2 frames"),
    "half a jpeg": (half_a_jpeg, "cannot be read"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_gives_its_reason_in_one_line(tmp_path: Path, kind: str) -> None:
    make, reason = BROKEN[kind]
    path = tmp_path / "a.jpg"
    make(path)
    with pytest.raises(UserError, match=reason) as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_a_photo_is_turned_though_another_tag_is_damaged(tmp_path: Path) -> None:
    width_in_letters = struct.pack(">HHI4s", 0x0100, 2, 4, b"wide")
    orientation = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    table = struct.pack(">H", 2) + width_in_letters + orientation + bytes(4)
    exif = b"Exif\0\0MM\0*" + struct.pack(">I", 8) + table
    two_halves().save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (40, 20, 3)


def test_a_file_by_two_names_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "folder" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    names = ["folder", "folder/../folder/a.jpg", str(tmp_path / "folder/a.jpg")]
    assert find_images(names) == [Path("folder/a.jpg")]
