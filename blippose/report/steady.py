"""Which choices' seeds scatter beyond the others', and what each seed does to the others alike.

Knows numbers alone: the value, the choice and the seed of each run.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import fdtri

Values = Float[np.ndarray, " runs"]
Labels = Int[np.ndarray, " runs"]
_ALPHA = 0.01  # of ISO 5725-2 for an outlier
_FEWEST = 3  # choices among which one can be beyond the others, and two are left
_ROUNDING = 1e-9  # of the values; what scatters less does not scatter


def unsteady(y: Values, choices: Labels, seeds: Labels | None) -> list[int]:
    """The choices that Cochran's C test sets apart, the largest scatter first.

    One at a time, until none is beyond the others or two are left. With `seeds`, scatter is about
    what each seed does to all choices that are still together.

    Source: ISO 5725-2, 7.3.3.
    """
    apart: list[int] = []
    while True:
        kept = ~np.isin(choices, apart)
        found = _beyond(y[kept], choices[kept], None if seeds is None else seeds[kept])
        if found is None:
            return apart
        apart.append(found)


def critical_share(num: int, own: int, others: int) -> float:
    """Of the sum of squares, which a choice of `num` equally noisy ones seldom exceeds.

    C = 1 / (1 + others / (own F)), where F is exceeded with 1 % / num, and `own` and `others` are
    degrees of freedom. With n runs of each choice they are n - 1 and (num - 1) (n - 1), and C is
    that of the tables for the largest variance over the sum of all.

    >>> round(critical_share(3, 2, 4), 3), round(critical_share(10, 2, 18), 3)
    (0.942, 0.536)
    """
    return 1 / (1 + others / (own * float(fdtri(own, others, 1 - _ALPHA / num))))


def without_seeds(
    choices: Labels, seeds: Labels, kept: Bool[np.ndarray, " runs"]
) -> Float[np.ndarray, "runs runs"]:
    """Matrix that takes from all runs what seeds do to the kept ones alike, on average nothing.

    A seed that no kept run has is taken to do nothing.
    """
    columns = _indicators(seeds, np.unique(seeds[kept]))
    effects = np.zeros((columns.shape[1], len(seeds)))
    effects[:, kept] = np.linalg.pinv(_centred(columns[kept], choices[kept]))
    matrix: np.ndarray = np.eye(len(seeds)) - columns @ effects
    return matrix


def _beyond(y: Values, choices: Labels, seeds: Labels | None) -> int | None:
    """The choice that is farthest beyond the critical share; None where none is.

    Its part of the sum of squares is what is less to explain without its runs.
    """
    within = _centred(y[:, None], choices)[:, 0]
    shared = np.zeros(len(y), dtype=int) if seeds is None else seeds
    columns = _centred(_indicators(shared, np.unique(shared)), choices)
    inverse = np.linalg.pinv(columns.T @ columns, rcond=1e-9, hermitian=True)
    left = within - columns @ inverse @ columns.T @ within
    parts = {}
    for choice in np.unique(choices):
        rows = choices == choice
        num = int(rows.sum())
        told = np.eye(num) - 1 / num - columns[rows] @ inverse @ columns[rows].T
        freedom = int(np.linalg.matrix_rank(told, tol=1e-9, hermitian=True))
        own = float(left[rows] @ np.linalg.pinv(told, rcond=1e-9, hermitian=True) @ left[rows])
        if freedom:
            parts[int(choice)] = own, freedom
    if len(parts) < _FEWEST:
        return None
    total = float(left @ left)
    whole = len(y) - len(np.unique(choices)) - int(np.linalg.matrix_rank(columns, tol=1e-9))
    floor = (_ROUNDING * float(np.abs(y).max())) ** 2
    excess = {
        choice: own / total / critical_share(len(parts), freedom, whole - freedom)
        for choice, (own, freedom) in parts.items()
        if whole > freedom and total - own > floor
    }
    farthest = max(excess, key=excess.__getitem__, default=None)
    return farthest if farthest is not None and excess[farthest] > 1 else None


def _indicators(
    labels: Labels, levels: Int[np.ndarray, " levels"]
) -> Float[np.ndarray, "runs levels"]:
    is_level: np.ndarray = labels[:, None] == levels
    return is_level.astype(float)


def _centred(
    columns: Float[np.ndarray, "runs columns"], choices: Labels
) -> Float[np.ndarray, "runs columns"]:
    """Less the mean of each choice."""
    members = _indicators(choices, np.unique(choices))
    means = members.T @ columns / members.sum(axis=0)[:, None]
    centred: np.ndarray = columns - members @ means
    return centred
