"""blippose.evaluation.cautions: each speaks of what is wrong, and is silent of what is right."""

from __future__ import annotations

import numpy as np
import pytest
from example_persons import answers, copies, make_targets

from blippose.evaluation import cautions
from blippose.evaluation.baselines import mean_pose_answers, random_pose_answers
from blippose.evaluation.intervals import Bootstrap
from blippose.evaluation.scores import Scores
from blippose.evaluation.targets import Answers

NUM = 120
TARGETS = make_targets(NUM)
DRAWS = Bootstrap.of(TARGETS.video, samples=300, seed=0)


def scores(said: Answers) -> Scores:
    return Scores.of(TARGETS, said, np.full((16, 2), 48.0))


def within_one_px(share: float, seed: int = 0) -> Scores:
    """Joints that are exact, and as for the others a localiser's."""
    exact = np.random.default_rng(seed).random((NUM, 16, 1)) < share
    far = answers(TARGETS, sigma=4.0, seed=seed).xy_input
    return scores(Answers("model", "model", np.where(exact, TARGETS.xy_input, far)))


def test_teacher_forcing_far_above_free_running_is_said_with_both_figures() -> None:
    free, forced = within_one_px(0.04), within_one_px(0.55)
    sentence = cautions.teacher_forcing(free, forced, DRAWS)
    assert sentence is not None
    for of in (free, forced):
        assert f"{float(of.metric('acc_1px', DRAWS).value):.3f}" in sentence
    assert "@1 px" in sentence


def test_a_gap_at_five_pixels_alone_is_said_too() -> None:
    free = scores(answers(TARGETS, sigma=12.0))
    forced = scores(Answers("model", "model", TARGETS.xy_input + 3.0))
    assert "@5 px" in str(cautions.teacher_forcing(free, forced, DRAWS))


@pytest.mark.parametrize(("free", "forced"), [(0.5, 0.5), (0.5, 0.54), (0.55, 0.04)])
def test_teacher_forcing_about_as_good_or_worse_is_not_said(free: float, forced: float) -> None:
    assert cautions.teacher_forcing(within_one_px(free), within_one_px(forced), DRAWS) is None


def test_a_gap_that_the_interval_does_not_bear_out_is_not_said() -> None:
    two_videos = Bootstrap.of(np.arange(NUM) // 60, samples=300, seed=0)
    free, forced = within_one_px(0.5), within_one_px(0.8)
    forced.total[:60] = free.total[:60]  # a gap in one video, none in the other
    gap = forced.metric("acc_1px", two_videos) - free.metric("acc_1px", two_videos)
    assert gap.value > 0.1
    assert cautions.teacher_forcing(free, forced, two_videos) is None
    assert cautions.teacher_forcing(free, forced, DRAWS) is not None


def test_sibling_frames_in_training_are_said() -> None:
    sentence = cautions.shared_videos("random", num_shared=60, num_unknown=0, num_images=120)
    assert sentence is not None
    assert "60 of 120 images (50 %)" in sentence
    assert "split=random" in sentence
    assert cautions.shared_videos("random", 0, 0, 120) is None


@pytest.mark.parametrize("split", ["random", "video"])
def test_unknown_videos_are_said_of_either_split(split: str) -> None:
    """By video too, each unknown one counts as one of its own, and siblings may be parted."""
    sentence = cautions.shared_videos(split, num_shared=0, num_unknown=5, num_images=120)
    assert "of 5 of 120 images (4 %) it is not known" in str(sentence)
    assert cautions.shared_videos(split, num_shared=0, num_unknown=0, num_images=120) is None


def test_training_images_of_unknown_videos_are_said_where_nothing_else_is() -> None:
    sentence = str(cautions.shared_videos("video", 0, 0, 120, num_train_unknown=3))
    assert "of 3 images of its training the video is not known" in sentence
    shared = str(cautions.shared_videos("video", 6, 0, 120, num_train_unknown=3))
    assert "share a video" in shared


def test_a_single_near_duplicate_is_said() -> None:
    assert "1 of 120 images" in str(cautions.near_duplicates(1, 120))
    assert cautions.near_duplicates(0, 120) is None


def test_of_another_split_what_the_model_learned_from_is_named() -> None:
    sentence = str(cautions.shared_videos(None, num_shared=6, num_unknown=0, num_images=120))
    assert "6 of 120 images (5 %) share a video with a training image (another split)" in sentence
    assert "another split, and of 2 of" in str(cautions.shared_videos(None, 0, 2, 120))
    assert cautions.shared_videos(None, 0, 0, 120) is None


def test_training_that_nobody_knows_is_said() -> None:
    assert "another split (aaaaaaaaaaaa)" in cautions.unknown_training("a" * 64, "b" * 64)
    assert "Nobody knows" in cautions.unknown_training(None, "b" * 64)


def test_weights_from_another_split_are_said() -> None:
    assert cautions.earlier_training([], "b" * 64) is None
    assert cautions.earlier_training(["b" * 64], "b" * 64) is None
    sentence = str(cautions.earlier_training(["a" * 64, None, "b" * 64, None], "b" * 64))
    assert "another split (aaaaaaaaaaaa, unknown)" in sentence


def test_a_run_that_is_not_done_is_said() -> None:
    assert "not done (running)" in str(cautions.run_not_done("running"))
    assert cautions.run_not_done("done") is None
    assert cautions.run_not_done(None) is None


def test_only_a_test_set_says_nothing_of_selection() -> None:
    assert cautions.subset_used("test", is_own_split=True) is None
    assert "chosen" in str(cautions.subset_used("val", is_own_split=True))
    assert cautions.subset_used("val", is_own_split=False) is None
    assert "by heart" in str(cautions.subset_used("train", is_own_split=True))


def test_a_single_training_image_is_said() -> None:
    assert "1 of 120 images (1 %) are training images themselves" in str(
        cautions.training_images(1, 120)
    )
    assert cautions.training_images(0, 120) is None


def test_a_model_as_good_without_its_image_is_said() -> None:
    blind = scores(mean_pose_answers(TARGETS, NUM))
    sentence = cautions.no_better_than_controls(blind, {"blank image": blind}, DRAWS)
    assert sentence is not None
    assert "blank image" in sentence


def test_a_model_that_needs_its_image_is_not_said() -> None:
    model = scores(answers(TARGETS))
    shuffled = scores(Answers("s", "control", np.roll(answers(TARGETS).xy_input, 4, axis=0)))
    assert cautions.no_better_than_controls(model, {"shuffled images": shuffled}, DRAWS) is None


def test_baselines_that_are_not_beaten_are_named_and_others_are_not() -> None:
    model = scores(Answers("m", "model", mean_pose_answers(TARGETS, NUM).xy_input + 0.01))
    rivals = {
        "mean pose": scores(mean_pose_answers(TARGETS, NUM)),
        "random pose": scores(random_pose_answers(TARGETS, NUM, seed=0)),
    }
    sentence = str(cautions.no_better_than_baselines(model, rivals, DRAWS))
    assert "mean pose" in sentence
    assert "random pose" not in sentence
    assert cautions.no_better_than_baselines(scores(answers(TARGETS)), rivals, DRAWS) is None


def test_silence_does_not_make_a_model_better_than_its_rivals() -> None:
    said = answers(TARGETS, sigma=1.0, missing=0.999)
    rivals = {"mean pose": scores(mean_pose_answers(TARGETS, NUM))}
    silent = scores(said)
    assert silent.metric("mae", DRAWS).value < 2
    assert cautions.no_better_than_baselines(silent, rivals, DRAWS) is not None


def test_without_an_interval_nothing_is_shown_to_be_better() -> None:
    one_video = Bootstrap.of(np.zeros(NUM, dtype=np.int64), samples=10, seed=0)
    rivals = {"mean pose": scores(mean_pose_answers(TARGETS, NUM))}
    model = scores(answers(TARGETS))
    assert cautions.no_better_than_baselines(model, rivals, one_video) is not None


def test_joints_left_out_are_said_with_the_error_over_all() -> None:
    model = scores(answers(TARGETS, missing=0.1))
    sentence = str(cautions.unparsed_joints(model, DRAWS))
    assert f"{float(model.metric('mae_all', DRAWS).value):.2f} px" in sentence
    assert cautions.unparsed_joints(scores(answers(TARGETS)), DRAWS) is None


def test_copied_answers_are_known_by_the_gap_between_exact_and_far() -> None:
    study = copies(TARGETS, right=0.81, far=15.0)  # 0.81 exact, the others 7 to 22 px off
    sentence = str(cautions.copied_answers("model, free-running", scores(study), DRAWS))
    assert sentence.startswith("Model, free-running")


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0, 4.0, 12.0])
def test_localisers_of_any_precision_are_not_taken_for_copies(sigma: float) -> None:
    model = scores(answers(TARGETS, sigma=sigma))
    assert cautions.copied_answers("model", model, DRAWS) is None


def test_a_localiser_with_swapped_sides_and_the_mean_pose_are_no_copies() -> None:
    xy = answers(TARGETS, sigma=2.0).xy_input.copy()
    xy[::5] = xy[::5, [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]]
    swapped, mean = Answers("m", "model", xy), mean_pose_answers(TARGETS, NUM)
    for said in (swapped, mean):
        assert cautions.copied_answers("model", scores(said), DRAWS) is None


def test_synthetic_people_are_said() -> None:
    assert "synthetic" in str(cautions.synthetic_people(True))
    assert cautions.synthetic_people(False) is None


def test_few_videos_are_said() -> None:
    assert cautions.few_units("video", 30) is None
    assert "29 videos" in str(cautions.few_units("video", 29))
    assert "one video: there are no intervals" in str(cautions.few_units("video", 1))
