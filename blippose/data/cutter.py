"""An image of a person as the model sees it: decoded, cropped and resized."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from blippose.geometry import MARGIN, Crop, Resize
from blippose.images import shown_size
from blippose.mpii import Person
from blippose.release_images import opened, shown

MARGINS = (0.25 * MARGIN, 1.75 * MARGIN)  # of a close-up to train on


@dataclass(frozen=True)
class Cutter:
    """Cuts the inputs out of a folder of images.

    Args:
        images: the folder.
        size: side of the input, px.
        resize: how an image fills it.
        crop: "full" image, or the "person" by MPII's objpos and scale.
        is_close_up: of that, the part round the pose alone. How much is left on each side is drawn
            for each image, once, so that where a side lies does not tell where the pose ends.
    """

    images: Path
    size: int
    resize: Resize
    crop: str
    is_close_up: bool = False

    def cut(self, person: Person) -> tuple[UInt8[ndarray, "size size 3"], Crop]:
        """The input's pixels, and the rectangle of the image that they show.

        Raises:
            UserError: an image that cannot be decoded.
        """
        image = shown(self.images / person.image_name)
        rectangle = self._rectangle(person, image.size)
        return rectangle.cut(image), rectangle

    def rectangle(self, person: Person) -> Crop:
        """The rectangle alone, for which the image's header is enough.

        Raises:
            UserError: no image.
        """
        with opened(self.images / person.image_name) as image:
            return self._rectangle(person, shown_size(image))

    def _rectangle(self, person: Person, size_img: tuple[int, int]) -> Crop:
        whole = self._whole(person, size_img)
        if not self.is_close_up:
            return whole
        draw = np.random.default_rng(zlib.crc32(person.image_name.encode()))
        return whole.close_up(person.pose.xy, draw.uniform(*MARGINS, size=4).tolist())

    def _whole(self, person: Person, size_img: tuple[int, int]) -> Crop:
        if self.crop != "person":
            return Crop.of_image(*size_img, self.size, self.resize)
        if person.center is None or person.scale is None:  # in its proportions, as the others
            return Crop.of_image(*size_img, self.size, Resize.LETTERBOX)
        return Crop.of_person(person.center, person.scale, self.size)
