from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blippose.evaluation.attention.figures import _figure as attention_figure
from blippose.evaluation.figures import (
    Bars,
    Curve,
    cdf,
    joints_of,
    new_figure,
    write_error_cdf,
    write_per_joint,
)
from blippose.evaluation.overlays import person_error, ranked
from blippose.evaluation.targets import Answers, Targets
from blippose.pose import JOINTS


def test_missing_joints_keep_a_curve_below_one() -> None:
    steps, share = cdf(np.array([1.0, np.nan, 3.0, np.nan]))
    assert steps.tolist() == [1.0, 3.0]
    assert share.tolist() == [0.25, 0.5]


@pytest.mark.parametrize("num_words", [3, 25, 60])
def test_a_long_subtitle_stays_within_its_picture(num_words: int, tmp_path: Path) -> None:
    figure = new_figure(10.0, 5.0, "A title", " ".join(["images"] * num_words))
    figure.savefig(tmp_path / "figure.png")
    subtitle = figure.texts[-1]
    assert subtitle.get_window_extent().x1 <= figure.bbox.x1
    assert (subtitle.get_fontsize() == 9.0) == (num_words == 3)


@pytest.mark.parametrize("make", [new_figure, attention_figure])
def test_a_files_name_is_drawn_whatever_its_bytes_and_is_no_formula(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    figure = make(10.0, 5.0, "A title", "a$_$\udcff.png")
    figure.savefig(tmp_path / "figure.png")
    assert figure.texts[-1].get_text() == "a$_$?.png"


def test_every_joint_is_in_one_panel() -> None:
    parts = {name.split()[-1] if name[:5] in ("right", "left ") else name for name in JOINTS}
    shown = [joint for part in parts for joint in joints_of(part)]
    assert sorted(shown) == list(range(16))
    assert [JOINTS[joint] for joint in joints_of("wrist")] == ["right wrist", "left wrist"]


def test_figures_are_drawn_though_joints_are_missing(tmp_path: Path) -> None:
    distance = np.abs(np.random.default_rng(0).normal(3, 2, (20, 16)))
    distance[:, 3] = np.nan
    valid = np.ones((20, 16), dtype=bool)
    valid[:, 4] = False
    path = tmp_path / "cdf.png"
    model = Curve("model", distance)
    write_error_cdf(path, model, [Curve("mean pose", distance + 5)], valid, 96, "20 images")
    value = np.full(16, 0.5)
    bars = Bars("within 5 px", "share of joints", value, value - 0.1, value + 0.1, value / 2)
    bars.low[2] = bars.high[2] = bars.value[2] = np.nan
    write_per_joint(tmp_path / "bars.png", [bars, bars], "model", "mean pose", "20 images")
    for name in ("cdf.png", "bars.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 600
            assert np.asarray(picture.convert("L")).std() > 10  # something is drawn


def targets_of(num: int) -> Targets:
    xy = np.tile(np.arange(32.0).reshape(16, 2), (num, 1, 1))
    valid = np.ones((num, 16), dtype=bool)
    return Targets(
        index=np.arange(num),
        image_names=("a.jpg",) * num,
        video=np.full(num, -1),
        xy_input=xy,
        xy_img=xy,
        valid=valid,
        crop=np.array([[0.0, 0.0, 96.0, 96.0]] * num),
        head_size=np.ones(num),
        scale=np.ones(num),
        input_size=96,
    )


def test_silence_is_worse_than_any_answer() -> None:
    targets = targets_of(3)
    xy = targets.xy_input.copy()
    xy[0] += 30.0
    xy[1] = np.nan
    error = person_error(targets, Answers("model", "model", xy))
    assert error.tolist() == pytest.approx([30 * np.sqrt(2), 96, 0])


@pytest.mark.parametrize("num", [1, 2, 5, 12, 40])
def test_best_median_and_worst_are_shown_once(num: int) -> None:
    error = np.random.default_rng(num).random(num)
    shown = list(ranked(error, np.arange(num), 4))
    positions = [position for _, position in shown]
    assert len(set(positions)) == len(positions) <= 12
    assert shown[0] == ("best", error.argmin())
    if num > 2:
        assert ("worst", error.argmax()) in shown
        medians = [error[position] for rank, position in shown if rank == "median"]
        assert min(medians) <= np.median(error) <= max(medians)


def test_best_median_and_worst_are_of_different_videos_where_there_are_enough() -> None:
    error = np.arange(60, dtype=float)
    video = np.arange(60) // 5  # frames of one video are equally hard
    shown = list(ranked(error, video, 4))
    assert [position for rank, position in shown if rank == "worst"] == [59, 54, 49, 44]
    for rank in ("best", "median", "worst"):
        assert len({video[position] for each, position in shown if each == rank}) == 4
    shuffled = np.random.default_rng(0).permutation(60)
    uneven = np.repeat(np.arange(4), (28, 16, 1, 15))
    shown = list(ranked(np.argsort(shuffled).astype(float), uneven, 4))
    assert len(shown) == len({position for _, position in shown}) == 12
    alone = list(ranked(error, np.zeros(60, dtype=int), 4))
    assert [position for rank, position in alone if rank == "worst"] == [59, 58, 57, 56]
