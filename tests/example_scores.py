"""Grids of made-up scores, in memory: what statistics are tested on, thousands of times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from blippose.report.cells import Cell, CellState
from blippose.report.grid import Grid
from blippose.report.history import Curve, History
from blippose.report.measures import MEASURES, Measure


def grid_of_scores(
    scores: np.ndarray,
    measure: Measure = MEASURES["mae_all"],
    names: Sequence[str] = ("a",),
    levels: Sequence[int] | None = None,
    *,
    are_seeds_shared: bool = True,
) -> Grid:
    """A row a choice and a column a seed; choices go through the levels of all axes, the last
    one first. NaN is a run that is not there."""
    keys = itertools.product(*map(range, levels or [len(scores)]))
    cells = []
    for i, key in enumerate(keys):
        for j, score in enumerate(scores[i]):
            if np.isnan(score):
                continue
            seed = j if are_seeds_shared else i * len(scores[i]) + j
            config = {**dict(zip(names, key, strict=True)), "seed": seed}
            history = History({f"val/{measure.name}": Curve(np.ones(1), np.array([score]))})
            cells.append(Cell(f"{i}_{j}", None, CellState.DONE, "", {"config": config}, history))
    return Grid.of(cells, measure)
