"""What differs between the runs of a grid, from their recorded configs and the sweep's record.

    optimizer._target_ and optimizer.weight_decay    one axis, "optimizer"
    seed, data.seed, captioner.seed                  one axis, "seed"

Names of folders are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blippose.identity import identity
from blippose.report.cells import Cell
from blippose.spelling import spelled

SEED = "seed"
_ABSENT = "(absent)"
_TARGET = "._target_"
Value = str | float | int | bool | None


@dataclass(frozen=True)
class Axis:
    """A key of the config with several values.

    Args:
        key: dotted, as on the command line.
        name: its shortest clear name.
        values: in order; numbers first.
    """

    key: str
    name: str
    values: tuple[Value, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether its values have an order."""
        return all(_is_number(value) for value in self.values)

    def text(self, value: Value, most: int | None = None) -> str:
        """A value for readers, in at most so many characters."""
        return _cut(format_value(value), most)


def format_value(value: Value) -> str:
    """A value as one types it, a number in six digits at most.

    >>> [format_value(value) for value in (2e-05, 0.00012345678, 16, None)]
    ['2e-5', '1.23457e-4', '16', 'null']
    """
    return spelled(float(f"{value:.6g}") if isinstance(value, float) else value)


def _cut(text: str, most: int | None) -> str:
    """Without its middle, where it is too long: ends tell the names of files and models apart.

    >>> _cut("Salesforce/blip-image-captioning-base", 14)
    'Sal…oning-base'
    """
    if most is None or len(text) <= most:
        return text
    head = most // 4
    return f"{text[:head]}…{text[head + 1 - most :]}"


def find_axes(cells: Sequence[Cell]) -> tuple[list[Axis], dict[str, dict[str, Value]]]:
    """The axes, and each cell's values on them by its name. Cells without a config have none."""
    settings = {
        cell.name: _settings(own) for cell in cells if (own := cell.config or cell.planned)
    }
    varying = _varying(settings)
    keys = [key for key in varying if not _follows_another(key, varying)]
    axes = [_axis(key, _short(key, keys), varying[key]) for key in keys]
    axes.sort(key=lambda axis: (axis.key == SEED, axis.name))
    values = {
        name: {axis.key: own.get(axis.key, _ABSENT) for axis in axes}
        for name, own in settings.items()
    }
    return axes, values


def swept_axes(cells: Sequence[Cell]) -> tuple[list[Axis], dict[str, dict[str, Value]]]:
    """The same by the sweep's own record, where a choice there sets keys of other names.

    None where a cell is not of the sweep, or where the configs know each key or group of it.
    """
    keys = sorted({key for cell in cells for key in cell.swept})
    known = {key for cell in cells for key in _settings(cell.config or cell.planned)}
    is_known = all(any(f"{one}.".startswith(f"{key}.") for one in known) for key in keys)
    if is_known or not all(cell.swept.keys() == set(keys) for cell in cells):
        return [], {}
    values = {cell.name: {key: _simple(cell.swept[key]) for key in keys} for cell in cells}
    axes = [_axis(key, _short(key, keys), [own[key] for own in values.values()]) for key in keys]
    axes = [axis for axis in axes if len(axis.values) > 1]
    return sorted(axes, key=lambda axis: (axis.key == SEED, axis.name)), values


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the outcome; a group under its own name, where it is null or has a target."""
    named = {}
    for key, value in identity(config).items():
        is_target = key.endswith(_TARGET) and isinstance(value, str)
        named[key.removesuffix(_TARGET)] = value.rpartition(".")[2] if is_target else value
    return {key: _simple(value) for key, value in named.items()}


def _varying(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Keys with several values, and a value for each cell."""
    keys = sorted({key for own in settings.values() for key in own})
    columns = {key: [own.get(key, _ABSENT) for own in settings.values()] for key in keys}
    return {key: column for key, column in columns.items() if len(_distinct(column)) > 1}


def _distinct(column: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(column))


def _follows_another(key: str, varying: Mapping[str, list[Any]]) -> bool:
    """Whether another key says it already: its group, or one that it copies."""
    return any(
        _is_above(other, key, varying) and _decides(varying[other], varying[key])
        for other in varying
        if other != key
    )


def _is_above(other: str, key: str, varying: Mapping[str, list[Any]]) -> bool:
    is_its_group = key.startswith(f"{other}.")
    is_copied = varying[other] == varying[key] and _end(other) == _end(key)
    return is_its_group or (is_copied and other.count(".") < key.count("."))


def _decides(column: Sequence[Any], other: Sequence[Any]) -> bool:
    pairs = set(zip(map(str, column), map(str, other), strict=True))
    return len(pairs) == len({left for left, _ in pairs})


def _axis(key: str, name: str, column: Sequence[Any]) -> Axis:
    return Axis(key, name, tuple(sorted(_distinct(column), key=_order)))


def _order(value: Value) -> tuple[bool, float, str]:
    is_number = _is_number(value)
    return not is_number, float(value) if is_number else 0.0, str(value)  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _simple(value: Any) -> Value:
    return value if isinstance(value, str | float | int | None) else str(value)


def _short(key: str, keys: Sequence[str]) -> str:
    is_shared = sum(_end(other) == _end(key) for other in keys) > 1
    return key if is_shared else _end(key)


def _end(key: str) -> str:
    return key.rpartition(".")[2]
