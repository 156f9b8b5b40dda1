"""Prediction files in HRNet's layout, against the usual evaluation written down a second time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from blippose.errors import UserError
from blippose.evaluation.cautions import counted_from_zero
from blippose.evaluation.intervals import Bootstrap
from blippose.evaluation.protocol import Truth, Variant, read_truth, score, score_file

GT_VALID = Path(__file__).parents[2] / "shared" / "mpii" / "gt_valid.mat"
COLUMNS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
SHORT = {"shoulder": "sho", "elbow": "elb", "wrist": "wri", "hip": "hip"}
SHORT |= {"knee": "kne", "ankle": "ank"}


def hrnet(preds: NDArray[Any], gt: dict[str, Any]) -> dict[str, Any]:
    """HRNet's lib/dataset/mpii.py, `evaluate`, step by step, on its own arrays; in percent."""
    names = [str(name[0]) for name in gt["dataset_joints"][0]]
    visible = 1 - gt["jnt_missing"].astype(np.float64)
    error = np.linalg.norm(np.transpose(preds, [1, 2, 0]) - gt["pos_gt_src"], axis=1)
    head_sizes = np.linalg.norm(gt["headboxes_src"][1] - gt["headboxes_src"][0], axis=0) * 0.6
    with np.errstate(all="ignore"):
        scaled = np.divide(error, np.multiply(head_sizes, np.ones((len(error), 1))))
        scaled = np.multiply(scaled, visible)
    count = np.sum(visible, axis=1)

    def pckh(threshold: float, strict: bool = False) -> NDArray[Any]:
        hits = scaled < threshold if strict else scaled <= threshold
        return np.divide(100.0 * np.sum(np.multiply(hits, visible), axis=1), count)

    def mean(values: NDArray[Any], weighted: bool = True) -> float:
        masked = np.ma.array(values, mask=False)
        masked.mask[6:8] = True
        counts = np.ma.array(count if weighted else np.ones(16), mask=False)
        counts.mask[6:8] = True
        return float(np.sum(masked * (counts / np.sum(counts).astype(np.float64))))

    def groups(values: NDArray[Any]) -> dict[str, float]:
        joint = dict(zip(names, values.tolist(), strict=True))
        pairs = {c: 0.5 * (joint[f"l{s}"] + joint[f"r{s}"]) for c, s in SHORT.items()}
        return {"head": joint["head"], **pairs}

    thresholds = np.arange(0, 0.5 + 0.01, 0.01)
    return {
        "groups": groups(pckh(0.5)),
        "Mean": mean(pckh(0.5)),
        "Mean@0.1": mean(pckh(thresholds[11])),
        "really 0.1": mean(pckh(0.1)),
        "unweighted": mean(pckh(0.5), weighted=False),
        "strict": mean(pckh(0.5, strict=True)),
        "strict groups": groups(pckh(0.5, strict=True)),
    }


@pytest.fixture(scope="module")
def gt() -> dict[str, Any]:
    if not GT_VALID.exists():
        pytest.skip(f"{GT_VALID} is absent")
    return dict(loadmat(GT_VALID))


def head_sizes(gt: dict[str, Any]) -> NDArray[Any]:
    sizes: NDArray[Any] = np.linalg.norm(gt["headboxes_src"][1] - gt["headboxes_src"][0], axis=0)
    return 0.6 * sizes


def random_file(gt: dict[str, Any], seed: int) -> NDArray[Any]:
    """Errors of another spread for each joint, some joints not predicted."""
    rng = np.random.default_rng(seed)
    truth = np.moveaxis(gt["pos_gt_src"], 2, 0)
    preds = truth + rng.uniform(1, 60, (1, 16, 1)) * rng.standard_normal(truth.shape)
    preds[rng.random(preds.shape[:2]) < 0.05] = np.nan
    preds[rng.random(preds.shape[:2]) < 0.01, 0] = np.inf
    return preds


def tied_file(gt: dict[str, Any], seed: int) -> NDArray[Any]:
    """Errors of just 0.5, 0.1 and 0.11 head sizes to the right, and none."""
    rng = np.random.default_rng(seed)
    preds = np.moveaxis(gt["pos_gt_src"], 2, 0).copy()
    shares = rng.choice([0.0, 0.1, 0.11, 0.5], preds.shape[:2])
    preds[..., 0] += shares * head_sizes(gt)[:, None]
    return preds


def rounded_file(gt: dict[str, Any], seed: int) -> NDArray[Any]:
    """Whole pixels in single precision, as networks write them."""
    return np.round(random_file(gt, seed)).astype(np.float32)


def far_file(gt: dict[str, Any], seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1e6, 1e6, (gt["jnt_missing"].shape[1], 16, 2))


def without_heads(gt: dict[str, Any]) -> dict[str, Any]:
    """Every tenth head box has no extent."""
    boxes = gt["headboxes_src"].copy()
    boxes[1, :, ::10] = boxes[0, :, ::10]
    return {**gt, "headboxes_src": boxes}


def read_truth_of(folder: Path, gt: dict[str, Any]) -> Truth:
    savemat(folder / "gt.mat", {k: v for k, v in gt.items() if not k.startswith("__")})
    return read_truth(folder / "gt.mat")


def scored(
    tmp_path: Path, preds: NDArray[Any], gt: dict[str, Any], variant: Variant | None = None
) -> dict[str, Any]:
    """Through the files, as a user does it."""
    savemat(tmp_path / "pred.mat", {"preds": preds})
    savemat(tmp_path / "gt.mat", {k: v for k, v in gt.items() if not k.startswith("__")})
    return score_file(tmp_path / "pred.mat", tmp_path / "gt.mat", variant, samples=20)


def mean(scores: dict[str, Any], name: str) -> float:
    """In percent."""
    return float(100 * scores["mean"][name]["value"])


@pytest.mark.parametrize("is_headless", [False, True])
@pytest.mark.parametrize("make", [random_file, tied_file, rounded_file, far_file])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_file_scores_what_the_usual_evaluation_gives(
    gt: dict[str, Any], tmp_path: Path, make: Any, seed: int, is_headless: bool
) -> None:
    gt = without_heads(gt) if is_headless else gt
    preds = make(gt, seed)
    expected = hrnet(preds, gt)
    usual = scored(tmp_path, preds, gt)
    tenth = scored(tmp_path, preds, gt, Variant(tenth=0.11))
    plain = scored(tmp_path, preds, gt, Variant(weighted=False))
    strict = scored(tmp_path, preds, gt, Variant(strict=True))

    def near(value: Any) -> Any:
        return pytest.approx(value, abs=1e-6)

    assert percent(usual["groups"]["pckh_0.5"]) == near(expected["groups"])
    assert mean(usual, "pckh_0.5") == near(expected["Mean"])
    assert mean(usual, "pckh_0.1") == near(expected["really 0.1"])
    assert mean(tenth, "pckh_0.1") == near(expected["Mean@0.1"])
    assert mean(plain, "pckh_0.5") == near(expected["unweighted"])
    assert mean(strict, "pckh_0.5") == near(expected["strict"])
    assert percent(strict["groups"]["pckh_0.5"]) == near(expected["strict groups"])


def percent(cells: dict[str, dict[str, float]]) -> dict[str, float]:
    assert tuple(cells) == COLUMNS
    return {name: 100 * cell["value"] for name, cell in cells.items()}


def test_each_variant_gives_another_figure(gt: dict[str, Any], tmp_path: Path) -> None:
    preds = tied_file(gt, 0)
    usual = scored(tmp_path, preds, gt)
    for variant, name in (
        (Variant(weighted=False), "pckh_0.5"),
        (Variant(strict=True), "pckh_0.5"),
        (Variant(tenth=0.11), "pckh_0.1"),
    ):
        other = scored(tmp_path, preds, gt, variant)
        assert abs(mean(other, name) - mean(usual, name)) > 1e-3


def test_the_truth_scores_one_and_nothing_scores_zero(gt: dict[str, Any], tmp_path: Path) -> None:
    truth = np.moveaxis(gt["pos_gt_src"], 2, 0)
    whole, none = scored(tmp_path, truth, gt), scored(tmp_path, truth * np.nan, gt)
    for scores, expected in ((whole, 1.0), (none, 0.0)):
        cells = [*scores["mean"].values(), *scores["groups"]["pckh_0.1"].values()]
        assert {number for cell in cells for number in cell.values()} == {expected}
    assert (whole["num_missing"], none["num_missing"]) == (0, none["num_joints"])
    assert whole["num_persons"] == gt["jnt_missing"].shape[1]
    assert (whole["median_offset_px"], none["median_offset_px"]) == ({"x": 0, "y": 0}, None)


def test_area_under_the_curve_by_hand() -> None:
    """All fourteen joints 0.25 head sizes off: hits from 0.25 on, 25 whole steps and a half."""
    truth = Truth(np.zeros((1, 16, 2)), np.ones((1, 16), dtype=bool), np.array([10.0]))
    preds = np.zeros((1, 16, 2))
    preds[..., 0] = 2.5
    result = score(preds, truth, Variant())
    assert mean(result, "pckh_auc") == pytest.approx(51)
    groups = [group["value"] for group in result["groups"]["pckh_auc"].values()]
    assert groups == pytest.approx([0.51] * 7)


@pytest.mark.parametrize("weighted", [True, False])
def test_intervals_are_those_of_persons_drawn_one_by_one(
    gt: dict[str, Any], tmp_path: Path, weighted: bool
) -> None:
    """A loop that writes each draw's persons down and scores them anew."""
    truth, preds = read_truth_of(tmp_path, gt), random_file(gt, 0)
    few = Truth(truth.xy[:60], truth.valid[:60], truth.head_size[:60])
    variant = Variant(weighted=weighted)
    found = score(preds[:60], few, variant, samples=50, seed=3)
    drawn = []
    for times in Bootstrap.of(np.arange(60), 50, seed=3).weights:
        i = np.repeat(np.arange(60), times.astype(int))
        persons = Truth(few.xy[i], few.valid[i], few.head_size[i])
        drawn.append(score(preds[i], persons, variant, samples=1))
    for name in ("pckh_0.5", "pckh_auc"):
        for part, key in (("mean", name), ("groups", name)):
            cells = [each[part][key] for each in drawn]
            cell = found[part][key]
            if part == "groups":
                cells, cell = [each["wrist"] for each in cells], cell["wrist"]
            ends = np.quantile([each["value"] for each in cells], [0.025, 0.975])
            assert (cell["low"], cell["high"]) == pytest.approx(tuple(ends), abs=1e-12)


def test_a_score_is_plain_json(gt: dict[str, Any], tmp_path: Path) -> None:
    result = scored(tmp_path, random_file(gt, 0), gt)
    assert json.loads(json.dumps(result)) == result
    assert result["variant"] == {"weighted": True, "strict": False, "tenth": 0.1}


def off_by(
    gt: dict[str, Any], shift: float, spread: float, num: int, seed: int = 0
) -> NDArray[Any]:
    """Predictions of the first `num` persons with errors that are a person's own and a joint's."""
    rng = np.random.default_rng(seed)
    truth = np.moveaxis(gt["pos_gt_src"], 2, 0)[:num]
    own = 0.3 * rng.standard_normal((num, 1, 2)) + rng.standard_normal(truth.shape)
    return truth + shift + spread * np.asarray(own)


def first(gt: dict[str, Any], num: int) -> dict[str, Any]:
    return {name: value[..., :num] for name, value in gt.items() if not name.startswith("__")}


@pytest.mark.parametrize(("spread", "num"), [(0.0, 2), (0.5, 100), (7.0, 2958)])
def test_predictions_that_count_from_0_are_suspected(
    gt: dict[str, Any], tmp_path: Path, spread: float, num: int
) -> None:
    result = scored(tmp_path, off_by(gt, -1, spread, num), first(gt, num))
    assert list(result["median_offset_px"].values()) == pytest.approx([-1, -1], abs=0.1)
    (warning,) = result["warnings"]
    assert "-1.0" in warning["text"]
    assert "add 1 to both coordinates" in warning["text"]


@pytest.mark.parametrize("shift", [0.0, -0.4, 1.0, -2.0])
@pytest.mark.parametrize("spread", [0.0, 0.5, 7.0])
def test_predictions_that_lie_elsewhere_are_not_suspected(
    gt: dict[str, Any], tmp_path: Path, shift: float, spread: float
) -> None:
    preds = off_by(gt, shift, spread, 2958)
    for each in (preds, np.round(preds)):
        assert not scored(tmp_path, each, gt)["warnings"]


def test_a_median_that_few_persons_have_by_chance_is_not_suspected() -> None:
    draws = Bootstrap.of(np.arange(20), 200, seed=0)
    num_near = 0
    for seed in range(3000):
        offset = np.random.default_rng(seed).normal(0, 12, (20, 14, 2))
        num_near += bool((np.abs(np.median(offset, axis=(0, 1)) + 1) <= 0.1).all())
        assert counted_from_zero(offset, draws) is None
    assert num_near, "no median came near, so that nothing was tried"


def small_gt() -> dict[str, Any]:
    return {
        "pos_gt_src": np.zeros((16, 2, 3)),
        "jnt_missing": np.zeros((16, 3)),
        "headboxes_src": np.ones((2, 2, 3)),
    }


@pytest.mark.parametrize(
    ("preds", "message"),
    [
        (np.zeros((16, 2, 3)), r"`preds` is \[16, 2, 3\]; expected \[N, 16, 2\]"),
        (np.zeros((3, 16, 3)), r"`preds` is \[3, 16, 3\]"),
        (np.zeros((2, 16, 2)), r"2 persons, but gt=.* has 3"),
        (np.array([["a"]]), r"`preds` is .*; expected numbers"),
        (np.zeros((3, 16, 2)) * 1j, r"`preds` is complex128; expected numbers"),
    ],
)
def test_predictions_of_another_layout_are_refused(
    preds: NDArray[Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        scored(tmp_path, preds, small_gt())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jnt_missing": np.zeros((16, 2))}, r"`jnt_missing` is \[16, 2\]; expected \[16, 3\]"),
        ({"headboxes_src": np.zeros((4, 3))}, r"`headboxes_src` is \[4, 3\]"),
        ({"pos_gt_src": np.zeros((3, 16, 2))}, r"`pos_gt_src` is \[3, 16, 2\]"),
    ],
)
def test_truth_of_another_layout_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        scored(tmp_path, np.zeros((3, 16, 2)), {**small_gt(), **change})


def test_a_file_without_its_key_says_what_it_holds(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"pred": np.zeros((3, 16, 2)), "other": 1})
    savemat(tmp_path / "gt.mat", small_gt())
    with pytest.raises(UserError, match="holds no `preds`, but pred, other"):
        score_file(tmp_path / "a.mat", tmp_path / "gt.mat")
    with pytest.raises(UserError, match=r"gt=.*holds no `pos_gt_src`, but pred, other"):
        read_truth(tmp_path / "a.mat")


@pytest.mark.parametrize("content", [b"", b"no mat at all", b"MATLAB 5.0 MAT-file" + b"\0" * 300])
def test_a_file_that_is_no_mat_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    savemat(tmp_path / "gt.mat", small_gt())
    with pytest.raises(UserError, match=r"preds=.*a\.mat: (cannot be read|holds no)") as error:
        score_file(tmp_path / "a.mat", tmp_path / "gt.mat")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gt=.*nowhere\.mat: no such file"):
        score_file(tmp_path / "a.mat", tmp_path / "nowhere.mat")
