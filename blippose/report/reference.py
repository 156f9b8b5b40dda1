"""The choice that a user names for the others to be held against."""

from __future__ import annotations

import re
from collections.abc import Sequence

from blippose.errors import UserError
from blippose.report.axes import Axis, Value, format_value
from blippose.report.grid import Choice, Grid
from blippose.spelling import spelled

_MOST = 10  # values or choices in one line


def find_reference(grid: Grid, named: str) -> Choice:
    """The choice that `named` fits: a value, KEY=VALUE, or several of them with commas between.

    Raises:
        UserError: it fits no choice or several, a value is that of several axes, or the choice has
            no value or was judged on other images than most.
    """
    what = f"reference={named}"
    if not grid.factors:
        are = "there is one run" if len(grid.cells) == 1 else "the runs differ in no setting"
        raise UserError(f"{what}: {are}, so that there is but one choice")
    wanted: dict[str, Value] = {}
    for part in _parts(grid, named):
        axis, value = _setting(grid, part, what)
        if wanted.setdefault(axis.key, value) != value:
            raise UserError(f"{what}: two values of {axis.name}; name one of {_values(axis)}")
    fits = [choice for choice in grid.choices if _fits(grid, choice, wanted)]
    keys = list(dict.fromkeys(choice.key for choice in fits))
    if not keys:
        raise UserError(f"{what}: no run has these values together; there are {_all(grid)}")
    if len(keys) > 1:
        open_axes = [axis for axis in grid.factors if axis.key not in wanted]
        more = "; ".join(f"{axis.name}: {_values(axis)}" for axis in open_axes)
        raise UserError(f"{what}: fits {len(keys)} choices; add a value, with a comma, of {more}")
    return _with_value(grid, fits, what)


def _with_value(grid: Grid, fits: Sequence[Choice], what: str) -> Choice:
    """The one that was judged as most were and has a mean."""
    judged = [choice for choice in grid.choices if grid.mean(choice) is not None]
    alike = [choice for choice in judged if choice.set_number == 0]
    for choice in alike:
        if choice in fits:
            return choice
    names = "; ".join(grid.choice_label(choice) for choice in alike[:_MOST]) or "none yet"
    names += f"; and {len(alike) - _MOST} more" if len(alike) > _MOST else ""
    label = grid.choice_label(fits[0])
    if any(choice in judged for choice in fits):
        raise UserError(
            f"{what}: {label} was judged on other images or in another frame than most, so none "
            f"is held against it; judged alike are {names}"
        )
    if any(choice.done for choice in fits):
        raise UserError(
            f"{what}: a run of {label} has no value of {grid.measure.title}; with one are {names}"
        )
    raise UserError(f"{what}: {label} has no run that is done; done are {names}")


def _parts(grid: Grid, named: str) -> list[str]:
    """What stands between commas, unless all of it is one value."""
    return (
        [named]
        if any(_matching(axis, named) for axis in grid.factors)
        else [part.strip() for part in named.split(",")]
    )


def _setting(grid: Grid, part: str, what: str) -> tuple[Axis, Value]:
    """An axis and a value of it."""
    found = [(axis, value) for axis in grid.factors for value in _matching(axis, part)]
    key, _, text = part.partition("=")
    if not found and "=" in part:
        axes = [axis for axis in grid.factors if key in (axis.key, axis.name)]
        if not axes:
            raise UserError(
                f"{what}: the choices do not differ in {key}; they do in {_keys(grid)}"
            )
        [axis] = axes
        found = [(axis, value) for value in _matching(axis, text)]
        if not found:
            raise UserError(f"{what}: no run has this {axis.name}; there is {_values(axis)}")
    if not found:
        value = f"has the value {part}" if part else "is named"
        raise UserError(f"{what}: no setting {value}; there are {_all(grid)}")
    if len(found) > 1:
        ways = " or ".join(f"'reference=\"{axis.name}={part}\"'" for axis, _ in found)
        raise UserError(f"{what}: {part} is a value of several settings; write {ways}")
    return found[0]


def _matching(axis: Axis, text: str) -> list[Value]:
    """The values that are typed so; if none is, those that are but for capitals: adam for Adam."""
    exact = [value for value in axis.values if _is(value, text)]
    alike = (v for v in axis.values if isinstance(v, str) and v.casefold() == text.casefold())
    return exact or list(alike)


def _is(value: Value, text: str) -> bool:
    """Whether a value is the one that is typed so."""
    if text in (format_value(value), spelled(value), str(value)):
        return True
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(re.fullmatch(r"[-+.\de]+", text)) and _number(text) == value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _fits(grid: Grid, choice: Choice, wanted: dict[str, Value]) -> bool:
    own = zip(grid.factors, choice.key, strict=True)
    return all(value == wanted.get(axis.key, value) for axis, value in own)


def _all(grid: Grid) -> str:
    return "; ".join(f"{axis.name}: {_values(axis)}" for axis in grid.factors)


def _values(axis: Axis) -> str:
    """The first of them. Null alone would be no reference at all: it is named by its key."""
    texts = [
        f'"{axis.name}=null" (in quotes)' if value is None else axis.text(value)
        for value in axis.values
    ]
    more = len(texts) - _MOST
    return f"{', '.join(texts[:_MOST])} and {more} more" if more > 0 else ", ".join(texts)


def _keys(grid: Grid) -> str:
    return ", ".join(axis.name for axis in grid.factors)
