"""An image of a person as the model sees it: decoded, cropped and resized."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from blippose.geometry import Crop, Resize
from blippose.mpii import Person
from blippose.release_images import opened


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
        with opened(self.images / person.image_name) as image:
            rectangle = self._rectangle(person, image)
            return rectangle.cut(image), rectangle

    def rectangle(self, person: Person) -> Crop:
        """The rectangle alone, for which the image's header is enough.

        Raises:
            UserError: no image.
        """
        with opened(self.images / person.image_name) as image:
            return self._rectangle(person, image)

    def _rectangle(self, person: Person, image: Image.Image) -> Crop:
        if self.crop == "person" and person.center is not None and person.scale is not None:
            return Crop.of_person(person.center, person.scale, self.size)
        return Crop.of_image(image.width, image.height, self.size, self.resize)
