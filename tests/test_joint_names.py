"""Joint names on overlays: in the image, in the side's colour, apart from each other."""

from __future__ import annotations

import numpy as np
import pytest
from example_poses import pose_of
from hypothesis import given, settings
from hypothesis import strategies as st

from blippose.drawing import PREDICTED
from blippose.joint_names import Name, draw_joint_names, place_names
from blippose.pose import JOINTS, Pose


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


WIDTHS = {joint: 6.0 * len(name) for joint, name in enumerate(JOINTS)}
points = st.tuples(st.floats(0, 399), st.floats(0, 299))


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    """Some of whose joints are crowded round one point, as in a far or folded person."""
    xy = np.array(draw(st.lists(points, min_size=16, max_size=16)))
    shrink = draw(st.floats(0.05, 1))
    return Pose.of(xy[0] + (xy - xy[0]) * shrink)


def placed(pose: Pose) -> list[Name]:
    return place_names(pose, (400, 300), WIDTHS, 11.0, 3.0)


def distances(name: Name, pose: Pose) -> np.ndarray:
    """From a name to every joint."""
    return np.linalg.norm(pose.xy - np.clip(pose.xy, name.box[:2], name.box[2:]), axis=1)


@settings(max_examples=40)
@given(pose=poses())
def test_a_name_is_nearest_to_its_own_joint_or_has_a_line_from_it(pose: Pose) -> None:
    names = placed(pose)
    assert sorted(name.joint for name in names) == list(range(16))
    for name in names:
        if name.line is None:
            away = distances(name, pose)
            assert away[name.joint] < 0.7 * np.delete(away, name.joint).min()
        else:
            assert name.line[0].tolist() == pose.xy[name.joint].tolist()
            assert (name.line[1] >= name.box[:2] - 1e-9).all()
            assert (name.line[1] <= name.box[2:] + 1e-9).all()


@settings(max_examples=40)
@given(pose=poses())
def test_names_cover_no_other_name_and_no_other_joint_and_are_whole(pose: Pose) -> None:
    names = placed(pose)
    for name in names:
        assert (name.box[:2] >= 0).all()
        assert (name.box[2:] <= (400, 300)).all()
        assert (np.delete(distances(name, pose), name.joint) > 0).all()
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            apart = (one.box[:2] >= other.box[2:]) | (other.box[:2] >= one.box[2:])
            assert apart.any()


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
