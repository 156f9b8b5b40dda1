"""Predictions as files: an overlay for each image, one JSON and one CSV, and other formats.

A file appears when it is whole. Knows nothing of how a pose is predicted.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blippose.drawing import draw_poses
from blippose.errors import UserError
from blippose.images import read_image
from blippose.joint_names import draw_joint_names
from blippose.output_folder import filled, refuse_foreign
from blippose.pose import Pose
from blippose.prediction_formats import (
    COCO_IMAGES,
    COCO_RESULTS,
    CSV_FILE,
    HRNET_FILE,
    JSON_FILE,
    Output,
    OutputFile,
    Photo,
    Predictor,
    coco_output,
    csv_output,
    hrnet_output,
    json_output,
)
from blippose.predictor import Prediction
from blippose.progress import tracked

Format = Literal["json", "coco", "hrnet"]
_FILES: dict[Format, tuple[OutputFile, ...]] = {
    "json": (json_output, csv_output),
    "coco": (json_output, csv_output, coco_output),
    "hrnet": (json_output, csv_output, hrnet_output),
}
_NAMES: dict[Format, tuple[str, ...]] = {
    "json": (JSON_FILE, CSV_FILE),
    "coco": (JSON_FILE, CSV_FILE, COCO_IMAGES, COCO_RESULTS),
    "hrnet": (JSON_FILE, CSV_FILE, HRNET_FILE),
}
_NAMED_SIDE, _MOST_TIMES = 800, 4  # px that names need at the longer side; how often at most
_LONGEST, _ROOM = 255, 15  # bytes of a name, of which a number and an extension need so many
_MAX_BATCH_PIXELS = 64_000_000  # of images that wait for their batch: under 200 MB


@dataclass(frozen=True)
class Counts:
    """How many images were done, and how many could not be read.

    Args:
        done: these have their overlay.
        skipped: these could not be read.
        files: names of what was written beside the overlays.
    """

    done: int
    skipped: int
    files: tuple[str, ...] = field(default=(), compare=False)


class _NothingDoneError(Exception):
    """No image could be read, and the folder holds what an earlier call made."""


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    batch_size: int = 16,
    progress: bool = True,
    format: Format = "json",
    joint_names: bool = False,
) -> Counts:
    """Write into `out`, in the order of `paths`, holding one batch of images at a time.

    `STEM.png`, or `STEM_2.png` where the name is taken, is the image with its skeleton. Images
    that cannot be read are listed on stderr and in the JSON, and the rest is done. What an earlier
    call made is replaced, or goes at the end; no other file is replaced. Where no image can be
    read, all that an earlier call made stays as it is.

    Args:
        predictor: makes the predictions.
        paths: images.
        out: folder, made where it is missing.
        batch_size: images that the model sees at once.
        progress: whether stderr is told how far it is.
        format: what is written beside JSON and CSV; `prediction_formats` describes the files.
        joint_names: whether each joint's name stands beside it; images of a longer side below
            800 px are drawn two to four times as large then.

    Raises:
        UserError: `out` cannot be written, or holds a file that would be replaced and that no
            earlier call wrote as it is.
    """
    overlays = _overlay_paths(paths, out)
    refuse_foreign([*overlays, *(out / name for name in _NAMES[format])], out, "predict")
    has_earlier = (out / JSON_FILE).is_file()
    done, files = 0, tuple[str, ...]()
    with suppress(_NothingDoneError), filled(out, "predict") as filling:
        with ExitStack() as stack:
            outputs = [
                stack.enter_context(file(predictor, filling, len(paths)))
                for file in _FILES[format]
            ]
            named = list(zip(paths, overlays, strict=True))
            told = tracked(named, 0, len(named), description="images", shown=progress)
            photos = _photos(stack.enter_context(closing(told)), outputs)
            for batch in _batches(photos, batch_size):
                predictions = predictor([photo.pixels for photo in batch], batch_size=batch_size)
                for photo, prediction in zip(batch, predictions, strict=True):
                    with filling.whole_file(photo.overlay.name) as partial:
                        _write_overlay(partial, photo, prediction, joint_names)
                    for output in outputs:
                        output.add(photo, prediction)
                done += len(batch)
            if not done and has_earlier:
                raise _NothingDoneError
        files = _NAMES[format]
    return Counts(done, len(paths) - done, files)


def _overlay_paths(paths: Sequence[Path], out: Path) -> list[Path]:
    """A name for each image's overlay, none twice, nor alike but for case, and no image's."""
    originals = {path.resolve() for path in paths}
    numbers: dict[str, int] = {}  # the last one given to a stem
    taken: set[str] = set()
    overlays = []
    for path in paths:
        fits = len(os.fsencode(path.stem)) + len(".png") <= _LONGEST
        name = path.stem if fits else _short(path.stem)
        while name.casefold() in taken:
            number = numbers[path.stem] = numbers.get(path.stem, 1) + 1
            name = f"{_short(path.stem)}_{number}"
        taken.add(name.casefold())
        overlays.append(out / f"{name}.png")
        if overlays[-1].resolve() in originals:
            raise UserError(
                f"out={out}: the overlay would replace the image {overlays[-1]}; "
                "name a folder that does not hold the images"
            )
    return overlays


def _short(stem: str) -> str:
    """With room for a number and an extension in the 255 bytes that most disks take."""
    while len(os.fsencode(stem)) > _LONGEST - _ROOM:
        stem = stem[:-1]
    return stem


def _photos(named: Iterable[tuple[Path, Path]], outputs: Sequence[Output]) -> Iterator[Photo]:
    """The readable images, one by one; of the others the files are told."""
    for number, (path, overlay) in enumerate(named):
        try:
            pixels = read_image(path)
        except UserError as error:
            for output in outputs:
                output.skip(number, path, str(error))
            print(f"skipped {path}: {error}", file=sys.stderr)
            continue
        yield Photo(number, path, overlay, pixels)


def _batches(photos: Iterator[Photo], batch_size: int) -> Iterator[list[Photo]]:
    """Batches of `batch_size`, smaller ones of large photos."""
    batch: list[Photo] = []
    for photo in photos:
        batch.append(photo)
        num_pixels = sum(waiting.pixels.size // 3 for waiting in batch)
        if len(batch) == batch_size or num_pixels >= _MAX_BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _with_room(
    pixels: UInt8[np.ndarray, "_ _ 3"], pose: Pose
) -> tuple[UInt8[np.ndarray, "_ _ 3"], Pose]:
    """The image so large that sixteen names leave the person to be seen."""
    height, width = pixels.shape[:2]
    factor = min(_MOST_TIMES, math.ceil(_NAMED_SIDE / max(height, width)))
    if factor == 1:
        return pixels, pose
    size = width * factor, height * factor
    larger = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(larger), pose.enlarged(factor)


def _write_overlay(path: Path, photo: Photo, prediction: Prediction, joint_names: bool) -> None:
    pixels, pose = photo.pixels, prediction.pose
    if joint_names:
        pixels, pose = _with_room(pixels, pose)
    drawn = draw_poses(pixels, [pose])
    if joint_names:
        drawn = draw_joint_names(drawn, pose)
    # Measured on MPII photos: three times as fast as the default, for 15 % more bytes.
    Image.fromarray(drawn).save(path, format="PNG", compress_level=1)
