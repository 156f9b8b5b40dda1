"""Whether the images that annotations name are there, and whole; opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from blippose.errors import UserError
from blippose.images import as_shown
from blippose.mpii import WEBSITE, Person

_NUM_NAMED = 3  # of many absent or unreadable images, an error names so many


def missing_images(persons: Sequence[Person], images: Path) -> list[str]:
    """The file names, each once, that `persons` need and the folder `images` does not hold."""
    return [name for name in _names(persons) if not (images / name).is_file()]


def check_images(persons: Sequence[Person], images: Path) -> None:
    """Refuses a folder in which an image of `persons` is absent or unreadable.

    Reads headers, PNG checksums and the end-of-image mark of a JPEG, and decodes what has neither,
    so that 1,500 images take about a second. It cannot notice damage inside a JPEG
    that has its end, nor another picture under the right name.

    Raises:
        UserError: no folder, or images that are absent or unreadable: counted, the first named.
    """
    if not images.is_dir():
        raise UserError(
            f"{images}: no such folder; expected the {len(_names(persons))} images that the "
            f"annotations name, which come from {WEBSITE}"
        )
    num_images = len(_names(persons))
    if missing := missing_images(persons, images):
        raise UserError(
            f"{images}: {len(missing)} of {num_images} images are absent "
            f"({_first(missing)}); unpack MPII's images into this folder"
        )
    if broken := [name for name in _names(persons) if not _readable(images / name)]:
        raise UserError(
            f"{images}: {len(broken)} of {num_images} images are empty, cut off or no images "
            f"({_first(broken)}); copy them again from MPII's archive"
        )


def shown(path: Path) -> Image.Image:
    """An image as a viewer shows it, decoded: RGB, the pixels that annotations are of.

    Raises:
        UserError: it cannot be decoded, or is animated.
    """
    with opened(path) as image:
        return as_shown(image)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image to be decoded within.

    Raises:
        UserError: it cannot be.
    """
    try:
        with Image.open(path) as image:
            yield image
    except MemoryError:
        raise
    # Damaged files make Pillow's decoders raise almost anything (SyntaxError, struct.error).
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be decoded ({reason}); copy the image again") from error


def _names(persons: Sequence[Person]) -> list[str]:
    return list(dict.fromkeys(person.image_name for person in persons))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NUM_NAMED]) + (", ..." if len(names) > _NUM_NAMED else "")


def _readable(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.verify()
            kind = image.format
        # Of PNG that has looked at checksums; of a JPEG a mark may lie before trailing bytes.
        if kind != "PNG" and not (kind in ("JPEG", "MPO") and _has_end_mark(path)):
            with Image.open(path) as image:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _has_end_mark(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() == b"\xff\xd9"
