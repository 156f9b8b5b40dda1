"""Random views: the joints stay on what was drawn under them, and each sample's are its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance

from blippose.augmentation import Augmentation, View, mirror
from blippose.errors import UserError
from blippose.geometry import PADDING_RGB
from blippose.pose import JOINTS, MIRROR, NUM_JOINTS, Pose
from blippose.views import Views, seen

SIZE = 128
GRID = np.stack(np.meshgrid(np.arange(20, 120, 28), np.arange(20, 120, 28)), -1).reshape(16, 2)
BLOB = 12  # a dot's largest radius in a view, px
STRONG = Augmentation(rotate=180.0, scale=1.5, shift=0.3, color=0.3, erase=0.5)
STILL = Augmentation(flip=0.0, rotate=0.0, scale=1.0, shift=0.0, color=0.0)
NOTHING = np.zeros(4, dtype=np.int64)

augmentations = st.builds(
    Augmentation,
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    rotate=st.floats(0.0, 180.0),
    scale=st.floats(1, 2),
    shift=st.floats(0, 0.5),
    color=st.floats(0.0, 0.5),
    erase=st.sampled_from([0.0, 0.5]),
)
seeds = st.integers(0, 2**32 - 1)
poses = arrays(np.float64, (NUM_JOINTS, 2), elements=st.floats(-20, SIZE + 20)).map(Pose.of)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


images = st.integers(0, 99).map(noise)


def dot(x: float, y: float) -> np.ndarray:
    """A blob with its centre at (x, y), on the colour of the padding."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    light = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)[..., None]
    return (PADDING_RGB + light * (255 - np.array(PADDING_RGB))).round().astype(np.uint8)


def centroid(image: np.ndarray) -> np.ndarray:
    light = image.astype(float).sum(-1)
    light -= np.median(light)  # most is background
    light[light < 0.3 * light.max()] = 0
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


def shown(image: np.ndarray, view: View) -> np.ndarray:
    """The pixels of one view."""
    return batch([image], [view])[0]


def batch(samples: Sequence[np.ndarray], views: Sequence[View]) -> np.ndarray:
    return seen(Views.of(np.stack(samples), views)).permute(0, 2, 3, 1).numpy()


def view(matrix: np.ndarray | None = None, **settings: object) -> View:
    plain = {"is_mirrored": False, "color": np.ones(3), "erased": NOTHING}
    return View(np.eye(2, 3) if matrix is None else matrix, **{**plain, **settings})  # type: ignore[arg-type]


def draw(augmentation: Augmentation, seed: int, pose: Pose | None = None) -> View:
    pose = Pose.of(GRID.astype(float)) if pose is None else pose
    return augmentation.draw(pose, SIZE, np.random.default_rng(seed))


@given(augmentations, seeds, st.integers(0, NUM_JOINTS - 1))
def test_a_dot_stays_under_its_joint(augmentation: Augmentation, seed: int, joint: int) -> None:
    drawn = replace(draw(augmentation, seed), erased=NOTHING)
    moved = drawn.pose(Pose.of(GRID.astype(float)))
    wears = MIRROR[joint] if drawn.is_mirrored else joint  # the name that the dot has now
    assume(abs(moved.xy[wears] - SIZE / 2).max() < SIZE / 2 - BLOB)  # all of the dot is there
    assert np.linalg.norm(moved.xy[wears] - centroid(shown(dot(*GRID[joint]), drawn))) < 0.5


def test_a_mirrored_dot_is_the_other_sides_joint() -> None:
    wrist = JOINTS.index("right wrist")
    mirrored = view(mirror(SIZE), is_mirrored=True)
    moved = mirrored.pose(Pose.of(GRID.astype(float)))
    found = centroid(shown(dot(*GRID[wrist]), mirrored))
    np.testing.assert_allclose(moved.xy[JOINTS.index("left wrist")], found, atol=0.05)


@given(images)
def test_a_mirror_image_is_the_mirror_image(image: np.ndarray) -> None:
    mirrored = view(mirror(SIZE), is_mirrored=True)
    np.testing.assert_array_equal(shown(image, mirrored), image[:, ::-1])


@given(poses, images)
def test_a_flip_of_a_flip_is_the_identity(pose: Pose, image: np.ndarray) -> None:
    mirrored = view(mirror(SIZE), is_mirrored=True)
    np.testing.assert_array_equal(shown(shown(image, mirrored), mirrored), image)
    np.testing.assert_allclose(mirrored.pose(mirrored.pose(pose)).xy, pose.xy, atol=1e-9)


def test_flip_carries_missing_joints_to_the_other_side() -> None:
    xy = GRID.astype(float)
    xy[JOINTS.index("left knee")] = np.nan
    mirrored = view(mirror(SIZE), is_mirrored=True).pose(Pose.of(xy))
    assert np.flatnonzero(~mirrored.valid).tolist() == [JOINTS.index("right knee")]


@given(augmentations, seeds, poses)
def test_joints_never_leave_the_input(augmentation: Augmentation, seed: int, pose: Pose) -> None:
    moved = draw(augmentation, seed, pose).pose(pose)
    assert moved.xy.min() >= -1e-6
    assert moved.xy.max() <= SIZE - 1 + 1e-6


def test_a_view_puts_no_joint_on_its_very_border_to_keep_it_in() -> None:
    wide = Pose.of(SIZE / 2 + np.random.default_rng(0).uniform(-0.4, 0.4, (16, 2)) * SIZE)
    on_border = 0
    for seed in range(300):
        moved = draw(Augmentation(rotate=15.0, scale=1.25, shift=0.15), seed, wide).pose(wide)
        on_border += np.isclose(moved.xy, 0, atol=1e-6).any()
        on_border += np.isclose(moved.xy, SIZE - 1, atol=1e-6).any()
    assert on_border < 6


def test_draws_reach_as_far_as_was_asked_and_no_farther() -> None:
    small = Pose.of(SIZE / 2 + np.random.default_rng(0).uniform(-3, 3, (16, 2)))
    asked = Augmentation(flip=0.3, rotate=20.0, scale=1.5, shift=0.1, color=0.2, erase=0.4)
    views = [draw(asked, seed, small) for seed in range(600)]
    assert np.mean([each.is_mirrored for each in views]) == pytest.approx(0.3, abs=0.06)
    assert np.mean([each.erased.any() for each in views]) == pytest.approx(0.4, abs=0.06)
    colors = np.array([each.color for each in views])
    linear = np.array([each.matrix[:, :2] for each in views])
    scales = np.sqrt(abs(np.linalg.det(linear)))
    angles = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 1, 1]))  # of y, as x may be mirrored
    middle = np.full(2, (SIZE - 1) / 2)
    shifts = np.array([each.matrix @ [*middle, 1] - middle for each in views]) / SIZE
    for drawn, least, most in (
        (colors.min(axis=0), 0.8, 0.81),
        (colors.max(axis=0), 1.19, 1.2),
        (scales.min(), 1 / 1.5, 0.68),
        (scales.max(), 1.47, 1.5),
        (angles.min(), -20, -19),
        (angles.max(), 19, 20),
        (shifts.min(axis=0), -0.1, -0.098),
        (shifts.max(axis=0), 0.098, 0.1),
    ):
        assert (drawn >= least - 1e-9).all()
        assert (drawn <= most + 1e-9).all()


def test_same_draw_gives_the_same_view() -> None:
    first, second, other = (draw(STRONG, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(shown(noise(), first), shown(noise(), second))
    np.testing.assert_array_equal(first.matrix, second.matrix)
    assert (shown(noise(), first) != shown(noise(), other)).any()
    assert (first.matrix != other.matrix).any()


@given(st.lists(seeds, min_size=1, max_size=9), st.data())
def test_a_view_does_not_depend_on_its_batch(drawn_by: list[int], data: st.DataObject) -> None:
    views = [draw(STRONG, seed) for seed in drawn_by]
    samples = [noise(seed % 100) for seed in drawn_by]
    together = batch(samples, views)
    order = data.draw(st.permutations(range(len(views))))
    part = order[: data.draw(st.integers(1, len(views)))]
    apart = batch([samples[i] for i in part], [views[i] for i in part])
    np.testing.assert_array_equal(apart, together[part])


def test_nothing_to_vary_gives_the_sample_back() -> None:
    drawn = draw(STILL, 0)
    np.testing.assert_array_equal(shown(noise(), drawn), noise())
    pose = Pose.of(GRID.astype(float))
    np.testing.assert_allclose(drawn.pose(pose).xy, pose.xy)


def test_a_sample_without_joints_is_varied_too() -> None:
    nobody = Pose.of(np.full((NUM_JOINTS, 2), np.nan))
    drawn = draw(STRONG, 0, nobody)
    assert not drawn.pose(nobody).valid.any()
    assert (shown(noise(), drawn) != noise()).any()


def test_what_lies_outside_the_sample_is_padding() -> None:
    aside = view(np.array([[1.0, 0.0, 40.0], [0.0, 1.0, 0.0]]))
    image = shown(noise(), aside)
    assert (image[:, :40] == PADDING_RGB).all()
    np.testing.assert_array_equal(image[:, 40:], noise()[:, :-40])


@pytest.mark.parametrize(
    ("place", "enhance"),
    enumerate([ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]),
)
@pytest.mark.parametrize("factor", [0.6, 0.9, 1.3])
def test_colours_are_pillows(place: int, enhance: type, factor: float) -> None:
    color = np.ones(3)
    color[place] = factor
    image = np.asarray(Image.fromarray(noise()).resize((SIZE, SIZE)))
    expected = np.asarray(enhance(Image.fromarray(image)).enhance(factor)).astype(int)
    assert abs(shown(image, view(color=color)).astype(int) - expected).max() <= 1  # it cuts off


@given(seeds)
def test_the_erased_rectangle_is_padding_and_the_rest_is_as_it_was(seed: int) -> None:
    drawn = draw(replace(STRONG, erase=1.0), seed)
    expected = shown(noise(), replace(drawn, erased=NOTHING))
    left, top, right, bottom = drawn.erased
    expected[top:bottom, left:right] = PADDING_RGB
    np.testing.assert_array_equal(shown(noise(), drawn), expected)


@given(seeds)
def test_erased_rectangles_lie_inside_and_have_their_size(seed: int) -> None:
    left, top, right, bottom = draw(Augmentation(erase=1.0), seed).erased.tolist()
    assert 0 <= left < right <= SIZE
    assert 0 <= top < bottom <= SIZE
    assert 0.015 < (right - left) * (bottom - top) / SIZE**2 < 0.34


@given(seeds)
def test_nothing_is_erased_unless_it_is_asked_for(seed: int) -> None:
    assert not draw(Augmentation(), seed).erased.any()


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
        {"color": 1.1},
        {"erase": 1.1},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=rf"augmentation\.{next(iter(wrong))}=.*expected"):
        Augmentation(**wrong)


@pytest.mark.parametrize("seed", range(5))
def test_the_callers_sample_is_left_alone(seed: int) -> None:
    image, pose = noise(), Pose.of(GRID.astype(float))
    drawn = STRONG.draw(pose, SIZE, np.random.default_rng(seed))
    shown(image, drawn)
    drawn.pose(pose)
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_array_equal(pose.xy, GRID)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_sees_what_the_processor_sees() -> None:
    views = Views.of(np.stack([noise(i) for i in range(8)]), [draw(STRONG, i) for i in range(8)])
    there = seen(Views(*(part.cuda() for part in views))).cpu()
    assert (there.int() - seen(views).int()).abs().max() <= 1
