"""Image frame and input frame: inverse maps, pixels where the maps say, parity with BLIP's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blippose.geometry import PADDING_RGB, Crop, Resize

sides = st.integers(1, 3000)
sizes = st.sampled_from([32, 96, 384])
crops = st.one_of(
    st.builds(Crop.of_image, sides, sides, sizes, st.sampled_from(Resize)),
    st.builds(
        Crop.of_person,
        st.tuples(st.floats(-50, 2000), st.floats(-50, 2000)),
        st.floats(0.1, 15),
        sizes,
    ),
)
points = arrays(np.float64, (5, 2), elements=st.floats(-100, 3000))


@given(crops, points)
def test_to_img_undoes_to_input(crop: Crop, xy_img: np.ndarray) -> None:
    np.testing.assert_allclose(crop.to_img(crop.to_input(xy_img)), xy_img, atol=1e-6)


@given(crops)
def test_corners_of_the_crop_are_the_corners_of_the_input(crop: Crop) -> None:
    corners = np.array([[crop.left, crop.top], [crop.left + crop.width, crop.top + crop.height]])
    expected = [[-0.5, -0.5], [crop.size - 0.5, crop.size - 0.5]]
    np.testing.assert_allclose(crop.to_input(corners - 0.5), expected, atol=1e-6)


def test_stretch_scales_x_and_y_apart() -> None:
    crop = Crop.of_image(1280, 720, 384)
    np.testing.assert_allclose(crop.to_input(np.array([639.5, 359.5])), [191.5, 191.5])
    np.testing.assert_allclose(crop.to_input(np.array([1279.0, 0.0])), [383.35, -7 / 30])


def test_letterbox_keeps_the_aspect_ratio() -> None:
    crop = Crop.of_image(1280, 720, 384, Resize.LETTERBOX)
    moved = np.diff(crop.to_input(np.array([[10.0, 10.0], [110.0, 110.0]])), axis=0)
    np.testing.assert_allclose(moved, [[30.0, 30.0]])


def test_person_crop_is_the_square_that_mpii_prescribes() -> None:
    crop = Crop.of_person((300.0, 200.0), 1.6, 384)
    assert (crop.width, crop.height) == (400.0, 400.0)
    np.testing.assert_allclose(crop.to_input(np.array([300.0, 200.0])), [191.5, 191.5])


def blob(width: int, height: int, x: float, y: float, radius: float) -> Image.Image:
    """A white Gaussian on black with its centre at (x, y), image pixels."""
    rows, columns = np.mgrid[:height, :width]
    light = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    return Image.fromarray((255 * light).round().astype(np.uint8)).convert("RGB")


def centroid(pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Centre of what differs from the picture without the blob."""
    light = np.abs(pixels.astype(float) - background).sum(-1)
    light[light < 0.2 * light.max()] = 0
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


@pytest.mark.parametrize(
    "crop",
    [
        Crop.of_image(640, 361, 96),
        Crop.of_image(640, 361, 96, Resize.LETTERBOX),
        Crop.of_image(640, 361, 384, Resize.LETTERBOX),
        Crop.of_person((330.3, 170.8), 1.137, 96),  # wholly inside
        Crop.of_person((330.3, 170.8), 3.3, 96),  # beyond all four borders
        Crop.of_person((500.0, 300.0), 1.9, 384),  # beyond two
    ],
)
@pytest.mark.parametrize("xy_img", [(300.0, 150.0), (351.25, 190.5)])
def test_a_dot_lands_where_to_input_says(crop: Crop, xy_img: tuple[float, float]) -> None:
    per_pixel = max(crop.width, crop.height) / crop.size
    dot = crop.cut(blob(640, 361, *xy_img, radius=3 * max(1.0, per_pixel)))
    found = centroid(dot, crop.cut(Image.new("RGB", (640, 361))))
    np.testing.assert_allclose(found, crop.to_input(np.array(xy_img)), atol=0.1)


def test_beyond_the_image_is_padding() -> None:
    image = Image.new("RGB", (200, 100), (255, 0, 0))
    pixels = Crop.of_image(200, 100, 64, Resize.LETTERBOX).cut(image)
    assert (pixels[:16] == PADDING_RGB).all()
    assert (pixels[16:48] == (255, 0, 0)).all()
    assert (pixels[48:] == PADDING_RGB).all()


def test_a_crop_that_misses_the_image_is_all_padding() -> None:
    pixels = Crop.of_person((-5000.0, 10.0), 1.0, 32).cut(Image.new("RGB", (200, 100)))
    assert pixels.shape == (32, 32, 3)
    assert (pixels == PADDING_RGB).all()


@given(crops, sides, sides)
def test_any_crop_of_any_image_fills_the_input(crop: Crop, width: int, height: int) -> None:
    image = Image.new("RGB", (min(width, 400), min(height, 400)))
    assert crop.cut(image).shape == (crop.size, crop.size, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_kind_of_image_is_read_as_rgb(mode: str) -> None:
    grey = Image.new("RGB", (20, 10), (200, 200, 200))
    image = grey.convert(mode, palette=Image.Palette.ADAPTIVE)
    assert np.abs(Crop.of_image(20, 10, 16).cut(image).astype(int) - 200).max() <= 2


def blips_own_pixels(image: Image.Image, size: int) -> np.ndarray:
    processor = BlipImageProcessorPil(do_rescale=False, do_normalize=False)
    square = {"height": size, "width": size}
    pixels = processor(image, size=square, return_tensors="np").pixel_values
    return np.asarray(pixels[0]).transpose(1, 2, 0)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (301, 997), (384, 384), (7, 5)])
@pytest.mark.parametrize("size", [96, 384])
def test_stretched_pixels_are_blips_own(width: int, height: int, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    pixels = Crop.of_image(width, height, size).cut(image)
    np.testing.assert_array_equal(pixels, blips_own_pixels(image, size))


def test_stretched_photos_are_blips_own(mpii_images: list[Path]) -> None:
    for path in mpii_images:
        with Image.open(path) as image:
            pixels = Crop.of_image(*image.size, 384).cut(image)
            np.testing.assert_array_equal(pixels, blips_own_pixels(image, 384))


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_a_letterbox_shows_an_image_that_is_thinner_than_a_pixel_of_it(
    size: tuple[int, int],
) -> None:
    crop = Crop.of_image(*size, 96, Resize.LETTERBOX)
    cut = crop.cut(Image.new("RGB", size, "red"))
    assert (cut == (255, 0, 0)).all(axis=-1).sum() == 96
