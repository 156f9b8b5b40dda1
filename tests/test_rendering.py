from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from example_report import ROWS, example_report
from rich.console import Console

from blippose.evaluation.across_runs import across_runs, markdown_of_runs
from blippose.evaluation.csv_tables import IMAGE_COLUMNS, per_image_csv, per_joint_csv
from blippose.evaluation.markdown import markdown
from blippose.evaluation.quantities import BY_NAME
from blippose.evaluation.report_files import json_text
from blippose.evaluation.targets import Answers, Targets
from blippose.evaluation.terminal import print_protocol, print_report, print_runs
from blippose.pose import JOINTS


def printed(report: dict, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    print_report(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_keeps_to_the_width_and_cuts_nothing(width: int) -> None:
    lines = printed(example_report(), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_a_value_stands_above_its_interval_and_the_rest_of_its_name() -> None:
    lines = printed(example_report(), 80).splitlines()
    row = next(number for number, line in enumerate(lines) if line.startswith("model,   "))
    assert lines[row].split()[:2] == ["model,", "2.55"]
    assert lines[row + 1].split()[:2] == ["teacher-forced", "2.40-2.73"]


def test_a_wide_terminal_has_more_columns() -> None:
    assert "OKS " not in printed(example_report(), 80).splitlines()[0]
    assert printed(example_report(), 120).splitlines()[0].rstrip().endswith("OKS")


def test_the_unit_of_the_intervals_is_said() -> None:
    report = example_report()
    assert "1,000 resamples of the 61 videos" in printed(report, 120)
    report["about"]["interval"]["unit"], report["about"]["num_videos"] = "image", None
    assert "1,000 resamples of the 300 images" in printed(report, 120)


def test_cautions_come_last_on_the_terminal_and_first_on_the_page() -> None:
    report = example_report()
    sentence = report["warnings"][-1]["text"]
    assert sentence in printed(report, 120).rstrip().splitlines()[-1]
    page = markdown(report)
    assert page.index(sentence) < page.index("| **model, free-running** |")


def test_a_missing_number_is_a_dash_everywhere() -> None:
    report = example_report()
    for row in report["rows"]:
        row["metrics"]["mae"] = {"value": math.nan, "low": math.nan, "high": math.nan}
    assert "nan" not in printed(report, 100).lower()
    assert "nan" not in markdown(report).lower().replace("finan", "")
    assert "NaN" not in json_text(report)
    assert json.loads(json_text(report))["rows"][0]["metrics"]["mae"]["value"] is None


def test_the_page_has_every_row_in_both_frames() -> None:
    page = markdown(example_report(), {"Errors": "error_cdf.png"})
    for name, (kind, _, _) in ROWS.items():
        shown = f"| **{name}** |" if kind == "model" else f"| {name} |"
        assert all(shown in part for part in page.split("## In ")[1:3])
    assert "![Errors](error_cdf.png)" in page
    widths = {line.count(" | ") for line in page.splitlines() if line.startswith("| ---")}
    assert {7, 11} <= widths  # columns of input and of image pixels


def test_figures_without_the_leaks_are_shown_where_there_are_leaks() -> None:
    report = example_report()
    assert "without near-duplicates: MAE px 3.90 (3.67 to 4.17)" in printed(report, 120)
    assert "| without near-duplicates (296 left) | 3.90<br>3.67-4.17 |" in markdown(report)
    report["leaks"]["rows"][0]["num_images"] = report["about"]["num_images"]
    assert "without near-duplicates" not in printed(report, 120)


def test_an_interval_that_reaches_one_fits_its_column() -> None:
    share = BY_NAME["acc_5px"]
    assert share.margin({"value": 0.99, "low": 0.981, "high": 1.0}) == ".981-1"
    assert share.margin({"value": 1.0, "low": 1.0, "high": 1.0}) == ""
    assert BY_NAME["mae"].margin({"value": 12.3, "low": 11.04, "high": 13.96}) == "11.0-14.0"


def test_runs_are_averaged_and_their_scatter_is_the_sample_deviation() -> None:
    reports = [example_report() for _ in range(3)]
    for report, mae in zip(reports, (3.0, 4.0, 8.0), strict=True):
        report["rows"][0]["metrics"]["mae"]["value"] = mae
    mae = across_runs(reports)["rows"][0]["metrics"]["mae"]
    assert mae["value"] == pytest.approx(5.0)
    assert mae["deviation"] == pytest.approx(np.std([3, 4, 8], ddof=1))
    console = Console(width=80, file=io.StringIO())
    print_runs(across_runs(reports), console)
    assert "±2.65" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "5.00<br>±2.65" in markdown_of_runs(across_runs(reports))


def test_a_figure_that_one_run_lacks_has_no_mean() -> None:
    reports = [example_report() for _ in range(2)]
    reports[1]["rows"][0]["metrics"]["mae"]["value"] = None
    assert across_runs(reports)["rows"][0]["metrics"]["mae"]["value"] is None


def test_runs_on_other_images_are_said_to_be() -> None:
    reports = [example_report() for _ in range(2)]
    assert across_runs(reports)["warnings"] == reports[0]["warnings"]
    reports[1]["about"]["manifest"] = "another"
    assert "different splits" in across_runs(reports)["warnings"][0]["text"]


def test_runs_of_other_settings_are_said_to_be_and_other_seeds_are_not() -> None:
    reports = [example_report() for _ in range(2)]
    configs = [{"seed": 0, "optimizer": {"lr": 1e-4}}, {"seed": 1, "optimizer": {"lr": 1e-4}}]
    assert across_runs(reports, configs)["warnings"] == reports[0]["warnings"]
    configs[1]["optimizer"] = {"lr": 2e-4}
    found = across_runs(reports, configs)["warnings"][0]["text"]
    assert found == "The runs differ in optimizer.lr: their mean says nothing of one recipe."


def test_a_run_that_repeats_another_is_said_to_count_twice() -> None:
    reports = [example_report() for _ in range(3)]
    configs = [{"name": name, "seed": seed} for name, seed in (("a", 0), ("b", 1), ("c", 1))]
    found = across_runs(reports, configs)["warnings"][0]["text"]
    assert found.startswith("1 run of these had the settings and the seed of another one")


def test_runs_that_were_asked_in_other_ways_are_said_to_be() -> None:
    reports = [example_report() for _ in range(2)]
    name = reports[0]["about"]["decoding"]
    assert f"decoding: {name}" in markdown_of_runs(across_runs(reports))
    reports[1]["about"]["decoding"] = "constrained"
    found = across_runs(reports)["warnings"][0]["text"]
    assert found.startswith("The runs were judged by different ways of decoding: their mean")


def test_a_caution_with_figures_stands_once_and_says_how_many_runs_have_it() -> None:
    reports = [example_report() for _ in range(3)]
    reports[1]["warnings"][1]["text"] = "Shown the true joints, the model scores .8."
    reports[2]["warnings"].append({"kind": "only here", "text": "Only here."})
    warnings = across_runs(reports)["warnings"]
    assert [warning["kind"] for warning in warnings] == [
        "synthetic people",
        "teacher forcing",
        "only here",
    ]
    first, second, third = (warning["text"] for warning in warnings)
    assert first == reports[0]["warnings"][0]["text"]
    assert second.startswith("(all runs, each with its own figures; the first) Shown the true")
    assert third == "(1 of 3 runs) Only here."


def test_every_line_beside_the_table_has_its_interval() -> None:
    text = " ".join(printed(example_report(), 120).split())
    assert "99.6% (96.6 to 99.6) of the annotated joints parsed" in text
    assert "0.2% (0.2 to 0.2) absent, 0% without a number" in text
    assert "MAE px: 2.90 (2.73 to 3.10) on 300 training images, 3.83 (3.60 to 4.09) here" in text
    assert "| difference | -0.93<br>-0.99 to -0.87 |" in markdown(example_report())


def test_joints_and_groups_have_their_intervals_on_the_page() -> None:
    page = markdown(example_report())
    assert "| left wrist | 3.10<br>2.91-3.32 | 5.20<br>4.89-5.56 | .100<br>.097-.103 |" in page
    assert "## PCKh AUC by MPII's groups" in page
    row = next(line for line in page.splitlines() if line.startswith("| blank image | .041"))
    assert row.count("<br>.040-.042") == 7


def test_a_row_a_joint() -> None:
    rows = list(csv.DictReader(io.StringIO(per_joint_csv(example_report()["per_joint"]))))
    assert [row["joint"] for row in rows[:16]] == list(JOINTS)
    assert len(rows) == 3 * 16
    assert [rows[0][f"mae{end}"] for end in ("", "_low", "_high")] == ["3.1", "2.914", "3.317"]
    assert rows[0]["pckh_0.5"] == rows[0]["pckh_0.5_high"] == ""


def two_persons() -> Targets:
    """Inputs of 96 px from images twice as large; the second person lacks all but two joints."""
    rng = np.random.default_rng(0)
    xy_img = rng.uniform(0, 190, (2, 16, 2))
    valid = np.ones((2, 16), dtype=bool)
    valid[1, 2:] = False
    xy_img[~valid] = np.nan
    return Targets(
        index=np.array([7, 9]),
        image_names=("a.jpg", "b, c.jpg"),
        video=np.array([3, -1]),
        xy_input=(xy_img + 0.5) / 2 - 0.5,
        xy_img=xy_img,
        valid=valid,
        crop=np.array([[0.0, 0.0, 192.0, 192.0]] * 2),
        head_size=np.array([20.2, 0.0]),
        scale=np.array([1.0, np.nan]),
        input_size=96,
    )


def test_a_row_an_image_says_how_far_it_is_off() -> None:
    targets = two_persons()
    xy_input = targets.xy_input + np.array([3.0, 4.0])  # 5 px off, in the image 10
    xy_input[0, 4] = np.nan
    xy_input[0, 5] += 30.0
    answers = Answers("model", "model", xy_input, ("caption, one", "two"))
    first, second = csv.DictReader(io.StringIO(per_image_csv(targets, [answers])))
    assert tuple(first) == IMAGE_COLUMNS
    assert (first["index"], first["video"], second["video"]) == ("7", "3", "")
    assert (first["joints"], first["parsed"], second["joints"]) == ("16", "15", "2")
    assert (float(second["mae"]), float(second["epe"])) == (3.5, 5.0)
    assert float(second["epe_img"]) == 10.0
    assert float(first["pckh_0.5"]) == pytest.approx(
        12 / 14, abs=1e-6
    )  # 10 px is half of the head; two are worse
    assert second["pckh_0.5"] == ""  # no head box
    assert first["worst_joint"] == JOINTS[5]
    assert first["caption"] == "caption, one"


def test_a_person_without_an_answer_has_empty_distances() -> None:
    targets = two_persons()
    answers = Answers("model", "model", np.full((2, 16, 2), np.nan), None)
    first, _ = csv.DictReader(io.StringIO(per_image_csv(targets, [answers])))
    assert (first["parsed"], first["mae"], first["worst_joint"]) == ("0", "", "")
    assert float(first["acc_25px"]) == 0


def test_scores_of_a_file_say_which_variant_they_are() -> None:
    cells = {
        "head": {"value": 0.9, "low": 0.88, "high": 0.92},
        "wrist": {"value": math.nan, "low": math.nan, "high": math.nan},
    }
    mean = {"value": 0.70125, "low": 0.7, "high": 0.71}
    scores = {
        "groups": {"pckh_0.5": cells, "pckh_0.1": cells},
        "mean": {"pckh_0.5": mean, "pckh_0.1": mean},
        "variant": {"weighted": False, "strict": True, "tenth": 0.11},
        "num_persons": 2958,
        "num_joints": 40000,
        "num_missing": 3,
        "median_offset_px": {"x": -0.984, "y": 0.016},
        "interval": {"level": 0.95, "unit": "person", "samples": 1000, "seed": 0},
        "warnings": [{"kind": "counted from 0", "text": "Look at [this]."}],
    }
    console = Console(width=80, file=io.StringIO())
    print_protocol(scores, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "PCKh@0.11" in text
    assert all(said in text for said in ("of the joints alike", "distance < threshold"))
    assert "70.12 (70.0-71.0)" in text
    assert "1,000 resamples of the persons" in text
    assert "median of predictions less truth: x -0.98 px, y +0.02 px" in text
    assert "Look at [this]." in text
    assert "nan" not in text
