"""How far choices lie from the one that they are held against, and how far noise puts them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from blippose.report.axes import Value
from blippose.report.grid import Choice, Grid
from blippose.report.noise import Noise, joint


@dataclass(frozen=True)
class Difference:
    """A choice's mean less that of the one it is held against, over the seeds that both have.

    Args:
        half: of its 95 % interval, which holds for all choices together; None without one.
        is_within: whether noise may be all of it; None where nothing tells.
    """

    value: float
    half: float | None = None
    is_within: bool | None = None


def from_best(
    grid: Grid, best: Choice, others: Sequence[Choice], noise: Noise
) -> list[Difference]:
    """Of each of `others` from the best one, which its score chose (Tukey)."""
    gaps = [_gap(grid, best, other, noise) for other in others]
    return [_judged(one.value, one.noise.reach(1.0, 1 + len(gaps))) for one in gaps]


def from_reference(
    grid: Grid, reference: Choice, others: Sequence[Choice], noise: Noise
) -> list[Difference]:
    """Of each of `others` from one that was named whatever its score (Dunnett).

    Where the noise is not the same, with Welch's degrees of freedom, as Games and Howell take
    them for Tukey's. An equal choice of three seeds and much noise is beyond by chance in 1
    to 2 % of cases, however many there are: with several of them it is less than 95 %.
    """
    gaps = [_gap(grid, reference, other, noise) for other in others]
    least = min((_correlation(a, b) for a, b in itertools.combinations(gaps, 2)), default=0.0)
    return [_judged(one.value, one.noise.reach_of_reference(len(gaps), least)) for one in gaps]


def difference(grid: Grid, held: Choice, other: Choice) -> float:
    """Of the means over all of their runs that are done."""
    return (grid.mean(other) or 0.0) - (grid.mean(held) or 0.0)


def _judged(value: float, half: float) -> Difference:
    return Difference(value, half, abs(value) <= half)


@dataclass(frozen=True)
class _Gap:
    """Between the choice that is held and another.

    Args:
        noise: of the value.
        runs: of the one that is held, by seed or name.
        worth: its variance in runs'.
    """

    value: float
    noise: Noise
    runs: frozenset[Value]
    worth: float


def _gap(grid: Grid, held: Choice, other: Choice, noise: Noise) -> _Gap:
    if noise.is_paired and (pairs := grid.paired(held, other)):
        value = sum(b - a for a, b in pairs.values()) / len(pairs)
        runs, num_other = frozenset(pairs), len(pairs)
    else:
        noise = noise.spread or noise
        value = difference(grid, held, other)
        runs, num_other = frozenset(cell.name for cell in held.done), len(grid.scores(other))
    worth = 1 / len(runs), 1 / num_other
    own = joint(zip((noise.of(held.key), noise.of(other.key)), worth, strict=True))
    return _Gap(value, own, runs, sum(worth))


def _correlation(one: _Gap, other: _Gap) -> float:
    """Of two differences from the same choice, by its runs that are in both."""
    both = len(one.runs & other.runs) / len(one.runs) / len(other.runs)
    return both / math.sqrt(one.worth * other.worth)
