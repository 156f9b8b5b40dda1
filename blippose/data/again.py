"""The images of a batch once more, from their files, for a second look at parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from blippose.data.batch import PoseBatch
from blippose.decoding import Closer, SeePixels
from blippose.errors import UserError
from blippose.geometry import Crop
from blippose.machine import num_cores
from blippose.release_images import shown


def closer_of(batch: PoseBatch, see: SeePixels, device: torch.device) -> Closer:
    """How a batch's images are looked at again.

    Args:
        batch: as the data module's loaders give it.
        see: what a vision tower says of inputs.
        device: where it is asked.

    Raises:
        UserError: the batch does not say where its images are.
    """
    if "image_path" not in batch:
        raise UserError(
            "decoding.close_up=true looks at images again, and the batch has no image_path that "
            "says where they are: give it, or ask with decoding.close_up=false"
        )
    paths = batch["image_path"]
    size = batch["image"].shape[-1]
    rows = batch["crop"].tolist()
    wholes = [Crop(left, top, width, height, size) for left, top, width, height in rows]

    def cut(parts: Sequence[Crop]) -> UInt8[np.ndarray, "batch size size 3"]:
        # On threads: Pillow decodes and resizes without Python's lock.
        with ThreadPoolExecutor(num_cores()) as pool:
            return np.stack(list(pool.map(_cut, paths, parts)))

    return Closer(wholes, cut, see, device)


def _cut(path: Path, part: Crop) -> UInt8[np.ndarray, "size size 3"]:
    return part.cut(shown(path))
