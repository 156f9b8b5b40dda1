"""Writes a report: pictures, tables and the page, into one folder.

loss.png, accuracy.png, mae.png    curves of every run, also as .svg
grid.png                           the three together, also as .svg and .pdf
heatmap.png, effects.png, parallel.png    where there are enough runs, also as .svg
table.csv, table.md, table.tex     ranked
report.html                        all of it, in one file that opens offline
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from blippose.output_folder import Filling, filled, refuse_foreign
from blippose.prose import print_prose
from blippose.report.effects import Effects, find_effects
from blippose.report.figures import style
from blippose.report.figures.curves import curves_figure, loss_of
from blippose.report.figures.effect_plots import effects_figure
from blippose.report.figures.heat_map import heat_map
from blippose.report.figures.parallel import NUM_SHADES, parallel_figure
from blippose.report.grid import Choice, Grid
from blippose.report.measures import MEASURES, Measure
from blippose.report.page import PageParts, headline, page
from blippose.report.samples import samples
from blippose.report.table_files import csv_table, latex_table, markdown_table
from blippose.report.tables import RankedTable, cell_table, choice_table
from blippose.report.terminal import terminal_table
from blippose.report.verdicts import Verdicts, judge, sentences

PAGE = "report.html"
_TABLES = ("table.csv", "table.md", "table.tex")
_FIGURES = ("loss", "accuracy", "mae", "grid", "heatmap", "effects", "parallel")


def keep_foreign(folder: Path) -> None:
    """Refuse a folder in which a report would replace what no report wrote.

    Raises:
        UserError: a file there has the name of one of a report's, and no report wrote it.
    """
    refuse_foreign(_paths(folder), folder, "report")


def _paths(folder: Path) -> list[Path]:
    """Every file that a report may write."""
    figures = (f"{name}.{end}" for name in _FIGURES for end in ("png", "svg"))
    return [folder / name for name in (PAGE, *_TABLES, *figures, "grid.pdf")]


@dataclass(frozen=True)
class Report:
    """A grid with all that is worked out from it."""

    grid: Grid
    effects: Effects
    table: RankedTable
    choices: RankedTable | None
    verdicts: Verdicts
    sentences: list[str]

    @staticmethod
    def of(grid: Grid, reference: Choice | None = None) -> Report:
        """Tables, effects and verdicts, against the best choice where no reference is named."""
        effects = find_effects(grid)
        verdicts = judge(grid, effects.noise, reference)
        choices = choice_table(grid, verdicts, effects.spread) if grid.is_replicated else None
        table = cell_table(grid, verdicts)
        return Report(grid, effects, table, choices, verdicts, sentences(grid, verdicts))

    def write(self, folder: Path, title: str, accuracy: Measure) -> None:
        """Write every file; what an earlier report over more runs had besides goes.

        Raises:
            UserError: the folder cannot be written.
        """
        with filled(folder, "report") as filling:
            self._write_tables(filling)
            with style.styled():
                drawings = self._write_figures(accuracy, filling)
            filling.write_whole(PAGE, self._page(title, drawings, accuracy))

    def print(self, console: Console) -> None:
        """The table and the verdicts, for the terminal."""
        for table in filter(None, (self.choices, self.table)):
            console.print(terminal_table(table, console.width))
        noted = (cell for cell in self.grid.cells if cell.notes)
        notes = (f"{cell.name}: {'; '.join(cell.notes)}" for cell in noted)
        print_prose(console, *notes, headline(self.grid), *self.sentences)

    def _write_tables(self, filling: Filling) -> None:
        readable = self.choices or self.table
        tables = (
            csv_table(self.table, self.grid, self.verdicts),
            markdown_table(readable, self.sentences),
            latex_table(readable, self.sentences),
        )
        for name, table in zip(_TABLES, tables, strict=True):
            filling.write_whole(name, table)

    def _write_figures(self, accuracy: Measure, filling: Filling) -> dict[str, str]:
        """Write them; those of the page as <svg>, by name."""
        drawings = {}
        for name, figure in zip(_FIGURES, self._figures(accuracy), strict=True):
            if figure is None:
                continue
            with filling.whole_file(f"{name}.png") as partial:
                style.save_png(figure, partial)
            drawings[name] = style.svg(figure)
            filling.write_whole(f"{name}.svg", drawings[name])
            if name == "grid":
                with filling.whole_file(f"{name}.pdf") as partial:
                    style.save_pdf(figure, partial)
        return drawings

    def _figures(self, accuracy: Measure) -> Iterator[Figure | None]:
        """Of each name of `_FIGURES`; None where the runs are too few for it."""
        mae, grid = MEASURES["mae_all"], self.grid
        yield curves_figure(grid, [loss_of(grid)])
        yield curves_figure(grid, [accuracy])
        yield curves_figure(grid, [mae])
        yield curves_figure(grid, self._charts(accuracy))
        yield heat_map(grid)
        held = self.verdicts.reference
        yield effects_figure(grid, self.effects, None if held is None else grid.mean(held))
        yield parallel_figure(grid, list(dict.fromkeys([accuracy, mae, grid.measure])))

    def _charts(self, accuracy: Measure) -> Sequence[Measure]:
        shown = [loss_of(self.grid), accuracy, MEASURES["mae_all"], self.grid.measure]
        return list(dict.fromkeys(shown))

    def _page(self, title: str, drawings: dict[str, str], accuracy: Measure) -> str:
        shown = {
            k: v for k, v in drawings.items() if k in ("grid", "heatmap", "effects", "parallel")
        }
        counts = frozenset({len(axis.values) for axis in self.grid.axes} | {1, NUM_SHADES})
        return page(
            PageParts(
                title=title,
                grid=self.grid,
                figures={name: style.themed(svg, name, counts) for name, svg in shown.items()},
                level_counts=counts,
                table=self.table,
                choices=self.choices,
                sentences=self.sentences,
                effects=self.effects,
                samples=samples(self.grid),
                charts=self._charts(accuracy),
            )
        )
