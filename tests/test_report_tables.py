"""The ranked table in its four shapes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from example_grid import BEST_CELL, write_grid
from rich.console import Console

from blippose.report.cells import find_cells
from blippose.report.files import Report
from blippose.report.grid import Grid
from blippose.report.measures import MEASURES
from blippose.report.tables import csv_table, latex_table, markdown_table, terminal_table

MAE = MEASURES["mae_all"]


def report_of(*folders: Path) -> Report:
    return Report.of(Grid.of(find_cells(list(folders)), MAE))


@pytest.fixture(scope="module")
def report(poster_grid: Path) -> Report:
    return report_of(poster_grid)


def test_the_csv_holds_every_run_in_order_with_whole_numbers(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(report.table, report.grid))))
    scores = [float(row["MAE (px)"]) for row in rows]
    assert scores == sorted(scores)
    assert len(rows) == 18
    assert scores == [report.grid.score(cell) for cell in report.grid.ranked]
    assert {float(row["lr"]) for row in rows} == {5e-6, 2e-5, 5e-5}
    assert rows[0]["command"].startswith("blippose train ")
    assert float(rows[0]["time"]) > 0


def test_the_best_of_each_column_is_bold(report: Report) -> None:
    lines = markdown_table(report.table, report.sentences).splitlines()
    bold = re.findall(r"\*\*(.*?)\*\*", lines[2])
    best = report.grid.ranked[0]
    assert MAE.text(report.grid.score(best)) in bold
    assert len(bold) >= 5
    assert not re.search(r"\*\*", lines[-5])


def test_a_column_of_equals_has_no_best(report: Report) -> None:
    column = report.table.titles.index("parsed")
    assert not any(row.entries[column].is_best for row in report.table.rows)


def test_latex_has_a_column_for_each_entry_and_escapes(report: Report) -> None:
    text = latex_table(report.table, report.sentences)
    spec = re.search(r"begin\{tabular\}\{(\w+)\}", text)
    assert spec
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 19
    assert all(line.count("&") == len(spec[1]) - 1 for line in body)
    assert r"batch\_size" in text
    assert r"\textbf{" in body[1]


def test_a_narrow_terminal_keeps_settings_state_and_score(report: Report) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(terminal_table(report.table, 80))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(title in printed for title in ("batch_size", "lr", "optimizer", "MAE px"))
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_an_evaluation_brings_its_interval_and_verdicts(poster_grid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(poster_grid, tmp_path / "grid"))
    for cell in find_cells([copy]):
        estimate = cell.estimate("mae_all", MAE)
        assert estimate is not None
        assert cell.folder is not None
        value = {
            "value": estimate.value,
            "low": estimate.value - 0.4,
            "high": estimate.value + 0.4,
        }
        rows = [{"metrics": {"mae_all": value}}]
        about = {"subset": "val", "epoch": None}
        (cell.folder / "eval.json").write_text(json.dumps({"about": about, "rows": rows}))
    report = report_of(copy)
    column = report.table.titles.index("MAE (px)")
    assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", report.table.rows[0].entries[column].text)
    verdict = report.table.titles.index("verdict")
    scores = [report.grid.score(row.cells[0]) or 0.0 for row in report.table.rows]
    for row, score in list(zip(report.table.rows, scores, strict=True))[1:]:
        expected = "within noise" if score - scores[0] <= 0.8 else "worse"
        assert row.entries[verdict].text == expected


def test_seeds_are_ranked_by_their_mean(tmp_path: Path) -> None:
    report = report_of(write_grid(tmp_path / "seeds", seeds=(0, 1), num_epochs=2))
    assert report.choices is not None
    assert len(report.choices.rows) == 18
    assert len(report.table.rows) == 36
    column = report.choices.titles.index("MAE (px)")
    first = report.choices.rows[0]
    scores = [report.grid.score(cell) for cell in first.cells]
    assert first.entries[column].value == pytest.approx(sum(filter(None, scores)) / 2)
    assert "±" in first.entries[column].text


def test_a_run_without_facts_shows_dashes(poster_grid: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(poster_grid / BEST_CELL, tmp_path / "old"))
    record = json.loads((run / "run.json").read_text())
    for key in ("seconds", "peak_memory_mb", "command"):
        del record[key]
    (run / "run.json").write_text(json.dumps(record))
    table = report_of(run).table
    assert table.rows[0].entries[table.titles.index("time")].text == "-"
