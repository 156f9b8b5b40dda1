"""Discs on a model's input: their area and place, their controls, their fills."""

from __future__ import annotations

import math

import numpy as np
import pytest
from example_persons import make_targets
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blippose.geometry import Crop
from blippose.occlusion import BODY_REACH, Body, Picture, covered, disc, disc_area

SIZE = 96
WHOLE = Picture(0, 0, SIZE, SIZE, SIZE)
# A pose as MPII orders it, standing upright in the middle: 60 px high, arms down.
STANDING = np.array(
    [
        *[(42, 78), (43, 64), (44, 50), (52, 50), (53, 64), (54, 78)],
        *[(48, 50), (48, 30), (48, 26), (48, 18)],
        *[(36, 50), (37, 40), (40, 30), (56, 30), (59, 40), (60, 50)],
    ],
    dtype=np.float64,
)
HEAD = 6.0  # px


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pixels(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.argwhere(mask)[:, ::-1].astype(np.float64)


@given(x=st.floats(15, 80), y=st.floats(15, 80), radius=st.floats(1.5, 14))
def test_disc_has_the_area_and_the_centre_of_a_disc(x: float, y: float, radius: float) -> None:
    center = np.array([x, y])
    mask = disc(WHOLE, center, disc_area(WHOLE, center, radius))
    # Gauss's circle problem: off by no more than the pixels on the rim.
    assert abs(mask.sum() - math.pi * radius**2) <= 2 * math.sqrt(2) * math.pi * radius
    assert np.linalg.norm(pixels(mask) - center, axis=1).max() <= radius + 1e-6
    assert np.abs(pixels(mask).mean(axis=0) - center).max() < 0.5


@given(x=st.floats(0, 95), y=st.floats(0, 95), area=st.integers(5, 900))
def test_disc_hides_so_many_pixels_wherever_it_lies(x: float, y: float, area: int) -> None:
    mask = disc(WHOLE, np.array([x, y]), area)
    assert mask.sum() == area
    assert mask[round(y), round(x)]


def test_disc_is_round_in_the_image_that_a_stretched_input_shows() -> None:
    picture = Picture.of(Crop(0.0, 0.0, 400.0, 200.0, SIZE), 400, 200)  # twice as wide as high
    center = np.array([48.0, 48.0])
    area = disc_area(picture, center, 12.0)
    assert area == pytest.approx(math.pi * 12**2, rel=0.03)
    rows, columns = (disc(picture, center, area).any(axis=axis).sum() for axis in (1, 0))
    assert rows / columns == pytest.approx(2, abs=0.15)


def test_disc_leaves_padding_alone() -> None:
    picture = Picture.of(Crop(0.0, -100.0, 400.0, 400.0, SIZE), 400, 200)
    center = np.array([48.0, 24.0])  # on the picture's upper border
    area = disc_area(picture, center, 10)
    mask = disc(picture, center, area)
    assert area == mask.sum()
    assert 0.4 < area / disc_area(WHOLE, center, 10) < 0.6
    assert not (mask & ~picture.mask()).any()


def test_picture_is_what_the_crop_shows_of_the_image() -> None:
    crop = Crop(-40.0, 30.0, 120.0, 120.0, 60)  # half an input pixel an image pixel
    picture = Picture.of(crop, 100, 100)
    assert picture == Picture(left=20, top=0, right=60, bottom=35, size=60)
    assert picture.holds(np.array([[20.0, 0.0], [19.0, 0.0], [59.0, 34.0]])).tolist() == [
        True,
        False,
        True,
    ]


@given(
    seed=st.integers(0, 10_000),
    joint=st.integers(0, 15),
    radius=st.floats(1.0, 10.0),
    stretch=st.floats(0.5, 2.0),
)
def test_control_on_the_body_lies_on_a_bone_and_does_not_touch_the_joints_disc(
    seed: int, joint: int, radius: float, stretch: float
) -> None:
    xy = make_targets(4, seed=seed % 50).xy_input[seed % 4]
    picture = Picture(0, 0, SIZE, SIZE, SIZE, stretch)
    body = Body(picture, xy, HEAD)
    center = body.place_on(joint, radius, draw(seed))
    assume(center is not None and picture.holds(xy[joint]))
    assert center is not None
    assert body.distance(center) < 1e-6
    over = disc(picture, xy[joint], disc_area(picture, xy[joint], radius))
    control = disc(picture, center, int(over.sum()))
    assert not (over & control).any()
    assert control.sum() == over.sum()


@pytest.mark.parametrize("seed", range(20))
def test_control_off_the_body_covers_no_joint_and_no_bone(seed: int) -> None:
    body = Body(WHOLE, STANDING, HEAD)
    center = body.place_off(8.0, draw(seed))
    assert center is not None
    mask = disc(WHOLE, center, disc_area(WHOLE, center, 8.0))
    assert mask.sum() > 150
    assert body.distance(pixels(mask)).min() > BODY_REACH * HEAD


def test_trunk_is_body_between_the_bones() -> None:
    body = Body(WHOLE, STANDING, HEAD)
    assert body.distance(np.array([45.5, 42.0])) < 2  # between shoulder, hip and spine
    assert body.distance(np.array([10.0, 42.0])) > 20


def test_controls_differ_by_the_draw_and_repeat_with_it() -> None:
    centers = [Body(WHOLE, STANDING, HEAD).place_on(9, 4.0, draw(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(centers[0], centers[1])  # type: ignore[arg-type]  # none is None
    assert not np.array_equal(centers[0], centers[2])  # type: ignore[arg-type]  # none is None


def test_without_room_there_is_no_control() -> None:
    body = Body(WHOLE, STANDING, HEAD)
    assert body.place_on(6, 40.0, draw()) is None
    assert body.place_off(40.0, draw()) is None


def test_bones_that_are_not_annotated_are_left_out() -> None:
    xy = STANDING.copy()
    xy[[0, 5]] = np.nan
    right_ankle = np.array([42.0, 78.0])
    assert Body(WHOLE, xy, HEAD).distance(right_ankle) == pytest.approx(14, abs=0.2)  # the knee
    alone = np.full((16, 2), np.nan)
    alone[3] = 48.0
    assert Body(WHOLE, alone, HEAD).place_on(3, 2.0, draw()) is None


@pytest.mark.parametrize("fill", ["mean", "noise", "black"])
def test_fill_changes_the_disc_and_nothing_else(fill: str) -> None:
    image = np.random.default_rng(0).integers(1, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    picture = Picture(0, 24, SIZE, 72, SIZE)
    mask = disc(picture, np.array([40.0, 50.0]), 200)
    hidden = covered(image, mask, picture, fill, draw())
    assert np.array_equal(hidden[~mask], image[~mask])
    assert not np.array_equal(hidden[mask], image[mask])
    inside = hidden[mask]
    if fill == "noise":
        assert len(np.unique(inside, axis=0)) > 150
        assert inside.mean() == pytest.approx(127.5, abs=12)
    else:
        wanted = image[24:72].mean(axis=(0, 1)).round() if fill == "mean" else np.zeros(3)
        assert (inside == wanted).all()
