"""The truth that answers are held against: N persons of one subset, in both frames, as arrays.

And the answers: what a model, a baseline or a control says of the same persons, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from blippose.data import PoseDataset
from blippose.geometry import to_img, to_input


@dataclass(frozen=True, eq=False)
class Targets:
    """Persons to be judged on. Joints that are not annotated are NaN and not `valid`."""

    index: Int[np.ndarray, " persons"]  # of the person in the filtered release
    image_names: tuple[str, ...]
    video: Int[np.ndarray, " persons"]  # MPII's vididx, -1 where it is not known
    xy_input: Float[np.ndarray, "persons 16 2"]
    xy_img: Float[np.ndarray, "persons 16 2"]
    valid: Bool[np.ndarray, "persons 16"]
    crop: Float[np.ndarray, "persons 4"]  # left, top, width, height, in image pixels
    head_size: Float[np.ndarray, " persons"]  # 0.6 x the head box's diagonal, image pixels
    scale: Float[np.ndarray, " persons"]  # MPII's: a person is about 200 x scale px tall, or NaN
    input_size: int  # side of the square input, px

    @staticmethod
    def of(dataset: PoseDataset, input_size: int) -> Targets:
        """The persons of a data set, in its order."""
        samples = [dataset[position] for position in range(len(dataset))]
        crops = [(s.crop.left, s.crop.top, s.crop.width, s.crop.height) for s in samples]
        videos = [-1 if p.video is None else p.video for p in dataset.persons]
        scales = [np.nan if p.scale is None else p.scale for p in dataset.persons]
        return Targets(
            index=np.array([s.index for s in samples]),
            image_names=tuple(person.image_name for person in dataset.persons),
            video=np.array(videos),
            xy_input=np.stack([s.pose_input.xy for s in samples]),
            xy_img=np.stack([s.pose_img.xy for s in samples]),
            valid=np.stack([s.pose_img.valid for s in samples]),
            crop=np.array(crops, dtype=np.float64),
            head_size=np.array([s.head_size for s in samples], dtype=np.float64),
            scale=np.array(scales, dtype=np.float64),
            input_size=input_size,
        )

    def __len__(self) -> int:
        return len(self.index)

    def to_img(
        self, xy_input: Float[np.ndarray, "persons 16 2"]
    ) -> Float[np.ndarray, "persons 16 2"]:
        """Input pixels to image pixels, each person by their own crop."""
        xy_img: Float[np.ndarray, "persons 16 2"]
        xy_img = to_img(xy_input, self._corner, self._extent, self.input_size)
        return xy_img

    def to_input(
        self, xy_img: Float[np.ndarray, "persons 16 2"]
    ) -> Float[np.ndarray, "persons 16 2"]:
        """Image pixels to input pixels: the inverse of `to_img`."""
        xy_input: Float[np.ndarray, "persons 16 2"]
        xy_input = to_input(xy_img, self._corner, self._extent, self.input_size)
        return xy_input

    @property
    def _corner(self) -> Float[np.ndarray, "persons 1 2"]:
        return self.crop[:, None, :2]

    @property
    def _extent(self) -> Float[np.ndarray, "persons 1 2"]:
        return self.crop[:, None, 2:]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one way of answering says of every person of `Targets`.

    Args:
        name: for people to read, such as "mean pose of training".
        kind: "model", "baseline", "control" or "ceiling".
        xy_input: NaN where a joint is missing.
        captions: what was written, of a model; else None.
        confidence: of each joint, raw, of a model's free-running captions; else None.
    """

    name: str
    kind: str
    xy_input: Float[np.ndarray, "persons 16 2"]
    captions: tuple[str, ...] | None = None
    confidence: Float[np.ndarray, "persons 16"] | None = None
