"""The noise of a run, and how far it carries: intervals, and comparisons of many choices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr, stdtrit
from scipy.stats import studentized_range

LEVEL = 0.95
_NODES = 64, 96  # of a normal variable and of a deviation; 4 digits of tables need half of them


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one run about its choice, and where it was read from.

    Args:
        freedom: degrees of freedom; a part of one too (Satterthwaite).
        holds_interactions: whether it may be interactions rather than noise: too few runs to tell.
        is_paired: whether what a seed does to all choices alike is not in it.
        own: of the choices that are not in it, as their seeds scatter beyond the others', by key.
        spread: with what a seed does to all choices alike in it: of one choice's mean, and between
            choices that share no seed; None of one seed a choice.
    """

    deviation: float
    freedom: int | float
    source: str
    holds_interactions: bool = False
    is_paired: bool = False
    own: Mapping[tuple[object, ...], Noise] = field(default_factory=dict, compare=False)
    spread: Noise | None = field(default=None, compare=False)

    def of(self, key: tuple[object, ...]) -> Noise:
        """A choice's own, or the one of all others."""
        return self.own.get(key, self)

    def half_width(self, variance: float) -> float:
        """Half of the interval of an estimate whose variance is `variance` runs' worth."""
        return float(stdtrit(self.freedom, (1 + LEVEL) / 2) * self.deviation * np.sqrt(variance))

    def reach(self, variance: float, num_choices: int) -> float:
        """How far two of so many equal choices lie apart, the farthest two among them too.

        Source: Tukey and Kramer, and Games and Howell where `joint` made the noise; the best of
        many is chosen by the noise that it is judged by, so that a correction for the comparisons
        with it alone would not do.
        """
        return _tukey(num_choices, self.freedom) * self.deviation * math.sqrt(variance)

    def reach_of_reference(self, num_others: int, correlation: float) -> float:
        """How far the farthest of so many equal choices lies from one that was named before.

        Of a difference, whose noise this is. `correlation` is that of two differences, the least.
        """
        return dunnett(num_others, self.freedom, correlation) * self.deviation


def joint(parts: Iterable[tuple[Noise, float]]) -> Noise:
    """Of an estimate from runs of several noises, each with its variance in runs' worth.

    Source: Welch, Biometrika 29:350, 1938; degrees of freedom by Satterthwaite, Biometrics
    Bulletin 2:110, 1946. Where all have the same noise its degrees of freedom stay.
    """
    worth: dict[int, float] = {}  # by which noise it is, as two may be equal
    noises: dict[int, Noise] = {}
    for noise, variance in parts:
        noises[id(noise)] = noise
        worth[id(noise)] = worth.get(id(noise), 0.0) + variance
    first = next(iter(noises.values()))
    variances = {i: worth[i] * noise.deviation**2 for i, noise in noises.items()}
    squares = sum(variances[i] ** 2 / noise.freedom for i, noise in noises.items())
    whole = math.sqrt(sum(variances.values()))
    if len(noises) == 1 or squares == 0:
        return replace(first, deviation=whole)
    return replace(first, deviation=whole, freedom=whole**4 / squares)


@lru_cache
def _tukey(num_choices: int, freedom: int | float) -> float:
    """Deviations of a difference; a fifth of a second of integrals."""
    return float(studentized_range.ppf(LEVEL, num_choices, freedom)) / math.sqrt(2)


@lru_cache
def dunnett(num: int, freedom: int | float, correlation: float) -> float:
    """Deviations that the largest of `num` differences from one reference seldom exceeds.

    Two-sided, of equally correlated differences with one deviation; 0.5 is the correlation where
    all choices have as many runs. Less correlation makes it larger, up to Bonferroni's.

    Source: Dunnett, JASA 50:1096, 1955; scipy.stats.dunnett is the same on samples, by random
    points.

    >>> round(dunnett(1, 10, 0.5), 2), round(dunnett(2, 10, 0.5), 2), round(dunnett(9, 60, 0.5), 2)
    (2.23, 2.57, 2.77)
    """
    alone, bonferroni = (float(stdtrit(freedom, 1 - (1 - LEVEL) / 2 / n)) for n in (1, num))
    if num == 1:
        return alone
    common, weights = np.polynomial.hermite_e.hermegauss(_NODES[0])  # what the reference did
    points, worth = np.polynomial.legendre.leggauss(_NODES[1])
    deviations = np.sqrt(chdtri(freedom, (1 - points) / 2) / freedom)
    shift, rest = math.sqrt(correlation) * common[:, None], math.sqrt(1 - correlation)

    def missing(reach: float) -> float:
        ends = [ndtr((shift + sign * reach * deviations) / rest) for sign in (1, -1)]
        inside = (ends[0] - ends[1]) ** num
        return float(weights / weights.sum() @ inside @ worth / 2) - LEVEL

    return float(brentq(missing, alone * 0.99, bonferroni * 1.01))
