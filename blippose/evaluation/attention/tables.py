"""The tables of an attention report, as values with their intervals, for terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blippose.attention import STEPS
from blippose.evaluation.quantities import Quantity, is_number

SELF_COLUMNS: tuple[Quantity, ...] = tuple(
    Quantity(name, title, unit, "input")
    for name, title, unit in (
        ("entropy", "entropy", "px"),  # bits, with two digits too
        ("own", "own", "share"),
        ("previous", "previous", "share"),
        ("neighbour", "neighb.", "share"),
        ("mirrored", "mirrored", "share"),
        ("outside", "no joint", "share"),
        ("neighbour_not_previous", "neighb., not previous", "share"),
        ("mirrored_not_previous", "mirrored, not previous", "share"),
    )
)
CROSS_COLUMNS: tuple[Quantity, ...] = tuple(
    Quantity(name, title, unit, "input")
    for name, title, unit in (
        ("distance", "px", "px"),
        ("other_image", "image", "px"),
        ("other_image_farther", "img farther", "px"),
        ("other_joint", "joint", "px"),
        ("other_joint_farther", "jnt farther", "px"),
        ("on_class", "on [CLS]", "share"),
    )
)
CROSS_TITLES = {
    "distance": "from the joint, px",
    "other_image": "other image, px",
    "other_image_farther": "farther by",
    "other_joint": "other joint, px",
    "other_joint_farther": "farther by",
    "on_class": "on [CLS]",
}
STEP_TITLES = {
    "written": "where the number is chosen (one token before it)",
    "read": "at the number tokens themselves",
}
assert STEP_TITLES.keys() == set(STEPS)


@dataclass(frozen=True)
class Row:
    """A line of a table: its name, and the cell of each quantity."""

    name: str
    cells: Mapping[str, Any]
    is_best: bool = False


def head_name(head: Mapping[str, Any]) -> str:
    """Layer and head, counted from 1."""
    return f"layer {head['layer_number']}, head {head['head_number']}"


def self_rows(report: Mapping[str, Any]) -> Iterator[Row]:
    """Every head, and the control."""
    shown = report["shown"]["self"]
    for head in report["heads"]:
        yield Row(head_name(head), head["self"], _is_same(head, shown))
    yield Row("uniform control", report["uniform"])


def cross_rows(report: Mapping[str, Any], step: str) -> Iterator[Row]:
    """Every head at one step, and the best one on images that it was not chosen on."""
    best = (report.get("best") or {}).get(step)
    for head in report["heads"]:
        yield Row(head_name(head), head["cross"][step], best is not None and _is_same(head, best))
    if best is not None and best["held_out"]:
        yield Row("best, held out", best["held_out"])


def joint_rows(report: Mapping[str, Any], step: str) -> Iterator[Row]:
    """The best head, joint by joint."""
    for joint, cells in report["best"][step]["per_joint"].items():
        yield Row(joint, cells)


def nearest(rows: Sequence[Row], num: int) -> list[Row]:
    """The `num` rows of the least distance, where there are more, in their order."""
    order = sorted(range(len(rows)), key=lambda i: _key(rows[i]))[:num]
    return [rows[i] for i in sorted(order)]


def _key(row: Row) -> float:
    value: Any = row.cells.get("distance", {}).get("value")
    return float(value) if is_number(value) else float("inf")


def _is_same(head: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(head[key] == other[key] for key in ("layer_index", "head_index"))
