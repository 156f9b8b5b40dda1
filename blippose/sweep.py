"""A grid of runs: its cells, what its folder keeps of it, how far each came.

    runs/grid/sweep.json                                  the command, the axes, the cells
    runs/grid/batch_size=2,lr=2e-5,optimizer=adamw/      one cell: a run folder

Knows nothing of how cells are run, and must answer without torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose import runs
from blippose.counted import counted
from blippose.errors import UserError
from blippose.report.cells import Cell, CellState, read_cell
from blippose.runs import Run
from blippose.waiting import locked
from blippose.whole_file import write_whole

RECORD = "sweep.json"
_LOCK = ".sweep.lock"
METRIC = "mae_all"  # of val/: what chooses the best epoch, and what a search makes small


@dataclass(frozen=True)
class PlannedCell:
    """A cell as it is asked for.

    Args:
        name: of its folder, inside the sweep's.
        values: of the keys that differ from cell to cell.
        overrides: the words that make it.
        config: composed.
    """

    name: str
    folder: Path
    values: Mapping[str, Any]
    overrides: tuple[str, ...]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A grid as it is asked for, in its folder."""

    folder: Path
    command: str
    axes: Mapping[str, Sequence[Any]]
    cells: tuple[PlannedCell, ...]

    def check(self) -> None:
        """Hold every cell against its folder.

        Raises:
            UserError: a folder holds a run of another config, two cells would share one, or the
                sweep's own holds a single run.
        """
        twice = [name for name, count in Counter(c.name for c in self.cells).items() if count > 1]
        if twice:
            raise UserError(f"{twice[0]}: two cells would share this folder; give each value once")
        if (self.folder / runs.RECORD).exists():
            raise UserError(f"{self.folder} holds a single run; give the grid another name=")
        for cell in self.cells:
            Run.open(cell.folder, cell.config)

    def seen(self) -> list[Cell]:
        """How far each cell came."""
        return [read_cell(cell.folder, cell.name) for cell in self.cells]

    @property
    def where(self) -> str:
        """Its folder, and how many cells of other commands lie there: a report shows them too."""
        known = {cell["name"] for cell in read_record(self.folder).get("cells", [])}
        others = len(known - {cell.name for cell in self.cells})
        beside = f", beside {counted(others, 'cell')} of earlier commands" if others else ""
        return f"in {self.folder}{beside}"

    def write(self) -> None:
        """Keep a record in the folder, beside what earlier commands asked for there.

        Raises:
            UserError: the folder cannot be written.
        """
        if self._beside(read_record(self.folder)) is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / _LOCK, f"waiting for who writes {self.folder / RECORD}"):
                record = self._beside(read_record(self.folder))
                if record is not None:
                    write_whole(self.folder / RECORD, json.dumps(record, indent=1) + "\n")
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror})") from error

    def _beside(self, earlier: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record with these cells, too; None where they are there already."""
        cells = {cell["name"]: cell for cell in earlier.get("cells", [])}
        cells |= {
            cell.name: {"name": cell.name, "values": dict(cell.values)} for cell in self.cells
        }
        record = {
            "command": self.command,
            "axes": _union(earlier.get("axes", {}), self.axes),
            "cells": list(cells.values()),
        }
        return None if record == earlier else record


def read_record(folder: Path) -> dict[str, Any]:
    """What sweep.json says; empty where there is none, or none that can be read."""
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _union(
    old: Mapping[str, Sequence[Any]], new: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    keys = dict.fromkeys([*old, *new])
    return {key: list(dict.fromkeys([*old.get(key, ()), *new.get(key, ())])) for key in keys}


def is_done(cells: Sequence[Cell]) -> bool:
    """Whether every cell ran to its end."""
    return all(cell.state is CellState.DONE for cell in cells)


def score(folder: Path) -> float | None:
    """The metric of a run that is done; None of any other."""
    try:
        record = Run.read(folder).record
    except UserError:
        return None
    value = (record.get("results") or {}).get("free_running", {}).get(METRIC)
    return None if value is None or record["state"] != "done" else float(value)


def counts(cells: Sequence[Cell]) -> str:
    """Such as "18 cells: 16 done, 1 failed, 1 missing"."""
    number = Counter(cell.state for cell in cells)
    parts = [f"{number[state]} {state}" for state in CellState if number[state]]
    return f"{len(cells)} cell{'s' * (len(cells) != 1)}: {', '.join(parts)}"


def reasons(cells: Sequence[Cell]) -> list[str]:
    """Why cells that were begun are not done: a line for each reason, with those that have it."""
    names: dict[str, list[str]] = {}
    for cell in cells:
        if cell.reason and cell.state is not CellState.MISSING:
            names.setdefault(cell.reason, []).append(cell.name)
    return [f"{_first_of(found)}: {reason}" for reason, found in names.items()]


def _first_of(names: Sequence[str]) -> str:
    """The cell, or how many there are from it on."""
    return names[0] if len(names) == 1 else f"{len(names)} cells, {names[0]} the first"
