"""What the table of a sweep shows in terminals of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from blippose.report.cells import Cell, CellState
from blippose.report.cells_table import cells_table

NAMES = [
    f"batch_size={size},learning_rate_of_the_vision_tower={rate},optimizer={optimizer}"
    for size in (8, 16)
    for rate in ("1e-4", "4e-4")
    for optimizer in ("adam", "adamw")
]
SCORES = {"mae_all": 2.19, "epe": 3.49, "acc_1px": 0.255, "acc_5px": 0.766}


def done(name: str) -> Cell:
    record = {"results": {"free_running": SCORES}, "seconds": 12.0}
    return Cell(name, None, CellState.DONE, record=record)


def printed(cells: list[Cell], width: int) -> list[str]:
    file = io.StringIO()
    Console(width=width, file=file).print(cells_table(cells, width))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_names_are_whole_however_narrow_the_terminal_is(width: int) -> None:
    lines = printed([done(name) for name in NAMES], width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    firsts = "".join(line[: lines[0].index("state")].strip() for line in lines[2:])
    assert firsts == "".join(NAMES)


def test_a_name_that_is_too_long_goes_on_after_a_comma() -> None:
    lines = printed([done("batch_size=2,lr=2e-5,optimizer=adamw,seed=1")], 60)
    assert lines[2].split()[0] == "batch_size=2,lr=2e-5,"
    assert lines[3] == "optimizer=adamw,seed=1"


def test_the_score_is_kept_where_other_columns_are_not() -> None:
    titles = printed([done("lr=1e-4,optimizer=adamw")], 34)[0]
    assert titles.replace(" px", "").split() == ["cell", "state", "MAE"]


def test_a_wide_terminal_shows_all_columns_and_short_names_on_a_line() -> None:
    lines = printed([done("lr=1e-4"), done("lr=4e-4")], 80)
    titles = ["cell", "state", "MAE", "EPE", "@1", "@5", "s"]
    assert lines[0].replace(" px", "").split() == titles
    assert lines[3].split() == ["lr=4e-4", "done", "2.19", "3.49", ".255", ".766", "12"]


def test_columns_of_a_grid_that_has_not_begun_are_left_out() -> None:
    lines = printed([Cell(name, None, CellState.MISSING) for name in NAMES], 120)
    assert lines[0].split() == ["cell", "state"]
