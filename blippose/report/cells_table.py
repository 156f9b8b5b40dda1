"""The cells of a grid in a terminal: each can be told from the others, however narrow it is.

Columns in which nobody says anything are left out; where there is little room, the least important
ones are too. A name that is too long still goes on in the next line, after a comma.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from blippose.report.cells import Cell, CellState
from blippose.report.measures import MEASURES

_MEASURES = tuple(MEASURES[name] for name in ("mae_all", "epe", "acc_1px", "acc_5px"))
_BY_IMPORTANCE = ("state", "MAE px", "@5 px", "EPE px", "@1 px", "s")
_STYLES = {CellState.DONE: "green", CellState.RUNNING: "cyan", CellState.FAILED: "red"}
_GAP = 2  # characters between columns, one of them the box's
_STATE_AND_SCORE = 20  # characters of the columns that are worth more than whole settings
_NOTHING = "-"


def cells_table(cells: Sequence[Cell], width: int) -> Table:
    """A row a cell, for a terminal of `width` characters: its state and what came out."""
    columns = _columns(cells)
    widths = {title: max(map(len, [title, *texts])) + _GAP for title, texts in columns.items()}
    names = [cell.name for cell in cells]
    kept = _fitting(widths, width - _for_names(names, width))
    room = width - sum(widths[title] for title in kept)
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), show_edge=False, pad_edge=False
    )
    table.add_column("cell", overflow="fold")
    for title in kept:
        justify: Literal["left", "right"] = "left" if title == "state" else "right"
        table.add_column(title, justify=justify, no_wrap=True)
    for i, cell in enumerate(cells):
        texts = [Text(columns[title][i], _style(cell, title)) for title in kept]
        table.add_row(Text(_wrapped(cell.name, room)), *texts)
    return table


def _columns(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Titles and texts, of those that say anything of any cell."""
    results = [cell.results.get("free_running", {}) for cell in cells]
    columns = {"state": [cell.state.value for cell in cells]}
    columns |= {one.short: [one.text(own.get(one.name)) for own in results] for one in _MEASURES}
    seconds = [cell.fact("seconds") for cell in cells]
    columns["s"] = [_NOTHING if value is None else f"{value:.0f}" for value in seconds]
    return {title: texts for title, texts in columns.items() if set(texts) != {_NOTHING}}


def _fitting(widths: dict[str, int], room: int) -> list[str]:
    """The most important columns that fit, in their order."""
    kept = set()
    for title in (title for title in _BY_IMPORTANCE if title in widths):
        if widths[title] <= room:
            kept.add(title)
            room -= widths[title]
    return [title for title in widths if title in kept]


def _for_names(names: Sequence[str], width: int) -> int:
    """Half of the terminal if that is wanted, and what the longest setting takes if it can be."""
    part = max(len(part) for name in names for part in _parts(name))
    return min(max(map(len, names)), max(width // 2, min(part, width - _STATE_AND_SCORE)))


def _wrapped(name: str, width: int) -> str:
    r"""A name in lines that end in commas.

    >>> _wrapped("batch_size=2,lr=2e-5,optimizer=adamw", 22)
    'batch_size=2,lr=2e-5,\noptimizer=adamw'
    """
    lines = [""]
    for part in _parts(name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _parts(name: str) -> list[str]:
    return re.findall(r"[^,]*,|[^,]+", name)


def _style(cell: Cell, title: str) -> str:
    return _STYLES.get(cell.state, "") if title == "state" else ""
