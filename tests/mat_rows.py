"""Rows of a release as Matlab structs, to be written as a .mat and read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from blippose.errors import UserError
from blippose.mpii import Release

EMPTY = np.empty((0, 0))


# The order in which MPII stores points.
FILE_ORDER = (6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)


def struct_array(structs: Sequence[dict[str, Any]]) -> Any:
    """A Matlab struct array; a field that one struct lacks is [] there, as Matlab has it."""
    if not structs:
        return EMPTY
    keys = list(dict.fromkeys(key for struct in structs for key in struct))
    array = np.empty((1, len(structs)), dtype=[(key, object) for key in keys])
    for i, struct in enumerate(structs):
        array[0, i] = tuple(struct.get(key, EMPTY) for key in keys)
    return array


def cells(values: Sequence[Any]) -> Any:
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def point(joint: int, visible: Any = 1, x: Any = None, y: Any = None) -> dict[str, Any]:
    """Joint j lies at 1-based (100 + j, 200 + j). `visible=None` leaves the field out."""
    x, y = 100 + joint if x is None else x, 200 + joint if y is None else y
    flag = {} if visible is None else {"is_visible": visible}
    return {"x": x, "y": y, "id": joint, **flag}


def points(**flags: Any) -> list[dict[str, Any]]:
    """All sixteen in the file's order, ids 8 and 9 with an empty flag; `j3=0` sets joint 3's."""
    default = {8: EMPTY, 9: EMPTY}
    return [point(j, flags.get(f"j{j}", default.get(j, 1))) for j in FILE_ORDER]


def annorect(points: Sequence[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    rect = {"x1": 11, "y1": 21, "x2": 14, "y2": 25, "scale": 2.5, "objpos": {"x": 51, "y": 61}}
    if points is not None:
        rect["annopoints"] = {"point": struct_array(points)}
    return {**rect, **fields}


def row(*annorects: dict[str, Any], train: int = 1, single: Any = EMPTY, **fields: Any) -> Any:
    return {"annorects": annorects, "train": train, "single": single, **fields}


Reader = Callable[..., Release]


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message
