"""How far a figure could have come out otherwise: percentile bootstrap over videos or images.

Frames of one video resemble each other, so whole videos are drawn where every video is known. All
figures of a report are read from the same draws, so that differences of rows are paired.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from blippose.evaluation.quantities import is_number

LEVEL = 0.95
# Source: Cameron, Gelbach & Miller, Review of Economics and Statistics 2008: with 5 to 30 clusters
# the usual intervals come out too narrow.
FEW_UNITS = 30


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its interval; NaN where they are not known."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """As the report has it."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure, or an array of them, on the persons as they are and on each draw of them."""

    value: Float[np.ndarray, "*shape"]
    draws: Float[np.ndarray, " samples *shape"]

    def __getitem__(self, item: Any) -> Estimate:
        """As of an array, in every draw."""
        key = item if isinstance(item, tuple) else (item,)
        return Estimate(np.asarray(self.value[key]), self.draws[(slice(None), *key)])

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(np.asarray(self.value + other.value), self.draws + other.draws)

    def __sub__(self, other: Estimate) -> Estimate:
        """Paired, if both come from one `Bootstrap`."""
        return self + -1.0 * other

    def __rmul__(self, factor: float) -> Estimate:
        return Estimate(np.asarray(factor * self.value), factor * self.draws)

    def interval(self) -> Interval:
        """Of a single figure. Draws in which nothing could be scored say nothing."""
        known = self.draws[~np.isnan(self.draws)]
        ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
        low, high = np.quantile(known, ends) if len(known) else (np.nan, np.nan)
        return Interval(float(self.value), float(low), float(high))

    def named(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """The intervals of an array of figures, by name."""
        return {name: self[i].interval().as_dict() for i, name in enumerate(names)}


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Draws of the persons, with replacement, by unit: how often each comes in each draw."""

    weights: Float[np.ndarray, "samples persons"]
    num_units: int

    @staticmethod
    def of(groups: Int[np.ndarray, " persons"], samples: int, seed: int) -> Bootstrap:
        """Draws of as many groups as there are. Of a single group there is nothing to draw."""
        unit = np.unique(groups, return_inverse=True)[1]
        num_units = int(unit.max(initial=-1)) + 1
        if num_units < 2:
            return Bootstrap(np.full((samples, len(groups)), np.nan), num_units)
        draw = np.random.default_rng(seed)
        times = draw.multinomial(num_units, np.full(num_units, 1 / num_units), size=samples)
        return Bootstrap(times[:, unit].astype(np.float64), num_units)

    def ratio(
        self,
        total: Shaped[np.ndarray, " persons *shape"],
        count: Shaped[np.ndarray, " persons *shape"],
    ) -> Estimate:
        """Sum of `total` / sum of `count`; NaN where nothing was counted."""
        all_of, all_counted = self.total(total), self.total(count)
        value = _divide(all_of.value, all_counted.value)
        return Estimate(value, _divide(all_of.draws, all_counted.draws))

    def total(self, summand: Shaped[np.ndarray, " persons *shape"]) -> Estimate:
        """Sum over the persons."""
        numbers = summand.astype(np.float64)
        return Estimate(
            np.asarray(numbers.sum(axis=0)), np.tensordot(self.weights, numbers, axes=1)
        )


def sign(difference: Mapping[str, Any]) -> int:
    """1 or -1 where the interval of a difference, as reports have it, excludes 0; else 0.

    >>> sign({"low": 0.1, "high": 3.0}), sign({"low": 0.0, "high": 2.0})
    (1, 0)
    """
    low, high = difference["low"], difference["high"]
    if not (is_number(low) and is_number(high)):
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def units(video: Int[np.ndarray, " persons"]) -> tuple[str, Int[np.ndarray, " persons"]]:
    """What is drawn, "video" or "image", and to which each person belongs.

    A person whose video is not known (-1) is a video of its own: frames of the known ones still
    hang together. Images where none is known.
    """
    if not (video >= 0).any():
        return "image", np.arange(len(video))
    return "video", np.where(video >= 0, video, -1 - np.arange(len(video)))


def video_counts(video: Int[np.ndarray, " persons"]) -> dict[str, int | None]:
    """Videos that are known, None where none is, and persons of no known one: for a report."""
    return {
        "num_videos": len(np.unique(video[video >= 0])) or None,
        "num_without_video": int((video < 0).sum()),
    }


def _divide(
    total: Num[np.ndarray, "*shape"], count: Num[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    scored = np.nan_to_num(count) > 0
    return np.asarray(np.where(scored, total, np.nan) / np.where(scored, count, 1))
