"""The trust report on a terminal: who does how well, what else there is to know, cautions.

Fits itself to the width: the interval stands below its value, and what does not fit 80 columns is
in eval.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import TextWrapper
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from blippose.evaluation.across_runs import about_runs
from blippose.evaluation.facts import about_lines, facts, protocol_lines
from blippose.evaluation.quantities import BY_NAME, KINDS, Quantity, is_number, number

# By what must not be missing; those at the end need a wide terminal.
_BY_IMPORTANCE = (
    "mae",
    "epe",
    "acc_1px",
    "acc_5px",
    "acc_25px",
    "pckh_0.5",
    "parse_rate",
    "pckh_0.1",
    "pckh_auc",
    "oks",
    "mae_all",
)
_NAME_WIDTH = 19  # "model, free-running"
_WIDEST_NAME = 36
_CELL_WIDTH = 9  # ".641-.669", "13.1-14.2"
_GROUPS_SHOWN = "pckh_0.5"


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print it: the rows, where they come from, the groups, the facts, the cautions."""
    console.print(rows_table(report["rows"], console.width))
    print_lines(console, "", *about_lines(report), style="dim")
    groups = {row: report["groups"][row] for row in report["per_joint"]}  # the main rows
    if groups:
        console.print("", groups_table(groups), sep="\n")
    console.print("", facts_table(report), "", sep="\n")
    print_cautions([warning["text"] for warning in report["warnings"]], console)


def print_runs(summary: Mapping[str, Any], console: Console) -> None:
    """Print what several runs have in common."""
    console.print(rows_table(summary["rows"], console.width))
    print_lines(console, "", *about_runs(summary), style="dim")
    console.print("")
    print_cautions([warning["text"] for warning in summary["warnings"]], console)


def print_protocol(scores: Mapping[str, Any], console: Console) -> None:
    """Print what a file of predictions scores, in percent as such tables have it, and cautions."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("", min_width=_NAME_WIDTH)
    tenth = scores["variant"]["tenth"]
    for name in scores["groups"]:
        title = f"PCKh@{tenth:g}" if name == "pckh_0.1" else BY_NAME[name].title
        table.add_column(title, justify="right", no_wrap=True)
    for group in next(iter(scores["groups"].values())):
        table.add_row(group, *(_percent(cells[group]) for cells in scores["groups"].values()))
    table.add_section()
    means = (_percent(scores["mean"][name]) for name in scores["groups"])
    table.add_row(Text("mean", style="bold"), *means)
    console.print(table)
    print_lines(console, "", *protocol_lines(scores), style="dim")
    if scores["warnings"]:
        console.print("")
        print_cautions([warning["text"] for warning in scores["warnings"]], console)


def _percent(cell: Mapping[str, Any]) -> Text:
    """A share in percent with its interval: "90.31 (89.5-90.6)"."""
    value, low, high = (cell[key] for key in ("value", "low", "high"))
    text = number(100 * value if is_number(value) else None, 2)
    if not low < high:
        return Text(text)
    return Text.assemble(text, (f" ({100 * low:.1f}-{100 * high:.1f})", "dim"))


def rows_table(rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    """A row for each way of answering, in sections by their kind."""
    columns = _fitting(width)
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    name_width = width - len(columns) * (_CELL_WIDTH + 1)
    table.add_column("", width=min(max(name_width, _NAME_WIDTH), _WIDEST_NAME))
    for quantity in columns:
        table.add_column(quantity.title, justify="right", no_wrap=True, width=_CELL_WIDTH)
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind]
        for row in of_kind:
            cells = [cell_text(quantity, row["metrics"]) for quantity in columns]
            table.add_row(_name(row), *cells)
        if of_kind:
            table.add_section()
    return table


def _fitting(width: int) -> list[Quantity]:
    """The most important columns that fit."""
    room = (width - _NAME_WIDTH) // (_CELL_WIDTH + 1)
    return [BY_NAME[name] for name in _BY_IMPORTANCE[: max(room, 1)]]


def _name(row: Mapping[str, Any]) -> Text:
    return Text(row["name"], style="bold" if row["kind"] == "model" else "")


def cell_text(quantity: Quantity, metrics: Mapping[str, Any]) -> Text:
    """A figure, with its interval dimmed on the line below."""
    cell = metrics.get(quantity.name, {})
    value, margin = quantity.text(cell.get("value")), quantity.margin(cell)
    return Text.assemble(value, ("\n" + margin, "dim")) if margin else Text(value)


def groups_table(groups: Mapping[str, Any]) -> Table:
    """PCKh@0.5 by MPII's groups of joints, a column for each way of answering."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(BY_NAME[_GROUPS_SHOWN].title, min_width=_NAME_WIDTH)
    for row in groups:
        table.add_column(row, justify="right", min_width=14, max_width=14)  # ".860 .797-.912"
    cells = [by_quantity[_GROUPS_SHOWN] for by_quantity in groups.values()]
    for group in cells[0]:
        table.add_row(group, *(_in_line(of[group]) for of in cells))
    return table


def _in_line(cell: Mapping[str, Any]) -> Text:
    """A share and its interval side by side."""
    quantity = BY_NAME[_GROUPS_SHOWN]
    margin = quantity.margin(cell)
    return Text.assemble(quantity.text(cell["value"]), (f" {margin}" if margin else "", "dim"))


def facts_table(report: Mapping[str, Any]) -> Table:
    """What the rows do not say: captions, tokens, diagnostics, leaks."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for title, lines in facts(report).items():
        for place, line in enumerate(lines):
            table.add_row("" if place else title, escape(line))
    return table


def print_cautions(warnings: Sequence[str], console: Console) -> None:
    """Say plainly why numbers must not be published as they are."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for warning in warnings:
        table.add_row(Text("caution", style="bold yellow"), Text(warning))
    console.print(table)


def print_lines(console: Console, *lines: str, style: str = "") -> None:
    """Lines as they are: brackets are no markup, numbers are not coloured.

    What is longer than the terminal goes on below, a little to the right.
    """
    wrapper = TextWrapper(
        console.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    for line in lines:
        for part in wrapper.wrap(line) or [""]:
            console.print(part, style=style, highlight=False, markup=False, soft_wrap=True)
