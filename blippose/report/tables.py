"""The ranked table: one list of rows, written for the terminal, CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from blippose.report.axes import Value
from blippose.report.cells import Cell, CellState, Estimate
from blippose.report.effects import Noise
from blippose.report.grid import Choice, Grid
from blippose.report.measures import MEASURES, Measure
from blippose.report.verdicts import Verdicts

_SHORT = {one.label: one.short for one in MEASURES.values()} | {
    "best epoch": "best",
    "peak memory": "memory",
}
_FIRST_TO_GO = ("memory", "EPE px", "parsed", "time", "@25 px", "PCKh@0.5", "best", "epochs")
SHOWN = ("mae_all", "epe", "acc_1px", "acc_5px", "acc_25px", "pckh_0.5", "parse_rate")


@dataclass(frozen=True)
class Entry:
    """One cell of the table.

    Args:
        text: for readers.
        value: for a program, and for sorting; None where there is nothing.
        is_best: the best of its column.
    """

    text: str
    value: Value = None
    is_best: bool = False


@dataclass(frozen=True)
class Row:
    """A run of the grid, or all seeds of a choice."""

    entries: tuple[Entry, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class RankedTable:
    """Titles and rows, the best first; numbers stand right."""

    titles: tuple[str, ...]
    is_number: tuple[bool, ...]
    rows: tuple[Row, ...]


def shown_measures(grid: Grid) -> list[Measure]:
    """The columns of metrics: what ranks first, then the study's."""
    names = dict.fromkeys([grid.measure.name, *SHOWN])
    return [MEASURES[name] for name in names]


def cell_table(grid: Grid, verdicts: Verdicts) -> RankedTable:
    """A row for each cell."""
    by_cell = {cell.name: choice for choice in grid.choices for cell in choice.cells}
    best = _best_texts(grid, grid.cells)
    ranks = {cell.name: i for i, cell in enumerate(_rankable(grid), 1)}
    rows = []
    for cell in grid.ranked:
        choice = by_cell.get(cell.name)
        verdict = verdicts.text(choice) if choice and not grid.is_replicated else ""
        entries = [_rank(ranks.get(cell.name)), *_parameters(grid, cell), *_progress(grid, cell)]
        chosen, *others = [_metric(grid, cell, one, best) for one in shown_measures(grid)]
        entries += [chosen, Entry(verdict, verdict), *others, *_cost(cell)]
        rows.append(Row(tuple(entries), (cell,)))
    names = [axis.name for axis in grid.axes] or ["run"]
    titles = ["#", *names, "state", "epochs", "best epoch"]
    titles += [*_metric_titles(grid), "time", "peak memory"]
    words = {*names, "state", "verdict"} - {a.name for a in grid.axes if a.is_numeric}
    return RankedTable(tuple(titles), tuple(title not in words for title in titles), tuple(rows))


def choice_table(grid: Grid, verdicts: Verdicts, noise: Noise | None) -> RankedTable:
    """A row for each choice: means over its seeds, with 95 % intervals of the ranking one."""
    rows = []
    for rank, choice in enumerate(grid.choices, 1):
        mean = grid.mean(choice)
        key = [Entry(a.text(v), v) for a, v in zip(grid.factors, choice.key, strict=False)]
        entries = [_rank(rank if mean is not None else None), *(key or [Entry("all", "all")])]
        entries.append(Entry(f"{len(choice.done)}/{len(choice.cells)}", len(choice.done)))
        measures, verdict = shown_measures(grid), verdicts.text(choice)
        chosen, *others = [_mean(grid, choice, one, noise, rank == 1) for one in measures]
        entries += [chosen, Entry(verdict, verdict), *others]
        rows.append(Row(tuple(entries), choice.cells))
    names = [axis.name for axis in grid.factors] or ["choice"]
    titles = ["#", *names, "seeds done", *_metric_titles(grid)]
    words = {*names, "verdict"} - {axis.name for axis in grid.factors if axis.is_numeric}
    return RankedTable(tuple(titles), tuple(title not in words for title in titles), tuple(rows))


def _metric_titles(grid: Grid) -> list[str]:
    """What ranks, its verdict, and the others."""
    chosen, *others = [one.label for one in shown_measures(grid)]
    return [chosen, "verdict", *others]


def _rankable(grid: Grid) -> list[Cell]:
    done = [cell for cell in grid.ranked if cell.state is CellState.DONE]
    return [cell for cell in done if grid.score(cell) is not None]


def _rank(rank: int | None) -> Entry:
    return Entry("" if rank is None else str(rank), rank)


def _parameters(grid: Grid, cell: Cell) -> list[Entry]:
    if not grid.axes:
        return [Entry(cell.name, cell.name)]
    if cell.name not in grid.values:  # nothing recorded: its folder is all there is to say
        return [Entry(cell.name if i == 0 else "?", cell.name) for i in range(len(grid.axes))]
    values = [(axis, grid.value(cell, axis)) for axis in grid.axes]
    return [Entry(axis.text(value), value) for axis, value in values]


def _progress(grid: Grid, cell: Cell) -> list[Entry]:
    wanted = (cell.config.get("trainer") or {}).get("max_epochs", "?")
    done = cell.history.num_epochs
    best = cell.best_epoch(grid.measure)
    epochs = f"{done}/{wanted}" if cell.config else "-"
    return [
        Entry(cell.state.value, cell.state.value),
        Entry(epochs, done),
        Entry("-" if best is None else str(best), best),
    ]


def _best_texts(grid: Grid, cells: Sequence[Cell]) -> dict[str, str]:
    """Per metric the best text of the done cells: what reads alike is equally bold."""
    best = {}
    for one in shown_measures(grid):
        done = [cell for cell in cells if cell.state is CellState.DONE]
        found = [e.value for cell in done if (e := grid.estimate(cell, one.name))]
        if len({one.text(value) for value in found}) > 1:  # a column of equals has no best
            best[one.name] = one.text(min(found, key=one.key))
    return best


def _metric(grid: Grid, cell: Cell, one: Measure, best: dict[str, str]) -> Entry:
    estimate = grid.estimate(cell, one.name)
    if estimate is None:
        return Entry("-")
    is_best = cell.state is CellState.DONE and one.text(estimate.value) == best.get(one.name)
    return Entry(_with_interval(one, estimate), estimate.value, is_best)


def _with_interval(one: Measure, estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return one.text(estimate.value)
    return f"{one.text(estimate.value)} [{one.text(estimate.low)}, {one.text(estimate.high)}]"


def _mean(grid: Grid, choice: Choice, one: Measure, noise: Noise | None, first: bool) -> Entry:
    values = [e.value for cell in choice.done if (e := grid.estimate(cell, one.name))]
    if not values:
        return Entry("-")
    mean = sum(values) / len(values)
    if one != grid.measure:
        return Entry(one.text(mean), mean, first)
    half = noise.half_width(1 / len(values)) if noise else None
    interval = f" ± {one.text(half)}" if half is not None else ""
    return Entry(f"{one.text(mean)}{interval}", mean, first)


def _cost(cell: Cell) -> list[Entry]:
    seconds, memory = cell.fact("seconds"), cell.fact("peak_memory_mb")
    return [
        Entry(duration(seconds), seconds),
        Entry("-" if memory is None else f"{memory:,.0f} MB", memory),
    ]


def duration(seconds: float | None) -> str:
    """Seconds as one would say them.

    >>> [duration(value) for value in (None, 8.2, 150.0, 9000.0)]
    ['-', '8 s', '2 min 30 s', '2 h 30 min']
    """
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def terminal_table(table: RankedTable, width: int) -> RichTable:
    """For a terminal of `width` characters: what matters least is left out where it is narrow."""
    titles = [_SHORT.get(title, title) for title in table.titles]
    kept = _not_empty(table)
    lengths = {
        i: max([len(titles[i]), *(len(r.entries[i].text) for r in table.rows)]) for i in kept
    }
    for title in _FIRST_TO_GO:
        if sum(lengths[i] + 2 for i in kept) > width:
            kept = [i for i in kept if titles[i] != title]
    rich = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i in kept:
        justify: Literal["right", "left"] = "right" if table.is_number[i] else "left"
        rich.add_column(titles[i], justify=justify, no_wrap=True)
    for row in table.rows:
        entries = [row.entries[i] for i in kept]
        rich.add_row(*(Text(e.text, style="bold" if e.is_best else "") for e in entries))
    return rich


def _not_empty(table: RankedTable) -> list[int]:
    """Columns in which somebody says something."""
    columns = range(len(table.titles))
    return [i for i in columns if any(row.entries[i].text not in ("", "-") for row in table.rows)]


def csv_table(table: RankedTable, grid: Grid) -> str:
    """Every number as it is, and each run's intervals, folder, command and reason."""
    measures = [one.name for one in shown_measures(grid)]
    bounds = [f"{name} {end}" for name in measures for end in ("low", "high")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*table.titles, *bounds, "run", "reason", "command"])
    for row in table.rows:
        [cell] = row.cells
        estimates = [grid.estimate(cell, name) for name in measures]
        ends = [x for e in estimates for x in ((e.low, e.high) if e else (None, None))]
        plain = ["" if e.value is None else e.value for e in row.entries]
        tail = [cell.name, "; ".join(cell.notes), cell.fact("command") or ""]
        writer.writerow([*plain, *("" if end is None else end for end in ends), *tail])
    return file.getvalue()


def markdown_table(table: RankedTable, sentences: Sequence[str]) -> str:
    """GitHub's Markdown, the best in bold."""
    lines = [
        _line(table.titles, _escape_markdown),
        "|" + "|".join("---:" if number else ":---" for number in table.is_number) + "|",
    ]
    for row in table.rows:
        texts = [_escape_markdown(entry.text) for entry in row.entries]
        bold = [f"**{t}**" if e.is_best else t for t, e in zip(texts, row.entries, strict=True)]
        lines.append(_line(bold, str))
    return "\n".join([*lines, "", *sentences, ""])


def _line(texts: Sequence[str], escape: Callable[[str], str]) -> str:
    return "| " + " | ".join(map(escape, texts)) + " |"


def _escape_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


def latex_table(table: RankedTable, sentences: Sequence[str]) -> str:
    """A tabular with booktabs, the best in bold; the sentences as comments."""
    kept = _not_empty(table)
    columns = "".join("r" if table.is_number[i] else "l" for i in kept)
    lines = [f"% {sentence}" for sentence in sentences]
    lines += [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [" & ".join(_escape_latex(table.titles[i]) for i in kept) + r" \\", r"\midrule"]
    for row in table.rows:
        lines.append(" & ".join(_latex(row.entries[i]) for i in kept) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(entry: Entry) -> str:
    text = _escape_latex(entry.text)
    return rf"\textbf{{{text}}}" if entry.is_best else text


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)
