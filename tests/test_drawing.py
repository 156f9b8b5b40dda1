"""Skeletons on images: where pixels change, and where none does."""

from __future__ import annotations

import numpy as np
import pytest
from example_poses import grey, pose_of, standing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blippose.drawing import (
    PREDICTED,
    TRUE,
    draw_comparison,
    draw_poses,
    fit_line_width,
)
from blippose.pose import MIRROR, Pose

RIGHT_ANKLE, RIGHT_KNEE, RIGHT_HIP = 0, 1, 2
LEFT_KNEE, LEFT_ANKLE = 4, 5


def test_a_limb_has_its_sides_color_all_along() -> None:
    image = grey()
    pose = pose_of(right_knee=(40, 20), right_ankle=(40, 80), left_knee=(120, 20))
    drawn = draw_poses(image, [pose], line_width=5)
    np.testing.assert_array_equal(drawn[25:76, 40], np.tile(PREDICTED.right, (51, 1)))
    np.testing.assert_array_equal(drawn[20, 120], PREDICTED.left)


def test_a_limb_is_centred_on_its_pixel_column() -> None:
    pose = pose_of(right_knee=(40, 20), right_ankle=(40, 80))
    row = draw_poses(grey(), [pose], line_width=5)[50].astype(float)
    weight = np.abs(row - 128).sum(axis=-1)
    assert (weight * np.arange(160)).sum() / weight.sum() == pytest.approx(40, abs=0.15)


def test_nothing_changes_far_from_the_skeleton() -> None:
    image = grey()
    pose = pose_of(right_knee=(40, 20), right_ankle=(40, 80))
    changed = (draw_poses(image, [pose], line_width=4) != image).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert columns.min() >= 40 - 7
    assert columns.max() <= 40 + 7
    assert rows.min() >= 20 - 7
    assert rows.max() <= 80 + 7


def test_the_given_image_stays_as_it_was() -> None:
    image = grey()
    image.setflags(write=False)
    drawn = draw_poses(image, [standing()])
    assert (image == 128).all()
    drawn[0, 0] = 0


def test_joints_that_are_not_valid_are_not_drawn_nor_are_their_bones() -> None:
    image = grey()
    alone = pose_of(right_ankle=(40, 80))
    changed = (draw_poses(image, [alone], line_width=4) != image).any(axis=-1)
    assert changed[80, 40]
    assert not changed[:70].any()
    np.testing.assert_array_equal(draw_poses(image, [pose_of()]), image)


def test_a_rim_sets_the_skeleton_off_from_a_background_of_its_own_color() -> None:
    image = np.broadcast_to(np.array(PREDICTED.right, dtype=np.uint8), (100, 160, 3)).copy()
    pose = pose_of(right_knee=(40, 20), right_ankle=(40, 80))
    drawn = draw_poses(image, [pose], line_width=6)
    assert (drawn[50].sum(axis=-1) < 150).sum() >= 2


def test_edges_are_smooth() -> None:
    pose = pose_of(right_knee=(30, 20), right_ankle=(90, 83))
    drawn = draw_poses(grey(), [pose], line_width=5)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("height", [96, 480, 2000])
def test_line_width_grows_with_the_image_and_shrinks_with_the_person(height: int) -> None:
    large = Pose.of(standing().xy * height / 100)
    small = Pose.of(standing().xy * height / 1000)
    of_large, of_small = (fit_line_width((height, height), pose) for pose in (large, small))
    assert 0.004 * height <= max(of_large, 1.0) <= max(0.012 * height, 1.0)
    assert of_small < of_large or of_large == 1.0


@given(arrays(np.float64, (16, 2), elements=st.floats(-1e15, 1e15) | st.just(np.nan)))
@settings(max_examples=100, deadline=None)
def test_any_coordinates_can_be_drawn(xy: np.ndarray) -> None:
    assert draw_poses(grey(20, 30), [Pose.of(xy)]).shape == (20, 30, 3)


@pytest.mark.filterwarnings("error")
def test_a_limb_that_leaves_the_image_keeps_its_direction() -> None:
    # From (20, 50) along the diagonal upwards, to a joint beyond 32-bit integers.
    pose = pose_of(right_knee=(20, 50), right_ankle=(20 + 1e12, 50 - 1e12))
    drawn = draw_poses(grey(), [pose], line_width=3)
    for step in (10, 25, 40):
        np.testing.assert_array_equal(drawn[50 - step, 20 + step], PREDICTED.right)


def test_joints_outside_change_nothing_when_no_limb_crosses_the_image() -> None:
    pose = pose_of(right_knee=(-500, -20), right_ankle=(-500, 80))
    np.testing.assert_array_equal(draw_poses(grey(), [pose]), grey())


def test_the_true_skeleton_lies_on_the_predicted_one() -> None:
    pose = pose_of(right_knee=(40, 20), right_ankle=(40, 80))
    pose = Pose.of(pose.xy * 10)
    drawn = draw_comparison(grey(1000, 1000), pose, pose)
    np.testing.assert_array_equal(drawn[500, 400], TRUE.right)
    off = np.abs(drawn[500].astype(int) - PREDICTED.right).sum(axis=-1)
    assert (off[:400] < 100).any()
    assert (off[401:] < 100).any()


def test_a_swap_of_sides_shows_where_every_joint_lies_on_a_true_one() -> None:
    knees = {"right_knee": (200, 200), "left_knee": (600, 200)}
    target = pose_of(**knees, right_ankle=(200, 800), left_ankle=(600, 800))
    swapped = Pose.of(target.xy[list(MIRROR)])
    right, swap = (draw_comparison(grey(1000, 1000), each, target) for each in (target, swapped))
    for column, tint, own, other in (
        (200, TRUE.right, PREDICTED.right, PREDICTED.left),
        (600, TRUE.left, PREDICTED.left, PREDICTED.right),
    ):
        for drawn, around in ((right, own), (swap, other)):
            np.testing.assert_array_equal(drawn[500, column], tint)
            assert (drawn[500, column - 20 : column + 21] == around).all(axis=-1).any()


def test_a_true_limb_is_pale_has_the_tint_of_its_side_and_a_dark_rim() -> None:
    weights = np.array([0.299, 0.587, 0.114])
    for pale, strong in ((TRUE.right, PREDICTED.right), (TRUE.left, PREDICTED.left)):
        assert weights @ pale > weights @ strong + 30
        assert np.argsort(pale).tolist() == np.argsort(strong).tolist()
    assert weights @ TRUE.outline_color < 25
