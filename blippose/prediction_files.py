"""Predictions as files: an overlay for each image, one JSON and one CSV.

All coordinates are original image pixels, 0-based, of the image as its EXIF orientation shows it.
A file appears when it is whole. Knows nothing of how a pose is predicted.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from blippose.decoding import InputFrame
from blippose.drawing import draw_poses
from blippose.errors import UserError
from blippose.images import read_image
from blippose.pose import JOINTS, Pose
from blippose.predictor import Prediction

COORDINATES = (
    "original image pixels, 0-based, x right, y down, the centre of the first pixel at (0, 0); "
    "EXIF orientation applied"
)
COLUMNS = ("file", "width", "height", "joint_id", "joint", "x", "y", "reason")

_MAX_BATCH_PIXELS = 64_000_000  # images waiting for their batch: under 200 MB


class Predictor(Protocol):
    """What makes predictions; see `predictor.PosePredictor`."""

    frame: InputFrame
    source: str

    def __call__(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Prediction]:
        """A prediction for each image, in their order."""
        ...
