"""blippose.metrics against published cases, the MPII evaluation, NumPy, and themselves."""

import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from blippose import metrics as m
from blippose.metrics import sums
from blippose.metrics.modular import Mean
from blippose.metrics.sums import check_poses, joint_distances

SHARED = Path(__file__).parents[2] / "shared"
CASES = SHARED / "reference" / "metric_cases.json"
GT_VALID = SHARED / "mpii" / "gt_valid.mat"
SEEDS = range(5)


def case(name: str) -> dict[str, Any]:
    if not CASES.exists():
        pytest.skip(f"{CASES} is absent")
    return next(c for c in json.loads(CASES.read_text())["cases"] if c["id"] == name)


def arrays(case: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target and mask, with None as NaN and NaN wherever nothing is annotated."""
    preds = [[[np.nan] * 2 if xy is None else xy for xy in person] for person in case["pred"]]
    valid = torch.tensor(case["mask"])
    target = torch.tensor(case["gt"], dtype=torch.float32)
    return (
        torch.tensor(preds, dtype=torch.float32),
        torch.where(valid[..., None], target, torch.nan),
        valid,
    )


@pytest.mark.parametrize("name", ["pck_nf10", "pck_nf_zero"])
def test_per_joint_pck_agrees_with_mmpose(name: str) -> None:
    c = case(name)
    size = torch.tensor(c["norm_factor"], dtype=torch.float32)[:, 0]  # the same for x and y
    per_joint = m.pckh_per_joint(*arrays(c), size, c["thr"])
    expected = torch.tensor(c["expected"]["per_joint"], dtype=torch.float64)
    expected[expected == -1] = torch.nan
    torch.testing.assert_close(per_joint, expected, equal_nan=True)
    assert (~per_joint.isnan()).sum() == c["expected"]["n_valid_joints"]
    mean = per_joint.nanmean().nan_to_num(0.0).item()  # mmpose: unweighted, 0 without a joint
    assert mean == pytest.approx(c["expected"]["mean_over_joints"], abs=c["tol"])


def test_per_joint_pck_gives_mmpose_auc() -> None:
    c = case("auc_norm20_4thr")
    size = torch.tensor([float(c["norm_factor"])])
    thresholds = [i / c["num_thrs"] - 1e-9 for i in range(c["num_thrs"])]  # mmpose: strict <
    heights = [m.pckh_per_joint(*arrays(c), size, t).nanmean().item() for t in thresholds]
    assert np.mean(heights) == pytest.approx(c["expected"], abs=c["tol"])


def test_epe_agrees_with_mmpose() -> None:
    c = case("epe")
    assert m.epe(*arrays(c)).item() == pytest.approx(c["expected"], abs=c["tol"])


def test_mae_is_the_mean_over_both_axes_not_their_sum() -> None:
    mean, summed = case("mae_xy_same_data"), case("l1_sum_same_data")
    assert m.pixel_mae(*arrays(mean)).item() == pytest.approx(mean["expected"], abs=mean["tol"])
    assert 2 * m.pixel_mae(*arrays(summed)).item() == pytest.approx(summed["expected"])


def test_person_with_head_size_zero_is_dropped() -> None:
    c = case("pck_identity_15j")
    preds, target, valid = arrays(c)
    size = torch.tensor(c["head_size"])
    right = m.pckh_per_joint(preds, target, valid, size, c["thr"])
    assert right.nanmean().item() == c["expected"]["PCK"]
    preds[size == 0] = 1e6
    torch.testing.assert_close(m.pckh_per_joint(preds, target, valid, size), right)


def test_accuracy_is_euclidean_and_inclusive() -> None:
    c = case("pixel_tolerance_definitions")
    preds, target, valid = arrays(c)
    expected = c["expected"]["euclid"]
    assert m.pixel_accuracy(preds, target, valid, 4.0).item() == expected["4"]
    assert m.pixel_accuracy(preds, target, valid, 5.0).item() == expected["5_le"]
    assert (joint_distances(preds, target) < 5.0).sum().item() == expected["5_lt"]


def test_joint_that_did_not_parse_is_a_miss() -> None:
    c = case("parse_failure_policy")
    preds, target, valid = arrays(c)
    expected = c["expected"]
    assert m.pixel_accuracy(preds, target, valid, 25.0) == expected["failures_count_as_miss"]
    assert m.parse_rate(preds, valid).item() == expected["parse_rate_joints"]
    filled = m.mae_all(preds, target, valid, torch.zeros(2, 2))  # 0,0 as LocLLM: |50|, |50|
    assert filled.item() == (0 + 0 + 50 + 50) / 4


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1e9, float("inf")])
@pytest.mark.parametrize("bad", [(torch.nan, torch.nan), (10.0, torch.nan), (torch.inf, 10.0)])
def test_half_a_joint_is_a_miss_at_every_threshold(
    bad: tuple[float, float], threshold: float
) -> None:
    preds, target = torch.tensor([[bad]]), torch.tensor([[[10.0, 10.0]]])
    valid = torch.ones(1, 1, dtype=torch.bool)
    assert m.pixel_accuracy(preds, target, valid, threshold).item() == 0
    assert m.parse_rate(preds, valid).item() == 0
    assert m.pixel_mae(preds, target, valid).isnan()


def hrnet_pckh(
    preds: NDArray[Any], gt: dict[str, Any], threshold: float
) -> tuple[NDArray[Any], dict[str, float], float]:
    """The steps of HRNet's lib/dataset/mpii.py, `evaluate`, on its own array layout."""
    visible = 1.0 - gt["jnt_missing"]
    error = np.linalg.norm(preds - gt["pos_gt_src"], axis=1)
    head = 0.6 * np.linalg.norm(gt["headboxes_src"][1] - gt["headboxes_src"][0], axis=0)
    hits = (error / head <= threshold) * visible
    count = visible.sum(axis=1)
    pckh = hits.sum(axis=1) / count
    names = [str(name[0]) for name in gt["dataset_joints"][0]]
    joint = {name: pckh[j] for j, name in enumerate(names)}
    groups = {"head": joint["head"]} | {
        group: 0.5 * (joint["l" + short] + joint["r" + short])
        for group, short in (
            *(("shoulder", "sho"), ("elbow", "elb"), ("wrist", "wri")),
            *(("hip", "hip"), ("knee", "kne"), ("ankle", "ank")),
        )
    }
    scored = [j for j in range(16) if j not in (6, 7)]
    return pckh, groups, float((pckh[scored] * count[scored] / count[scored].sum()).sum())


@pytest.mark.parametrize("threshold", [0.5, 0.1])
def test_pckh_agrees_with_hrnet_on_the_mpii_validation_set(threshold: float) -> None:
    if not GT_VALID.exists():
        pytest.skip(f"{GT_VALID} is absent")
    gt = pytest.importorskip("scipy.io").loadmat(GT_VALID)
    rng = np.random.default_rng(0)
    xy = gt["pos_gt_src"]  # (16, 2, N)
    spread = rng.uniform(1, 60, size=(16, 1, 1))  # so that no two joints score alike
    preds = xy + spread * rng.standard_normal(xy.shape)
    missing = rng.random((16, 1, xy.shape[2])) < 0.05
    preds = np.where(missing, np.nan, preds)
    valid = torch.from_numpy(gt["jnt_missing"].T == 0)
    target = torch.from_numpy(np.moveaxis(xy, 2, 0)).where(valid[..., None], torch.nan)
    low, high = torch.from_numpy(gt["headboxes_src"]).permute(0, 2, 1)
    args = (
        torch.from_numpy(np.moveaxis(preds, 2, 0)),
        target,
        valid,
        0.6 * torch.linalg.vector_norm(high - low, dim=-1),
        threshold,
    )

    per_joint, groups, mean = hrnet_pckh(preds, gt, threshold)

    ours = m.pckh_per_joint(*args)
    np.testing.assert_allclose(ours, per_joint, atol=1e-6)
    assert {k: v.item() for k, v in m.pckh_groups(ours).items()} == pytest.approx(groups, abs=1e-6)
    assert m.pckh(*args).item() == pytest.approx(mean, abs=1e-6)
    assert 0.05 < mean < 0.95


def batch(seed: int, size: int = 7) -> dict[str, Tensor]:
    """Poses with missing, unannotated and tied joints; persons without head or without joints."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 384, (size, 16, 2)).astype(np.float64)
    error = rng.choice([0, 1, 3, 4, 5, 7, 20, 90], (size, 16, 2)) * rng.choice([-1, 1], 2)
    preds, valid = target + error, rng.random((size, 16)) < 0.8
    preds[rng.random((size, 16)) < 0.2] = np.nan
    valid[-1] = False
    target[~valid] = np.nan
    head_size = np.where(rng.random(size) < 0.2, 0.0, rng.integers(5, 80, size).astype(float))
    names = ("preds", "target", "valid", "head_size")
    values = (preds, target, valid, head_size)
    return {k: torch.from_numpy(v) for k, v in zip(names, values, strict=True)}


MEAN_POSE = torch.arange(32, dtype=torch.float64).reshape(16, 2)


def distances(b: dict[str, Tensor]) -> Iterator[tuple[int, int, float]]:
    """Person, joint and distance of each annotated joint; infinite if it did not parse."""
    preds, target, valid = (b[k].numpy() for k in ("preds", "target", "valid"))
    for person, joint in zip(*np.nonzero(valid), strict=True):
        dx, dy = preds[person, joint] - target[person, joint]
        yield (
            int(person),
            int(joint),
            float("inf") if np.isnan(dx + dy) else float(np.hypot(dx, dy)),
        )


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def numpy_mae(b: dict[str, Tensor], mean_pose: Tensor | None = None) -> float:
    errors = []
    for person, joint, d in distances(b):
        xy = b["preds"][person, joint].numpy()
        if d == float("inf"):
            if mean_pose is None:
                continue
            xy = mean_pose[joint].numpy()
        errors += [abs(float(e)) for e in xy - b["target"][person, joint].numpy()]
    return mean(errors)


def numpy_pck(b: dict[str, Tensor], size: list[float], threshold: float) -> float:
    return mean(
        [
            float(d <= threshold * size[person])
            for person, joint, d in distances(b)
            if joint not in (6, 7) and size[person] > 0
        ]
    )


def numpy_torso(b: dict[str, Tensor]) -> list[float]:
    bones = (b["target"][:, 13] - b["target"][:, 2]).numpy()  # left shoulder, right hip
    return [float(np.hypot(x, y)) for x, y in bones]  # NaN where one is not annotated


def numpy_oks(b: dict[str, Tensor], area: list[float]) -> float:
    sigmas = [0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026]
    sigmas += [0.062, 0.072, 0.179, 0.179, 0.072, 0.062]
    persons: dict[int, list[float]] = {}
    for person, joint, d in distances(b):
        if area[person] > 0:
            scale = 2 * area[person] * (2 * sigmas[joint]) ** 2
            persons.setdefault(person, []).append(float(np.exp(-(d**2) / scale)))
    return mean([mean(scores) for scores in persons.values()])


def numpy_auc(b: dict[str, Tensor], size: list[float]) -> float:
    heights = [numpy_pck(b, size, i / 100) for i in range(51)]
    return sum((low + high) / 2 * 0.01 for low, high in pairwise(heights)) / 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_every_function_agrees_with_plain_numpy(seed: int) -> None:
    b = batch(seed)
    size = b["head_size"].tolist()
    d = [d for _, _, d in distances(b)]
    pose = b["preds"], b["target"], b["valid"]
    parsed = [x for x in d if x < float("inf")]
    pairs = {
        "mae": (m.pixel_mae(*pose), numpy_mae(b)),
        "epe": (m.epe(*pose), mean(parsed)),
        "acc_5px": (m.pixel_accuracy(*pose, 5.0), mean([float(x <= 5) for x in d])),
        "parse_rate": (m.parse_rate(b["preds"], b["valid"]), len(parsed) / len(d)),
        "mae_all": (m.mae_all(*pose, MEAN_POSE), numpy_mae(b, MEAN_POSE)),
        "pckh_0.5": (m.pckh(*pose, b["head_size"]), numpy_pck(b, size, 0.5)),
        "pckh_0.1": (m.pckh(*pose, b["head_size"], 0.1), numpy_pck(b, size, 0.1)),
        "pckh_auc": (m.pckh_auc(*pose, b["head_size"]), numpy_auc(b, size)),
        "pck": (m.pck(*pose), numpy_pck(b, numpy_torso(b), 0.2)),
        "oks": (m.oks(*pose, b["head_size"] ** 2), numpy_oks(b, [s**2 for s in size])),
    }
    ours = {name: value.item() for name, (value, _) in pairs.items()}
    assert ours == pytest.approx({name: expected for name, (_, expected) in pairs.items()})
    assert 0 < len(parsed) < len(d)
    assert 0 < ours["pckh_0.1"] < ours["pckh_0.5"] < 1


POSE = ("preds", "target", "valid")
PAIRS: dict[str, tuple[Callable[[], Metric], Callable[..., Tensor], tuple[str, ...]]] = {
    "mae": (m.PixelMAE, m.pixel_mae, POSE),
    "epe": (m.EPE, m.epe, POSE),
    "acc_5px": (partial(m.PixelAccuracy, 5.0), partial(m.pixel_accuracy, threshold=5.0), POSE),
    "parse_rate": (m.ParseRate, m.parse_rate, ("preds", "valid")),
    "mae_all": (partial(m.MAEAll, MEAN_POSE), partial(m.mae_all, mean_pose=MEAN_POSE), POSE),
    "pckh": (m.PCKh, m.pckh, (*POSE, "head_size")),
    "pckh_per_joint": (m.PCKhPerJoint, m.pckh_per_joint, (*POSE, "head_size")),
    "pckh_auc": (m.PCKhAUC, m.pckh_auc, (*POSE, "head_size")),
    "pck": (m.PCK, m.pck, POSE),
    "oks": (m.OKS, m.oks, (*POSE, "head_size")),  # any size serves as an area
}
every_pair = pytest.mark.parametrize("name", PAIRS)


def part(b: dict[str, Tensor], rows: Any, keys: tuple[str, ...]) -> list[Tensor]:
    return [b[key][rows] for key in keys]


@every_pair
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 9), max_size=4))
def test_uneven_and_empty_batches_equal_one_batch(name: str, seed: int, cuts: list[int]) -> None:
    build, function, keys = PAIRS[name]
    b, metric = batch(seed, size=9), build()
    for start, stop in pairwise([0, *sorted(cuts), 9]):
        metric.update(*part(b, slice(start, stop), keys))
    whole = function(*part(b, slice(None), keys))
    torch.testing.assert_close(metric.compute(), whole, equal_nan=True)


@every_pair
@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_the_batch_does_not_matter(name: str, seed: int) -> None:
    _, function, keys = PAIRS[name]
    b = batch(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(7))
    shuffled = function(*part(b, order, keys))
    torch.testing.assert_close(shuffled, function(*part(b, slice(None), keys)), equal_nan=True)


@every_pair
def test_two_processes_with_uneven_shares_equal_one(name: str) -> None:
    build, function, keys = PAIRS[name]
    b = batch(3, size=9)
    ranks = build(), build()
    for metric, rows in zip(ranks, (slice(0, 2), slice(2, 9)), strict=True):
        metric.update(*part(b, rows, keys))
    shares = {s: [getattr(r, s) for r in ranks] for s in ranks[0]._reductions}
    gathered = iter(shares[s] for s in ranks[0]._reductions)
    # What torch.distributed would do: hand every process the states of all, in order.
    ranks[0].distributed_available_fn = lambda: True
    ranks[0].dist_sync_fn = lambda *_, **__: next(gathered)
    whole = function(*part(b, slice(None), keys))
    torch.testing.assert_close(ranks[0].compute(), whole, equal_nan=True)


@every_pair
def test_merged_states_equal_one(name: str) -> None:
    build, function, keys = PAIRS[name]
    b = batch(4, size=9)
    first, second = build(), build()
    first.update(*part(b, slice(0, 7), keys))
    second.update(*part(b, slice(7, 9), keys))
    first.merge_state(second)
    whole = function(*part(b, slice(None), keys))
    torch.testing.assert_close(first.compute(), whole, equal_nan=True)


@every_pair
def test_no_data_is_nan_without_a_warning(name: str) -> None:
    build, function, keys = PAIRS[name]
    b = batch(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build().compute().isnan().all()
        assert function(*part(b, slice(0, 0), keys)).isnan().all()
        b["valid"][:] = False
        assert function(*part(b, slice(None), keys)).isnan().all()


@every_pair
def test_what_stands_in_an_unannotated_target_does_not_matter(name: str) -> None:
    _, function, keys = PAIRS[name]
    b = batch(1)
    with_nan = function(*part(b, slice(None), keys))
    b["target"] = b["target"].nan_to_num(123.0)
    torch.testing.assert_close(function(*part(b, slice(None), keys)), with_nan, equal_nan=True)


@every_pair
def test_a_model_moved_to_bfloat16_keeps_exact_metrics(name: str) -> None:
    build, function, keys = PAIRS[name]
    b, metric = batch(2, size=300), build()
    torch.nn.ModuleList([metric]).to(torch.bfloat16)
    for rows in (slice(0, 150), slice(150, 300)):
        metric.update(*part(b, rows, keys))
    whole = function(*part(b, slice(None), keys))
    torch.testing.assert_close(metric.compute(), whole, equal_nan=True)


@every_pair
def test_reset_forgets(name: str) -> None:
    build, _, keys = PAIRS[name]
    metric = build()
    metric.update(*part(batch(0), slice(None), keys))
    metric.reset()
    assert metric.compute().isnan().all()


@pytest.mark.parametrize("seed", SEEDS)
def test_mae_lies_between_epe_halves_and_epe_over_root_two(seed: int) -> None:
    pose = part(batch(seed), slice(None), POSE)
    mae, epe = m.pixel_mae(*pose).item(), m.epe(*pose).item()
    assert epe / 2 <= mae <= epe / 2**0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_moving_both_poses_changes_nothing(seed: int) -> None:
    preds, target, valid = part(batch(seed), slice(None), POSE)
    shift = torch.tensor([-1000.0, 12.0])
    torch.testing.assert_close(
        m.epe(preds + shift, target + shift, valid), m.epe(preds, target, valid)
    )
    torch.testing.assert_close(
        m.pixel_mae(preds + shift, target + shift, valid), m.pixel_mae(preds, target, valid)
    )


def test_area_under_the_curve_is_one_for_exact_joints_and_zero_for_lost_ones() -> None:
    target, valid = torch.zeros(2, 16, 2), torch.ones(2, 16, dtype=torch.bool)
    size = torch.tensor([10.0, 20.0])
    assert m.pckh_auc(target, target, valid, size).item() == 1
    assert m.pckh_auc(target * torch.nan, target, valid, size).item() == 0


def test_a_group_with_one_annotated_side_is_that_side() -> None:
    per_joint = torch.zeros(16, dtype=torch.float64)
    per_joint[0], per_joint[5] = 0.25, torch.nan  # ankles
    groups = m.pckh_groups(per_joint)
    assert groups["ankle"].item() == 0.25
    assert list(groups) == ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]


def frames(b: dict[str, Tensor], scale: float = 2.0) -> dict[str, Tensor]:
    """The arguments of PoseMetrics, with an image `scale` times as large as the input."""
    return {
        "preds_input": b["preds"],
        "target_input": b["target"],
        "valid": b["valid"],
        "preds_img": scale * b["preds"],
        "target_img": scale * b["target"],
        "head_size": b["head_size"],
    }


def test_pose_metrics_gives_each_metric_in_its_frame() -> None:
    b = batch(0)
    metrics = m.PoseMetrics(MEAN_POSE)
    metrics.update(**frames(b))
    preds, target, valid = part(b, slice(None), POSE)
    img = 2 * preds, 2 * target, valid
    expected = {
        "mae": m.pixel_mae(preds, target, valid),
        "epe": m.epe(preds, target, valid),
        **{f"acc_{t}px": m.pixel_accuracy(preds, target, valid, float(t)) for t in (1, 5, 25)},
        "mae_img": m.pixel_mae(*img),
        "epe_img": m.epe(*img),
        **{f"acc_{t}px_img": m.pixel_accuracy(*img, float(t)) for t in (1, 5, 25)},
        "pckh_0.5": m.pckh(*img, b["head_size"]),
        "pckh_0.1": m.pckh(*img, b["head_size"], 0.1),
        "pckh_auc": m.pckh_auc(*img, b["head_size"]),
        "parse_rate": m.parse_rate(preds, valid),
        "mae_all": m.mae_all(preds, target, valid, MEAN_POSE),
    }
    assert metrics.compute() == expected


def test_pose_metrics_over_uneven_batches_and_merged_states_equals_one_batch() -> None:
    b = batch(5, size=9)
    first, second, whole = (m.PoseMetrics(MEAN_POSE) for _ in range(3))
    rows = (slice(0, 1), slice(1, 3), slice(3, 9))
    for metric, share in zip((first, first, second), rows, strict=True):
        metric.update(**{k: v[share] for k, v in frames(b).items()})
    whole.update(**frames(b))
    first.merge_state(second)
    merged, expected = first.compute(), whole.compute()
    assert merged.keys() == expected.keys()
    torch.testing.assert_close(list(merged.values()), list(expected.values()))


def test_pose_metrics_without_data_are_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = m.PoseMetrics().compute()
    assert all(value.isnan() for value in values.values())


def test_unknown_mean_pose_makes_mae_all_nan_and_nothing_else() -> None:
    metrics = m.PoseMetrics()
    metrics.update(**frames(batch(0)))
    assert [name for name, value in metrics.compute().items() if value.isnan()] == ["mae_all"]


def test_a_collection_keeps_metrics_of_several_kinds_apart() -> None:
    """Also where all of them say the same of the first batch."""
    target = torch.zeros(2, 16, 2)
    valid = torch.ones(2, 16, dtype=torch.bool)
    head_size = torch.full((2,), 60.0)
    pixels = MetricCollection({f"@{px}": m.PixelAccuracy(float(px)) for px in (1, 5, 25)})
    heads = MetricCollection({"pckh_half": m.PCKh(0.5), "pckh_tenth": m.PCKh(0.1)})
    for away in (400.0, 3.0):
        pixels.update(target + away, target, valid)
        heads.update(target + away, target, valid, head_size)
    assert {key: float(value) for key, value in pixels.compute().items()} == {
        "@1": 0.0, "@5": 0.5, "@25": 0.5
    }  # fmt: skip
    assert len(heads.compute_groups) == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"preds": torch.zeros(3, 16, 3)}, "preds of shape (3, 16, 3): expected (persons, 16, 2)"),
        ({"preds": torch.zeros(3, 14, 2)}, "preds of shape (3, 14, 2): expected (persons, 16, 2)"),
        ({"target": torch.zeros(1, 16, 2)}, "target of shape (1, 16, 2): expected (3, 16, 2)"),
        ({"valid": torch.ones(3, 16)}, "torch.float32: expected (3, 16) and bool"),
        ({"valid": torch.ones(16, dtype=torch.bool)}, "valid of shape (16,)"),
        ({"of_person": torch.ones(3, 1)}, "a value a person of shape (3, 1): expected (3,)"),
    ],
)
def test_what_broadcasting_would_make_a_figure_of_is_refused(
    wrong: dict[str, Tensor], says: str
) -> None:
    right = {
        "preds": torch.zeros(3, 16, 2),
        "target": torch.zeros(3, 16, 2),
        "valid": torch.ones(3, 16, dtype=torch.bool),
        "of_person": torch.ones(3),
    }
    check_poses(**right, is_mpii=True)
    with pytest.raises(ValueError, match=re.escape(says)):
        check_poses(**{**right, **wrong}, is_mpii=True)


def test_every_metric_refuses_a_target_that_would_be_broadcast() -> None:
    """Users have no check of annotations, which would be before it here."""
    preds, valid = torch.zeros(3, 16, 2), torch.ones(3, 16, dtype=torch.bool)
    target, value = torch.zeros(1, 16, 2), torch.ones(3)
    for function, more in (
        (sums.pixel_mae_sums, ()),
        (sums.epe_sums, ()),
        (sums.pixel_accuracy_sums, (5.0,)),
        (sums.mae_all_sums, (torch.zeros(16, 2),)),
        (sums.pck_sums, (value, [0.5])),
        (sums.pckh_sums, (value, 0.5)),
        (sums.pckh_auc_sums, (value,)),
        (sums.oks_sums, (value,)),
    ):
        with pytest.raises(ValueError, match="target of shape"):
            inspect.unwrap(function)(preds, target, valid, *more)


def test_a_mean_weighs_uneven_batches_by_their_counts() -> None:
    loss = Mean()
    loss.update(torch.tensor(1.0), 3)
    loss.update(torch.tensor(5.0), 1)
    assert loss.compute() == 2
