"""An image of a person as the model sees it: decoded, cropped and resized."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from blippose.geometry import Crop, Resize
from blippose.images import shown_size
from blippose.mpii import Person
from blippose.release_images import opened, shown


@dataclass(frozen=True)
class Cutter:
    """Cuts the inputs out of a folder of images.

    Args:
        images: the folder.
        size: side of the input, px.
        resize: how an image fills it.
        crop: "full" image, or the "person" by MPII's objpos and scale.
    """

    images: Path
    size: int
    resize: Resize
    crop: str

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
        if self.crop != "person":
            return Crop.of_image(*size_img, self.size, self.resize)
        if person.center is None or person.scale is None:  # in its proportions, as the others
            return Crop.of_image(*size_img, self.size, Resize.LETTERBOX)
        return Crop.of_person(person.center, person.scale, self.size)
