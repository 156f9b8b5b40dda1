"""A frozen vision tower is asked once an image, and says the same whatever stands beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from blippose.seen import SeenImages


class Look:
    """Counts the images that it was asked for."""

    def __init__(self) -> None:
        self.num_images = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.num_images += len(image)
        return image.float().flatten(2).mean(-1, keepdim=True)


def images(*values: int) -> Tensor:
    return torch.stack([torch.full((3, 4, 4), value, dtype=torch.uint8) for value in values])


def test_each_image_is_looked_at_once_in_any_order() -> None:
    seen, look = SeenImages(), Look()
    first = seen(look, images(5, 7, 9))
    again = seen(look, images(9, 5))
    assert look.num_images == 3
    assert torch.equal(again, first[[2, 0]])
    assert torch.equal(first[:, 0, 0], torch.tensor([5.0, 7.0, 9.0]))


def test_an_image_and_its_mirror_image_are_two() -> None:
    seen, look = SeenImages(), Look()
    image = images(5)
    image[..., 0] = 7
    seen(look, torch.cat([image, image.flip(-1), image]))
    assert look.num_images == 2


def test_images_beyond_the_room_are_looked_at_again() -> None:
    look = Look()
    seen = SeenImages(most_bytes=12)  # three floats: one image
    for _ in range(2):
        found = seen(look, images(5, 7))
    assert look.num_images == 3
    assert torch.equal(found[:, 0, 0], torch.tensor([5.0, 7.0]))
