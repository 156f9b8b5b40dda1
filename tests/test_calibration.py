"""Confidence to probability: what is fitted, kept and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from blippose.calibration import CALIBRATION_FILE, Calibration

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


def test_few_persons_of_a_joint_leave_its_confidence_as_it_is() -> None:
    raw, hit = drawn(100, 3.0, 1.0)
    valid = np.ones_like(hit)
    valid[19:, 4] = False
    calibration = fitted(raw, hit, valid)
    assert (calibration.temperature[4], calibration.shift[4]) == (1, 0)
    assert calibration.temperature[5] != 1


def test_joints_that_are_always_right_or_always_wrong_have_finite_confidence() -> None:
    raw, hit = drawn(100, 1.0, 0.0)
    for every in (True, False):
        said = fitted(raw, np.full_like(hit, every))(raw)
        assert ((said > 0.5) == every).all()
        assert 0 < said.min() < said.max() < 1


def test_it_is_kept_and_read_again(tmp_path: Path) -> None:
    calibration = fitted(*drawn(200, 1.3, 0.1))
    calibration.save(tmp_path)
    assert Calibration.load(tmp_path) == calibration


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": [1.0] * 15},
        {"temperature": [0.0] * 16},
        {"shift": "none"},
        {"radius": None},
    ],
)
def test_a_broken_file_is_no_calibration(tmp_path: Path, change: dict[str, object]) -> None:
    fitted(*drawn(50, 1.0, 0.0)).save(tmp_path)
    path = tmp_path / CALIBRATION_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert Calibration.load(tmp_path) is None
    path.write_text("{")
    assert Calibration.load(tmp_path) is None
    assert Calibration.load(tmp_path / "nowhere") is None


def test_calibrations_of_other_checkpoints_differ() -> None:
    calibration = fitted(*drawn(50, 1.0, 0.0))
    assert replace(calibration, checkpoint_sha256="def") != calibration
