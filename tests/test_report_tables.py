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
from blippose.report.reference import find_reference
from blippose.report.table_files import csv_table, latex_table, markdown_table
from blippose.report.terminal import terminal_table

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
    assert not re.search(r"\*\*", lines[19])


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


def printed(report: Report, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(terminal_table(report.table, width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def shown_whole(report: Report, lines: list[str]) -> list[str]:
    """Titles of the columns whose texts and margins all stand in the lines uncut."""
    text = "\n".join(lines)
    return [
        column.short
        for i, column in enumerate(report.table.columns)
        if all(
            re.search(rf"(?<!\S){re.escape(part)}(?!\S)", text)
            for row in report.table.rows
            for part in (row.entries[i].text, row.entries[i].margin)
            if part
        )
    ]


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (80, ("batch_size", "lr", "optimizer", "MAE px", "verdict", "@5 px")),
        (100, ("batch_size", "lr", "optimizer", "MAE px", "verdict", "@5 px", "@1 px", "epoch")),
        (160, ("batch_size", "lr", "optimizer", "MAE px", "verdict", "epoch", "time", "memory")),
    ],
)
def test_a_terminal_shows_whole_columns_and_the_important_ones(
    evaluated: Report, width: int, wanted: tuple[str, ...]
) -> None:
    lines = printed(evaluated, width)
    titles = lines[0].split("  ")
    whole = shown_whole(evaluated, lines)
    assert max(map(len, lines)) <= width
    for title in wanted:
        assert any(title == shown.strip() for shown in titles), title
        assert title in whole, title
    assert "4.76-5.56" in lines[3]  # below the best value


def test_sentences_break_between_words_in_a_terminal_and_nowhere_in_a_file(report: Report) -> None:
    shown = {}
    for is_terminal in (True, False):
        file = io.StringIO()
        report.print(Console(width=60, file=file, force_terminal=is_terminal, no_color=True))
        shown[is_terminal] = file.getvalue()
    [*_, last] = report.sentences
    assert last in shown[False].splitlines()
    assert last not in shown[True]
    assert last.split() == shown[True].split()[-len(last.split()) :]


def test_states_are_shown_unless_all_runs_are_done(poster_grid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(poster_grid, tmp_path / "grid"))
    assert not any("done" in line for line in printed(report_of(copy), 80))
    shutil.rmtree(copy / BEST_CELL)
    lines = printed(report_of(copy), 80)
    assert sum("done" in line for line in lines) == 17
    assert "missing" in lines[-1]


def test_long_settings_stand_below_each_other_uncut(poster_grid: Path, tmp_path: Path) -> None:
    weights = [f"{who}/blip-image-captioning-base-of-{who}" for who in ("somebody", "another")]
    for i, run in enumerate(sorted(poster_grid.glob("*optimizer=adam"))):
        copy = Path(shutil.copytree(run, tmp_path / str(i)))
        record = json.loads((copy / "run.json").read_text())
        record["config"]["model"]["weights"] = weights[i % 2]
        (copy / "run.json").write_text(json.dumps(record))
    lines = printed(report_of(tmp_path), 80)
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:2] == ["#", "run"]
    assert all(name in "\n".join(lines) for name in (*weights, "batch_size 4", "lr 2e-5"))


@pytest.fixture(scope="module")
def evaluated(poster_grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The grid with a `blippose eval` of each run: 0.4 px either way."""
    copy = Path(shutil.copytree(poster_grid, tmp_path_factory.mktemp("evaluated") / "grid"))
    for cell in find_cells([copy]):
        metrics = {
            name: {"value": value, "low": value * 0.9, "high": value * 1.1}
            for name, value in cell.results["free_running"].items()
        }
        value = metrics["mae_all"]["value"]
        metrics["mae_all"] |= {"low": value - 0.4, "high": value + 0.4}
        about = {"subset": "val", "epoch": None, "manifest": cell.results["manifest"]}
        assert cell.folder is not None
        text = json.dumps({"about": about, "rows": [{"metrics": metrics}]})
        (cell.folder / "eval.json").write_text(text)
    return report_of(copy)


def test_an_evaluation_brings_its_interval_and_verdicts(evaluated: Report) -> None:
    report = evaluated
    column = report.table.titles.index("MAE (px)")
    first = report.table.rows[0].entries[column]
    assert (first.text, first.margin, first.whole) == ("5.16", "4.76-5.56", "5.16 (4.76-5.56)")
    verdict = report.table.titles.index("verdict")
    scores = [report.grid.score(row.cells[0]) or 0.0 for row in report.table.rows]
    for row, score in list(zip(report.table.rows, scores, strict=True))[1:]:
        expected = "within noise" if score - scores[0] <= 0.8 else "worse"
        assert row.entries[verdict].text == expected


def test_verdicts_by_an_evaluations_intervals_are_of_the_reference_too(evaluated: Report) -> None:
    reference = find_reference(evaluated.grid, "adam,lr=2e-5,batch_size=2")
    table = Report.of(evaluated.grid, reference).table
    column, verdict = (table.titles.index(title) for title in ("difference (px)", "verdict"))
    held = evaluated.grid.mean(reference) or 0.0
    for row in table.rows:
        gap = (evaluated.grid.score(row.cells[0]) or 0.0) - held
        beyond = "better" if gap < 0 else "worse"
        expected = "reference" if not gap else "within noise" if abs(gap) <= 0.8 else beyond
        assert row.entries[verdict].text == expected
        assert row.entries[column].whole == ("-" if not gap else f"{gap:+.2f}")


def test_seeds_are_ranked_by_their_mean(tmp_path: Path) -> None:
    report = report_of(write_grid(tmp_path / "seeds", seeds=(0, 1), num_epochs=2))
    assert report.choices is not None
    assert len(report.choices.rows) == 18
    assert len(report.table.rows) == 36
    column = report.choices.titles.index("MAE (px)")
    first = report.choices.rows[0]
    scores = [report.grid.score(cell) for cell in first.cells]
    assert first.entries[column].value == pytest.approx(sum(filter(None, scores)) / 2)
    assert first.entries[column].margin.startswith("±")


def test_the_interval_of_a_mean_is_as_narrow_as_its_seeds_are_many(tmp_path: Path) -> None:
    report = report_of(write_grid(tmp_path / "seeds", seeds=(0, 1), num_epochs=2))
    assert report.choices is not None
    assert report.effects.spread is not None
    column = report.choices.titles.index("MAE (px)")
    margins = {row.entries[column].margin for row in report.choices.rows}
    assert margins == {f"±{report.effects.spread.half_width(1 / 2):.2f}"}


def test_the_best_mean_of_each_column_is_bold(tmp_path: Path) -> None:
    """The best of one measure need not be the best of another."""
    grid = write_grid(tmp_path / "seeds", seeds=(0, 1), num_epochs=2)
    for record in grid.glob(f"{BEST_CELL},seed=*/run.json"):
        run = json.loads(record.read_text())
        run["results"]["free_running"]["acc_1px"] = 0.0
        record.write_text(json.dumps(run))
    choices = report_of(grid).choices
    assert choices is not None
    for title in ("MAE (px)", "accuracy @1 px"):
        column = choices.titles.index(title)
        entries = [row.entries[column] for row in choices.rows]
        best = (min if title == "MAE (px)" else max)(float(entry.text) for entry in entries)
        assert [float(entry.text) for entry in entries if entry.is_best] == [best]


def test_a_run_without_facts_shows_dashes(poster_grid: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(poster_grid / BEST_CELL, tmp_path / "old"))
    record = json.loads((run / "run.json").read_text())
    for key in ("seconds", "peak_memory_mb", "command"):
        del record[key]
    (run / "run.json").write_text(json.dumps(record))
    table = report_of(run).table
    assert table.rows[0].entries[table.titles.index("time")].text == "-"
