"""The report's numbers for people: their titles, units and digits, in the order of the tables.

Knows nothing of where a report is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOTHING = "-"  # a number that there is none of: no joint parsed, no head box


@dataclass(frozen=True)
class Quantity:
    """One metric of the report.

    Args:
        name: its key in a row's `metrics`.
        title: for the head of a column.
        unit: "px" or "share".
        frame: "input" or "image", whose pixels it is measured in.
    """

    name: str
    title: str
    unit: str
    frame: str

    def text(self, value: float | int | None) -> str:
        """A value, as this quantity is written."""
        return number(value, 2 if self.unit == "px" else 3)

    def margin(self, cell: Mapping[str, Any]) -> str:
        """What stands below the value, in nine characters: "3.61-4.05", or "±0.12" across runs.

        Of a difference that may be below 0 it is longer: "-0.99 to 0.12". Empty where an interval
        has no width.
        """
        if cell.get("deviation") is not None:
            return f"±{self.text(cell['deviation'])}"
        low, high = cell.get("low"), cell.get("high")
        if low is None or high is None or not low < high:
            return ""
        digits = 3 if self.unit == "share" else 2 if high < 10 else 1 if high < 100 else 0
        ends = number(low, digits), number(high, digits)
        between = " to " if low < 0 else "-"
        return between.join("1" if end == "1.000" else end for end in ends)


def is_number(value: Any) -> bool:
    """Whether there is a number: JSON has null where Python has NaN."""
    return value is not None and math.isfinite(value)


def number(value: float | int | None, digits: int) -> str:
    """A number with so many digits; of a share the leading zero is left out.

    >>> number(3.8251, 2), number(-0.14812, 3), number(1.0, 3), number(-0.001, 2), number(None, 2)
    ('3.83', '-.148', '1.000', '0.00', '-')
    """
    if value is None or not is_number(value):
        return NOTHING
    text = f"{value:z.{digits}f}"
    return text.replace("0.", ".", 1) if digits == 3 and abs(value) < 1 else text


_PIXELS = (
    ("mae", "MAE px", "px"),
    ("epe", "EPE px", "px"),
    ("acc_1px", "@1 px", "share"),
    ("acc_5px", "@5 px", "share"),
    ("acc_25px", "@25 px", "share"),
)
_INPUT = tuple(Quantity(name, title, unit, "input") for name, title, unit in _PIXELS)
_IMAGE = tuple(Quantity(f"{name}_img", title, unit, "image") for name, title, unit in _PIXELS)
_SCALED = tuple(
    Quantity(name, title, "share", "image")
    for name, title in (
        ("pckh_0.5", "PCKh@0.5"),
        ("pckh_0.1", "PCKh@0.1"),
        ("pckh_auc", "PCKh AUC"),
        ("pck_0.2", "PCK@0.2"),
        ("oks", "OKS"),
    )
)
_PARSED = Quantity("parse_rate", "parsed", "share", "input")
_ALL = Quantity("mae_all", "MAE all px", "px", "input")
_ALL_IMAGE = Quantity("mae_all_img", "MAE all px", "px", "image")
QUANTITIES: tuple[Quantity, ...] = (*_INPUT, *_SCALED, _PARSED, _ALL, *_IMAGE, _ALL_IMAGE)
BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}

KINDS = {
    "model": "the model",
    "baseline": "baselines",
    "control": "controls",
    "ceiling": "ceilings",
}


def decimals(cell: Mapping[str, Any]) -> str:
    """A small share with its interval: ".021 (.015 to .034)"."""
    value, low, high = (
        f"{cell[key]:.3f}".lstrip("0") if is_number(cell[key]) else NOTHING
        for key in ("value", "low", "high")
    )
    return f"{value} ({low} to {high})" if is_number(cell["low"]) else value
