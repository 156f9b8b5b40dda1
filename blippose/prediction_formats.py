"""Predictions in the formats of the field: JSON and CSV of our own, COCO results, HRNet's .mat.

Coordinates are original image pixels of the image as its EXIF orientation shows it, 0-based but
in HRNet's file. Every file appears when it is whole, and grows by an image at a time.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, final, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from scipy.io import savemat

from blippose.decoding import InputFrame
from blippose.output_folder import Filling
from blippose.pose import JOINTS, NUM_JOINTS, SKELETON
from blippose.predictor import Prediction

JSON_FILE = "predictions.json"
CSV_FILE = "predictions.csv"
COCO_IMAGES, COCO_RESULTS = "coco_images.json", "coco_results.json"
HRNET_FILE = "pred.mat"
COORDINATES = "original image pixels, 0-based"
_ORDER = {"mpii": "MPII order", "torso": "from the torso outwards"}
COLUMNS = ("file", "width", "height", "joint_id", "joint", "x", "y", "confidence", "reason")


@runtime_checkable
class Predictor(Protocol):
    """What makes predictions; `predictor.PosePredictor` is one."""

    frame: InputFrame
    source: str
    synthetic: bool | None

    @property
    def precision(self) -> str:
        """Type of its weights."""
        ...

    @property
    def decoding(self) -> str:
        """Name of the way it is decoded."""
        ...

    @property
    def confidence_is(self) -> str:
        """What the confidence of its predictions is."""
        ...

    def __call__(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, batch_size: int
    ) -> list[Prediction]:
        """A prediction for each image, in their order."""
        ...


@dataclass(frozen=True)
class Photo:
    """An image that could be read.

    Args:
        number: its place among all that were named, from 0.
        path: as it was named.
        overlay: file of its picture with the skeleton.
        pixels: RGB.
    """

    number: int
    path: Path
    overlay: Path
    pixels: UInt8[np.ndarray, "h w 3"]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


@runtime_checkable
class Output(Protocol):
    """A file on its way. Images come in their order."""

    def add(self, photo: Photo, prediction: Prediction) -> None:
        """What was predicted of an image."""

    def skip(self, number: int, path: Path, reason: str) -> None:
        """An image that could not be read, `number` of those that were named."""


# Of predictor, the folder that is filled and the number of images.
OutputFile = Callable[[Predictor, Filling, int], AbstractContextManager[Output]]


@final
class _Listing:
    """The items of a JSON array, one a line."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._separator = file, "\n"

    def add(self, item: dict[str, Any]) -> None:
        self._file.write(f"{self._separator}  {json.dumps(item)}")
        self._separator = ",\n"


@contextmanager
def json_output(predictor: Predictor, filling: Filling, _: int) -> Iterator[Output]:
    """`predictions.json`: the frame, the model, and for each image its joints in MPII order."""
    with filling.whole_text_file(JSON_FILE) as file:
        file.write(_json_head(predictor))
        output = _Json(_Listing(file))
        yield output
        file.write(f'\n ],\n "unreadable": {json.dumps(output.skipped)}\n}}\n')


@final
class _Json:
    def __init__(self, images: _Listing) -> None:
        self.images = images
        self.skipped: list[dict[str, str]] = []

    def add(self, photo: Photo, prediction: Prediction) -> None:
        crop = {name: value for name, value in asdict(prediction.crop).items() if name != "size"}
        width, height = photo.size
        record = {
            "file": str(photo.path),
            "overlay": photo.overlay.name,
            "width": width,
            "height": height,
            "joints": _joints(prediction),
            "confidence": _confidence(prediction),
            "reasons": [None if reason is None else str(reason) for reason in prediction.reasons],
            "caption": prediction.caption,
            "crop": crop,
        }
        self.images.add(record)

    def skip(self, number: int, path: Path, reason: str) -> None:
        self.skipped.append({"file": str(path), "reason": reason})


@contextmanager
def csv_output(_: Predictor, filling: Filling, __: int) -> Iterator[Output]:
    """`predictions.csv`: a row for each image and joint, empty cells where it is missing."""
    with filling.whole_text_file(CSV_FILE) as file:
        output = _Csv(file)
        yield output


@final
class _Csv:
    def __init__(self, file: TextIO) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)
        # Python quotes no "\r" of its own accord where lines do not end in one.
        self._quoted_rows = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)

    def add(self, photo: Photo, prediction: Prediction) -> None:
        joints = zip(JOINTS, _joints(prediction), _confidence(prediction), strict=True)
        for joint, (name, xy, confidence) in enumerate(joints):
            x, y = xy or ("", "")
            found = x, y, "" if confidence is None else confidence
            reason = prediction.reasons[joint] or ""
            rows = self._quoted_rows if "\r" in str(photo.path) else self._rows
            rows.writerow((str(photo.path), *photo.size, joint, name, *found, reason))

    def skip(self, number: int, path: Path, reason: str) -> None:
        """A table of joints has no row for it."""


@contextmanager
def coco_output(_: Predictor, filling: Filling, __: int) -> Iterator[Output]:
    """`coco_images.json` and `coco_results.json`: COCO(images).loadRes(results), if anybody is in.

    A joint is x, y and its confidence, a missing one 0, 0, 0; the score of a person is the mean
    confidence of all sixteen. The id of an image is its place among all that were named, from 1.
    The category has MPII's joints, as in mmpose's MPII files: 12 of COCO's 17 are among them
    (shoulders, elbows, wrists, hips, knees, ankles); MPII has no nose, eyes or ears.
    """
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": [name.replace(" ", "_") for name in JOINTS],
        "skeleton": [[a + 1, b + 1] for a, b in SKELETON],
    }
    head = {
        "info": {"description": f"MPII's 16 joints in COCO's format; {COORDINATES}"},
        "categories": [category],
        "annotations": [],
    }
    with (
        filling.whole_text_file(COCO_IMAGES) as images,
        filling.whole_text_file(COCO_RESULTS) as results,
    ):
        lines = [f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
        images.write("{\n" + "".join(lines) + ' "images": [')
        results.write("[")
        output = _Coco(_Listing(images), _Listing(results))
        yield output
        images.write("\n ]\n}\n")
        results.write("\n]\n")


@final
class _Coco:
    def __init__(self, images: _Listing, results: _Listing) -> None:
        self._images, self._results = images, results

    def add(self, photo: Photo, prediction: Prediction) -> None:
        width, height = photo.size
        file = {"file_name": str(photo.path), "width": width, "height": height}
        self._images.add({"id": photo.number + 1, **file})
        joints = zip(_joints(prediction), _confidence(prediction), strict=True)
        triplets = [(*(xy or (0, 0)), confidence or 0) for xy, confidence in joints]
        result = {
            "image_id": photo.number + 1,
            "category_id": 1,
            "keypoints": [value for triplet in triplets for value in triplet],
            "score": round(float(prediction.confidence.mean()), 4),
        }
        self._results.add(result)

    def skip(self, number: int, path: Path, reason: str) -> None:
        """It has no image and no result."""


@contextmanager
def hrnet_output(_: Predictor, filling: Filling, num_images: int) -> Iterator[Output]:
    """`pred.mat` as HRNet writes it: `preds` [N, 16, 2], 1-based pixels, NaN where missing.

    N counts all images that were named, so that rows stay beside those of a file of truth;
    `images` has their names and `confidence` [N, 16] ours.
    """
    output = _Hrnet(num_images)
    yield output
    with filling.whole_file(HRNET_FILE) as partial:
        savemat(partial, output.arrays(), do_compression=True)


@final
class _Hrnet:
    def __init__(self, num_images: int) -> None:
        self._xy: Float[np.ndarray, "image 16 2"] = np.full((num_images, NUM_JOINTS, 2), np.nan)
        self._confidence = np.zeros((num_images, NUM_JOINTS))
        self._names: list[str] = [""] * num_images

    def add(self, photo: Photo, prediction: Prediction) -> None:
        self._xy[photo.number] = prediction.pose.xy
        self._confidence[photo.number] = prediction.confidence
        self._name(photo.number, photo.path)

    def skip(self, number: int, path: Path, reason: str) -> None:
        """Its row stays NaN."""
        self._name(number, path)

    def _name(self, number: int, path: Path) -> None:
        # Matlab's text knows no bytes that are no characters.
        self._names[number] = os.fsencode(path).decode("utf-8", "replace")

    def arrays(self) -> dict[str, Any]:
        images = np.array(self._names, dtype=object)
        return {"preds": self._xy + 1, "confidence": self._confidence, "images": images}


def _json_head(predictor: Predictor) -> str:
    frame = predictor.frame
    form = frame.caption_format
    pair = f"{JOINTS[form.joint_order[0]]} ({form.number('x')},{form.number('y')})"
    head = {
        "coordinates": f"{COORDINATES}; x right, y down, EXIF orientation applied",
        "joints": list(JOINTS),
        "decoding": predictor.decoding,
        "confidence": f"{predictor.confidence_is}; null where missing",
        "model": {
            "source": predictor.source,
            "synthetic": predictor.synthetic,
            "precision": predictor.precision,
        },
        "input": {"size": frame.input_size, "resize": frame.resize, "crop": frame.crop},
        "caption_format": {
            "text": f"{pair}, ...: bins of the input, {_ORDER[frame.order]}",
            "bins": frame.input_size if frame.num_bins is None else frame.num_bins,
        },
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
    return "{\n" + "".join(lines) + ' "images": ['


def _joints(prediction: Prediction) -> list[list[float] | None]:
    pose = prediction.pose
    return [
        [round(float(x), 3), round(float(y), 3)] if valid else None
        for (x, y), valid in zip(pose.xy, pose.valid, strict=True)
    ]


def _confidence(prediction: Prediction) -> list[float | None]:
    pairs = zip(prediction.confidence.tolist(), prediction.pose.valid, strict=True)
    return [round(value, 4) if valid else None for value, valid in pairs]
