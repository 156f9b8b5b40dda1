"""What data a model is fitted to and how they are dealt out, checked before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass

from blippose.errors import UserError
from blippose.geometry import check_fill
from blippose.readings import reading_of
from blippose.split import check_fractions, check_kind

_LEAST = {"batch_size": 1, "eval_batch_size": 1, "num_workers": 0, "seed": 0, "split_seed": 0}


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The plain values of `PoseDataModule`, which says what each is.

    Raises:
        UserError: one that cannot be.
    """

    reading: str
    split: str
    train_fraction: float
    test_fraction: float
    split_seed: int
    resize: str
    crop: str
    batch_size: int
    eval_batch_size: int
    num_workers: int
    single_joint: float
    close_up: float | None
    seed: int

    def __post_init__(self) -> None:
        check_fill(self.resize, self.crop, "data.")
        reading_of(self.reading)
        check_kind(self.split)
        check_fractions(self.train_fraction, self.test_fraction)
        for key, least in _LEAST.items():
            if (value := getattr(self, key)) < least:
                raise UserError(f"data.{key}={value}: expected {least} or more")
        for key in ("single_joint", "close_up"):
            if not 0 <= (share := getattr(self, key) or 0.0) <= 1:
                raise UserError(f"data.{key}={share}: expected 0 to 1")
