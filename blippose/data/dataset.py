"""Persons of a release as samples: the input's pixels, and the pose in both frames."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch.utils.data import Dataset

from blippose.augmentation import Augmentation, View
from blippose.data.cutter import Cutter
from blippose.data.pixel_cache import PixelFile, Row
from blippose.geometry import Crop
from blippose.mpii import Person
from blippose.pose import NUM_JOINTS, Pose

# Keep a sample's draws apart from each other and from the persons' order, (seed, epoch) alike.
_AUGMENTATION_STREAM, _ORDER_STREAM, _SINGLE_STREAM, _CLOSE_UP_STREAM = 1, 3, 4, 5


@dataclass(frozen=True)
class CloseUpSource:
    """Training persons as they are seen close up.

    Args:
        share: of the samples that are, 0 to 1.
        cutter: cuts an input where it is not kept.
        pixels: the inputs of the dataset's persons, where they are kept.
    """

    share: float
    cutter: Cutter
    pixels: PixelFile | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One person: the input's pixels, and the pose in both frames.

    Of a sample that is augmented the pixels are still as they were cut, and to be seen by `view`.
    """

    image: UInt8[np.ndarray, "size size 3"]
    pose_input: Pose  # as it lies in the view
    pose_img: Pose
    crop: Crop
    head_size: float
    index: int
    image_path: Path
    view: View | None = None
    order: tuple[int, ...] | None = None  # joint ids that its caption names; None: the format's


class PoseDataset(Dataset[Sample]):
    """Persons of a release, cropped and resized to the model's input.

    An item is asked for by its position, or by (epoch, position) to have it augmented, and its
    joints ordered, by that epoch's draw.

    Args:
        persons: the filtered release.
        indices: of those that belong to the set.
        cutter: cuts an input where it is not kept.
        pixels: the inputs of all `persons`, where they are kept.
        augmentation: random views.
        seed: of the views and orders.
        random_order: whether each caption names its joints in an order of its own.
        single_joint: share of captions that name one joint alone, any that is annotated.
        close_ups: some of an epoch's samples show the part of the image round the person alone.
    """

    def __init__(
        self,
        persons: Sequence[Person],
        indices: Sequence[int],
        cutter: Cutter,
        pixels: PixelFile | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        random_order: bool = False,
        single_joint: float = 0.0,
        close_ups: CloseUpSource | None = None,
    ) -> None:
        self.indices = indices
        self.persons = [persons[index] for index in indices]
        self.cutter, self.pixels = cutter, pixels
        self.augmentation, self.seed = augmentation, seed
        self.random_order, self.single_joint = random_order, single_joint
        self.close_ups = close_ups

    @property
    def images(self) -> Path:
        """The folder of the images."""
        return self.cutter.images

    def pixels_sha256(self) -> str:
        """Of all images in their order, as the model sees them without augmentation."""
        digest = hashlib.sha256()
        for position in range(len(self)):
            digest.update(self[position].image.tobytes())
        return digest.hexdigest()

    def poses_input(self) -> Float[np.ndarray, "persons 16 2"]:
        """Where the joints lie in the inputs, px; without a look at pixels."""
        crops = [self._rectangle(position) for position in range(len(self))]
        poses = zip(crops, self.persons, strict=True)
        return np.stack([crop.to_input(person.pose.xy) for crop, person in poses])

    def part(self, positions: Sequence[int]) -> PoseDataset:
        """Those of its persons, not augmented, with their pixels where they are kept."""
        chosen = copy.copy(self)
        chosen.indices = [self.indices[position] for position in positions]
        chosen.persons = [self.persons[position] for position in positions]
        chosen.augmentation, chosen.random_order, chosen.single_joint = None, False, 0.0
        chosen.close_ups = None
        return chosen

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, item: int | tuple[int, int]) -> Sample:
        epoch, position = item if isinstance(item, tuple) else (None, item)
        person, index = self.persons[position], self.indices[position]
        image, crop = self._input(epoch, position)
        pose, view = Pose.of(crop.to_input(person.pose.xy)), None
        if self.augmentation is not None and epoch is not None:
            draw = self._draw(epoch, index, _AUGMENTATION_STREAM)
            view = self.augmentation.draw(pose, crop.size, draw)
            pose = view.pose(pose)
        order = None if epoch is None else self._order(epoch, index, pose)
        path, head_size = self.images / person.image_name, person.head_size
        return Sample(image, pose, person.pose, crop, head_size, index, path, view, order)

    def _input(self, epoch: int | None, position: int) -> Row:
        """The pixels of the person, whole or close up, and their rectangle."""
        person, index, close_ups = self.persons[position], self.indices[position], self.close_ups
        cutter, pixels, row = self.cutter, self.pixels, index
        if (
            epoch is not None
            and close_ups is not None
            and self._draw(epoch, index, _CLOSE_UP_STREAM).random() < close_ups.share
        ):
            cutter, pixels, row = close_ups.cutter, close_ups.pixels, position
        return cutter.cut(person) if pixels is None else pixels[row]

    def _draw(self, epoch: int, index: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, index, stream))

    def _order(self, epoch: int, index: int, pose: Pose) -> tuple[int, ...] | None:
        """The joints that a training caption names."""
        if self.single_joint:
            draw = self._draw(epoch, index, _SINGLE_STREAM)
            joints = pose.valid.nonzero()[0].tolist()
            if draw.random() < self.single_joint and joints:
                return (joints[int(draw.integers(len(joints)))],)
        if not self.random_order:
            return None
        return tuple(self._draw(epoch, index, _ORDER_STREAM).permutation(NUM_JOINTS).tolist())

    def _rectangle(self, position: int) -> Crop:
        if self.pixels is None:
            return self.cutter.rectangle(self.persons[position])
        return self.pixels.rectangle(self.indices[position])
