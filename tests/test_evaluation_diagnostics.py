"""blippose.evaluation.diagnostics: swapped sides, errors near and far, faults of captions."""

from __future__ import annotations

import numpy as np
import pytest
from example_persons import answers, copies, make_targets, with_gaps

from blippose.caption import CaptionFormat
from blippose.evaluation.diagnostics import (
    caption_faults,
    error_density,
    improvement,
    input_pixel,
    outside_input,
    share_between,
    swapped_pairs,
)
from blippose.evaluation.intervals import Bootstrap
from blippose.evaluation.scores import Scores
from blippose.evaluation.targets import Answers, Targets
from blippose.pose import JOINTS, MIRROR

DRAWS = Bootstrap.of(np.arange(40), samples=200, seed=0)
MEAN_POSE = np.full((16, 2), 48.0)


def scores(targets: Targets, said: Answers) -> Scores:
    return Scores.of(targets, said, MEAN_POSE)


def saying(xy_input: np.ndarray) -> Answers:
    return Answers("model", "model", xy_input)


def test_the_truth_swaps_nothing_and_its_mirror_all() -> None:
    targets = make_targets()
    right, right_of = swapped_pairs(targets, saying(targets.xy_input))
    wrong, wrong_of = swapped_pairs(targets, saying(targets.xy_input[:, list(MIRROR)]))
    assert right.sum() == 0 < right_of.sum()
    assert wrong.sum() == wrong_of.sum() > 0


def test_each_pair_is_judged_alone() -> None:
    targets = make_targets()
    xy = targets.xy_input.copy()
    wrists = [JOINTS.index("right wrist"), JOINTS.index("left wrist")]
    xy[:10, wrists] = xy[:10, wrists[::-1]]
    swapped, judged = swapped_pairs(targets, saying(xy))
    wrists_apart = np.linalg.norm(
        targets.xy_img[:, wrists[0]] - targets.xy_img[:, wrists[1]], axis=-1
    ) > (0.5 * targets.head_size)
    assert wrists_apart[:10].any()
    np.testing.assert_array_equal(swapped, (np.arange(40) < 10) & wrists_apart)
    assert judged.max() <= 6


def test_a_large_error_is_no_swap() -> None:
    targets = make_targets()
    noise = np.random.default_rng(0).normal(0, 500, targets.xy_input.shape)
    for far in (np.array([500.0, 0.0]), noise):
        swapped, judged = swapped_pairs(targets, saying(targets.xy_input + far))
        assert judged.sum() <= 2  # by chance
        assert swapped.sum() <= 2


def test_both_sides_answered_alike_are_no_swap() -> None:
    targets = make_targets()
    middle = (targets.xy_input + targets.xy_input[:, list(MIRROR)]) / 2
    swapped, judged = swapped_pairs(targets, saying(middle))
    assert judged.sum() > 0
    assert swapped.sum() == 0


def test_joints_that_nearly_coincide_have_no_side() -> None:
    xy_input = np.full((4, 16, 2), 48.0)
    xy_input[:, 0, 0] += 1.0  # ankles 6.7 image pixels apart
    near = make_targets(4, xy_input=xy_input, head_size=np.full(4, 20.0))
    apart = make_targets(4, xy_input=xy_input, head_size=np.full(4, 10.0))
    assert swapped_pairs(near, saying(xy_input))[1].tolist() == [0] * 4
    assert swapped_pairs(apart, saying(xy_input))[1].tolist() == [1] * 4


def test_pairs_that_are_not_whole_and_persons_without_head_are_not_judged() -> None:
    targets = with_gaps(make_targets(), share=0.3)
    xy = targets.xy_input.copy()
    xy[:, JOINTS.index("left knee")] = np.nan
    swapped, judged = swapped_pairs(targets, saying(xy))
    sides = [(j, MIRROR[j]) for j in range(16) if JOINTS[j].startswith("right")]
    for i in range(40):
        whole = [
            p for p in sides if targets.valid[i, list(p)].all() and "knee" not in JOINTS[p[0]]
        ]
        assert judged[i] <= len(whole) * (targets.head_size[i] > 0)
    assert swapped.sum() == 0
    assert judged.sum() > 0


def test_share_between_counts_joints_between_the_thresholds() -> None:
    targets = make_targets()
    xy = targets.xy_input.copy()
    xy[:, :4, 0] += 3.0  # 4 of 16 between 1 and 5 px
    xy[:, 4:6, 0] += 0.5
    xy[:, 6:7, 0] += 9.0
    of = scores(targets, saying(xy))
    assert share_between(1, 5, of, DRAWS).interval().value == pytest.approx(4 / 16)
    assert share_between(5, 25, of, DRAWS).interval().value == pytest.approx(1 / 16)
    assert error_density(1, 5, of, DRAWS).interval().value == pytest.approx(1 / 16)


def test_localisers_err_between_one_and_five_pixels_and_copies_do_not() -> None:
    targets = make_targets()
    localised = share_between(1, 5, scores(targets, answers(targets, sigma=2.5)), DRAWS)
    copied = share_between(1, 5, scores(targets, copies(targets, right=0.8)), DRAWS)
    assert localised.interval().low > 0.5
    assert copied.interval().high < 0.02


def test_improvement_is_paired() -> None:
    targets = make_targets()
    said = answers(targets, missing=0.5)
    better = saying(np.where(np.isnan(said.xy_input), 1e3, said.xy_input))
    first, second = scores(targets, said), scores(targets, better)
    assert improvement(second, first, "acc_5px", DRAWS).interval().high == 0
    assert improvement(first, first, "mae", DRAWS).interval().low == 0


def test_faults_of_captions_are_shares_of_annotated_joints() -> None:
    caption_format = CaptionFormat(96)
    whole = caption_format.encode(make_targets(1).xy_input[0])
    said = [
        whole,
        "",
        f"{whole}, right ankle (1,2)",
        whole.replace("left wrist (", "left wrist (1000"),
        whole.replace("left wrist (", "left wrist x"),
    ]
    valid = np.ones((5, 16), dtype=bool)
    valid[1, 8:] = False  # of the empty caption eight joints are asked for
    reasons = [caption_format.decode(caption).reasons for caption in said]
    truncated = np.array([False, True, False, False, False])
    found = caption_faults(reasons, truncated, valid, Bootstrap.of(np.arange(5), 100, seed=0))
    assert found.pop("num_captions") == 5
    assert {name: cell["value"] for name, cell in found.items()} == pytest.approx(
        {
            "parse_rate": 61 / 72,
            "absent": 8 / 72,
            "no_number": 1 / 72,
            "twice": 1 / 72,
            "out_of_range": 1 / 72,
            "truncated": 1 / 5,
        }
    )
    for cell in found.values():
        assert cell["low"] < cell["value"] < cell["high"]


def test_no_caption_has_no_shares() -> None:
    nobody = Bootstrap.of(np.arange(0), 10, seed=0)
    found = caption_faults([], np.zeros(0, dtype=bool), np.zeros((0, 16), dtype=bool), nobody)
    assert np.isnan(found["parse_rate"]["value"])
    assert found["num_captions"] == 0


def test_joints_that_the_input_does_not_show_are_counted() -> None:
    xy_input = np.full((40, 16, 2), 48.0)
    xy_input[0, :4, 0] = (-0.5, 95.5, -0.6, 95.6)  # pixel centres are integers: the ends are in
    targets = make_targets(xy_input=xy_input)
    assert outside_input(targets, DRAWS).interval().value == 2 / (40 * 16)
    targets.valid[0, 2] = False
    assert outside_input(targets, DRAWS).interval().value == 1 / (40 * 16 - 1)


def test_an_input_pixel_is_as_large_as_its_share_of_the_image() -> None:
    assert input_pixel(make_targets()) == {"width": 640 / 96, "height": 360 / 96}
