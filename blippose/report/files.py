"""Writes a report: pictures, tables and the page, into one folder.

loss.png, accuracy.png, mae.png    curves of every run, also as .svg
grid.png                           the three together, also as .svg and .pdf
heatmap.png, effects.png, parallel.png    where there are enough runs, also as .svg
table.csv, table.md, table.tex     ranked
report.html                        all of it, in one file that opens offline
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from blippose.errors import UserError
from blippose.prose import print_prose
from blippose.report.effects import Effects, find_effects
from blippose.report.figures import style
from blippose.report.figures.curves import curves_figure, loss_of
from blippose.report.figures.effect_plots import effects_figure
from blippose.report.figures.heat_map import heat_map
from blippose.report.figures.parallel import NUM_SHADES, parallel_figure
from blippose.report.grid import Grid
from blippose.report.measures import MEASURES, Measure
from blippose.report.page import PageParts, headline, page
from blippose.report.samples import samples
from blippose.report.table_files import csv_table, latex_table, markdown_table
from blippose.report.tables import RankedTable, cell_table, choice_table
from blippose.report.terminal import terminal_table
from blippose.report.verdicts import judge, sentences
from blippose.whole_file import write_whole

PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """A grid with all that is worked out from it."""

    grid: Grid
    effects: Effects
    table: RankedTable
    choices: RankedTable | None
    sentences: list[str]

    @staticmethod
    def of(grid: Grid) -> Report:
        """Tables, effects and verdicts."""
        effects = find_effects(grid)
        verdicts = judge(grid, effects.noise)
        choices = choice_table(grid, verdicts, effects.spread) if grid.is_replicated else None
        return Report(
            grid, effects, cell_table(grid, verdicts), choices, sentences(grid, verdicts)
        )

    def write(self, folder: Path, title: str, accuracy: Measure) -> None:
        """Write every file.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write_tables(folder)
            with style.styled():
                drawings = self._write_figures(folder, accuracy)
            write_whole(folder / PAGE, self._page(title, drawings, accuracy))
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror}); choose another with out=FOLDER"
            ) from error

    def print(self, console: Console) -> None:
        """The table and the verdicts, for the terminal."""
        for table in filter(None, (self.choices, self.table)):
            console.print(terminal_table(table, console.width))
        noted = (cell for cell in self.grid.cells if cell.notes)
        notes = (f"{cell.name}: {'; '.join(cell.notes)}" for cell in noted)
        print_prose(console, *notes, headline(self.grid), *self.sentences)

    def _write_tables(self, folder: Path) -> None:
        write_whole(folder / "table.csv", csv_table(self.table, self.grid))
        readable = self.choices or self.table
        write_whole(folder / "table.md", markdown_table(readable, self.sentences))
        write_whole(folder / "table.tex", latex_table(readable, self.sentences))

    def _write_figures(self, folder: Path, accuracy: Measure) -> dict[str, str]:
        """Write them; those of the page as <svg>, by name."""
        drawings = {}
        for name, figure in self._figures(accuracy).items():
            if figure is None:
                for end in ("png", "svg"):  # of an earlier report, over more runs
                    (folder / f"{name}.{end}").unlink(missing_ok=True)
                continue
            style.save_png(figure, folder / f"{name}.png")
            drawings[name] = style.svg(figure)
            write_whole(folder / f"{name}.svg", drawings[name])
            if name == "grid":
                style.save_pdf(figure, folder / "grid.pdf")
        return drawings

    def _figures(self, accuracy: Measure) -> dict[str, Figure | None]:
        mae, grid = MEASURES["mae_all"], self.grid
        measures = list(dict.fromkeys([accuracy, mae, grid.measure]))
        return {
            "loss": curves_figure(grid, [loss_of(grid)]),
            "accuracy": curves_figure(grid, [accuracy]),
            "mae": curves_figure(grid, [mae]),
            "grid": curves_figure(grid, self._charts(accuracy)),
            "heatmap": heat_map(grid),
            "effects": effects_figure(grid, self.effects),
            "parallel": parallel_figure(grid, measures),
        }

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
