"""The sixteen joints: mirror pairs, bones, and NaN for what is not valid."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from blippose.pose import JOINTS, MIRROR, NUM_JOINTS, SKELETON, Pose


def test_mirroring_twice_gives_each_joint_back() -> None:
    assert [MIRROR[MIRROR[joint]] for joint in range(NUM_JOINTS)] == list(range(NUM_JOINTS))


def test_mirror_swaps_sides_and_keeps_the_middle() -> None:
    mirrored = {name: JOINTS[MIRROR[joint]] for joint, name in enumerate(JOINTS)}
    assert mirrored["right ankle"] == "left ankle"
    assert mirrored["left wrist"] == "right wrist"
    middle = {name for name in JOINTS if mirrored[name] == name}
    assert middle == {"pelvis", "thorax", "upper neck", "head top"}


def test_names_stand_in_mpii_id_order() -> None:
    expected = {0: "right ankle", 5: "left ankle", 6: "pelvis", 9: "head top", 15: "left wrist"}
    assert {joint: JOINTS[joint] for joint in expected} == expected


def test_skeleton_is_a_tree_that_reaches_every_joint() -> None:
    reached = {SKELETON[0][0]}
    for parent, child in SKELETON:
        assert parent in reached
        assert child not in reached
        reached.add(child)
    assert reached == set(range(NUM_JOINTS))


def test_joint_with_one_missing_coordinate_is_wholly_missing() -> None:
    xy = np.zeros((NUM_JOINTS, 2))
    xy[3, 1], xy[4, 0] = np.nan, np.inf
    pose = Pose.of(xy)
    assert np.flatnonzero(~pose.valid).tolist() == [3, 4]
    assert np.isnan(pose.xy[[3, 4]]).all()
    assert np.isfinite(pose.xy[pose.valid]).all()


def test_pose_keeps_the_callers_array() -> None:
    xy = np.full((NUM_JOINTS, 2), np.inf)
    Pose.of(xy)
    assert np.isinf(xy).all()


def test_another_number_of_joints_is_no_pose() -> None:
    """Users have no check of annotations, which would be before it here."""
    with pytest.raises(ValueError, match=r"shape \(17, 2\): expected \(16, 2\)"):
        inspect.unwrap(Pose.of)(np.zeros((17, 2)))
