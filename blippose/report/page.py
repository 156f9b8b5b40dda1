"""One HTML file that opens offline: figures, table, curves on click, commands, environment.

Nothing in it asks for anything outside; a content security policy in the file says so as well.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from blippose import __version__
from blippose.counted import counted
from blippose.identity import flatten
from blippose.report.cells import Cell, CellState
from blippose.report.effects import Effects
from blippose.report.figures.curves import curve_of
from blippose.report.figures.style import level_colors
from blippose.report.grid import Grid
from blippose.report.history import Curve
from blippose.report.measures import TRAIN_LOSS, Measure
from blippose.report.samples import Sample
from blippose.report.tables import RankedTable

_ASSETS = Path(__file__).parent / "assets"
_NUM_POINTS = 200  # of a curve


@dataclass(frozen=True)
class PageParts:
    """What the page is made of.

    Args:
        figures: by name, as <svg> elements with the page's colours.
        level_counts: how many colours stand for an axis, in any of them.
        choices: means over seeds, where there are several.
        charts: the measures whose curves a run shows.
    """

    title: str
    grid: Grid
    figures: Mapping[str, str]
    level_counts: frozenset[int]
    table: RankedTable
    choices: RankedTable | None
    sentences: Sequence[str]
    effects: Effects
    samples: Sequence[Sample]
    charts: Sequence[Measure]


def page(parts: PageParts) -> str:
    """The file's text."""
    environment = Environment(
        loader=FileSystemLoader(_ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["with_code"] = _with_code
    table = parts.table.compact()
    cells = [row.cells[0] for row in table.rows]
    shown = [_shown(parts.grid, cell, parts.charts) for cell in cells]
    return environment.get_template("page.html.j2").render(
        title=parts.title,
        headline=headline(parts.grid),
        states=Counter(cell.state.value for cell in cells).most_common(),
        sections=_sections(parts, cells),
        figures={name: Markup(drawing) for name, drawing in parts.figures.items()},
        curves_caption=_curves_caption(parts),
        effects_caption=_effects_caption(parts.effects),
        measure_label=parts.grid.measure.label,
        sentences=parts.sentences,
        table=table,
        state_column=table.titles.index("state"),
        choices=parts.choices and parts.choices.compact(),
        filters=_filters(table, len(parts.grid.axes)),
        cells=shown,
        noted=[one for one in shown if one["notes"]],
        samples=parts.samples,
        versions=_versions(cells),
        mixed_versions=[name for name, values in _versions(cells) if len(values) > 1],
        footer=f"Written by blippose {__version__}, {datetime.now():%Y-%m-%d %H:%M}.",
        css=Markup((_ASSETS / "page.css").read_text(encoding="utf-8")),
        level_css=Markup(_level_css(parts.level_counts)),
        js=Markup((_ASSETS / "page.js").read_text(encoding="utf-8")),
        data=_json(parts, cells, shown),
    )


def _with_code(text: str) -> Markup:
    """Text with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def headline(grid: Grid) -> str:
    """How far the grid is, and what is best."""
    done = f"{grid.num_done} of {counted(len(grid.cells), 'run')} done{_repeats(grid)}"
    bests = [_best(grid, number, cell) for number, cell in grid.bests.items()]
    if not bests:
        return f"{done}; no run was validated yet."
    judged_on = {_judged_on(cell) for cell in grid.bests.values()}
    alike = judged_on.pop() if len(judged_on) == 1 else ""
    return " ".join(filter(None, [f"{done}.", *bests, alike]))


def _repeats(grid: Grid) -> str:
    """That runs of the same settings and seed count once; empty of none."""
    if not grid.repeats:
        return ""
    repeat, counts = next(iter(grid.repeats.items()))
    say = "repeats another and is" if len(grid.repeats) == 1 else "repeat others and are"
    as_in = "" if len(grid.repeats) == 1 else "as "
    return f", {len(grid.repeats)} more {say} left out ({as_in}{repeat} of {counts})"


def _judged_on(cell: Cell) -> str:
    """How many persons of which kind, and what a pixel is; empty of a run that is not done."""
    results = cell.results
    if not {"num_val", "frame"} <= results.keys():
        return ""
    drawn = "drawn " if results.get("synthetic") else ""
    people = counted(results["num_val"], f"{drawn}validation person")
    return f"Judged on {people}; px are {results['frame']}."


def _best(grid: Grid, number: int, cell: Cell) -> str:
    on = f" on {grid.set_names[number]}" if len(grid.set_names) > 1 else ""
    so_far = "" if cell.state is CellState.DONE else f" so far ({cell.state.value})"
    unit = f" {grid.measure.unit}" if grid.measure.unit else ""
    return (
        f"Best{on}{so_far}: {grid.label(cell)}, {grid.measure.title} "
        f"{grid.measure.text(grid.score(cell))}{unit} at epoch {cell.best_epoch(grid.measure)}."
    )


def _sections(parts: PageParts, cells: Sequence[Cell]) -> list[tuple[str, str]]:
    sections = [("curves", "Curves"), ("table", "Table")]
    if any(cell.notes for cell in cells):
        sections.append(("notes", "Not done or damaged"))
    if parts.figures.keys() - {"grid"}:
        sections.append(("effects", "Effects"))
    return [
        *sections,
        ("samples", "Samples"),
        ("commands", "Commands"),
        ("environment", "Environment"),
    ]


def _curves_caption(parts: PageParts) -> str:
    titles = ", ".join(measure.label for measure in parts.charts)
    is_drawn = TRAIN_LOSS in parts.charts
    logged = " A training loss is of the batches that were logged, means of up to 60 stretches."
    training = logged if is_drawn else ""
    return (
        f"{titles} over epochs. The star is the best run at its best epoch by "
        f"{parts.grid.measure.title}.{training}"
    )


def _effects_caption(effects: Effects) -> str:
    if effects.noise is None:
        return "Means over the grid; too few runs for intervals."
    return (
        "Means over the grid with 95 % intervals, alone and in pairs: where lines are parallel, "
        f"one setting does not change what the other does. Noise: {effects.noise.source}, "
        f"standard deviation {effects.noise.deviation:.3g} with {effects.noise.freedom:.0f} "
        f"degrees of freedom.{_unsteady(len(effects.noise.own))}{_lacking(effects.num_lacking)}"
    )


def _unsteady(num: int) -> str:
    """What choices that are set apart have no part in."""
    if not num:
        return ""
    have = (
        "choices whose seeds scatter more have"
        if num > 1
        else "choice whose seeds scatter more has"
    )
    return f" {num} {have} noise of their own; shares of variance and p are those of the others."


def _lacking(num: int) -> str:
    """What means are where pairs of values have no run."""
    if not num:
        return ""
    have = "pairs of values have" if num > 1 else "pair of values has"
    return (
        f" {num} {have} no run that is done: means of such a value alone are what the others "
        "would lead one to expect, without an interval."
    )


def _filters(table: RankedTable, num_axes: int) -> list[dict[str, Any]]:
    """A choice for each axis and the state, unless there is nothing to choose."""
    filters = []
    judged_and_state = [table.titles.index(t) for t in ("judged on", "state") if t in table.titles]
    for column in [*range(1, 1 + num_axes), *judged_and_state]:
        values = list(dict.fromkeys(row.entries[column].text for row in table.rows))
        if len(values) > 1:
            name = table.titles[column]
            filters.append({"name": name, "column": column, "values": sorted(values, key=_number)})
    return filters


def _number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def _shown(grid: Grid, cell: Cell, charts: Sequence[Measure]) -> dict[str, Any]:
    """What the page knows of a cell."""
    settings = sorted(flatten(cell.config))
    versions = (cell.fact("versions") or {}).items()
    return {
        "name": cell.name,
        "label": grid.label(cell),
        "state": cell.state.value,
        "notes": cell.notes,
        "command": cell.fact("command"),
        "traceback": cell.fact("traceback"),
        "settings": "\n".join(f"{key}={_plain(value)}" for key, value in settings) or "none",
        "versions": "\n".join(f"{name} {value or '-'}" for name, value in versions) or "none",
        "curves": {measure.name: _points(curve_of(cell, measure)) for measure in charts},
    }


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)


def _points(curve: Curve) -> list[list[float]] | None:
    if not len(curve):
        return None
    thin = curve.thinned(_NUM_POINTS)
    return [[float(f"{x:.5g}") for x in column] for column in (thin.epochs, thin.values)]


def _versions(cells: Sequence[Cell]) -> list[tuple[str, list[str]]]:
    """Package, and its versions among the runs."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        for name, version in (cell.fact("versions") or {}).items():
            if version is not None:
                found.setdefault(name, {})[str(version)] = None
    first = ("commit", "blippose")
    names = sorted(found, key=lambda name: (name not in first, name))
    return [(name, list(found[name])) for name in names]


def _level_css(counts: frozenset[int]) -> str:
    """The figures' colours for either theme, a set for each number of levels."""
    lines = []
    for selector, dark in ((":root", False), (':root[data-theme="dark"]', True)):
        colors = [
            f"--level-{num}-{i}: {color};"
            for num in sorted(counts)
            for i, color in enumerate(level_colors(num, dark))
        ]
        lines.append(f"{selector} {{ {' '.join(colors)} }}")
    return "\n".join(lines)


def _json(parts: PageParts, cells: Sequence[Cell], shown: Sequence[Mapping[str, Any]]) -> Markup:
    """The data of the script, with nothing in it that could end its element."""
    best = next((i for i, cell in enumerate(cells) if cell is parts.grid.best), None)
    data = {
        "best": best,
        "charts": [{"name": one.name, "title": one.label} for one in parts.charts],
        "cells": shown,
        "pictures": {s.cell.name: {"position": i} for i, s in enumerate(parts.samples)},
    }
    return Markup(json.dumps(data).replace("<", "\\u003c").replace("&", "\\u0026"))
