"""Raw confidence to how often it comes true: a temperature and a shift for each joint.

    calibrated = sigmoid(logit(raw) / temperature + shift)

fitted by the likelihood of hits and misses on persons with known joints. Missing ones stay at 0.
A model has one for each way in which it was decoded.

Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, for shift and targets;
Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, for the temperature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.special import expit, logit

from blippose.pose import JOINTS
from blippose.whole_file import write_whole

CALIBRATION_FILE = "calibration.json"
_ENDS = 1e-4  # logit is infinite at 0 and 1
# Persons with a joint; of fewer the raw confidence is kept. Where that was exactly right, fits on
# 20, 48, 100 and 300 drawn persons were off by .026, .015, .010 and .006.
FEWEST = 100


@dataclass(frozen=True)
class Calibration:
    """What makes probabilities of a model's confidence.

    Args:
        temperature: of each joint, above 0.
        shift: of each joint, added to the logit.
        decoding: name of the decoding whose confidence this is.
        radius: what the probability is of: a true joint within so many px of the input.
        num_persons: that it was fitted on.
        checkpoint_sha256: of the model's file.
    """

    temperature: tuple[float, ...]
    shift: tuple[float, ...]
    decoding: str
    radius: float
    num_persons: int
    checkpoint_sha256: str

    @staticmethod
    def fit(
        raw: Float[np.ndarray, "persons 16"],
        hit: Bool[np.ndarray, "persons 16"],
        valid: Bool[np.ndarray, "persons 16"],
        *,
        decoding: str,
        radius: float,
        checkpoint_sha256: str,
    ) -> Calibration:
        """The likeliest temperatures and shifts.

        Args:
            raw: confidence of each joint, 0 to 1.
            hit: whether the truth lies within the radius.
            valid: whether the joint is annotated, and the model has said where it is.
            decoding: kept, as are the others.
            radius: see the class.
            checkpoint_sha256: see the class.
        """
        fitted = [_fit(*(each[valid[:, j], j] for each in (raw, hit))) for j in range(len(JOINTS))]
        temperature, shift = zip(*fitted, strict=True)
        return Calibration(temperature, shift, decoding, radius, len(raw), checkpoint_sha256)

    def __call__(self, raw: Float[np.ndarray, "*any 16"]) -> Float[np.ndarray, "*any 16"]:
        """Of raw confidence; 0 stays 0."""
        known = logit(np.clip(raw, _ENDS, 1 - _ENDS))
        calibrated = expit(known / np.array(self.temperature) + np.array(self.shift))
        return np.asarray(np.where(raw > 0, calibrated, 0.0))

    def save(self, folder: Path) -> None:
        """Write it into a run folder, beside those of the same checkpoint's other decodings."""
        others = (each for each in load_calibrations(folder) if each.decoding != self.decoding)
        alike = [each for each in others if each.checkpoint_sha256 == self.checkpoint_sha256]
        _write(folder, (*alike, self))

    @staticmethod
    def of(record: Mapping[str, Any]) -> Calibration:
        """From what `asdict` gives, also through JSON.

        Raises:
            KeyError, TypeError, ValueError: it does not hold one.
        """
        temperature, shift = (tuple(map(float, record[key])) for key in ("temperature", "shift"))
        if len(temperature) != len(JOINTS) or len(shift) != len(JOINTS):
            raise ValueError("no calibration of sixteen joints")
        if not (all(each > 0 for each in temperature) and np.isfinite(temperature + shift).all()):
            raise ValueError("no temperatures above 0 with finite shifts")
        return Calibration(
            temperature,
            shift,
            str(record["decoding"]),
            float(record["radius"]),
            int(record["num_persons"]),
            str(record["checkpoint_sha256"]),
        )


def load_calibrations(folder: Path) -> tuple[Calibration, ...]:
    """Those of a run folder; none where the file is missing or cannot be read."""
    try:
        records = json.loads((folder / CALIBRATION_FILE).read_text(encoding="utf-8"))
        return tuple(map(Calibration.of, records))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def forget_calibration(folder: Path, decoding: str) -> None:
    """Take that of a decoding out of a run folder, so that its confidence is raw again."""
    known = load_calibrations(folder)
    others = [each for each in known if each.decoding != decoding]
    if len(others) < len(known):
        _write(folder, others)


def _write(folder: Path, calibrations: Sequence[Calibration]) -> None:
    text = json.dumps([asdict(each) for each in calibrations], indent=1)
    write_whole(folder / CALIBRATION_FILE, text + "\n")


def _fit(
    raw: Float[np.ndarray, " persons"], hit: Bool[np.ndarray, " persons"]
) -> tuple[float, float]:
    """Temperature and shift of one joint."""
    if len(raw) < FEWEST:
        return 1.0, 0.0
    known = logit(np.clip(raw, _ENDS, 1 - _ENDS))
    num_hits = int(hit.sum())
    # Platt's targets: short of 1 and 0, or a joint that is always right would be sure for ever.
    target = np.where(hit, (num_hits + 1) / (num_hits + 2), 1 / (len(hit) - num_hits + 2))

    def loss(parameters: Float[np.ndarray, "2"]) -> tuple[float, Float[np.ndarray, "2"]]:
        scaled = known * np.exp(-parameters[0])
        said = scaled + parameters[1]
        slope = (expit(said) - target) / len(target)
        value = (np.logaddexp(0, said) - target * said).mean()
        return float(value), np.array([-(slope * scaled).sum(), slope.sum()])

    # Between a twentieth and twenty times the raw logit.
    found = minimize(loss, np.zeros(2), jac=True, bounds=[(-3, 3), (-10, 10)], method="L-BFGS-B")
    return float(np.exp(found.x[0])), float(found.x[1])
