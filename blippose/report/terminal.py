"""The ranked table for a terminal: what matters most is kept where it is narrow.

An interval stands below its value. Settings that take more than half of the width are written
below each other, in one column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from blippose.report.cells import CellState
from blippose.report.tables import Entry, RankedTable

# Behind the rank, the settings and what ranks: what must not be missing, first.
_BY_IMPORTANCE = (
    *("on", "state", "verdict", "diff px", "diff image px", "diff"),
    *("seeds done", "@5 px", "@1 px", "epoch", "@25 px"),
    *("EPE px", "MAE px", "time", "PCKh@0.5", "memory", "epochs", "parsed"),
)
_GAP = 2  # characters between columns, one of them the box's
_RUN = "run"
_STYLES = {
    CellState.DONE.value: "green",
    CellState.RUNNING.value: "cyan",
    CellState.CUT_OFF.value: "yellow",
    CellState.FAILED.value: "red",
    CellState.UNREADABLE.value: "red",
}


@dataclass(frozen=True)
class _Printed:
    """A column as it is printed."""

    title: str
    is_number: bool
    texts: tuple[Text, ...]

    @property
    def width(self) -> int:
        lines = [line for text in self.texts for line in text.plain.split("\n")]
        return max(map(len, [self.title, *lines])) + _GAP


def terminal_table(table: RankedTable, width: int) -> Table:
    """For a terminal of `width` characters."""
    table = table.compact()
    settings = [_printed(table, i) for i in range(1, 1 + table.num_settings)]
    if sum(one.width for one in settings) > width / 2:
        settings = [_stacked(settings)]
    others = [_printed(table, i) for i in range(1 + table.num_settings, len(table.columns))]
    shown = _fitting([_printed(table, 0), *settings], others, table.ranking.short, width)
    rich = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), show_edge=False, pad_edge=False)
    for one in shown:
        justify: Literal["right", "left"] = "right" if one.is_number else "left"
        rich.add_column(one.title, justify=justify, no_wrap=one.title != _RUN, overflow="fold")
    for texts in zip(*(one.texts for one in shown), strict=True):
        rich.add_row(*texts)
    return rich


def _fitting(
    first: list[_Printed], others: list[_Printed], ranking: str, width: int
) -> list[_Printed]:
    """`first`, what ranks, and of the others the most important ones that fit, in their order."""
    titles = [ranking, *(title for title in _BY_IMPORTANCE if title != ranking)]
    by_title = {one.title: one for one in others}
    room = width - sum(one.width for one in first)
    kept = []
    for one in (by_title[title] for title in titles if title in by_title):
        if one.title == ranking or (one.width <= room + _GAP and not _says_done(one)):
            kept.append(one.title)
            room -= one.width
    return [*first, *(one for one in others if one.title in kept)]


def _says_done(one: _Printed) -> bool:
    """Whether it is the state of runs that are all done, which the headline says."""
    return one.title == "state" and {text.plain for text in one.texts} == {CellState.DONE.value}


def _printed(table: RankedTable, i: int) -> _Printed:
    column = table.columns[i]
    texts = tuple(_text(row.entries[i], column.title) for row in table.rows)
    return _Printed(column.short, column.is_number, texts)


def _text(entry: Entry, title: str) -> Text:
    style = "bold" if entry.is_best else _STYLES.get(entry.text, "") if title == "state" else ""
    text = Text(entry.text, style)
    return Text.assemble(text, ("\n" + entry.margin, "dim")) if entry.margin else text


def _stacked(settings: list[_Printed]) -> _Printed:
    """All settings in one column, a line each."""
    if len(settings) == 1:
        return _Printed(_RUN, False, settings[0].texts)
    rows = zip(*([f"{s.title} {text.plain}" for text in s.texts] for s in settings), strict=True)
    return _Printed(_RUN, False, tuple(Text("\n".join(row)) for row in rows))
