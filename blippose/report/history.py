"""A run's metrics.csv as curves over epochs, and what was wrong with the file."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy as np
from jaxtyping import Float

METRICS = "metrics.csv"  # blippose.loggers writes it, and imports torch
TORN = "the last line of metrics.csv is torn and left out"
_TRAIN, _VAL = "train/loss", "val/"


@dataclass(frozen=True)
class Curve:
    """Values over epochs: 1.0 is the end of the first one. Neither holds a NaN."""

    epochs: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.values)

    def best(self, is_error: bool) -> int:
        """Position of the best value; the earlier one of two."""
        return int(self.values.argmin() if is_error else self.values.argmax())

    def thinned(self, num: int) -> Curve:
        """Means of at most `num` stretches of equal length, each at its last epoch."""
        if len(self) <= num:
            return self
        values = [part.mean() for part in np.array_split(self.values, num)]
        epochs = [part[-1] for part in np.array_split(self.epochs, num)]
        return Curve(np.array(epochs), np.array(values))


EMPTY = Curve(np.empty(0), np.empty(0))


@dataclass(frozen=True)
class History:
    """Curves by name, `train/loss` and `val/...`, and the faults of their file in words."""

    curves: dict[str, Curve] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Curve:
        return self.curves.get(name, EMPTY)

    def with_validation(self, epoch: int, values: Mapping[str, float | None]) -> History:
        """With the values of an epoch, counted from 1, in every `val/` curve that lacks it."""
        curves = dict(self.curves)
        for name, value in values.items():
            curve = self[f"{_VAL}{name}"]
            if value is None or epoch in np.ceil(curve.epochs):
                continue
            order = np.argsort(epochs := np.append(curve.epochs, float(epoch)))
            curves[f"{_VAL}{name}"] = Curve(epochs[order], np.append(curve.values, value)[order])
        return History(curves, self.faults)

    @property
    def num_epochs(self) -> int:
        """Validated epochs."""
        ends = [curve.epochs[-1] for name, curve in self.curves.items() if name.startswith(_VAL)]
        return math.ceil(max(ends, default=0))

    @property
    def num_validations(self) -> int:
        """So many of them have values."""
        own = (len(curve) for name, curve in self.curves.items() if name.startswith(_VAL))
        return max(own, default=0)


def read_history(path: Path) -> History:
    """The curves of a metrics.csv, also of one that is being written or was cut off."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return History(faults=("there is no metrics.csv",))
    except OSError as error:
        return History(faults=(f"metrics.csv cannot be read ({error.strerror})",))
    rows, faults = _rows(text)
    return History(_curves(rows), tuple(faults))


def _rows(text: str) -> tuple[list[dict[str, float]], list[str]]:
    """Numbers by column; a line that is not as long as the header is none."""
    lines = list(csv.reader(text.splitlines()))
    if not lines:
        return [], ["metrics.csv is empty"]
    header, body = lines[0], lines[1:]
    is_torn = bool(body) and (len(body[-1]) != len(header) or not text.endswith("\n"))
    rows = [_row(header, line) for line in (body[:-1] if is_torn else body)]
    bad = sum(row is None for row in rows)
    faults = [TORN] if is_torn else []
    if bad:
        faults.append(f"{bad} lines of metrics.csv cannot be read and are left out")
    return [row for row in rows if row is not None], faults


def _row(header: list[str], line: list[str]) -> dict[str, float] | None:
    if len(line) != len(header):
        return None
    try:
        row = {name: float(cell) for name, cell in zip(header, line, strict=True) if cell}
    except ValueError:
        return None
    return row if "step" in row else None


def _curves(rows: list[dict[str, float]]) -> dict[str, Curve]:
    points: dict[str, list[tuple[float, float]]] = {}
    for epoch, row in sorted(_placed(rows), key=itemgetter(0)):  # by the place alone
        for name, value in row.items():
            if (name == _TRAIN or name.startswith(_VAL)) and math.isfinite(value):
                points.setdefault(name, []).append((epoch, value))
    return {name: Curve(*np.array(pairs).T.copy()) for name, pairs in points.items()}


def _placed(rows: list[dict[str, float]]) -> Iterator[tuple[float, dict[str, float]]]:
    """Each row with the epochs that were over when it was written.

    Validation stands at the end of its epoch, and of several in one the last; the others, and
    training, at their share of the epoch's steps.
    """
    ends = _ends(rows)
    lengths = [(row["step"] + 1) / (epoch + 1) for epoch, row in ends.items()]
    # Before the first validation nothing says how long an epoch is: the rows fill what there is.
    length = float(np.median(lengths)) if lengths else _length_so_far(rows)
    for row in rows:
        epoch = row.get("epoch", math.inf)
        is_end = row is ends.get(epoch)
        yield (epoch + 1 if is_end else min((row["step"] + 1) / length, epoch + 1)), row


def _ends(rows: list[dict[str, float]]) -> dict[float, dict[str, float]]:
    """By epoch, the last validation where there are as many as in any: it stands at the end."""
    validations = [
        row for row in rows if "epoch" in row and any(name.startswith(_VAL) for name in row)
    ]
    counts = Counter(row["epoch"] for row in validations)
    most = max(counts.values(), default=0)
    return {row["epoch"]: row for row in validations if counts[row["epoch"]] == most}


def _length_so_far(rows: list[dict[str, float]]) -> float:
    epochs = max((row.get("epoch", 0.0) for row in rows), default=0.0) + 1
    return max((row["step"] + 1 for row in rows), default=1.0) / epochs
