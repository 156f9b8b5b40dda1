"""Joint names on overlays: in the image, in the side's colour, apart from each other."""

from __future__ import annotations

import numpy as np
import pytest

from blippose.drawing import PREDICTED
from blippose.joint_names import draw_joint_names
from blippose.pose import JOINTS, Pose


def pose_of(**joints: tuple[float, float]) -> Pose:
    xy = np.full((16, 2), np.nan)
    for name, point in joints.items():
        xy[JOINTS.index(name.replace("_", " "))] = point
    return Pose.of(xy)


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def changed(pose: Pose, height: int = 300, width: int = 300) -> np.ndarray:
    image = black(height, width)
    return (draw_joint_names(image, pose) != image).any(axis=-1)


def test_names_stand_beside_their_joints_in_the_colour_of_their_side() -> None:
    image = black(600, 600)
    drawn = draw_joint_names(image, pose_of(right_knee=(60, 80), left_knee=(60, 220)))
    assert (image == 0).all()
    for y, color in ((80, PREDICTED.right), (220, PREDICTED.left)):
        near = drawn[y - 12 : y + 12, 60:].astype(int)
        assert (np.abs(near - color).max(axis=-1) < 25).sum() > 10
    assert not changed(pose_of(right_knee=(60, 80)))[:, :60].any()
    assert not changed(pose_of(right_knee=(60, 80)))[100:].any()


@pytest.mark.parametrize("point", [(299, 150), (150, 0), (150, 299), (0, 0), (299, 299)])
def test_a_name_at_the_border_is_whole(point: tuple[float, float]) -> None:
    inked = changed(pose_of(left_ankle=(100, 150))).sum()
    assert changed(pose_of(left_ankle=point)).sum() == pytest.approx(inked, rel=0.1)


def test_names_of_joints_in_one_place_do_not_cover_each_other() -> None:
    places = {"left_hip": (150.0, 150.0), "right_hip": (151.0, 150.0), "pelvis": (150.0, 151.0)}
    alone = [changed(pose_of(**{name: point})).sum() for name, point in places.items()]
    assert changed(pose_of(**places)).sum() == pytest.approx(sum(alone), rel=0.12)


def test_joints_that_are_missing_or_outside_have_no_name() -> None:
    assert not changed(pose_of()).any()
    assert not changed(pose_of(left_hip=(-20, 50), right_hip=(50, 400))).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (8, 8)])
def test_an_image_too_small_for_names_is_no_error(height: int, width: int) -> None:
    pose = pose_of(left_hip=(0, 0), right_hip=(0, 0))
    assert draw_joint_names(black(height, width), pose).shape == (height, width, 3)
