"""blippose.evaluation.baselines and .ceilings: answers that need no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from example_persons import make_targets, with_gaps

from blippose.caption import CaptionFormat
from blippose.data import PoseDataModule
from blippose.evaluation.baselines import (
    mean_pose_answers,
    median_pose_answers,
    nearest_pose_answers,
    random_pose_answers,
)
from blippose.evaluation.ceilings import (
    caption_ceiling,
    ceiling_figures,
    image_ceiling,
    resize_ceiling,
)
from blippose.evaluation.intervals import Bootstrap
from blippose.evaluation.run_results import mean_pose, mean_pose_baseline
from blippose.evaluation.scores import NAMES, Scores
from blippose.evaluation.targets import Answers, Targets
from blippose.metrics import PoseMetrics

SIZE = 32  # of the release as it is read here


def values(targets: Targets, said: Answers) -> dict[str, float]:
    scores = Scores.of(targets, said, np.zeros((16, 2)))
    estimate = scores.metrics(Bootstrap.of(np.arange(len(targets)), 2, seed=0))
    return dict(zip(NAMES, estimate.value.tolist(), strict=True))


def test_mean_pose_row_is_the_baseline_that_training_prints(
    make_data: Callable[..., PoseDataModule],
) -> None:
    data = make_data()
    size = data.collator.caption_format.input_size
    train, val = Targets.of(data.train_set, size), Targets.of(data.val_set, size)
    expected = mean_pose_baseline(data, mean_pose(data))
    found = values(val, mean_pose_answers(train, len(val)))
    # Training holds poses in float32.
    assert {n: found[n] for n in PoseMetrics.NAMES} == pytest.approx(expected, rel=1e-5)


def test_median_pose_has_the_least_error_of_all_constant_answers_in_training() -> None:
    train = make_targets(41)
    median = median_pose_answers(train, 41)
    least = values(train, median)["mae"]
    assert least < values(train, mean_pose_answers(train, 41))["mae"]
    for shift in np.random.default_rng(0).normal(0, 2, (20, 16, 2)):
        moved = Answers("moved", "baseline", median.xy_input + shift)
        assert values(train, moved)["mae"] >= least


def test_random_poses_are_whole_training_poses_drawn_from_the_seed() -> None:
    train = make_targets(30)
    first, again, other = (random_pose_answers(train, 200, seed).xy_input for seed in (0, 0, 1))
    equal = (first[:, None] == train.xy_input[None]).all(axis=(2, 3))
    assert (equal.sum(axis=1) == 1).all()
    assert equal.any(axis=0).mean() > 0.9  # 200 draws reach nearly all of 30
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_nearest_training_image_is_found_by_the_angle_of_its_features() -> None:
    train = make_targets(30)
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (30, 8)) + 100  # a mean that all share says nothing
    of_train = rng.permutation(30)
    center = features.mean(axis=0)
    judged = (features - center)[of_train] * rng.uniform(0.1, 10, (30, 1)) + center
    said = nearest_pose_answers(train, features, judged)
    np.testing.assert_array_equal(said.xy_input, train.xy_input[of_train])


def test_equal_features_are_no_error() -> None:
    train = make_targets(5)
    said = nearest_pose_answers(train, np.ones((5, 3)), np.ones((4, 3)))
    np.testing.assert_array_equal(said.xy_input, train.xy_input[[0, 0, 0, 0]])


def test_joints_that_were_not_annotated_come_from_the_mean_pose() -> None:
    train = with_gaps(make_targets(30), share=0.4)
    mean = mean_pose_answers(train, 1).xy_input[0]
    said = random_pose_answers(train, 50, seed=0).xy_input
    from_mean = (said == mean).all(axis=-1)
    assert np.isfinite(said).all()
    assert from_mean.mean() == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("num_bins", [None, 24, 1000])
def test_caption_ceiling_loses_up_to_half_a_bin(num_bins: int | None) -> None:
    targets = make_targets(40)
    said = caption_ceiling(targets, CaptionFormat(96, num_bins))
    half = 0.5 * 96 / (num_bins or 96)
    lost = np.abs(said.xy_input - targets.xy_input)
    assert lost.max() <= half + 1e-9
    assert lost.max() > 0.9 * half
    assert lost.mean() == pytest.approx(half / 2, rel=0.1)


@pytest.mark.parametrize(
    "finer",
    [CaptionFormat(SIZE, 64, location_tokens=True), CaptionFormat(SIZE, 128, order="torso")],
)
def test_ceilings_of_a_release_are_those_of_rounding_its_joints(
    make_data: Callable[..., PoseDataModule], finer: CaptionFormat
) -> None:
    targets = Targets.of(make_data().val_set, SIZE)
    pixels, found = (ceiling_figures(targets, form) for form in (CaptionFormat(SIZE), finer))
    bin_px = SIZE / finer.bins
    rounded = (np.floor((targets.xy_input + 0.5) / bin_px) + 0.5) * bin_px - 0.5
    within = (targets.xy_input > -0.5).all(-1) & (targets.xy_input < SIZE - 0.5).all(-1)
    assert within[targets.valid].all(), "or the border would count"
    lost = np.abs(rounded - targets.xy_input)[targets.valid]
    assert found["mae"] == pytest.approx(lost.mean(), rel=1e-6)
    assert found["acc_1px"] == pixels["acc_1px"] == 1
    assert found["mae"] < 0.7 * pixels["mae"]
    assert found["parse_rate"] == 1


def test_bins_of_four_pixels_lose_the_one_pixel_accuracy(
    make_data: Callable[..., PoseDataModule],
) -> None:
    targets = Targets.of(make_data().train_set, SIZE)
    found = ceiling_figures(targets, CaptionFormat(SIZE, SIZE // 4))
    from_middle = (targets.xy_input + 0.5) % 4 - 2
    is_near = np.hypot(from_middle[..., 0], from_middle[..., 1]) <= 1
    assert found["acc_1px"] == pytest.approx(is_near.mean())
    assert found["acc_1px"] == pytest.approx(np.pi / 16, abs=0.08)  # a disc in a square of 4 x 4
    assert found["acc_5px"] == 1


def test_a_joint_outside_the_input_costs_the_caption_more_than_the_resize() -> None:
    xy_input = make_targets(4).xy_input.copy()
    xy_input[0, 9] = (40.2, -10.3)
    targets = make_targets(4, xy_input=xy_input)
    assert caption_ceiling(targets, CaptionFormat(96)).xy_input[0, 9].tolist() == [40, 0]
    assert resize_ceiling(targets).xy_input[0, 9].tolist() == [40, -10]


def test_with_a_bin_a_pixel_both_ceilings_agree_inside_the_input() -> None:
    targets = make_targets(40)
    said = caption_ceiling(targets, CaptionFormat(96))
    np.testing.assert_allclose(said.xy_input, resize_ceiling(targets).xy_input, atol=1e-9)


def test_whole_input_pixels_cost_more_image_pixels_in_a_larger_image() -> None:
    targets = make_targets(40)  # 640 x 360 to 96 x 96
    found = values(targets, resize_ceiling(targets))
    assert found["mae"] == pytest.approx(0.25, rel=0.05)
    assert found["mae_img"] == pytest.approx(0.25 * (640 + 360) / 2 / 96, rel=0.05)


def test_whole_pixels_of_the_image_lose_a_quarter_of_one() -> None:
    targets = make_targets(40)
    found = values(targets, image_ceiling(targets))
    assert found["mae_img"] == pytest.approx(0.25, rel=0.05)
    assert np.abs(targets.to_img(image_ceiling(targets).xy_input) % 1).round(9).max() in (0, 1)


def test_each_step_on_the_way_to_a_caption_costs_more() -> None:
    targets = make_targets(40)  # 640 x 360 to 96 x 96, to 48 bins
    ceilings = (
        image_ceiling(targets),
        resize_ceiling(targets),
        caption_ceiling(targets, CaptionFormat(96, 48)),
    )
    errors = [values(targets, said)["mae_img"] for said in ceilings]
    assert errors[0] < 0.25 * errors[1] < 0.25 * errors[2]


def test_ceilings_leave_out_what_is_not_annotated() -> None:
    targets = with_gaps(make_targets(20))
    coarse = caption_ceiling(targets, CaptionFormat(96))
    for said in (image_ceiling(targets), resize_ceiling(targets), coarse):
        np.testing.assert_array_equal(np.isfinite(said.xy_input).all(axis=-1), targets.valid)


def test_rows_are_named_apart() -> None:
    train: Any = make_targets(5)
    rows = (
        mean_pose_answers(train, 5),
        median_pose_answers(train, 5),
        random_pose_answers(train, 5, seed=0),
        nearest_pose_answers(train, np.eye(5), np.eye(5)),
        caption_ceiling(train, CaptionFormat(96)),
        resize_ceiling(train),
        image_ceiling(train),
    )
    assert len({row.name for row in rows}) == len(rows)
    assert [row.kind for row in rows] == ["baseline"] * 4 + ["ceiling"] * 3
