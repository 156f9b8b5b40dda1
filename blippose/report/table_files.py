"""The ranked table as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from blippose.report.grid import Grid
from blippose.report.tables import Entry, RankedTable, shown_measures


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
    text = _escape_latex(entry.whole)
    if entry.margin:
        text = text.replace("-", "--")  # from low to high
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
