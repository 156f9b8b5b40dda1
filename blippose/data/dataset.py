"""Persons of a release as samples: the input's pixels, and the pose in both frames."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich import get_console
from rich.progress import track
from torch.utils.data import Dataset

from blippose import mpii, synthetic
from blippose.augmentation import Augmentation
from blippose.errors import UserError
from blippose.geometry import Crop, Resize
from blippose.pose import Pose

_AUGMENTATION_STREAM = 1  # keeps a sample's draws apart from the order's, (seed, epoch) alike


@dataclass(frozen=True, eq=False)
class Sample:
    """One person: the input's pixels, and the pose in both frames."""

    image: UInt8[np.ndarray, "size size 3"]
    pose_input: Pose
    pose_img: Pose
    crop: Crop
    head_size: float
    index: int


class PoseDataset(Dataset[Sample]):
    """Persons of a release, decoded once, cropped and resized to the model's input.

    An item is asked for by its position, or by (epoch, position) to have it augmented by that
    epoch's draw. Pixels are kept in memory: `size`^2 x 3 bytes a person.
    """

    def __init__(
        self,
        persons: Sequence[mpii.Person],
        indices: Sequence[int],
        images: Path,
        size: int,
        resize: Resize,
        crop: str,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.indices = indices
        self.persons = [persons[index] for index in indices]
        self.images = images
        self.augmentation = augmentation
        self.seed = seed
        self._cut = partial(_cut, images=images, size=size, resize=resize, crop=crop)
        self._pixels: list[tuple[UInt8[np.ndarray, "size size 3"], Crop]] = []

    def decode(self, description: str) -> None:
        """Read every image, on all cores.

        Raises:
            UserError: an image that cannot be decoded.
        """
        with ThreadPoolExecutor(synthetic.num_cores()) as pool:
            cut = pool.map(self._cut, self.persons)
            hidden = not get_console().is_terminal
            bar = track(cut, description, len(self.persons), transient=True, disable=hidden)
            self._pixels = list(bar)

    def pixels_sha256(self) -> str:
        """Of all images in their order, as the model sees them without augmentation."""
        digest = hashlib.sha256()
        for position in range(len(self)):
            digest.update(self[position].image.tobytes())
        return digest.hexdigest()

    def part(self, positions: Sequence[int]) -> PoseDataset:
        """Those of its persons, not augmented, with their pixels where they are decoded."""
        chosen = copy.copy(self)
        chosen.indices = [self.indices[position] for position in positions]
        chosen.persons = [self.persons[position] for position in positions]
        chosen.augmentation = None
        chosen._pixels = [self._pixels[position] for position in positions if self._pixels]
        return chosen

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, item: int | tuple[int, int]) -> Sample:
        epoch, position = item if isinstance(item, tuple) else (None, item)
        person = self.persons[position]
        image, crop = self._pixels[position] if self._pixels else self._cut(person)
        pose = Pose.of(crop.to_input(person.pose.xy))
        if self.augmentation is not None and epoch is not None:
            key = (self.seed, epoch, self.indices[position], _AUGMENTATION_STREAM)
            image, pose = self.augmentation(image, pose, np.random.default_rng(key))
        index = self.indices[position]
        return Sample(image, pose, person.pose, crop, person.head_size, index)


def _cut(
    person: mpii.Person, images: Path, size: int, resize: Resize, crop: str
) -> tuple[UInt8[np.ndarray, "size size 3"], Crop]:
    path = images / person.image_name
    try:
        with Image.open(path) as image:
            rectangle = _crop_of(person, image.width, image.height, size, resize, crop)
            return rectangle.cut(image), rectangle
    # Damaged files make Pillow's decoders raise almost anything (SyntaxError, struct.error).
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be decoded ({reason}); copy the image again") from error


def _crop_of(
    person: mpii.Person, width: int, height: int, size: int, resize: Resize, crop: str
) -> Crop:
    if crop == "person" and person.center is not None and person.scale is not None:
        return Crop.of_person(person.center, person.scale, size)
    return Crop.of_image(width, height, size, resize)
