"""Axes from recorded configs, ranking, and what is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from example_grid import BEST_CELL, cells, write_grid
from PIL import Image

from blippose.report.axes import find_axes
from blippose.report.cells import Cell, CellState, find_cells
from blippose.report.effects import find_effects
from blippose.report.figures.heat_map import heat_map
from blippose.report.figures.roles import Roles
from blippose.report.files import Report
from blippose.report.grid import Grid
from blippose.report.history import Curve, History
from blippose.report.measures import MEASURES
from blippose.report.page import headline
from blippose.report.plan import settings_of_missing
from blippose.report.samples import samples
from blippose.report.verdicts import judge, sentences
from blippose.sweep import PlannedCell, Sweep

MAE = MEASURES["mae_all"]


def cell(name: str, /, **config: Any) -> Cell:
    return Cell(name, None, CellState.DONE, record={"config": config})


def axes(*found: Cell) -> dict[str, tuple[Any, ...]]:
    return {axis.key: axis.values for axis in find_axes(found)[0]}


def test_the_study_has_three_axes(poster_grid: Path) -> None:
    grid = Grid.of(find_cells([poster_grid]), MAE)
    assert {axis.key: axis.values for axis in grid.axes} == {
        "data.batch_size": (1, 2, 4),
        "optimizer.lr": (5e-6, 2e-5, 5e-5),
        "optimizer": ("Adam", "AdamW"),
    }


def test_names_of_folders_say_nothing(poster_grid: Path, tmp_path: Path) -> None:
    before = Grid.of(find_cells([poster_grid]), MAE)
    for i, folder in enumerate(sorted(poster_grid.glob("batch*"))):
        shutil.copytree(folder, tmp_path / f"{i:02}")
    after = Grid.of(find_cells([tmp_path]), MAE)
    assert after.axes == before.axes
    assert [after.label(c) for c in after.ranked] == [before.label(c) for c in before.ranked]


def test_what_follows_from_a_group_is_no_axis_of_its_own() -> None:
    adam = {"_target_": "torch.optim.Adam", "weight_decay": 0.0}
    adamw = {"_target_": "torch.optim.AdamW", "weight_decay": 0.01}
    assert axes(cell("a", optimizer=adam), cell("b", optimizer=adamw)) == {
        "optimizer": ("Adam", "AdamW")
    }


def test_what_a_group_does_not_decide_is_an_axis() -> None:
    def optimizer(name: str, decay: float) -> dict[str, Any]:
        return {"_target_": f"torch.optim.{name}", "weight_decay": decay}

    pairs = [("Adam", 0.0), ("Adam", 0.1), ("AdamW", 0.0), ("AdamW", 0.1)]
    found = [cell(str(pair), optimizer=optimizer(*pair)) for pair in pairs]
    assert axes(*found) == {"optimizer": ("Adam", "AdamW"), "optimizer.weight_decay": (0.0, 0.1)}


def test_a_group_that_may_be_null_is_one_axis() -> None:
    cosine = {"_target_": "blippose.schedules.warmup_cosine", "warmup": 0.1}
    found = axes(cell("a", scheduler=None), cell("b", scheduler=cosine))
    assert set(found["scheduler"]) == {None, "warmup_cosine"}
    assert len(found) == 1


def test_a_copied_seed_is_one_axis() -> None:
    seeds = [cell(str(s), seed=s, data={"seed": s}, captioner={"seed": s}) for s in (0, 1)]
    assert axes(*seeds) == {"seed": (0, 1)}


def test_keys_that_end_alike_keep_their_groups() -> None:
    found = [cell("a", x={"size": 1}, y={"size": 1}), cell("b", x={"size": 2}, y={"size": 1}),
             cell("c", x={"size": 1}, y={"size": 2})]  # fmt: skip
    assert [axis.name for axis in find_axes(found)[0]] == ["x.size", "y.size"]


def test_name_and_logger_are_no_axes() -> None:
    assert axes(cell("a", name="a", logger=None, seed=0), cell("b", name="b", seed=0)) == {}


def test_runs_are_ranked_by_either_direction(poster_grid: Path) -> None:
    found = find_cells([poster_grid])
    for measure, sign in ((MAE, 1), (MEASURES["acc_5px"], -1)):
        grid = Grid.of(found, measure)
        scores = [sign * (grid.score(c) or 0.0) for c in grid.ranked]
        assert scores == sorted(scores)
        assert grid.best is grid.ranked[0]


def test_choices_are_ranked_by_either_direction(poster_grid: Path) -> None:
    found = find_cells([poster_grid])
    for measure, sign in ((MAE, 1), (MEASURES["acc_5px"], -1)):
        grid = Grid.of(found, measure)
        means = [sign * (grid.mean(choice) or 0.0) for choice in grid.choices]
        assert means == sorted(means)


def test_a_cell_that_is_not_there_is_missing(poster_grid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(poster_grid, tmp_path / "grid"))
    shutil.rmtree(copy / BEST_CELL)
    grid = Grid.of(find_cells([copy]), MAE)
    [missing] = [c for c in grid.cells if c.state is CellState.MISSING]
    assert grid.label(missing) == "batch_size 2, lr 2e-5, optimizer AdamW"
    assert grid.ranked[-1] is missing


def test_a_cell_whose_record_is_lost_is_not_missing_as_well(
    poster_grid: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(poster_grid, tmp_path / "grid"))
    lost = copy / BEST_CELL.replace("2e-05", "2e-5").replace("adamw", "AdamW")
    (copy / BEST_CELL).rename(lost)
    (lost / "run.json").write_text("{")
    (lost / "config.yaml").unlink()
    grid = Grid.of(find_cells([copy]), MAE)
    [unreadable] = [one for one in grid.cells if one.state is CellState.UNREADABLE]
    assert len(grid.cells) == 18
    assert grid.label(unreadable) == "batch_size 2, lr 2e-5, optimizer AdamW"


def test_runs_of_folders_of_one_name_stay_apart(poster_grid: Path, tmp_path: Path) -> None:
    names = [one.name for one in sorted(poster_grid.iterdir()) if one.is_dir()][:2]
    folders = [
        Path(shutil.copytree(poster_grid / name, tmp_path / name / "demo")) for name in names
    ]
    grid = Grid.of(find_cells(folders), MAE)
    assert [one.name for one in grid.cells] == [f"{name}/demo" for name in names]
    assert len({str(grid.values[one.name]) for one in grid.cells}) == 2
    inside = find_cells([folder.parent for folder in folders])
    assert [one.name for one in inside] == [f"{name}/demo" for name in names]


def test_seeds_without_a_score_are_no_evidence(tmp_path: Path) -> None:
    grid_folder = write_grid(tmp_path / "grid", seeds=(0, 1, 2), num_epochs=2)
    other = BEST_CELL.replace("adamw", "adam")
    for seed in (1, 2):
        folder = grid_folder / f"{other},seed={seed}"
        record = json.loads((folder / "run.json").read_text())
        record["results"]["free_running"]["mae"] = None
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "metrics.csv").unlink()
    grid = Grid.of(find_cells([grid_folder]), MEASURES["mae"])
    [choice] = [one for one in grid.choices if f"{other},seed=0" in [c.name for c in one.cells]]
    assert len(choice.done) == 3
    assert len(grid.scores(choice)) == 1
    assert grid.mean(choice) is None, "two seeds that failed at it are not left out"
    verdicts = judge(grid, find_effects(grid).noise)
    assert choice.key not in verdicts.within
    [line] = [line for line in sentences(grid, verdicts) if "has no rank" in line]
    assert "2 of its 3 seeds never had a value of MAE of parsed joints" in line
    assert grid.choices[-1].key == choice.key


def test_single_runs_that_differ_in_much_are_no_grid_with_holes() -> None:
    found = [cell(str(i), a=i, b=i, c=i) for i in range(3)]
    assert len(Grid.of(found, MAE).cells) == 3


def test_two_runs_that_differ_in_two_settings_lack_none() -> None:
    found = [cell(str(i), a=i, b=i + 7) for i in range(2)]
    assert len(Grid.of(found, MAE).cells) == 2


def test_runs_that_differ_in_forty_settings_are_told_apart_by_their_names() -> None:
    found = [cell(f"run{i}", **{f"key{k}": i * k for k in range(1, 41)}) for i in range(3)]
    grid = Grid.of(found, MAE)
    assert [axis.values for axis in grid.axes] == [("run0", "run1", "run2")]
    assert len(grid.cells) == 3
    assert [grid.label(one) for one in grid.cells] == ["run0", "run1", "run2"]
    assert find_effects(grid).main == []
    assert heat_map(grid) is None


def judged(name: str, mae: float, manifest: str, **config: Any) -> Cell:
    """A run that is done, judged by a manifest."""
    scores = {"free_running": {"mae_all": mae}, "epoch": 0, "manifest": manifest, "frame": "px"}
    history = History({"val/mae_all": Curve(np.ones(1), np.array([mae]))})
    record = {"config": {"seed": 0, **config}, "results": scores}
    return Cell(name, None, CellState.DONE, record=record, history=history)


def test_runs_of_the_same_settings_and_seed_count_once() -> None:
    """As a grid has that was made wider by an axis; else a seed would count as two."""
    before = [judged(f"lr={lr},seed={s}", 1.0 * lr + s, "one", lr=lr, seed=s, batch=1)
              for lr in (1, 2) for s in (0, 1)]  # fmt: skip
    after = [judged(f"batch={b},{one.name}", one.results["free_running"]["mae_all"] + b, "one",
                    **{**one.config, "batch": b}) for one in before for b in (1, 2)]  # fmt: skip
    grid = Grid.of([*before, *after], MAE)
    assert len(grid.cells) == 8
    assert {len(choice.cells) for choice in grid.choices} == {2}
    assert grid.repeats == {f"batch=1,{one.name}": one.name for one in before}
    assert headline(grid).startswith(
        "8 of 8 runs done, 4 more repeat others and are left out (as batch=1,lr=1,seed=0 of "
        "lr=1,seed=0). Best: "
    )


def test_of_two_runs_of_the_same_settings_the_one_that_is_done_counts() -> None:
    cut_off = replace(judged("a", 1.0, "one", lr=1), state=CellState.CUT_OFF)
    grid = Grid.of([cut_off, judged("b", 2.0, "one", lr=1), judged("c", 3.0, "one", lr=2)], MAE)
    assert [one.name for one in grid.cells] == ["b", "c"]
    assert headline(grid).startswith("2 of 2 runs done, 1 more repeats another and is left out (a")


def test_two_runs_that_differ_in_their_names_alone_are_both_shown() -> None:
    grid = Grid.of([judged("before", 1.0, "one"), judged("after", 2.0, "one")], MAE)
    assert [one.name for one in grid.cells] == ["before", "after"]


def test_runs_judged_on_fewer_images_of_one_split_are_not_held_against_the_others() -> None:
    found = [judged(f"a{i}", 5.0 + i, "one", lr=i) for i in range(2)]
    few = judged("few", 1.0, "one", lr=0, trainer={"limit_val_batches": 2})
    for one, num in ((found[0], 300), (found[1], 300), (few, 128)):
        one.record["results"]["num_val"] = num  # type: ignore[index]
    report = Report.of(Grid.of([*found, few], MAE))
    assert report.grid.best is found[0]
    assert "(trainer.limit_val_batches=2), so not comparable with A" in report.sentences[0]
    going_on = replace(few, name="more", state=CellState.RUNNING)
    going_on = replace(going_on, record={"config": {**few.config, "lr": 2}})
    assert Grid.of([*found, few, going_on], MAE).sets["more"] == 1


def test_a_run_that_goes_on_is_not_the_best_while_another_is_done() -> None:
    done, ahead = judged("done", 5.0, "one", lr=1), judged("ahead", 4.0, "one", lr=2)
    grid = Grid.of([done, replace(ahead, state=CellState.RUNNING)], MAE)
    assert grid.best is done
    assert [one.name for one in grid.ranked] == ["done", "ahead"]


def test_runs_judged_on_other_images_are_ranked_among_themselves() -> None:
    found = [
        *(judged(f"a{i}", 5.0 + i, "one", lr=i, data={"split": "video"}) for i in range(3)),
        *(judged(f"b{i}", 1.0 + i, "two", lr=i, data={"split": "random"}) for i in range(2)),
    ]
    grid = Grid.of(found, MAE)
    assert [one.name for one in grid.bests.values()] == ["a0", "b0"]
    assert grid.best is found[0]
    report = Report.of(grid)
    columns = [report.table.titles.index(title) for title in ("#", "judged on", "verdict")]
    rows = {row.cells[0].name: [row.entries[i].text for i in columns] for row in report.table.rows}
    assert rows["a0"] == ["1", "A", ""]
    assert rows["b0"] == ["1", "B", "other images"]
    assert rows["b1"][:2] == ["2", "B"]
    assert "(data.split=random), so not comparable with A" in report.sentences[0]
    assert headline(grid).endswith(
        "Best on A: lr 0, split video, MAE 5.00 px at epoch 1. "
        "Best on B: lr 0, split random, MAE 1.00 px at epoch 1."
    )


def test_the_worst_samples_are_those_of_a_run_that_was_judged_as_the_best(tmp_path: Path) -> None:
    found = []
    for name, mae, manifest in (("a0", 5.0, "one"), ("a1", 6.0, "one"), ("b", 1.0, "two")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 4)).save(tmp_path / name / "samples.png")
        run = judged(name, mae, manifest, lr=mae)
        found.append(replace(run, folder=tmp_path / name))
    shown = samples(Grid.of(found, MAE))
    assert [(one.cell.name, one.title.partition(",")[0]) for one in shown] == [
        ("a0", "best run"),
        ("a1", "worst run"),
    ]


def test_effects_are_those_of_the_runs_that_were_judged_alike() -> None:
    alike = [judged(f"a{i}", 5.0 + i, "one", lr=i) for i in range(4)]
    other = [judged("b", 50.0, "two", lr=1, data={"root": "elsewhere"})]
    [effect] = find_effects(Grid.of([*alike, *other], MAE)).main
    np.testing.assert_allclose(effect.means, [5, 6, 7, 8])


def test_a_running_cell_is_taken_to_be_judged_as_the_done_ones_of_its_settings() -> None:
    done = [judged(f"a{i}", 5.0 + i, "one", lr=i, data={"split": "video"}) for i in range(2)]
    running = [
        Cell(name, None, CellState.RUNNING, record={"config": {"seed": 0, "lr": 9, "data": data}})
        for name, data in (("same", {"split": "video"}), ("other", {"split": "random"}))
    ]
    sets = Grid.of([*done, *running], MAE).sets
    assert (sets["same"], sets["other"]) == (0, 1)


def test_the_same_split_of_a_moved_release_is_the_same_validation() -> None:
    found = [judged(str(i), 5.0, "one", lr=i, data={"root": f"place{i}"}) for i in range(2)]
    assert Grid.of(found, MAE).set_names == ["A"]


def test_another_input_size_is_another_validation() -> None:
    found = [
        judged(str(size), 5.0, "one", model={"caption": {"input_size": size}})
        for size in (96, 384)
    ]
    assert Grid.of(found, MAE).set_names == ["A", "B"]


def test_a_measure_that_does_not_see_the_input_compares_all_frames() -> None:
    found = [
        judged(crop, 5.0, "one", data={"crop": crop, "split": "video"})
        for crop in ("full", "person")
    ]
    assert set(Grid.of(found, MEASURES["acc_5px"]).sets.values()) == {0, 1}
    for name in ("pckh_0.5", "mae_img", "parse_rate"):
        assert set(Grid.of(found, MEASURES[name]).sets.values()) == {0}
    other = judged("other", 5.0, "two", data={"crop": "full", "split": "random"})
    assert Grid.of([*found, other], MEASURES["pckh_0.5"]).sets["other"] == 1


def test_ways_of_decoding_are_held_against_each_other() -> None:
    found = [
        judged(name, mae, "one", decoding={"_target_": f"blippose.decoding.{name}"})
        for name, mae in (("Free", 5.0), ("Parallel", 4.0))
    ]
    assert [choice.key for choice in Grid.of(found, MAE).choices] == [("Parallel",), ("Free",)]
    assert set(Grid.of(found, MAE).sets.values()) == {0}


def test_a_choice_that_sets_many_keys_is_one_axis_by_the_sweeps_record() -> None:
    changes = {"none": {}, "blur": {"a": 1}, "noise": {"b": {"c": 2}}, "both": {"a": 1, "d": 0}}
    found = [
        replace(
            judged(f"{name}{seed}", 5.0 + seed, "one", seed=seed, **changes[name]),
            swept={"change": name, "seed": seed},
        )
        for name in changes
        for seed in (0, 1)
    ]
    grid = Grid.of(found, MAE)
    assert [axis.key for axis in grid.axes] == ["change", "seed"]
    assert {choice.key: len(choice.cells) for choice in grid.choices} == {
        (name,): 2 for name in changes
    }
    assert grid.is_replicated
    assert all(cell.state is CellState.DONE for cell in grid.cells)  # none is thought missing
    foreign = judged("foreign", 1.0, "one", seed=7, e=3, f=4)
    assert [axis.key for axis in Grid.of([*found, foreign], MAE).axes] == ["run"]


def test_the_study_is_drawn_as_it_asks(poster_grid: Path) -> None:
    roles = Roles.of(Grid.of(find_cells([poster_grid]), MAE).factors)
    assert roles.color is not None
    assert roles.line is not None
    assert roles.panel is not None
    keys = (roles.color.key, roles.line.key, roles.panel.key)
    assert keys == ("optimizer.lr", "optimizer", "data.batch_size")


def test_other_axes_take_the_roles_by_their_kind() -> None:
    found = [
        cell(f"{m}{s}", model={"_target_": m}, size=s) for m in ("a.B", "a.C") for s in (1, 2)
    ]
    roles = Roles.of(Grid.of(found, MAE).factors)
    assert roles.color is not None
    assert roles.line is not None
    assert (roles.color.key, roles.line.key, roles.panel) == ("size", "model", None)


def test_a_run_alone_has_no_axes(poster_grid: Path) -> None:
    grid = Grid.of(find_cells([poster_grid / BEST_CELL]), MAE)
    assert grid.axes == ()
    assert grid.best is not None
    assert grid.label(grid.best) == BEST_CELL


def test_a_sweep_that_has_just_begun_shows_all_that_it_asks_for(
    poster_grid: Path, tmp_path: Path
) -> None:
    """The record is the real one's; four of its cells have a run, and none with 5e-5."""
    planned = []
    for name, config in cells((0,)):
        values = {
            "data.batch_size": config["data"]["batch_size"],
            "optimizer.lr": config["optimizer"]["lr"],
            "optimizer": name.rpartition("=")[2],
        }
        planned.append(PlannedCell(name, tmp_path / name, values, (), config))
    Sweep(tmp_path, "blippose train -m", {}, tuple(planned)).write()
    for name in [cell.name for cell in planned if cell.values["optimizer.lr"] != 5e-5][:4]:
        shutil.copytree(poster_grid / name, tmp_path / name)
    grid = Grid.of(find_cells([tmp_path]), MAE)
    whole = Grid.of(find_cells([poster_grid]), MAE)
    assert {axis.key: axis.values for axis in grid.axes} == {
        axis.key: axis.values for axis in whole.axes
    }
    assert len(grid.cells) == 18
    assert sum(cell.state is CellState.MISSING for cell in grid.cells) == 14


def test_planned_seeds_are_one_axis(poster_grid: Path, tmp_path: Path) -> None:
    plan = [(f"seed={seed}", {"seed": seed}) for seed in (0, 1, 2)]
    record = {"cells": [{"name": name, "values": values} for name, values in plan]}
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    shutil.copytree(poster_grid / BEST_CELL, tmp_path / "seed=0")
    grid = Grid.of(find_cells([tmp_path]), MAE)
    assert [(axis.key, axis.values) for axis in grid.axes] == [("seed", (0, 1, 2))]


def test_a_seed_of_the_same_value_does_not_follow_that_of_the_runs() -> None:
    def config(seed: int) -> dict[str, Any]:
        return {"seed": seed, "captioner": {"seed": seed}, "data": {"synthetic": {"seed": 0}}}

    plan = {str(seed): {"seed": seed} for seed in range(3)}
    missing = settings_of_missing(plan, {"0": config(0), "1": config(1)})
    assert missing == {"2": {"seed": 2, "captioner.seed": 2, "data.synthetic.seed": 0}}


def test_a_choice_that_is_no_key_brings_what_a_run_of_it_has() -> None:
    runs = {
        "a0": {"seed": 0, "data": {"crop": "full"}, "rate": 1},
        "b0": {"seed": 0, "data": {"crop": "person"}, "rate": 2},
    }
    plan = {f"{x}{seed}": {"change": x, "seed": seed} for x in "ab" for seed in (0, 1)}
    missing = settings_of_missing(plan, runs)
    assert missing == {
        "a1": {"seed": 1, "data.crop": "full", "rate": 1},
        "b1": {"seed": 1, "data.crop": "person", "rate": 2},
    }


def test_a_plan_that_cannot_be_read_is_none(poster_grid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(poster_grid, tmp_path / "grid"))
    (copy / "sweep.json").write_text('{"cells": [{}')
    assert len(find_cells([copy])) == 18
