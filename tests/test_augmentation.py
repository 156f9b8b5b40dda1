"""Random views: the joints stay on what was drawn under them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blippose.augmentation import Augmentation, flip
from blippose.errors import UserError
from blippose.pose import JOINTS, MIRROR, NUM_JOINTS, Pose

SIZE = 128
GRID = np.stack(np.meshgrid(np.arange(20, 120, 28), np.arange(20, 120, 28)), -1).reshape(16, 2)
INNER = (5, 6, 9, 10)  # joints that the others keep away from the border, paired and not
STRONG = Augmentation(rotate=180.0, scale=1.5, shift=0.3, color=0.3)

augmentations = st.builds(
    Augmentation,
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    rotate=st.floats(0.0, 180.0),
    scale=st.floats(1, 2),
    shift=st.floats(0, 0.5),
    color=st.just(0.0),
)
seeds = st.integers(0, 2**32 - 1)
poses = arrays(np.float64, (NUM_JOINTS, 2), elements=st.floats(-20, SIZE + 20)).map(Pose.of)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def dot(x: float, y: float) -> np.ndarray:
    """A blob with its centre at (x, y), on grey."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    light = 100 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)
    return np.repeat(light.round().astype(np.uint8)[..., None] + 120, 3, axis=-1)


def centroid(image: np.ndarray) -> np.ndarray:
    light = image[..., 0].astype(float) - 128  # above the grey and its padding
    light[light < 0.3 * light.max()] = 0
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


@given(augmentations, seeds, st.sampled_from(INNER))
def test_a_dot_stays_under_its_joint(augmentation: Augmentation, seed: int, joint: int) -> None:
    pose = Pose.of(GRID.astype(float))
    image, moved = augmentation(dot(*GRID[joint]), pose, np.random.default_rng(seed))
    wears = [joint, MIRROR[joint]]  # the name that the dot has now
    distance = np.linalg.norm(moved.xy[wears] - centroid(image), axis=-1).min()
    assert distance < 0.5


def test_a_flipped_dot_is_the_other_sides_joint() -> None:
    wrist = JOINTS.index("right wrist")
    pose = Pose.of(GRID.astype(float))
    image, moved = flip(dot(*GRID[wrist]), pose)
    np.testing.assert_allclose(moved.xy[JOINTS.index("left wrist")], centroid(image), atol=0.05)


def test_an_unflipped_dot_keeps_its_name() -> None:
    upright = Augmentation(flip=0.0, rotate=40.0, color=0.0)
    pose = Pose.of(GRID.astype(float))
    for joint in INNER:
        image, moved = upright(dot(*GRID[joint]), pose, np.random.default_rng(joint))
        np.testing.assert_allclose(moved.xy[joint], centroid(image), atol=0.5)


@given(poses)
def test_a_flip_of_a_flip_is_the_identity(pose: Pose) -> None:
    image = noise()
    twice, back = flip(*flip(image, pose))
    np.testing.assert_array_equal(twice, image)
    np.testing.assert_allclose(back.xy, pose.xy, atol=1e-9)


def test_flip_carries_missing_joints_to_the_other_side() -> None:
    xy = GRID.astype(float)
    xy[JOINTS.index("left knee")] = np.nan
    _, mirrored = flip(noise(), Pose.of(xy))
    assert np.flatnonzero(~mirrored.valid).tolist() == [JOINTS.index("right knee")]


@given(augmentations, seeds, poses)
def test_joints_never_leave_the_input(augmentation: Augmentation, seed: int, pose: Pose) -> None:
    _, moved = augmentation(noise(), pose, np.random.default_rng(seed))
    assert moved.xy.min() >= -1e-6
    assert moved.xy.max() <= SIZE - 1 + 1e-6


def test_same_draw_gives_the_same_view() -> None:
    pose = Pose.of(GRID.astype(float))
    first, second, other = (STRONG(noise(), pose, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1].xy, second[1].xy)
    assert (first[0] != other[0]).any()
    assert (first[1].xy != other[1].xy).any()


def test_nothing_to_vary_gives_the_sample_back() -> None:
    still = Augmentation(flip=0.0, rotate=0.0, scale=1.0, shift=0.0, color=0.0)
    pose = Pose.of(GRID.astype(float))
    image, same = still(noise(), pose, np.random.default_rng(0))
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_allclose(same.xy, pose.xy)


def test_a_sample_without_joints_is_varied_too() -> None:
    nobody = Pose.of(np.full((NUM_JOINTS, 2), np.nan))
    image, moved = STRONG(noise(), nobody, np.random.default_rng(0))
    assert not moved.valid.any()
    assert (image != noise()).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"flip": -0.1},
        {"rotate": -1.0},
        {"scale": 0.0},
        {"scale": 0.9},
        {"scale": float("nan")},
        {"shift": -0.1},
        {"color": -0.1},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=rf"augmentation\.{next(iter(wrong))}=.*expected"):
        Augmentation(**wrong)


@pytest.mark.parametrize("seed", range(5))
def test_the_callers_sample_is_left_alone(seed: int) -> None:
    image, pose = noise(), Pose.of(GRID.astype(float))
    STRONG(image, pose, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_array_equal(pose.xy, GRID)
