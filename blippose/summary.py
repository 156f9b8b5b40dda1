"""What a run ends with on the terminal: a small table, its picture, what to try next.

Reads the record of a run alone, so that a finished run answers at once, without torch.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from blippose.prose import print_prose
from blippose.runs import Run
from blippose.spelling import fixed

_ROWS = {
    "free_running": "model, free-running",
    "teacher_forced": "model, {teacher_forced}",
    "mean_pose": "mean pose of training",
}
_COLUMNS = {
    "mae": "MAE px",
    "epe": "EPE px",
    "acc_1px": "@1 px",
    "acc_5px": "@5 px",
    "acc_25px": "@25 px",
    "pckh_0.5": "PCKh@0.5",
    "parse_rate": "parsed",
}


def print_summary(run: Run, console: Console) -> None:
    """Print the table of a run that is done, and where its files are."""
    results = run.record["results"]
    console.print(results_table(results))
    source = "synthetic people" if results["synthetic"] else "real images"
    print_prose(
        console,
        f"{results['num_val']:,} validation persons ({source}, split={results['split']}, "
        f"{results['num_train']:,} to train on), epoch {results['epoch'] + 1}: the least MAE "
        "with the mean pose in place of missing joints.",
        f"Distances in {results['frame']}; PCKh in image pixels; decoding: {results['decoding']}.",
    )
    lines = [f"picture  {run.folder / results['picture']}"] if "picture" in results else []
    _print_lines(console, *lines, f"run      {run.folder}")


def teacher_forced(decoding: str) -> str:
    """What validation's teacher-forced figures are called, which are always of one look.

    Args:
        decoding: the name of that by which the model reads free-running, in as many as it asks.
    """
    looks_more = "test views" in decoding or "close-up" in decoding
    return "teacher-forced, one look" if looks_more else "teacher-forced"


def print_next(run: Run, console: Console) -> None:
    """Print commands to try after a single run."""
    where = shlex.quote(f"run={run.folder}")
    _print_lines(
        console,
        "",
        "next:",
        f"  blippose eval {where}",
        f"  blippose predict {where} images=FOLDER",
        "  blippose train -m name=rates optimizer.lr=5e-6,1e-4 data.batch_size=8,16",
    )


def _print_lines(console: Console, *lines: str) -> None:
    """Paths whole on their lines, to be copied; brackets in them are no markup."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def results_table(results: Mapping[str, Any]) -> Table:
    """Rows: the model both ways of reading, and the mean pose. Columns: what the study reports."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("validation", no_wrap=True)
    for title in _COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    for key, title in _ROWS.items():
        cells = [_cell(name, results[key][name]) for name in _COLUMNS]
        name = title.format(teacher_forced=teacher_forced(results["decoding"]))
        table.add_row(name.replace(", one", "\n  one"), *cells)  # 80 columns have no more room
    return table


def _cell(name: str, value: float | None) -> str:
    if value is None or math.isnan(value):  # no joint parsed
        return "-"
    return fixed(value, 2 if name in ("mae", "epe") else 3)
