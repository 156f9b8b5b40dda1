"""An attention report on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blippose.evaluation.attention.about import about_lines
from blippose.evaluation.attention.tables import (
    CROSS_COLUMNS,
    SELF_COLUMNS,
    Row,
    cross_rows,
    nearest,
    self_rows,
)
from blippose.evaluation.quantities import Quantity
from blippose.evaluation.terminal import cell_text, print_lines

_NAME_WIDTH = 17  # "layer 12, head 12"
_CELL_WIDTH = 11  # "26.9 - 33.5"
_MOST_HEADS = 12  # more are in attention.md
_COLUMNS = 5


def print_attention(report: Mapping[str, Any], console: Console) -> None:
    """Print it: where the image is looked at, where the words, what it shows and what not."""
    print_lines(console, *about_lines(report), "", style="dim")
    if report.get("best"):
        print_lines(
            console, "Cross-attention: from the peak to the true joint, where the number is"
        )
        print_lines(console, "chosen; against another image's joint and the person's other joints")
        rows = nearest(list(cross_rows(report, "written")), _MOST_HEADS)
        console.print(_table(rows, CROSS_COLUMNS[:_COLUMNS]))
        print_lines(console, "")
    print_lines(console, "Self-attention: entropy in bits, share on other joints' words")
    console.print(_table(_few(list(self_rows(report))), SELF_COLUMNS[:_COLUMNS]))
    print_lines(console, "")
    for title in ("sentences", "limits"):
        print_lines(console, *(f"- {sentence}" for sentence in report[title]))


def _few(rows: Sequence[Row]) -> list[Row]:
    """The head that is shown, those of most focus, and the control."""
    *heads, control = rows
    order = sorted(heads, key=lambda row: (not row.is_best, row.cells["entropy"]["value"]))
    kept = order[:_MOST_HEADS]
    return [*(row for row in heads if row in kept), control]


def _table(rows: Sequence[Row], columns: Sequence[Quantity]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("", width=_NAME_WIDTH)
    for quantity in columns:
        table.add_column(quantity.title, justify="right", no_wrap=True, width=_CELL_WIDTH)
    for row in rows:
        name = Text(row.name, style="bold" if row.is_best else "")
        table.add_row(name, *(cell_text(quantity, row.cells) for quantity in columns))
    return table
