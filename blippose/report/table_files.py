"""The ranked table as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from blippose.report.grid import Grid
from blippose.report.tables import DIFFERENCE, Entry, RankedTable, shown_measures
from blippose.report.verdicts import Verdicts


def csv_table(table: RankedTable, grid: Grid, verdicts: Verdicts | None = None) -> str:
    """Every number as it is, and each run's intervals, folder, command and reason.

    With a reference in `verdicts` the interval of the difference too, of the run's choice.
    """
    measures = [one.name for one in shown_measures(grid)]
    bounds = [f"{name} {end}" for name in measures for end in ("low", "high")]
    of_differences = _bounds(grid, verdicts) if verdicts and verdicts.reference else {}
    whose = "choice's " if grid.is_replicated else ""
    bounds += [f"{whose}{DIFFERENCE} {end}" for end in ("low", "high") if of_differences]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*table.titles, *bounds, "run", "reason", "command"])
    for row in table.rows:
        [cell] = row.cells
        estimates = [grid.estimate(cell, name) for name in measures]
        ends = [x for e in estimates for x in ((e.low, e.high) if e else (None, None))]
        if of_differences:
            ends += of_differences.get(cell.name, (None, None))
        plain = ["" if e.value is None else e.value for e in row.entries]
        tail = [cell.name, "; ".join(cell.notes), cell.fact("command") or ""]
        writer.writerow([*plain, *("" if end is None else end for end in ends), *tail])
    return file.getvalue()


def _bounds(grid: Grid, verdicts: Verdicts) -> dict[str, tuple[float, float]]:
    """Of the difference from the reference, by the run's name."""
    found: dict[str, tuple[float, float]] = {}
    for choice in grid.choices:
        gap = verdicts.difference(choice)
        if gap is not None and gap.half is not None:
            ends = gap.value - gap.half, gap.value + gap.half
            found |= dict.fromkeys((cell.name for cell in choice.cells), ends)
    return found


def markdown_table(table: RankedTable, sentences: Sequence[str]) -> str:
    """GitHub's Markdown, the best in bold."""
    table = table.compact()
    lines = [
        _line(table.titles, _escape_markdown),
        "|" + "|".join("---:" if one.is_number else ":---" for one in table.columns) + "|",
        *(_line([_markdown(entry) for entry in row.entries], str) for row in table.rows),
    ]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in sentences), ""])


def _line(texts: Sequence[str], escape: Callable[[str], str]) -> str:
    return "| " + " | ".join(map(escape, texts)) + " |"


def _markdown(entry: Entry) -> str:
    text = _escape_markdown(entry.whole)
    return f"**{text}**" if entry.is_best else text


def _escape_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*").replace("_", r"\_")


def latex_table(table: RankedTable, sentences: Sequence[str]) -> str:
    """A tabular with booktabs, the best in bold; the sentences as comments."""
    table = table.compact()
    alignment = "".join("r" if column.is_number else "l" for column in table.columns)
    lines = [f"% {sentence}" for sentence in sentences]
    lines += [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
    lines += [" & ".join(map(_escape_latex, table.titles)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_latex, row.entries)) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(entry: Entry) -> str:
    margin = entry.margin and entry.whole.removeprefix(entry.text)
    text = _escape_latex(entry.text) + _escape_latex(margin).replace("-", "--")  # low to high
    if isinstance(entry.value, float) and entry.value < 0:
        text = text.replace("-", "$-$", 1)
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
