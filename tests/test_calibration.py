"""Confidence to probability: what is fitted, kept and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from blippose.calibration import (
    CALIBRATION_FILE,
    FEWEST,
    Calibration,
    forget_calibration,
    load_calibrations,
)

NUM_JOINTS = 16


def fitted(raw: np.ndarray, hit: np.ndarray, valid: np.ndarray | None = None) -> Calibration:
    known = np.ones_like(hit) if valid is None else valid
    return Calibration.fit(raw, hit, known, decoding="free", radius=5.0, checkpoint_sha256="abc")


def drawn(
    num: int, temperature: float, shift: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Raw confidence, and hits as often as a calibration of these would say."""
    draw = np.random.default_rng(seed)
    raw = draw.uniform(0.02, 0.98, (num, NUM_JOINTS))
    return raw, draw.random(raw.shape) < expit(logit(raw) / temperature + shift)


@pytest.mark.parametrize(("temperature", "shift"), [(1, 0), (2, 0), (0.5, 0.4), (1.5, -1)])
def test_a_known_temperature_and_shift_are_found_again(temperature: float, shift: float) -> None:
    calibration = fitted(*drawn(20_000, temperature, shift))
    assert calibration.temperature == pytest.approx([temperature] * NUM_JOINTS, rel=0.1)
    assert calibration.shift == pytest.approx([shift] * NUM_JOINTS, abs=0.1)


def test_calibrated_confidence_is_as_often_right_as_it_says() -> None:
    calibration = fitted(*drawn(4_000, 3.0, -0.5))
    raw, hit = drawn(4_000, 3.0, -0.5, seed=1)
    assert ((raw - hit) ** 2).mean() > ((calibration(raw) - hit) ** 2).mean()
    for low in (0.2, 0.3, 0.4, 0.5):
        said = calibration(raw)
        here = (said >= low) & (said < low + 0.1)
        assert hit[here].mean() == pytest.approx(said[here].mean(), abs=0.03)


def test_joints_keep_their_order_and_missing_ones_stay_at_0() -> None:
    raw = np.linspace(0, 1, 50)[:, None] * np.ones(NUM_JOINTS)
    calibration = fitted(*drawn(500, 0.7, 0.3))
    said = calibration(raw)
    assert (np.diff(said, axis=0) >= 0).all()
    assert (said[0] == 0).all()
    assert said.max() <= 1


def test_what_is_fitted_is_the_likeliest() -> None:
    """Neither a little more nor a little less of either makes Platt's targets likelier."""
    raw, hit = drawn(300, 1.7, 0.4)
    calibration = fitted(raw, hit)
    num_hits, num = hit.sum(axis=0), len(hit)
    target = np.where(hit, (num_hits + 1) / (num_hits + 2), 1 / (num - num_hits + 2))

    def loss(factor: float, more: float) -> np.ndarray:
        slope = factor / np.array(calibration.temperature)
        said = expit(logit(raw) * slope + np.array(calibration.shift) + more)
        return -(target * np.log(said) + (1 - target) * np.log(1 - said)).mean(axis=0)

    best = loss(1, 0)
    for other in ((1.02, 0), (0.98, 0), (1, 0.02), (1, -0.02)):
        assert (loss(*other) > best).all()


def test_few_persons_of_a_joint_leave_its_confidence_as_it_is() -> None:
    raw, hit = drawn(FEWEST, 3.0, 1.0)
    valid = np.ones_like(hit)
    valid[-1, 4] = False
    calibration = fitted(raw, hit, valid)
    assert (calibration.temperature[4], calibration.shift[4]) == (1, 0)
    assert calibration.temperature[5] != 1


@pytest.mark.parametrize("num", [20, 48, FEWEST, 300])
def test_what_is_right_as_often_as_it_says_is_hardly_harmed(num: int) -> None:
    def sure(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        raw = expit(draw.normal(2.5, 1.6, (num, NUM_JOINTS)))
        return raw, draw.random(raw.shape) < raw

    raw, _ = sure(2000, seed=0)
    moved = [np.abs(fitted(*sure(num, seed))(raw) - raw).mean() for seed in range(1, 6)]
    assert np.mean(moved) < 0.04


def test_a_decodings_calibration_can_be_forgotten(tmp_path: Path) -> None:
    forget_calibration(tmp_path, "free")
    assert not list(tmp_path.iterdir())
    free = fitted(*drawn(200, 1.3, 0.1))
    other = replace(free, decoding="parallel, refine 0")
    for each in (free, other):
        each.save(tmp_path)
    forget_calibration(tmp_path, "free")
    assert load_calibrations(tmp_path) == (other,)
    forget_calibration(tmp_path, other.decoding)
    assert load_calibrations(tmp_path) == ()


def test_joints_that_are_always_right_or_always_wrong_have_finite_confidence() -> None:
    raw, hit = drawn(100, 1.0, 0.0)
    for every in (True, False):
        said = fitted(raw, np.full_like(hit, every))(raw)
        assert ((said > 0.5) == every).all()
        assert 0 < said.min() < said.max() < 1


def test_there_is_one_for_each_decoding_of_a_checkpoint(tmp_path: Path) -> None:
    free = fitted(*drawn(200, 1.3, 0.1))
    other = replace(fitted(*drawn(200, 0.8, 0.1)), decoding="parallel, refine 0")
    free.save(tmp_path)
    other.save(tmp_path)
    assert load_calibrations(tmp_path) == (free, other)
    again = replace(free, shift=(0.5,) * NUM_JOINTS)
    again.save(tmp_path)
    assert load_calibrations(tmp_path) == (other, again)
    newer = replace(free, checkpoint_sha256="def")  # the others are of weights that are gone
    newer.save(tmp_path)
    assert load_calibrations(tmp_path) == (newer,)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": [1.0] * 15},
        {"temperature": [0.0] * 16},
        {"temperature": [float("nan")] * 16},
        {"shift": [float("inf")] * 16},
        {"shift": "none"},
        {"radius": None},
    ],
)
def test_a_broken_file_is_no_calibration(tmp_path: Path, change: dict[str, object]) -> None:
    fitted(*drawn(50, 1.0, 0.0)).save(tmp_path)
    assert len(load_calibrations(tmp_path)) == 1
    path = tmp_path / CALIBRATION_FILE
    [record] = json.loads(path.read_text())
    path.write_text(json.dumps([{**record, **change}]))
    assert load_calibrations(tmp_path) == ()
    path.write_text("{")
    assert load_calibrations(tmp_path) == ()
    assert load_calibrations(tmp_path / "nowhere") == ()


def test_each_joint_is_calibrated_by_its_own_temperature_and_shift() -> None:
    temperature, shift = np.linspace(0.5, 2.0, 16), np.linspace(-1.0, 1.0, 16)
    of_joints = tuple(temperature.tolist()), tuple(shift.tolist())
    calibration = Calibration(*of_joints, "free", 5.0, 300, "abc")
    raw = np.full((3, 16), 0.7)
    np.testing.assert_allclose(calibration(raw), expit(logit(raw) / temperature + shift))
