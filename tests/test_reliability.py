"""Whether confidence keeps its promise: errors by hand, and what training persons teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_persons import make_targets
from PIL import Image

from blippose.calibration import Calibration
from blippose.evaluation.cautions import calibration_that_harms
from blippose.evaluation.intervals import Bootstrap, units
from blippose.evaluation.reliability import NUM_BINS, calibration_of, is_hit, reliability
from blippose.evaluation.reliability_figure import draw_reliability, write_reliability
from blippose.evaluation.targets import Answers, Targets


def said(targets: Targets, confidence: np.ndarray, hit: np.ndarray) -> Answers:
    """Joints that are right or 20 px off, each as sure as given."""
    xy = targets.xy_input + np.where(hit, 0.0, 20.0)[..., None]
    return Answers("model", "model", xy, confidence=confidence)


def honest(targets: Targets, seed: int = 0) -> Answers:
    """Right as often as it says."""
    draw = np.random.default_rng(seed)
    confidence = draw.uniform(0.05, 0.95, targets.valid.shape)
    return said(targets, confidence, draw.random(confidence.shape) < confidence)


def bootstrap(targets: Targets) -> Bootstrap:
    return Bootstrap.of(units(targets.video)[1], 50, 0)


def test_the_error_is_the_weighted_gap_of_confidence_and_accuracy() -> None:
    targets = make_targets(8)
    targets = replace(targets, valid=np.ones_like(targets.valid))
    confidence = np.full((8, 16), 0.9)
    confidence[4:] = 0.3
    hit = np.zeros((8, 16), dtype=bool)
    hit[:4, :8] = True  # half of those that are sure of .9, none of the others
    found = reliability(targets, said(targets, confidence, hit), None, bootstrap(targets))
    assert found["raw"]["ece"]["value"] == pytest.approx((0.4 + 0.3) / 2)
    bins = found["raw"]["bins"]
    assert [each["num_joints"] for each in bins] == [0, 0, 0, 64, 0, 0, 0, 0, 0, 64]
    assert (bins[9]["confidence"], bins[9]["accuracy"]["value"]) == pytest.approx((0.9, 0.5))
    assert bins[0]["confidence"] is None


def test_joints_that_are_not_annotated_do_not_count() -> None:
    targets = make_targets(8)
    valid = np.zeros_like(targets.valid)
    valid[:, 0] = True
    answers = said(targets, np.full((8, 16), 0.5), np.zeros((8, 16), dtype=bool))
    found = reliability(replace(targets, valid=valid), answers, None, bootstrap(targets))
    assert sum(each["num_joints"] for each in found["raw"]["bins"]) == 8


def test_joints_that_the_model_left_out_do_not_dilute_its_error() -> None:
    targets = make_targets(8)
    hit = np.zeros((8, 16), dtype=bool)
    hit[:, ::2] = True
    answers = said(targets, np.full((8, 16), 0.9), hit)
    xy, confidence = answers.xy_input.copy(), np.full((8, 16), 0.9)
    xy[4:], confidence[4:] = np.nan, 0.0
    fewer = replace(answers, xy_input=xy, confidence=confidence)
    assert not is_hit(targets, fewer)[4:].any()
    for each, num in ((answers, 128), (fewer, 64)):
        found = reliability(targets, each, None, bootstrap(targets))["raw"]
        assert found["ece"]["value"] == pytest.approx(0.4)
        assert sum(one["num_joints"] for one in found["bins"]) == num


def test_luck_is_what_an_honest_model_shows_and_one_that_is_too_sure_does_not() -> None:
    targets = make_targets(400)
    honest_one = reliability(targets, honest(targets), None, bootstrap(targets))["raw"]
    assert honest_one["luck"]["low"] <= honest_one["ece"]["value"] <= honest_one["luck"]["high"]
    too_sure_one = reliability(targets, too_sure(honest(targets)), None, bootstrap(targets))["raw"]
    assert too_sure_one["ece"]["value"] > too_sure_one["luck"]["high"]


def test_luck_grows_as_joints_get_fewer() -> None:
    few, many = (
        reliability(targets, honest(targets), None, bootstrap(targets))["raw"]["luck"]["value"]
        for targets in (make_targets(20), make_targets(320))
    )
    assert few == pytest.approx(4 * many, rel=0.2)  # as the root of their number


def learned_from(targets: Targets, answers: Answers) -> Calibration:
    return calibration_of(targets, answers, decoding="free", checkpoint_sha256="abc")


def too_sure(answers: Answers) -> Answers:
    assert answers.confidence is not None
    return replace(answers, confidence=answers.confidence**0.25)


def test_calibration_mends_a_model_that_is_too_sure_of_training_persons_too() -> None:
    targets, train = make_targets(400), make_targets(400)
    calibration = learned_from(train, too_sure(honest(train, seed=1)))
    found = reliability(targets, too_sure(honest(targets)), calibration, bootstrap(targets))
    raw, calibrated = (found[name]["ece"]["value"] for name in ("raw", "calibrated"))
    assert raw > 0.15
    assert calibrated < 0.05


def test_a_model_that_knows_its_training_persons_by_heart_is_seen_to_stay_too_sure() -> None:
    targets, train = make_targets(400), make_targets(400)
    calibration = learned_from(train, honest(train, seed=1))  # nothing to mend was seen there
    found = reliability(targets, too_sure(honest(targets)), calibration, bootstrap(targets))
    assert found["calibrated"]["ece"]["value"] > 0.15


def test_a_calibration_that_harms_is_cautioned_against_and_one_that_helps_is_not() -> None:
    """Learned from persons of whom it is too sure, it harms where the model is honest."""
    targets, train = make_targets(400), make_targets(400)
    for learned, asked, harms in (
        (honest(train, seed=1), too_sure(honest(targets)), False),  # changes nothing
        (too_sure(honest(train, seed=1)), too_sure(honest(targets)), False),  # mends it
        (too_sure(honest(train, seed=1)), honest(targets), True),
    ):
        found = reliability(targets, asked, learned_from(train, learned), bootstrap(targets))
        raw, calibrated = (found[name]["ece"]["value"] for name in ("raw", "calibrated"))
        assert found["worse_than_raw"]["calibrated"]["value"] == pytest.approx(calibrated - raw)
        sentence = calibration_that_harms(found)
        assert (sentence is not None) == harms
        if sentence is not None:
            figures = f"off by {calibrated:.3f} on average, the model's own by {raw:.3f}"
            assert figures in sentence


def test_without_training_persons_there_is_only_raw_confidence() -> None:
    targets = make_targets(8)
    found = reliability(targets, honest(targets), None, bootstrap(targets))
    assert "calibrated" not in found
    assert calibration_that_harms(found) is None


def test_the_picture_has_a_panel_for_each_kind(tmp_path: Path) -> None:
    targets = make_targets(60)
    answers = honest(targets)
    found = reliability(targets, answers, learned_from(targets, answers), bootstrap(targets))
    write_reliability(tmp_path / "both.png", found, "60 images")
    del found["calibrated"]
    write_reliability(tmp_path / "raw.png", found, "60 images")
    widths = [Image.open(tmp_path / f"{name}.png").width for name in ("raw", "both")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=2)
    assert len(found["raw"]["bins"]) == NUM_BINS


def test_one_image_has_no_interval_and_the_picture_says_none() -> None:
    targets = make_targets(4)
    targets = replace(targets, video=np.zeros_like(targets.video))
    found = reliability(targets, honest(targets), None, bootstrap(targets))
    titles = [axes.get_title() for axes in draw_reliability(found, "$_$").axes]
    assert found["raw"]["ece"]["low"] != found["raw"]["ece"]["low"]  # NaN
    assert "nan" not in "".join(titles)


def test_the_legend_covers_no_panel() -> None:
    targets = make_targets(60)
    answers = honest(targets)
    found = reliability(targets, answers, learned_from(targets, answers), bootstrap(targets))
    figure = draw_reliability(found, "60 images")
    figure.draw_without_rendering()
    [legend] = figure.legends
    assert len(legend.get_texts()) == 2
    assert all(panel.get_legend() is None for panel in figure.axes)
    taken = legend.get_window_extent()
    assert not any(taken.overlaps(panel.get_tightbbox()) for panel in figure.axes)
