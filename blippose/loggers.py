"""metrics.csv in the run folder, always; what may stand beside it is wandb_logger's."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any, final

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from blippose.whole_file import as_text, whole_file

METRICS = "metrics.csv"


@final
class CSVLogger(Logger):
    """A row for each time metrics are logged, in one table with all columns.

    Lightning's own clears the folder when a run is resumed. This one goes on in the table that the
    checkpoint holds, or else in the one that is there: then a row at step s replaces what an
    earlier process had written from s on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._earlier = _read_rows(path)
        self._rows: list[dict[str, Any]] = []

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table."""
        return self._earlier + self._rows

    def go_on(self, rows: list[dict[str, Any]]) -> None:
        """Take up the table as it was when a checkpoint was written."""
        self._earlier, self._rows = [], list(rows)

    @property
    def name(self) -> str:
        """The run folder's."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Always empty: there are no version_0 folders."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Nothing: the run folder holds the config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row."""
        if step is not None:
            self._earlier = [row for row in self._earlier if int(row["step"]) < step]
        self._rows.append({"step": step, **metrics})

    @rank_zero_only
    def save(self) -> None:
        """Write the whole table: readers never see half a file."""
        rows = self.rows
        columns = list(dict.fromkeys(["epoch", "step", *(key for row in rows for key in row)]))
        with as_text(whole_file(self.path)) as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row.get("step")]
