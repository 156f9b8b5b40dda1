"""The user's own image files: which ones are meant, and their pixels as a viewer shows them.

Knows nothing of poses or models.
"""

from __future__ import annotations

import glob
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from blippose.errors import UserError, first_line

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})


def find_images(images: str | Sequence[str]) -> list[Path]:
    """The image files that `images` names, each once.

    The order is that of the names; within a folder or a glob it is alphabetical.

    Args:
        images: files, folders or globs. A folder gives the images that lie directly in it, by
            their extension and without hidden ones; the glob `folder/**/*.jpg` goes deeper. A
            file that is named is taken whatever it is called.

    Raises:
        UserError: a name stands for no image.
    """
    names = [images] if isinstance(images, str) else images
    paths = [path for name in names for path in _named(str(name))]
    if not paths:
        raise UserError("no images are named: give files, folders or globs")
    return list(dict.fromkeys(paths))


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels, turned as its EXIF orientation says; what is transparent is laid on white.

    Sixteen bits are scaled to eight. Of a phone's multi-picture JPEG the first picture counts.

    Raises:
        UserError: it cannot be read, is animated, or has more than twice
            `PIL.Image.MAX_IMAGE_PIXELS` pixels. The message is the reason, without the path.
    """
    try:
        if path.stat().st_size == 0:
            raise UserError("is empty (0 bytes)")
        with warnings.catch_warnings():
            # Pillow warns from half the limit on: large cameras make such photos.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            return _pixels(image)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError("is not an image, or of an unknown format") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"is too large: {first_line(error)}") from error
    # Damaged files make Pillow's decoders raise almost anything (SyntaxError, struct.error).
    except Exception as error:
        raise UserError(f"cannot be read: {first_line(error)}") from error


def _named(name: str) -> Iterator[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if _is_image(entry))
        if not found:
            raise UserError(
                f"images={name}: the folder holds no image ({', '.join(sorted(EXTENSIONS))}); "
                "name another folder, or a glob in quotes such as 'FOLDER/**/*.jpg'"
            )
    elif path.exists():
        found = [path]
    else:
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207  absolute patterns too
        found = sorted(match for match in matches if _is_image(match))
        if not found:
            raise UserError(
                f"images={name}: no such file, folder, or image that matches as a glob"
            )
    yield from found


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in EXTENSIONS and path.is_file()


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":
        raise UserError(f"is animated or has several pages ({num_frames} frames)")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return _eight_bits(np.asarray(upright))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return np.array(Image.alpha_composite(white, layer).convert("RGB"))
    return np.array(upright.convert("RGB"))


def _eight_bits(grey: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """Grey of more than eight bits; Pillow's own conversion would clip it at 255."""
    values = np.nan_to_num(grey.astype(np.float64))
    if grey.dtype.kind == "f":
        full = 1.0 if values.max() <= 1 else 255.0
    else:
        full = 65535.0 if values.max() <= 65535 else float(np.iinfo(grey.dtype).max)
    scaled = np.clip(np.rint(values * (255 / full)), 0, 255).astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=-1)
