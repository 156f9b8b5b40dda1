"""Differences from a named choice, against hand calculations and SciPy, and where they stand."""

from __future__ import annotations

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_grid import write_grid
from example_scores import grid_of_scores
from rich.console import Console
from scipy import stats

from blippose.cli import main
from blippose.errors import UserError
from blippose.report.cells import Cell, CellState, find_cells
from blippose.report.comparisons import Difference
from blippose.report.effects import find_effects
from blippose.report.files import Report
from blippose.report.grid import Grid
from blippose.report.history import Curve, History
from blippose.report.measures import MEASURES
from blippose.report.noise import Noise, dunnett, joint
from blippose.report.reference import find_reference
from blippose.report.table_files import csv_table, latex_table, markdown_table
from blippose.report.terminal import terminal_table
from blippose.report.verdicts import Verdicts, judge, sentences

MAE = MEASURES["mae_all"]
AXES = "a: 0, 1; b: 0, 1, 2"


def against(grid: Grid, named: str) -> Verdicts:
    return judge(grid, find_effects(grid).noise, find_reference(grid, named))


def of(grid: Grid, verdicts: Verdicts, *key: int) -> Difference:
    [choice] = [choice for choice in grid.choices if choice.key == key]
    found = verdicts.difference(choice)
    assert found is not None
    return found


def test_a_difference_of_two_choices_is_that_of_the_paired_t_test() -> None:
    values = np.array([[5.0, 7.0, 6.1, 5.4], [5.6, 7.3, 6.9, 5.8]])
    grid = grid_of_scores(values)
    found = of(grid, against(grid, "0"), 1)
    interval = stats.ttest_rel(values[1], values[0]).confidence_interval(0.95)
    assert found.half is not None
    assert (found.value - found.half, found.value + found.half) == pytest.approx(tuple(interval))


def test_differences_are_those_of_dunnetts_test_on_seeds_unlike_each_others() -> None:
    values = 5 + np.random.default_rng(0).normal(size=(6, 4))
    grid = grid_of_scores(values, are_seeds_shared=False)
    verdicts = against(grid, "a=2")
    others = [i for i in range(6) if i != 2]
    test = stats.dunnett(
        *(values[i] for i in others), control=values[2], rng=np.random.default_rng(0)
    )
    interval = test.confidence_interval(0.95)
    for i, low, high in zip(others, interval.low, interval.high, strict=True):
        found = of(grid, verdicts, i)
        assert found.value == pytest.approx(values[i].mean() - values[2].mean())
        assert found.half == pytest.approx((high - low) / 2, rel=5e-3)


def test_differences_of_shared_seeds_are_without_what_a_seed_does_to_all() -> None:
    random = np.random.default_rng(1)
    values = 50 + random.normal(size=(5, 3)) + 100 * random.normal(size=3)
    grid = grid_of_scores(values)
    found = of(grid, against(grid, "0"), 3)
    left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    deviation = np.sqrt((left**2).sum() / 8)
    assert found.value == pytest.approx((values[3] - values[0]).mean())
    assert found.half == pytest.approx(dunnett(4, 8, 0.5) * deviation * np.sqrt(2 / 3))


@pytest.mark.parametrize(
    ("num", "freedom", "published"),
    [(2, 10, 2.57), (5, 20, 2.73), (3, 30, 2.47), (9, 60, 2.77), (1, 5, 2.571)],
)
def test_critical_values_are_those_of_dunnetts_table(
    num: int, freedom: int, published: float
) -> None:
    """Two-sided, 5 %; Dunnett, Biometrics 20:482, 1964."""
    assert dunnett(num, freedom, 0.5) == pytest.approx(published, abs=6e-3)


def test_a_choice_that_lacks_a_seed_is_compared_on_the_others() -> None:
    values = np.array([[5.0, 5.1, 9.0], [5.2, 5.3, np.nan], [5.1, 5.2, 9.3], [5.0, 5.2, 9.1]])
    grid = grid_of_scores(values)
    verdicts = against(grid, "0")
    assert of(grid, verdicts, 1).value == pytest.approx(0.2)
    halves = [of(grid, verdicts, i).half or 0.0 for i in (1, 2, 3)]
    assert halves[0] == pytest.approx(halves[1] * np.sqrt(3 / 2))


@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize(("num_here", "num_there"), [(4, 4), (7, 1)])
def test_choices_without_a_common_seed_are_compared_with_what_a_seed_does_to_all(
    num_here: int, num_there: int, is_named: bool
) -> None:
    """Equal ones, on other seeds: what differs is what these do."""
    wrong = 0
    for trial in range(100):
        random = np.random.default_rng([32, trial])
        values = 50 + 0.1 * random.normal(size=(8, 6)) + 3 * random.normal(size=6)
        values[:num_here, 3:] = np.nan
        values[num_here:, :3] = np.nan
        assert num_here + num_there == 8
        grid = grid_of_scores(values)
        reference = find_reference(grid, "0") if is_named else None
        verdicts = judge(grid, find_effects(grid).noise, reference)
        wrong += False in verdicts.within.values()
    assert wrong <= 12  # 5 % are 5; nearly all were, with what seeds do left out


def test_an_unsteady_choice_is_compared_by_welchs_test() -> None:
    values = 50 + np.random.default_rng(2).normal(size=(12, 3))
    values[11] += [300.0, -100.0, -80.0]
    grid = grid_of_scores(values)
    noise = find_effects(grid).noise
    assert noise is not None
    own = noise.of((11,))
    variances = noise.deviation**2 / 3, own.deviation**2 / 3
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / noise.freedom + variances[1] ** 2 / 2)
    found = of(grid, against(grid, "0"), 11)
    assert found.half == pytest.approx(dunnett(11, freedom, 0.5) * np.sqrt(sum(variances)))


def test_welchs_degrees_of_freedom_are_scipys() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 5)) * [[1.0], [9.0]]
    whole = joint([(Noise(x.std(ddof=1), 4, ""), 1 / 5) for x in (a, b)])
    test = stats.ttest_ind(a, b, equal_var=False)
    assert whole.freedom == pytest.approx(test.df)
    assert whole.deviation == pytest.approx((a.mean() - b.mean()) / test.statistic)


@pytest.mark.parametrize("common", [0.0, 3.0])
def test_of_equal_choices_hardly_any_grid_has_one_beyond_noise_of_the_reference(
    common: float,
) -> None:
    wrong = 0
    for trial in range(150):
        random = np.random.default_rng([30, trial])
        values = 50 + random.normal(size=(30, 3)) + common * random.normal(size=3)
        wrong += False in against(grid_of_scores(values), "0").within.values()
    assert wrong <= 14  # 5 % are 7.5


def test_with_an_unsteady_choice_the_equal_others_are_within_noise_of_the_reference() -> None:
    wrong = 0
    for trial in range(100):
        random = np.random.default_rng([31, trial])
        values = 50 + random.normal(size=(20, 3))
        values[19] += 30 * random.normal(size=3)
        within = against(grid_of_scores(values), "0").within
        wrong += any(within[(i,)] is False for i in range(1, 19))
    assert wrong <= 10  # 5 % are 5


def test_each_choice_is_better_worse_or_within_noise_and_the_reference_is_named() -> None:
    values = np.array([[5.0, 5.1, 4.9], [3.0, 3.2, 3.1], [7.0, 7.0, 7.1], [5.1, 5.0, 5.0]])
    grid = grid_of_scores(values)
    verdicts = against(grid, "0")
    says = {choice.key[0]: verdicts.text(choice) for choice in grid.choices}
    assert says == {0: "reference", 1: "better", 2: "worse", 3: "within noise"}
    lines = sentences(grid, verdicts)
    assert lines[:3] == [
        "Better than the reference: 1 of 3 others (a 1).",
        "Worse than the reference: 1 of 3 others (a 2).",
        "Within noise of the reference: 1 of 3 others (a 3).",
    ]
    assert lines[3] == (
        "Difference: a choice's MAE minus that of the reference (a 0), over the seeds that both "
        "have, else all; less is better."
    )
    assert lines[4].endswith("95 % for all 3 comparisons with the reference together (Dunnett).")


def test_where_more_is_better_a_positive_difference_is() -> None:
    values = np.array([[0.50, 0.51], [0.70, 0.72], [0.30, 0.31], [0.50, 0.52]])
    grid = grid_of_scores(values, MEASURES["acc_5px"])
    report = Report.of(grid, find_reference(grid, "0"))
    assert report.choices is not None
    columns = [report.choices.titles.index(title) for title in ("a", "difference", "verdict")]
    rows = [[row.entries[i].text for i in columns] for row in report.choices.rows]
    assert rows[0] == ["1", "+.205", "better"]
    assert rows[-1] == ["2", "-.200", "worse"]
    assert any(
        "over the seeds that both have, else all; more is better" in line
        for line in report.sentences
    )


def test_choices_of_one_seed_are_compared_by_what_axes_leave_and_else_without_interval() -> None:
    random = np.random.default_rng(4)
    values = 5 + random.normal(size=(18, 1)) * 0.01
    values[9:] += 3
    names, levels = ("a", "b", "c"), (2, 3, 3)
    grid = grid_of_scores(values, names=names, levels=levels)
    verdicts = against(grid, "a=0,b=0,c=0")
    assert verdicts.within[(1, 0, 0)] is False
    assert of(grid, verdicts, 1, 0, 0).half is not None
    few = grid_of_scores(values[:3])
    verdicts = against(few, "0")
    found = of(few, verdicts, 1)
    assert (found.half, found.is_within) == (None, None)
    assert found.value == pytest.approx(values[1, 0] - values[0, 0])
    assert {verdicts.text(choice) for choice in few.choices} == {"reference", ""}
    assert sentences(few, verdicts)[1].startswith("Nothing tells noise from difference here")


def judged(name: str, manifest: str, **config: object) -> Cell:
    """A run that is done, judged by a manifest."""
    results = {"epoch": 0, "manifest": manifest, "frame": "px"}
    history = History({"val/mae_all": Curve(np.ones(1), np.array([5.0]))})
    record = {"config": {"seed": 0, **config}, "results": results}
    return Cell(name, None, CellState.DONE, record=record, history=history)


def two_axes() -> Grid:
    return grid_of_scores(np.arange(12.0).reshape(6, 2), names=("a", "b"), levels=(2, 3))


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("7", f"reference=7: no setting has the value 7; there are {AXES}"),
        ("", f"reference=: no setting is named; there are {AXES}"),
        ("b=7", "reference=b=7: no run has this b; there is 0, 1, 2"),
        ("seed=0", "reference=seed=0: the choices do not differ in seed; they do in a, b"),
        (
            "1",
            "reference=1: 1 is a value of several settings; write 'reference=\"a=1\"' or "
            "'reference=\"b=1\"'",
        ),
        ("2", "reference=2: fits 2 choices; add a value, with a comma, of a: 0, 1"),
        ("b=1,2", "reference=b=1,2: two values of b; name one of 0, 1, 2"),
    ],
)
def test_a_wrong_reference_has_one_line_that_says_what_there_is(named: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        find_reference(two_axes(), named)
    assert str(caught.value) == line


def test_a_long_list_of_values_is_cut_and_null_is_named_by_its_key() -> None:
    many = grid_of_scores(np.arange(36.0).reshape(18, 2))
    with pytest.raises(UserError, match=r"there are a: 0, 1, .*, 9 and 8 more$"):
        find_reference(many, "x")
    cells = [judged("off", "m", noise=None), judged("on", "m", noise=2.0)]
    grid = Grid.of(cells, MAE)
    with pytest.raises(UserError, match=r'there are noise: 2.0, "noise=null" \(in quotes\)$'):
        find_reference(grid, "x")
    assert find_reference(grid, "noise=null").key == (None,)


@pytest.mark.parametrize("named", ["a=1,2", "2,a=1", "b=2, a=1", "a=1,b=2.0"])
def test_values_of_several_axes_name_one_choice(named: str) -> None:
    assert find_reference(two_axes(), named).key == (1, 2)


def test_a_reference_without_a_value_has_its_line() -> None:
    grid = grid_of_scores(np.array([[5.0, 5.1], [4.0, 4.1], [3.0, 3.1]]))
    cells = [replace(c, state=CellState.RUNNING) if c.name[0] == "1" else c for c in grid.cells]
    with pytest.raises(UserError, match=r"^reference=1: a 1 has no run that is done; done are "):
        find_reference(Grid.of(cells, MAE), "1")
    silent = [replace(c, history=History({})) if c.name[0] == "1" else c for c in grid.cells]
    with pytest.raises(UserError, match=r"^reference=1: a run of a 1 has no value of MAE; with "):
        find_reference(Grid.of(silent, MAE), "1")
    with pytest.raises(UserError, match="differ in no setting"):
        find_reference(grid_of_scores(np.array([[5.0, 5.1]])), "1")


def test_a_reference_on_other_images_has_its_line_and_others_stay_unjudged() -> None:
    alike = [judged(f"a{i}", "one", lr=i) for i in range(3)]
    grid = Grid.of([*alike, judged("b", "two", lr=9, data={"root": "elsewhere"})], MAE)
    with pytest.raises(UserError, match="was judged on other images or in another frame"):
        find_reference(grid, "lr=9,root=elsewhere")
    report = Report.of(grid, find_reference(grid, "lr=0,root=(absent)"))
    columns = [report.table.titles.index(title) for title in ("difference (px)", "verdict")]
    rows = {row.cells[0].name: [row.entries[i].text for i in columns] for row in report.table.rows}
    assert rows["b"] == ["-", "other images"]
    assert rows["a0"] == ["-", "reference"]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's grid with two seeds."""
    return write_grid(tmp_path_factory.mktemp("named") / "seeds", seeds=(0, 1), num_epochs=2)


NAMED = "optimizer=adam,lr=2e-5,data.batch_size=2"


@pytest.fixture(scope="module")
def report(seeds: Path) -> Report:
    grid = Grid.of(find_cells([seeds]), MAE)
    return Report.of(grid, find_reference(grid, NAMED))


def test_the_difference_stands_in_markdown_and_latex_with_its_interval(report: Report) -> None:
    assert report.choices is not None
    column = report.choices.titles.index("difference (px)")
    entries = [row.entries[column] for row in report.choices.rows]
    assert [entry.text for entry in entries].count("-") == 1
    below, above = entries[0], entries[-1]
    assert re.fullmatch(r"-\d+\.\d\d ±\d+\.\d\d", below.whole)
    assert re.fullmatch(r"\+\d+\.\d\d ±\d+\.\d\d", above.whole)
    markdown = markdown_table(report.choices, report.sentences)
    assert f"| {below.whole} |" in markdown
    assert "| reference |" in markdown
    latex = latex_table(report.choices, report.sentences)
    assert f"& $-${below.text[1:]} $\\pm${below.margin[1:]} &" in latex
    assert f"& {above.text} $\\pm${above.margin[1:]} &" in latex


@pytest.mark.parametrize("width", [80, 120])
def test_the_difference_stands_in_a_terminal_above_its_interval(
    report: Report, width: int
) -> None:
    assert report.choices is not None
    console = Console(width=width, file=io.StringIO())
    console.print(terminal_table(report.choices, width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    entry = report.choices.rows[0].entries[report.choices.titles.index("difference (px)")]
    assert max(map(len, lines)) <= width
    assert "diff px" in lines[0]
    assert entry.text in lines[2]
    assert lines[3].index(entry.margin) + len(entry.margin) == (
        lines[2].index(entry.text) + len(entry.text)
    )


def test_the_csv_has_the_difference_of_each_runs_choice_and_its_ends(report: Report) -> None:
    text = csv_table(report.table, report.grid, report.verdicts)
    rows = {row["run"]: row for row in csv.DictReader(io.StringIO(text))}
    for choice in report.grid.choices:
        gap = report.verdicts.difference(choice)
        for row in (rows[cell.name] for cell in choice.cells):
            assert row["verdict"] == report.verdicts.text(choice)
            if gap is None:
                assert row["choice's difference (px)"] == row["choice's difference low"] == ""
                continue
            assert gap.half is not None
            ends = [float(row[f"choice's difference {end}"]) for end in ("low", "high")]
            assert float(row["choice's difference (px)"]) == pytest.approx(gap.value)
            assert ends == pytest.approx([gap.value - gap.half, gap.value + gap.half])


def test_the_command_writes_differences_into_every_table(
    seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(seeds), f'reference="{NAMED}"', f"out={tmp_path}/out"]) == 0
    assert "diff px" in capsys.readouterr().out
    for name in ("table.csv", "table.md", "table.tex", "report.html"):
        assert "difference (px)" in (tmp_path / "out" / name).read_text(), name
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search(r">-\d+\.\d\d<small>±\d+\.\d\d</small>", page)
    assert page.count("Difference: a choice&#39;s MAE minus that of the reference") == 1


def test_without_a_reference_no_table_has_a_difference(
    seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(seeds), "reference=null", f"out={tmp_path}/out"]) == 0
    assert "diff px" not in capsys.readouterr().out
    for name in ("table.csv", "table.md", "table.tex", "report.html"):
        assert "difference (px)" not in (tmp_path / "out" / name).read_text(), name


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("reference=sgd", "no setting has the value sgd; there are batch_size: 1, 2, 4; lr: "),
        ("reference=adamw", "reference=adamw: fits 9 choices; add a value, with a comma, of "),
        ("reference=2e-5", "reference=2e-5: fits 6 choices"),
        ("reference=[adam,7]", "reference=adam,7: no setting has the value 7; there are "),
        ("reference=optimizer=adam", "wants quotes: 'reference=\"optimizer=adam\"'"),
    ],
)
def test_a_wrong_reference_writes_nothing(
    seeds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], word: str, line: str
) -> None:
    assert main(["report", str(seeds), word, f"out={tmp_path}/out"]) == 2
    error = capfd.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_run_of_the_reference_that_is_not_done_is_told(
    seeds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(seeds, tmp_path / "grid"))
    for run in copy.glob("batch_size=2,lr=2e-05,optimizer=adam,*"):
        shutil.rmtree(run)
    assert main(["report", str(copy), f'reference="{NAMED}"']) == 2
    assert "optimizer Adam has no run that is done; done are " in capfd.readouterr().err
