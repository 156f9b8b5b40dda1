"""What the report's figures show, and what they say where there is little to show."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_grid import BEST_CELL, cells
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from blippose.report.cells import Cell, CellState, find_cells, read_cell
from blippose.report.effects import find_effects
from blippose.report.figures.curves import curves_figure, loss_of
from blippose.report.figures.effect_plots import effects_figure
from blippose.report.figures.heat_map import heat_map
from blippose.report.figures.parallel import parallel_figure
from blippose.report.figures.roles import Roles
from blippose.report.figures.style import at_least_a_tenth, styled
from blippose.report.grid import Grid
from blippose.report.history import Curve, History
from blippose.report.measures import MEASURES, TRAIN_LOSS

MAE = MEASURES["mae_all"]


def drawn_texts(figure: Figure) -> list[Text]:
    """Without those of ticks that lie outside of what their axis shows."""
    figure.set_dpi(100)
    FigureCanvasAgg(figure).draw()
    axes = [axis for plot in figure.axes for axis in (plot.xaxis, plot.yaxis)]
    ticks = {tick for axis in axes for tick in (*axis.majorTicks, *axis.minorTicks)}
    hidden = ticks - {tick for axis in axes for tick in axis._update_ticks()}
    unseen = {label for tick in hidden for label in (tick.label1, tick.label2)}
    texts = [text for text in figure.findobj(Text) if text not in unseen]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def faults(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie over each other, and texts that the page cuts."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn_texts(figure)]
    pairs = [
        (one, other)
        for (one, box), (other, second) in itertools.combinations(boxes, 2)
        if box.overlaps(second)
    ]
    (left, bottom), (right, top) = figure.bbox.min, figure.bbox.max
    return pairs + [
        (name, "the page")
        for name, box in boxes
        if box.x0 < left or box.y0 < bottom or box.x1 > right or box.y1 > top
    ]


@pytest.fixture(scope="module")
def poster(poster_grid: Path) -> Grid:
    return Grid.of(find_cells([poster_grid]), MAE)


def drawn(grid: Grid) -> dict[str, Figure]:
    measures = [loss_of(grid), MEASURES["acc_5px"], MAE]
    with styled():
        figures = {
            "loss": curves_figure(grid, measures[:1]),
            "grid": curves_figure(grid, measures),
            "heat map": heat_map(grid),
            "effects": effects_figure(grid, find_effects(grid)),
            "parallel": parallel_figure(grid, measures[1:]),
        }
        return {name: figure for name, figure in figures.items() if figure}


def test_values_and_names_with_a_dollar_are_no_formulas() -> None:
    names = itertools.product(("a$_$", "b"), ("c$_$", "d"))
    odd = [
        Cell(
            f"{one}{other}",
            None,
            CellState.DONE,
            "",
            {"config": {"x$_$": one, "y$_$": other}},
            History({"val/mae_all": Curve(np.arange(1.0, 3), np.array([5.0, 4 + 0.1 * number]))}),
        )
        for number, (one, other) in enumerate(names)
    ]
    figures = drawn(Grid.of(odd, MAE))
    assert figures.keys() == {"loss", "grid", "heat map", "effects", "parallel"}
    for figure in figures.values():
        shown = " ".join(text.get_text() for text in drawn_texts(figure))
        assert "$_$" in shown


def test_no_text_of_the_study_is_cut_or_lies_on_another(poster: Grid) -> None:
    figures = drawn(poster)
    assert len(figures) == 5
    for name, figure in figures.items():
        assert faults(figure) == [], name


def test_long_names_are_cut_in_their_middle_and_lie_on_nothing(
    poster_grid: Path, tmp_path: Path
) -> None:
    for run in sorted(poster_grid.glob("*")):
        copy = Path(shutil.copytree(run, tmp_path / run.name))
        record = json.loads((copy / "run.json").read_text())
        is_small = record["config"]["data"]["batch_size"] < 4
        end = "base" if is_small else "large"
        record["config"]["model"]["weights"] = f"Salesforce/blip-image-captioning-{end}"
        record["config"]["data"]["batch_size"] = 2
        (copy / "run.json").write_text(json.dumps(record))
    grid = Grid.of(find_cells([tmp_path]), MAE)
    for name, figure in drawn(grid).items():
        assert faults(figure) == [], name


@pytest.mark.parametrize("far", [0, 500])
def test_an_axis_of_many_values_has_a_row_each_the_best_on_top(
    poster_grid: Path, tmp_path: Path, far: int
) -> None:
    """Two of the values are judged on other images: they have no place, and shift no name.

    One that is `far` worse than the others stands at the edge, and leaves them the room.
    """
    names = [f"a change with a name {i:02}" for i in range(14)]
    for i, name in enumerate(names):
        for seed in range(2):
            copy = Path(shutil.copytree(poster_grid / BEST_CELL, tmp_path / f"{i}-{seed}"))
            record = json.loads((copy / "run.json").read_text())
            record["config"] |= {"seed": seed, "change": name}
            if i < 2:
                record["results"]["manifest"] = "of other images"
                record["config"]["data"]["split"] = "random"
            (copy / "run.json").write_text(json.dumps(record))
            rows = (copy / "metrics.csv").read_text().splitlines()
            column = rows[0].split(",").index("val/mae_all")
            cells = [row.split(",") for row in rows]
            for row in cells[1:]:
                if row[column]:
                    row[column] = str(float(row[column]) + i + seed / 10 + far * (i == 13))
            (copy / "metrics.csv").write_text("\n".join(map(",".join, cells)) + "\n")
    grid = Grid.of([replace(c, swept={"change": c.config["change"], "seed": c.config["seed"]})
                    for c in find_cells([tmp_path])], MAE)  # fmt: skip
    with styled():
        figure = effects_figure(grid, find_effects(grid))
        assert figure is not None
        assert faults(figure) == []
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == names[:1:-1]
    assert np.ptp(figure.axes[0].get_xlim()) < 20
    arrows = [text.get_text() for text in figure.axes[0].texts]
    assert len(arrows) == (far > 0)
    assert all(arrow.startswith("5") and arrow.endswith(" \u2192") for arrow in arrows)
    reference = grid.mean(grid.choices[3])
    with_line = effects_figure(grid, find_effects(grid), reference)
    assert with_line is not None
    new = len(with_line.axes[0].lines) - len(figure.axes[0].lines)
    assert new == 1
    assert [reference, reference] in [list(line.get_xdata()) for line in with_line.axes[0].lines]


def test_runs_too_short_for_a_training_loss_show_the_validations(
    poster_grid: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(poster_grid / BEST_CELL, tmp_path / "run"))
    rows = (copy / "metrics.csv").read_text().splitlines()
    place = rows[0].split(",").index("train/loss")
    kept = [row for row in rows if row.split(",")[place] in ("", "train/loss")]
    (copy / "metrics.csv").write_text("\n".join(kept) + "\n")
    grid = Grid.of(find_cells([copy]), MAE)
    figure = curves_figure(grid, [loss_of(grid)])
    assert figure.axes[0].get_ylabel() == "validation loss (nats a token)"
    said = "1 of 1 run logged no training loss: fewer steps than trainer.log_every_n_steps"
    assert said in figure.get_suptitle()
    assert max(len(line.get_xdata()) for line in figure.axes[0].lines) == 8


def test_runs_with_a_training_loss_show_it(poster: Grid) -> None:
    assert loss_of(poster) is TRAIN_LOSS
    said = "training loss: of the batches that were logged, not of epochs"
    assert said in curves_figure(poster, [TRAIN_LOSS]).get_suptitle()


def test_a_value_without_a_curve_is_not_in_the_legend(poster_grid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(poster_grid, tmp_path / "grid"))
    for metrics in copy.glob("*lr=5e-05*/metrics.csv"):
        metrics.unlink()
    grid = Grid.of(find_cells([copy]), MAE)
    legend = curves_figure(grid, [TRAIN_LOSS]).legends[0]
    rates = [text.get_text() for text in legend.get_texts() if "lr " in text.get_text()]
    assert rates == ["lr 5e-6", "lr 2e-5"]


def test_the_legend_names_the_colours_of_the_curves(poster_grid: Path, tmp_path: Path) -> None:
    """Also where the first value has no curve."""
    copy = Path(shutil.copytree(poster_grid, tmp_path / "grid"))
    for metrics in copy.glob("*lr=5e-06*/metrics.csv"):
        metrics.unlink()
    grid = Grid.of(find_cells([copy]), MAE)
    [legend] = curves_figure(grid, [TRAIN_LOSS]).legends
    pairs = zip(legend.get_texts(), legend.legend_handles, strict=True)
    said = {text.get_text(): handle.get_color() for text, handle in pairs}  # type: ignore[union-attr]  # all are lines
    roles = Roles.of(grid.factors)
    assert roles.color is not None
    shown = [cell for cell in grid.cells if len(cell.history[TRAIN_LOSS.name])]
    assert len(shown) == 12
    for cell in shown:
        name = f"lr {roles.color.text(grid.value(cell, roles.color))}"
        assert said[name] == roles.look(grid, cell)["color"]


def test_the_star_stands_at_the_epoch_that_the_ranking_measure_chose(poster: Grid) -> None:
    """And not at the best of the measure that is drawn."""
    assert poster.best is not None
    curves = dict(poster.best.history.curves)
    accuracy = curves["val/acc_5px"]
    curves["val/acc_5px"] = replace(accuracy, values=accuracy.values[::-1].copy())
    best = replace(poster.best, history=History(curves))
    grid = Grid.of([best if cell is poster.best else cell for cell in poster.cells], MAE)
    figure = curves_figure(grid, [MEASURES["acc_5px"]])
    [star] = [line for plot in figure.axes for line in plot.lines if line.get_marker() == "*"]
    assert star.get_xdata()[0] == best.best_epoch(MAE)  # type: ignore[index]


def test_the_star_of_a_best_validation_in_mid_epoch_stands_there(tmp_path: Path) -> None:
    rows = "0,4,6.0\n0,9,5.0\n1,14,4.0\n1,19,4.5\n"
    (tmp_path / "metrics.csv").write_text("epoch,step,val/mae_all\n" + rows)
    best = replace(read_cell(tmp_path, "run"), state=CellState.DONE, record={"config": {"a": 1}})
    figure = curves_figure(Grid.of([best], MAE), [MAE])
    [star] = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (1.5, 4.0)  # type: ignore[index]


def test_up_is_better_on_the_axes_of_what_came_out(poster: Grid) -> None:
    """The thick line is the best run's; the last axis is that of an error."""
    figure = parallel_figure(poster, [MEASURES["acc_5px"], MAE])
    assert figure is not None
    [best] = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.6]
    assert best.get_ydata()[-1] == pytest.approx(1.0)  # type: ignore[index]


@pytest.mark.parametrize("name", ["mae_all", "acc_5px"])
def test_the_lightest_square_holds_the_best_number(poster_grid: Path, name: str) -> None:
    grid = Grid.of(find_cells([poster_grid]), MEASURES[name])
    figure = heat_map(grid)
    assert figure is not None
    maps = figure.axes[:-1]
    squares = [patch for plot in maps for patch in plot.patches if patch.get_fill()]
    numbers = [float(text.get_text()) for plot in maps for text in plot.texts]
    luminance = (0.2126, 0.7152, 0.0722)
    light = [float(np.dot(square.get_facecolor()[:3], luminance)) for square in squares]
    assert len(light) == len(numbers) == 18
    assert numbers[int(np.argmax(light))] == min(numbers, key=grid.measure.key)


def test_equal_scores_have_no_colour_bar(poster_grid: Path, tmp_path: Path) -> None:
    for rate in (2e-5, 3e-5):
        copy = Path(shutil.copytree(poster_grid / BEST_CELL, tmp_path / str(rate)))
        record = json.loads((copy / "run.json").read_text())
        record["config"]["optimizer"]["lr"] = rate
        (copy / "run.json").write_text(json.dumps(record))
    figure = heat_map(Grid.of(find_cells([tmp_path]), MAE))
    assert figure is not None
    assert len(figure.axes) == 1


def test_the_colour_bar_says_that_scores_lie_beyond_it(poster: Grid) -> None:
    figure = heat_map(poster)
    assert figure is not None
    assert figure.axes[-1]._colorbar.extend == "max"  # type: ignore[attr-defined]


def tiny(
    poster_grid: Path,
    folder: Path,
    num_epochs: int,
    num_batches: int = 1,
    has_losses: bool = False,
) -> Grid:
    """Two learning rates of one or two batch sizes, with so many epochs."""
    runs = [
        name for name, _ in cells((0,)) if "optimizer=adamw" in name and "lr=5e-05" not in name
    ]
    for name in runs[: 2 * num_batches]:
        copy = Path(shutil.copytree(poster_grid / name, folder / name))
        rows = [row.split(",") for row in (copy / "metrics.csv").read_text().splitlines()]
        place, loss = rows[0].index("epoch"), rows[0].index("train/loss")
        kept = [
            r for r in rows[1:] if float(r[place]) < num_epochs and (has_losses or not r[loss])
        ]
        (copy / "metrics.csv").write_text("\n".join(map(",".join, [rows[0], *kept])) + "\n")
        record = json.loads((copy / "run.json").read_text())
        del record["results"]["epoch"]
        (copy / "run.json").write_text(json.dumps(record))
    return Grid.of(find_cells([folder]), MAE)


@pytest.mark.parametrize(("num_epochs", "num_batches"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_no_text_of_a_tiny_grid_is_cut_or_lies_on_another(
    poster_grid: Path, tmp_path: Path, num_epochs: int, num_batches: int
) -> None:
    for name, figure in drawn(tiny(poster_grid, tmp_path, num_epochs, num_batches)).items():
        assert faults(figure) == [], name


def test_epochs_of_runs_of_one_epoch_are_whole(poster_grid: Path, tmp_path: Path) -> None:
    figure = drawn(tiny(poster_grid, tmp_path, 1))["grid"]
    drawn_texts(figure)
    low, high = figure.axes[-1].get_xlim()
    shown = [tick for tick in figure.axes[-1].get_xticks() if low <= tick <= high]
    assert shown == [1]


def test_points_of_runs_of_one_epoch_stand_side_by_side(poster_grid: Path, tmp_path: Path) -> None:
    figure = drawn(tiny(poster_grid, tmp_path, 1))["grid"]
    points = [line for line in figure.axes[-1].lines if line.get_marker() == "o"]
    places = [line.get_xdata()[0] for line in points]  # type: ignore[index]
    assert len(set(places)) == len(places) == 2


def test_points_beside_a_training_loss_lie_inside_as_well(
    poster_grid: Path, tmp_path: Path
) -> None:
    figure = drawn(tiny(poster_grid, tmp_path, 1, has_losses=True))["grid"]
    drawn_texts(figure)
    low, high = figure.axes[-1].get_xlim()
    points = [line for line in figure.axes[-1].lines if line.get_marker() == "o"]
    places = [line.get_xdata()[0] for line in points]  # type: ignore[index]
    assert len(set(places)) == len(places) == 2
    assert low < min(places) < max(places) < high


def test_the_star_hides_no_point(poster_grid: Path, tmp_path: Path) -> None:
    figure = drawn(tiny(poster_grid, tmp_path, 2))["grid"]
    stars = [line for plot in figure.axes for line in plot.lines if line.get_marker() == "*"]
    assert len(stars) == 3
    assert {star.get_markerfacecolor() for star in stars} == {"none"}


def test_a_baseline_far_from_all_curves_is_told_in_words_and_presses_none(
    poster_grid: Path, tmp_path: Path
) -> None:
    grid = tiny(poster_grid, tmp_path, 1)
    for cell in grid.cells:
        cell.record["results"]["mean_pose"]["mae_all"] = 500.0
    figure = curves_figure(grid, [MAE])
    assert figure.axes[0].get_ylim()[1] < 100
    assert [text.get_text() for text in figure.axes[0].texts] == ["mean pose 500.00, above"]
    assert "mean pose" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_scores_that_are_nearly_equal_do_not_fill_a_panel() -> None:
    low, high = at_least_a_tenth(np.array([1.872, 1.874]))
    assert low < 1.8
    assert high > 1.9
    assert at_least_a_tenth(np.array([1.0, 3.0])) == (1.0, 3.0)
    low, high = at_least_a_tenth(np.array([0.975, 0.979]), most=1.0)
    assert (low, high) == pytest.approx((0.979 - 0.0979 + 0.021, 1.0))
    assert at_least_a_tenth(np.array([0.5, 1.0]), most=1.0) == (0.5, 1.0)


@pytest.mark.parametrize("num_batches", [1, 2])
def test_scores_that_can_be_read_in_the_squares_have_no_colour_bar(
    poster_grid: Path, tmp_path: Path, num_batches: int
) -> None:
    figure = drawn(tiny(poster_grid, tmp_path, 2, num_batches))["heat map"]
    assert len(figure.axes) == 1
    assert figure.get_suptitle() == "MAE (px); light is better"


def test_two_axes_and_their_pair_stand_in_one_row_without_a_gap(
    poster_grid: Path, tmp_path: Path
) -> None:
    figure = drawn(tiny(poster_grid, tmp_path, 2, 2))["effects"]
    assert [plot.get_visible() for plot in figure.axes] == [True] * 3
    assert len({plot.get_position().y0 for plot in figure.axes}) == 1


def test_an_axis_alone_with_a_run_a_value_claims_no_share_of_the_variance(
    poster_grid: Path, tmp_path: Path
) -> None:
    for name, _ in cells((0,)):
        if name.startswith("batch_size=2") and name.endswith("adam"):
            shutil.copytree(poster_grid / name, tmp_path / name)
    figure = drawn(Grid.of(find_cells([tmp_path]), MAE))["effects"]
    assert figure.axes[0].get_title() == "lr"
