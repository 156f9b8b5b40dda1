"""blippose.evaluation.scores against the metric functions, PoseMetrics and HRNet's groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from example_persons import answers, make_targets, with_gaps
from torch import Tensor

from blippose import metrics as m
from blippose.evaluation.intervals import Bootstrap
from blippose.evaluation.scores import JOINT_NAMES, NAMES, Scores, area
from blippose.evaluation.targets import Answers, Targets
from blippose.pose import JOINTS

MEAN_POSE = np.full((16, 2), 48.0)
SEEDS = range(3)


def case(seed: int) -> tuple[Targets, Answers, Scores]:
    """Joints not annotated, joints not parsed, and persons without head box."""
    targets = with_gaps(make_targets(60, seed), seed=seed)
    said = answers(targets, sigma=3.0, missing=0.1, seed=seed)
    return targets, said, Scores.of(targets, said, MEAN_POSE)


def draws(targets: Targets) -> Bootstrap:
    return Bootstrap.of(targets.video, samples=100, seed=0)


def tensors(targets: Targets, said: Answers) -> dict[str, Tensor]:
    arrays = {
        "preds_input": said.xy_input,
        "target_input": targets.xy_input,
        "valid": targets.valid,
        "preds_img": targets.to_img(said.xy_input),
        "target_img": targets.xy_img,
        "head_size": targets.head_size,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def area_under_curve(*img: Tensor) -> Tensor:
    """Of each joint, from fifty-one calls of the function at one threshold."""
    curve = torch.stack([m.pckh_per_joint(*img, 0.5 * i / 50) for i in range(51)])
    return torch.trapezoid(curve, dx=0.01, dim=0) / 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_every_metric_equals_that_of_the_metric_classes(seed: int) -> None:
    targets, said, scores = case(seed)
    t = tensors(targets, said)
    whole = m.PoseMetrics(torch.from_numpy(MEAN_POSE))
    whole.update(**t)
    img = t["preds_img"], t["target_img"], t["valid"]
    expected = {name: value.item() for name, value in whole.compute().items()}
    mean_img = torch.from_numpy(targets.to_img(np.tile(MEAN_POSE, (60, 1, 1))))
    filled = torch.where(t["preds_img"].isnan(), mean_img, t["preds_img"])
    expected["mae_all_img"] = m.pixel_mae(filled, t["target_img"], t["valid"]).item()
    expected["pck_0.2"] = m.pck(*img, 0.2).item()
    expected["oks"] = m.oks(*img, torch.from_numpy(area(targets))).item()

    found = scores.metrics(draws(targets)).named(NAMES)

    assert {n: found[n]["value"] for n in NAMES} == pytest.approx(expected, rel=0, abs=1e-9)
    assert 0 < expected["acc_1px"] < expected["parse_rate"] < 1
    assert 0 < expected["oks"] < 1
    assert expected["mae"] != expected["mae_all"] != expected["mae_img"]


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_equal_those_of_mpii(seed: int) -> None:
    targets, said, scores = case(seed)
    t = tensors(targets, said)
    img = t["preds_img"], t["target_img"], t["valid"], t["head_size"]
    found = scores.groups(draws(targets))
    per_joint = {
        "pckh_0.5": m.pckh_per_joint(*img, 0.5),
        "pckh_0.1": m.pckh_per_joint(*img, 0.1),
        "pckh_auc": area_under_curve(*img),
    }
    for name, values_of_joints in per_joint.items():
        expected = m.pckh_groups(values_of_joints)
        values = {group: interval["value"] for group, interval in found[name].items()}
        assert values == pytest.approx({k: v.item() for k, v in expected.items()}, abs=1e-9)
        assert all(i["low"] <= i["value"] <= i["high"] for i in found[name].values())


def test_interval_of_a_group_is_that_of_the_mean_of_both_sides() -> None:
    targets, _, scores = case(0)
    drawn = draws(targets)
    column, wrists = JOINT_NAMES.index("pckh_0.5"), [10, 15]
    expected = []
    for times in drawn.weights:
        hits = times @ scores.joint_total[:, column, wrists]
        count = times @ scores.joint_count[:, column, wrists]
        expected.append((hits / count).mean())
    found = scores.groups(drawn)["pckh_0.5"]["wrist"]
    ends = np.quantile(expected, [0.025, 0.975])
    assert (found["low"], found["high"]) == pytest.approx(tuple(ends), abs=1e-12)


def test_a_group_with_one_annotated_side_is_that_side() -> None:
    targets = make_targets(20)
    valid = targets.valid.copy()
    valid[:, JOINTS.index("left knee")] = False
    some = Targets(**{**vars(targets), "valid": valid})
    scores = Scores.of(some, answers(some), MEAN_POSE)
    right = scores.per_joint(draws(some))["right knee"]["pckh_0.5"]
    assert scores.groups(draws(some))["pckh_0.5"]["knee"] == right
    assert not np.isnan([right["low"], right["high"]]).any()


@pytest.mark.parametrize("joint", ["head top", "left wrist"])
def test_joint_by_joint_equals_a_pose_of_that_joint_alone(joint: str) -> None:
    targets, said, scores = case(1)
    t = tensors(targets, said)
    j = JOINTS.index(joint)
    pose = tuple(t[name][:, [j]] for name in ("preds_input", "target_input", "valid"))
    img = tuple(t[name][:, [j]] for name in ("preds_img", "target_img", "valid"))
    expected = {
        "mae": m.pixel_mae(*pose),
        "epe": m.epe(*pose),
        **{f"acc_{px}px": m.pixel_accuracy(*pose, float(px)) for px in (1, 5, 25)},
        "parse_rate": m.parse_rate(pose[0], pose[2]),
        "pckh_0.5": m.pckh_per_joint(*img, t["head_size"], 0.5)[0],
        "pckh_0.1": m.pckh_per_joint(*img, t["head_size"], 0.1)[0],
        "pckh_auc": area_under_curve(*img, t["head_size"])[0],
    }
    values = {name: value.item() for name, value in expected.items()}
    found = scores.per_joint(draws(targets))[joint]
    assert {name: cell["value"] for name, cell in found.items()} == pytest.approx(values, abs=1e-9)
    assert all(cell["low"] <= cell["value"] <= cell["high"] for cell in found.values())
    assert found["mae"]["low"] < found["mae"]["high"]


def test_a_joint_that_no_one_has_annotated_is_nan() -> None:
    targets = make_targets(8)
    valid = targets.valid.copy()
    valid[:, 3] = False
    some = Targets(**{**vars(targets), "valid": valid})
    cells = Scores.of(some, answers(some), MEAN_POSE).per_joint(draws(some))[JOINTS[3]]
    assert np.isnan([list(cell.values()) for cell in cells.values()]).all()


def test_some_persons_score_as_if_they_were_alone() -> None:
    targets, said, scores = case(2)
    chosen = np.arange(60) % 3 == 0
    fields: dict[str, Any] = {
        name: value[chosen] if isinstance(value, np.ndarray) else value
        for name, value in vars(targets).items()
    }
    alone = Scores.of(Targets(**fields), Answers("a", "model", said.xy_input[chosen]), MEAN_POSE)
    np.testing.assert_array_equal(scores.where(chosen).total, alone.total)
    np.testing.assert_array_equal(scores.where(chosen).joint_count, alone.joint_count)


def test_area_is_that_of_the_annotated_joints_box() -> None:
    targets = make_targets(2)
    xy, valid = np.zeros((2, 16, 2)), np.zeros((2, 16), dtype=bool)
    xy[0, 0], xy[0, 1], xy[0, 2] = (10.0, 20.0), (30.0, 60.0), (500.0, 500.0)
    valid[0, :2] = True
    found = area(Targets(**{**vars(targets), "xy_img": xy, "valid": valid}))
    assert found.tolist() == [0.53 * 20 * 40, 0.0]
