"""Names for the cells of a grid, by the keys that are given several values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from blippose.errors import UserError
from blippose.spelling import spelled


def check_swept(swept: Sequence[str]) -> None:
    """Refuses a grid whose cells would not each have their own folder in that of the grid."""
    if not swept:
        raise UserError("-m: no key has several values; such as optimizer.lr=1e-4,4e-4")
    for key in ("name", "runs"):
        if key in swept:
            raise UserError(f"{key}: names the folder of the whole grid; give it one value")


def cell_name(
    overrides: Sequence[str], swept: Sequence[str], write: Callable[[Any], str] = spelled
) -> str:
    """A folder name for one cell of a grid: "batch_size=2,lr=2e-5", sorted."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {item.key_or_group: item.value() for item in parsed if item.key_or_group in swept}
    ends = [key.rpartition(".")[2] for key in values]
    names = {
        key if ends.count(end) > 1 else end: value
        for (key, value), end in zip(values.items(), ends, strict=True)
    }
    cell = ",".join(f"{name}={write(value)}" for name, value in sorted(names.items()))
    return re.sub(r"[^\w.,=+-]", "_", cell)
