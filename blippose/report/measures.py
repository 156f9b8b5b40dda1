"""What a run is judged by: the names in metrics.csv and eval.json, their units and directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from blippose.errors import UserError
from blippose.spelling import fixed


@dataclass(frozen=True)
class Measure:
    """One number of a validation.

    Args:
        name: as in `val/NAME` of metrics.csv and in eval.json.
        title: for readers.
        short: for a narrow table.
        unit: what stands behind the number, or empty for a share.
        is_error: whether less is better.
    """

    name: str
    title: str
    short: str
    unit: str
    is_error: bool

    @property
    def label(self) -> str:
        """Title and unit, for an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def most(self) -> float:
        """That it can be: 1 of a share."""
        return math.inf if self.unit else 1.0

    @property
    def is_of_input(self) -> bool:
        """Whether it counts pixels of the model's input, or bins of them."""
        is_of_image = self.name.endswith("_img") or self.name.startswith(("pckh", "parse_rate"))
        return not is_of_image

    @property
    def is_of_parsed(self) -> bool:
        """Whether it is a mean over the joints that parsed: to say fewer may make it better."""
        return self.name.startswith(("mae", "epe")) and self.name != OF_ALL

    def text(self, value: float | None) -> str:
        """The number with as many digits as mean something; a dash for none.

        >>> MEASURES["mae"].text(2.958), MEASURES["acc_5px"].text(0.7538)
        ('2.96', '.754')
        """
        if value is None or math.isnan(value):
            return "-"
        if self.unit:
            return fixed(value, 2 if self.unit.endswith("px") else 3)
        return fixed(value, 3).removeprefix("0")  # a share, as everywhere else

    def key(self, value: float) -> float:
        """Sorts the best first."""
        return value if self.is_error else -value


def _both_frames() -> list[Measure]:
    measures = []
    for suffix, unit in (("", "px"), ("_img", "image px")):
        measures += [
            Measure(f"mae{suffix}", "MAE of parsed joints", "MAE parsed", unit, True),
            Measure(f"epe{suffix}", "EPE", f"EPE {unit}", unit, True),
        ]
        measures += [
            Measure(f"acc_{px}px{suffix}", f"accuracy @{px} {unit}", f"@{px} {unit}", "", False)
            for px in (1, 5, 25)
        ]
    return measures


OF_ALL = "mae_all"  # the mean pose in place of missing joints

_ALL = [
    Measure(OF_ALL, "MAE", "MAE px", "px", True),
    *_both_frames(),
    Measure("pckh_0.5", "PCKh@0.5", "PCKh@0.5", "", False),
    Measure("pckh_0.1", "PCKh@0.1", "PCKh@0.1", "", False),
    Measure("pckh_auc", "PCKh AUC", "PCKh AUC", "", False),
    Measure("parse_rate", "parsed", "parsed", "", False),
    Measure("loss", "validation loss", "loss", "nats a token", True),
]
MEASURES = {measure.name: measure for measure in _ALL}
TRAIN_LOSS = Measure("train/loss", "training loss", "loss", "nats a token", True)


def measure(name: str, key: str) -> Measure:
    """The measure that the user named in `key`, with or without `val/`.

    Raises:
        UserError: there is none of that name.
    """
    known = MEASURES.get(name.removeprefix("val/"))
    if known is None:
        raise UserError(f"{key}={name}: no such metric; choose one of {', '.join(MEASURES)}")
    return known
