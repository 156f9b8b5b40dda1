"""One run of a grid as its folder tells it: state, settings, curves, what it took.

Reads folders that somebody is writing to, and half of what was written: nothing here raises for a
broken file, it says so in the cell.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from blippose.errors import UserError, first_line
from blippose.report.history import METRICS, History, read_history
from blippose.report.measures import OF_ALL, Measure
from blippose.report.plan import planned, settings_of_missing
from blippose.runs import RECORD, Run, is_held

EVALUATION = "eval.json"
_CONFIG = "config.yaml"
_LEFT_BEHIND = (METRICS, _CONFIG, "traceback.txt")
_DEPTH = 3  # folders below the one that is named


class CellState(StrEnum):
    """How far a cell came, seen from outside."""

    DONE = "done"
    RUNNING = "running"
    CUT_OFF = "cut off"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    MISSING = "missing"


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, where something gives one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Cell:
    """A run, or the lack of one.

    Args:
        name: of its folder, seen from the folder that was named.
        reason: why it is not done, in a line; empty when it is.
        record: run.json; empty where there is none to read.
        evaluation: eval.json, where `blippose eval` wrote one.
        planned: dotted settings, of a cell that its sweep asked for and that has no record.
        swept: its values on the axes of its sweep, as they were written on the command line.
    """

    name: str
    folder: Path | None
    state: CellState
    reason: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    planned: Mapping[str, Any] = field(default_factory=dict)
    swept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Mapping[str, Any]:
        """What was asked."""
        return dict(self.record.get("config") or {})

    @property
    def results(self) -> Mapping[str, Any]:
        """What came out of a run that is done."""
        return dict(self.record.get("results") or {})

    @property
    def notes(self) -> list[str]:
        """The reason and the faults of its files."""
        return [note for note in (self.reason, *self.history.faults) if note]

    def fact(self, key: str) -> Any:
        """`command`, `seconds`, ... of run.json; None in a run that recorded none."""
        return self.record.get(key)

    def best_epoch(self, measure: Measure) -> int | None:
        """The epoch with the best value, counted from 1."""
        place = self.best_place(measure)
        return None if place is None else math.ceil(place)

    def best_place(self, measure: Measure) -> float | None:
        """The epochs that were over at the best value: 0.5 in the middle of the first one.

        An error of parsed joints alone does not choose, as an epoch that says little would win:
        MAE does, in which a missing joint counts.
        """
        curve = self.history[f"val/{measure.name}"]
        if measure.is_of_parsed and len(of_all := self.history[f"val/{OF_ALL}"]):
            curve = of_all
        return float(curve.epochs[curve.best(measure.is_error)]) if len(curve) else None

    def estimate(self, name: str, chosen: Measure) -> Estimate | None:
        """Metric `name` at the best validation of `chosen`, with eval.json's interval if it fits.

        An epoch may have several: values of one are not mixed with another's.
        """
        evaluated = self._evaluated(name, self.best_epoch(chosen))
        if evaluated is not None:
            return evaluated
        curve, place = self.history[f"val/{name}"], self.best_place(chosen)
        for at, value in zip(curve.epochs, curve.values, strict=True):
            if at == place:
                return Estimate(float(value))
        return None

    def _evaluated(self, name: str, epoch: int | None) -> Estimate | None:
        """From eval.json, if it judged the same epoch, decoded alike, on the validation images."""
        try:
            about = self.evaluation["about"]
            found = self.evaluation["rows"][0]["metrics"][name]
            same_images = about.get("manifest") in (None, self.results.get("manifest"))
            ways = {about.get("decoding"), self.results.get("decoding")} - {None}
            fits = (
                len(ways) < 2
                and about["subset"] == "val"
                and about["epoch"] in (None, (epoch or 0) - 1)
            )
            if not (fits and same_images) or found["value"] is None:
                return None
            return Estimate(*(found[key] for key in ("value", "low", "high")))
        except (KeyError, IndexError, TypeError):
            return None


def find_cells(folders: Sequence[Path]) -> list[Cell]:
    """Every run in `folders`, each a run folder or one that holds some, and every planned one.

    Raises:
        UserError: a folder that is not there or holds none.
    """
    cells: dict[Path, Cell] = {}
    for folder, label in zip(folders, _labels(folders), strict=True):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected a sweep or a run")
        found = list(_run_folders(folder, _DEPTH))
        named = {path: _name(path, folder, label) for path in found}
        own = [*(read_cell(path, name) for path, name in named.items())]
        own = _with_planned(own, folder, label)
        if not own:
            raise UserError(
                f"{folder}: no runs there; expected {RECORD} in it, or folders of runs"
            )
        for cell in own:
            cells.setdefault((cell.folder or folder / cell.name).resolve(), cell)
    return list(cells.values())


def _labels(folders: Sequence[Path]) -> list[Path]:
    """The last parts of each folder's path, as many as tell all folders apart; none of one."""
    if len(folders) == 1:
        return [Path()]
    paths, num_parts = [folder.resolve() for folder in folders], 1
    while len(set(labels := [Path(*path.parts[-num_parts:]) for path in paths])) < len(set(paths)):
        num_parts += 1
    return labels


def _with_planned(cells: list[Cell], folder: Path, label: Path) -> list[Cell]:
    """The cells of a sweep with those that its record asks for, told by their folders."""
    plan = planned(folder)
    if not plan:
        return cells
    configs = {cell.folder.name: cell.config for cell in cells if cell.folder}
    missing = settings_of_missing(plan, configs)
    told = [
        replace(
            cell, planned=missing.get(cell.folder.name, {}), swept=plan.get(cell.folder.name, {})
        )
        if cell.folder
        else cell
        for cell in cells
    ]
    reason = "not started yet, or refused before it began"
    added = [
        Cell(_name(folder / name, folder, label), None, CellState.MISSING, reason,
             planned=own, swept=plan[name])
        for name, own in missing.items()
        if name not in configs
    ]  # fmt: skip
    return [*told, *added]


def _name(path: Path, folder: Path, label: Path) -> str:
    inner = path.relative_to(folder)
    return str(label / inner) if label.parts or inner.parts else path.resolve().name


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / RECORD).is_file() or any((folder / name).is_file() for name in _LEFT_BEHIND):
        yield folder
    elif depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _run_folders(inner, depth - 1)


def read_cell(folder: Path, name: str) -> Cell:
    """The cell that is in a run folder."""
    history = read_history(folder / METRICS)
    try:
        run = Run.read(folder)
    except UserError as error:
        has_record = (folder / RECORD).is_file()
        reason = first_line(error) if has_record else f"{RECORD} is not there: it never began"
        state = CellState.UNREADABLE if has_record else CellState.MISSING
        return Cell(name, folder, state, reason, _settings_for_readers(folder), history)
    state, reason = _state(run)
    history = _with_results(history, run.record)
    return Cell(name, folder, state, reason, run.record, history, _read_json(folder / EVALUATION))


def _with_results(history: History, record: Mapping[str, Any]) -> History:
    """The curves with the best epoch of a run that is done, should metrics.csv have lost it."""
    results = record.get("results") or {}
    if "epoch" not in results:
        return history
    values = {**results.get("free_running", {}), "loss": results.get("val_loss")}
    return history.with_validation(results["epoch"] + 1, values)


def _settings_for_readers(folder: Path) -> dict[str, Any]:
    """The config of a run whose record is lost, from its config.yaml."""
    try:
        config = yaml.safe_load((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {"config": config} if isinstance(config, dict) else {}


def _state(run: Run) -> tuple[CellState, str]:
    folder, record = run.folder, run.record
    if record["state"] == "done":
        return CellState.DONE, ""
    if record["state"] == "failed":
        lines = str(record.get("traceback") or "").strip().splitlines()
        reason = lines[-1] if lines else "stopped by a mistake in its settings"
        return CellState.FAILED, re.sub(rf"^{re.escape(UserError.__module__)}\.\w+: ", "", reason)
    idle = _age(max(_modified(folder / name) for name in (RECORD, METRICS)))
    held = is_held(folder)
    if held:
        return CellState.RUNNING, f"running; last wrote {idle} ago"
    if record["state"] == "stopped":
        where = "to be gone on with" if run.checkpoints else "before its first checkpoint"
        return CellState.CUT_OFF, f"stopped {idle} ago, {where}"
    where = "no process of this machine holds it; " if held is False else ""
    return CellState.CUT_OFF, f"cut off, or running elsewhere: {where}last wrote {idle} ago"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _age(modified: float) -> str:
    seconds = max(0.0, time.time() - modified)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
