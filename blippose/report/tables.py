"""The ranked table: columns and rows, the best first, of the runs and of the choices over seeds.

How it is written stands in `terminal` and `table_files`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from blippose.report.axes import Value
from blippose.report.cells import Cell, CellState
from blippose.report.comparisons import Difference
from blippose.report.grid import Choice, Grid
from blippose.report.measures import MEASURES, Measure
from blippose.report.noise import Noise
from blippose.report.verdicts import Verdicts

SHOWN = ("mae_all", "epe", "acc_1px", "acc_5px", "acc_25px", "pckh_0.5", "parse_rate")
DIFFERENCE = "difference"
_SHORT = {one.label: one.short for one in MEASURES.values()} | {
    f"{DIFFERENCE} (px)": "diff px",
    f"{DIFFERENCE} (image px)": "diff image px",
    f"{DIFFERENCE} (nats a token)": "diff",
    DIFFERENCE: "diff",
    "judged on": "on",
    "best epoch": "epoch",
    "peak memory": "memory",
}


@dataclass(frozen=True)
class Entry:
    """One cell of the table.

    Args:
        text: for readers.
        value: for a program, and for sorting; None where there is nothing.
        is_best: the best of its column.
        margin: the 95 % interval, `4.85-5.49` or `±0.30`; empty without one.
    """

    text: str
    value: Value = None
    is_best: bool = False
    margin: str = ""

    @property
    def whole(self) -> str:
        """Text and interval on one line."""
        if not self.margin:
            return self.text
        return f"{self.text} {self.margin if self.margin[0] == '±' else f'({self.margin})'}"


@dataclass(frozen=True)
class Column:
    """A title, a shorter one, and whether it holds numbers, which stand right."""

    title: str
    is_number: bool = True

    @property
    def short(self) -> str:
        """For where there is little room."""
        return _SHORT.get(self.title, self.title)


@dataclass(frozen=True)
class Row:
    """A run of the grid, or all seeds of a choice."""

    entries: tuple[Entry, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class RankedTable:
    """Columns and rows, the best first.

    Args:
        columns: the rank, the settings, then what came out.
        ranking: the column of the measure that ranks.
    """

    columns: tuple[Column, ...]
    num_settings: int
    ranking: Column
    rows: tuple[Row, ...]

    @property
    def titles(self) -> list[str]:
        """Of the columns."""
        return [column.title for column in self.columns]

    def compact(self) -> RankedTable:
        """Without the columns in which nobody says anything; rank and settings stay."""
        kept = [
            i
            for i in range(len(self.columns))
            if i <= self.num_settings
            or any(row.entries[i].text not in ("", "-") for row in self.rows)
        ]
        rows = [replace(row, entries=tuple(row.entries[i] for i in kept)) for row in self.rows]
        return replace(self, columns=tuple(self.columns[i] for i in kept), rows=tuple(rows))


def shown_measures(grid: Grid) -> list[Measure]:
    """The columns of metrics: what ranks first, then the study's."""
    names = dict.fromkeys([grid.measure.name, *SHOWN])
    return [MEASURES[name] for name in names]


def cell_table(grid: Grid, verdicts: Verdicts) -> RankedTable:
    """A row for each cell."""
    choices = {cell.name: choice for choice in grid.choices for cell in choice.cells}
    best = {number: _best_cells(grid, number) for number in range(len(grid.set_names))}
    ranks = _ranks(grid)
    rows = []
    for cell in grid.ranked:
        choice, number = choices.get(cell.name), grid.sets.get(cell.name, 0)
        says = choice is not None and not (grid.is_replicated and number == 0)
        verdict = _verdict(grid, choice, verdicts, is_shown=says)
        chosen, *others = [_metric(grid, cell, one, best[number]) for one in shown_measures(grid)]
        entries = [_rank(ranks.get(cell.name)), *_settings(grid, cell), *_set(grid, number)]
        entries += [*_progress(grid, cell), chosen, *verdict, *others, *_cost(cell)]
        rows.append(Row(tuple(entries), (cell,)))
    settings = [Column(a.name, a.is_numeric) for a in grid.axes] or [Column("run", False)]
    progress = [Column("state", False), Column("epochs"), Column("best epoch")]
    columns = [Column("#"), *settings, *_set_column(grid), *progress]
    columns += _metric_columns(grid, verdicts, of_choice=grid.is_replicated)
    columns += [Column("time"), Column("peak memory")]
    return RankedTable(tuple(columns), len(settings), Column(grid.measure.label), tuple(rows))


def choice_table(grid: Grid, verdicts: Verdicts, spread: Noise | None) -> RankedTable:
    """A row for each choice: means over its seeds, with 95 % intervals of the ranking one."""
    rows = []
    ranks = dict.fromkeys(range(len(grid.set_names)), 0)
    bests = {number: _best_means(grid, number) for number in ranks}
    for choice in grid.choices:
        number = choice.set_number
        ranks[number] += 1
        best = bests[number]
        key = [Entry(a.text(v), v) for a, v in zip(grid.factors, choice.key, strict=False)]
        chosen, *others = [_mean(grid, choice, m, spread, best) for m in shown_measures(grid)]
        entries = [_rank(ranks[number] if grid.mean(choice) is not None else None)]
        entries += [*(key or [_word("all")]), *_set(grid, number)]
        entries.append(Entry(f"{len(choice.done)}/{len(choice.cells)}", len(choice.done)))
        entries += [chosen, *_verdict(grid, choice, verdicts), *others]
        rows.append(Row(tuple(entries), choice.cells))
    settings = [Column(a.name, a.is_numeric) for a in grid.factors] or [Column("choice", False)]
    columns = [Column("#"), *settings, *_set_column(grid), Column("seeds done")]
    columns += _metric_columns(grid, verdicts)
    return RankedTable(tuple(columns), len(settings), Column(grid.measure.label), tuple(rows))


def _metric_columns(
    grid: Grid, verdicts: Verdicts, *, of_choice: bool = False
) -> Iterator[Column]:
    """What ranks, how far it is from the reference, if any, its verdict, and the others."""
    chosen, *others = [Column(one.label) for one in shown_measures(grid)]
    unit = grid.measure.unit and f" ({grid.measure.unit})"
    whose = "choice's " if of_choice else ""  # of a run's: it stands on each row of the choice
    gap = [Column(f"{whose}{DIFFERENCE}{unit}")] if verdicts.reference else []
    yield from (chosen, *gap, Column("verdict", False), *others)


def _verdict(
    grid: Grid, choice: Choice | None, verdicts: Verdicts, *, is_shown: bool = True
) -> list[Entry]:
    """The difference from the reference, if any, and the verdict.

    On the rows of runs the ones of a choice over its seeds are for programs alone.
    """
    word = verdicts.text(choice) if choice else ""
    if verdicts.reference is None:
        return [_word(word) if is_shown else Entry("", word)]
    gap = verdicts.difference(choice) if choice else None
    entry = Entry("-") if gap is None else _signed(grid.measure, gap)
    if is_shown:
        return [entry, _word(word)]
    return [Entry("", entry.value), Entry("", word)]


def _signed(one: Measure, gap: Difference) -> Entry:
    text, nothing = one.text(abs(gap.value)), one.text(0.0)
    sign = "" if text == nothing else "-" if gap.value < 0 else "+"
    margin = "" if gap.half is None else f"±{one.text(gap.half)}"
    return Entry(f"{sign}{text}", gap.value, margin=margin)


def _set_column(grid: Grid) -> list[Column]:
    return [Column("judged on", False)] if len(grid.set_names) > 1 else []


def _set(grid: Grid, number: int) -> list[Entry]:
    return [_word(grid.set_names[number])] if len(grid.set_names) > 1 else []


def _ranks(grid: Grid) -> dict[str, int]:
    """Of the done cells, counted within their validation set."""
    ranks: dict[str, int] = {}
    counts = [0] * len(grid.set_names)
    for cell in grid.ranked:
        if cell.state is CellState.DONE and grid.score(cell) is not None:
            counts[grid.sets[cell.name]] += 1
            ranks[cell.name] = counts[grid.sets[cell.name]]
    return ranks


def _rank(rank: int | None) -> Entry:
    return Entry("" if rank is None else str(rank), rank)


def _word(text: str) -> Entry:
    return Entry(text, text)


def _settings(grid: Grid, cell: Cell) -> list[Entry]:
    if not grid.axes:
        return [_word(cell.name)]
    if cell.name not in grid.values:  # nothing recorded: its folder is all there is to say
        return [Entry(cell.name if i == 0 else "?", cell.name) for i in range(len(grid.axes))]
    values = [(axis, grid.value(cell, axis)) for axis in grid.axes]
    return [Entry(axis.text(value), value) for axis, value in values]


def _progress(grid: Grid, cell: Cell) -> list[Entry]:
    wanted = (cell.config.get("trainer") or {}).get("max_epochs", "?")
    done = cell.history.num_epochs
    best = cell.best_epoch(grid.measure)
    epochs = f"{done}/{wanted}" if cell.config else "-"
    return [_word(cell.state.value), Entry(epochs, done), Entry(str(best or "-"), best)]


def _best_cells(grid: Grid, number: int) -> dict[str, str]:
    """Per metric the best text of a set's done cells."""
    done = [c for c in grid.cells if c.state is CellState.DONE and grid.sets[c.name] == number]
    return _best_texts({one: [grid.score(c, one) for c in done] for one in shown_measures(grid)})


def _best_means(grid: Grid, number: int) -> dict[str, str]:
    """Per metric the best text of a set's means over seeds."""
    choices = [choice for choice in grid.choices if choice.set_number == number]
    return _best_texts({one: [grid.mean(c, one) for c in choices] for one in shown_measures(grid)})


def _best_texts(columns: Mapping[Measure, Iterable[float | None]]) -> dict[str, str]:
    """By the measure's name; what reads alike is equally bold, and a column of equals has none."""
    best = {}
    for one, column in columns.items():
        values = [value for value in column if value is not None]
        if len({one.text(value) for value in values}) > 1:
            best[one.name] = one.text(min(values, key=one.key))
    return best


def _metric(grid: Grid, cell: Cell, one: Measure, best: dict[str, str]) -> Entry:
    estimate = grid.estimate(cell, one.name)
    if estimate is None:
        return Entry("-")
    text, low, high = one.text(estimate.value), estimate.low, estimate.high
    is_best = cell.state is CellState.DONE and text == best.get(one.name)
    has_interval = low is not None and high is not None and low < high
    margin = f"{one.text(low)}-{one.text(high)}" if has_interval else ""
    return Entry(text, estimate.value, is_best, margin)


def _mean(
    grid: Grid, choice: Choice, one: Measure, spread: Noise | None, best: dict[str, str]
) -> Entry:
    mean = grid.mean(choice, one)
    if mean is None:
        return Entry("-")
    num_seeds = len(grid.scores(choice, one))
    is_judged = one == grid.measure and spread is not None and choice.set_number == 0
    own = spread.of(choice.key) if is_judged and spread else None
    margin = f"±{one.text(own.half_width(1 / num_seeds))}" if own else ""
    return Entry(one.text(mean), mean, one.text(mean) == best.get(one.name), margin)


def _cost(cell: Cell) -> Sequence[Entry]:
    has_ended = cell.state in (CellState.DONE, CellState.FAILED)  # before, they are a start's
    seconds, memory = (
        cell.fact(key) if has_ended else None for key in ("seconds", "peak_memory_mb")
    )
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
