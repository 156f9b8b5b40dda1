"""The user's own image files: which ones are meant, and their pixels as a viewer shows them.

Knows nothing of poses or models.
"""

from __future__ import annotations

import codecs
import glob
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from blippose.errors import UserError, first_line

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})
STDIN = "-"
_ORIENTATION = 0x0112  # EXIF's tag
_ON_ITS_SIDE = range(5, 9)  # its values of which width is height


def find_images(images: str | Sequence[str]) -> list[Path]:
    """The image files that `images` names, in the order of the names.

    Args:
        images: files, folders, globs, `.txt` lists, or "-", a list on standard input.

            - A folder gives the images that lie directly in it, alphabetically, by their extension
              and without hidden ones; the glob `folder/**/*.jpg` goes deeper.
            - A list has one file a line. A line is looked for in the list's folder and then in the
              working directory, on standard input only there. It counts as often as it stands,
              and a file that is missing is left to `read_image`, so that the rest goes on.
            - A file that is named is taken whatever it is called. What files, folders and globs
              name counts once.

    Raises:
        UserError: a name is empty or stands for no image, a list for none that is there.
    """
    names = [images] if isinstance(images, str) else [str(name) for name in images]
    found: list[Path] = []
    seen: set[str] = set()
    for name in names:
        if not name.strip():  # of a shell's variable that is not set; as a path it is this folder
            raise UserError("images: empty; give files, folders, globs, .txt lists, or -")
        if name == STDIN or _is_list(name):
            found += _listed(name)
            continue
        new = {os.path.abspath(path): path for path in _named(name)}  # noqa: PTH100  no links
        found += [path for place, path in new.items() if place not in seen]
        seen |= new.keys()
    if not found:
        raise UserError("no images are named: give files, folders, globs, .txt lists, or -")
    return found


def read_image(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels, turned as its EXIF orientation says; what is transparent is laid on white.

    Sixteen bits are scaled to eight. Of a phone's multi-picture JPEG the first picture counts.

    Raises:
        UserError: it cannot be read, is animated, or has more than twice
            `PIL.Image.MAX_IMAGE_PIXELS` pixels. The message is the reason, without the path.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise UserError("is empty (0 bytes)")
        with warnings.catch_warnings():
            # Pillow warns from half the limit on: large cameras make such photos.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            return np.array(as_shown(image))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError("is not an image, or of an unknown format") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"is too large: {first_line(error)}") from error
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or first_line(error)}") from error
    # Damaged files make Pillow's decoders raise almost anything (SyntaxError, struct.error).
    except Exception as error:
        raise UserError(f"cannot be read: {first_line(error)}") from error


def _is_list(name: str) -> bool:
    return name.lower().endswith(".txt") and os.path.isfile(_expanded(name))  # noqa: PTH113  below


def _listed(name: str) -> list[Path]:
    """The files of a list; `name` is its path, or "-" for standard input."""
    folder = Path() if name == STDIN else _expanded(name).parent
    lines = (line.removesuffix("\r") for line in _text(name).split("\n"))
    paths = [_beside(folder, line) for line in lines if line.strip()]
    if not paths:
        raise UserError(f"images={name}: the list is empty; expected one image file a line")
    if not any(map(_exists, paths)):
        places = "here" if name == STDIN else f"{folder.resolve()} or from here"
        raise UserError(
            f"images={name}: none of its {len(paths):,} files is there, the first of them "
            f"'{str(paths[0])[:100]}'; expected one image file a line, seen from {places}"
        )
    return paths


def _text(name: str) -> str:
    """A list as text; names that are no valid UTF-8 keep their bytes."""
    try:
        data = sys.stdin.buffer.read() if name == STDIN else _expanded(name).read_bytes()
    except OSError as error:
        raise UserError(f"images={name}: cannot be read ({error.strerror})") from error
    return os.fsdecode(data.removeprefix(codecs.BOM_UTF8))


def _beside(folder: Path, line: str) -> Path:
    beside = folder / line
    return beside if _exists(beside) else Path(line)


def _named(name: str) -> list[Path]:
    path = _expanded(name)
    if os.path.isdir(path):  # noqa: PTH112  as in _exists
        found = sorted(entry for entry in _entries(path) if _is_image(entry))
        if not found:
            raise UserError(
                f"images={name}: the folder holds no image ({', '.join(sorted(EXTENSIONS))}); "
                "name another folder, or a glob in quotes such as 'FOLDER/**/*.jpg'"
            )
        return found
    if _exists(path):
        return [path]
    matches = (Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207  absolute patterns too
    found = sorted(match for match in matches if _is_image(match))
    if not found:
        raise UserError(f"images={name}: no such file, folder, or image that matches as a glob")
    return found


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError as error:
        raise UserError(f"images={folder}: cannot be read ({error.strerror})") from error


def _expanded(name: str) -> Path:
    return Path(os.path.expanduser(name))  # noqa: PTH111  Path's raises where there is no such user


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  Path's raises where a name is too long


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    # A link that leads nowhere is one that cannot be read, and is to be listed as such.
    return not hidden and path.suffix.lower() in EXTENSIONS and not path.is_dir()


def as_shown(image: Image.Image) -> Image.Image:
    """An opened image as a viewer shows it: turned, on white, RGB of eight bits; decoded.

    It may be `image` itself, which is turned then.

    Raises:
        UserError: it is animated, or has several pages.
    """
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":
        raise UserError(f"is animated or has several pages ({num_frames} frames)")
    _turn(image)
    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image)
        pixels = _eight_bits(grey)
        if isinstance(clear := image.info.get("transparency"), int):
            pixels[grey == clear] = 255
        return Image.fromarray(pixels)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()
    return image


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image as a viewer shows it; by its header alone."""
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose size some versions of Pillow have turned already
        width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
    lies = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    return (height, width) if lies else (width, height)


def _turn(image: Image.Image) -> None:
    """As its EXIF orientation says, in place: a copy of a huge photo would be a gigabyte."""
    exif = image.getexif()
    for tag in set(exif) - {_ORIENTATION}:  # they are written anew, and one can be damaged
        del exif[tag]
    ImageOps.exif_transpose(image, in_place=True)


def _eight_bits(grey: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """Grey of more than eight bits; Pillow's own conversion would clip it at 255."""
    values = np.nan_to_num(grey.astype(np.float64))
    if grey.dtype.kind == "f":
        full = 1.0 if values.max() <= 1 else 255.0
    else:
        full = 65535.0 if values.max() <= 65535 else float(np.iinfo(grey.dtype).max)
    scaled = np.clip(np.rint(values * (255 / full)), 0, 255).astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=-1)
