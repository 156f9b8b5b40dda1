"""What is wrong of settings by themselves, refused in one line before torch is imported."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blippose.errors import UserError
from blippose.spelling import spelled

if TYPE_CHECKING:
    from blippose.release_source import Synthetic

OWN_DATA, OWN_PEOPLE = "blippose.data.PoseDataModule", "blippose.data.Synthetic"
OWN_LOGGER = "blippose.wandb_logger.wandb_logger"
_SUBSETS = ("val", "test", "auto")
_MOST_SAMPLES = 100_000  # x 8 bytes an image


@dataclass(frozen=True)
class _Places:
    """Keys of the data group that say where data lie, or how they come there."""

    root: str | None
    annotations: str | None
    synthetic: dict | None  # type: ignore[type-arg]  # for people: "dict or null"


@dataclass(frozen=True)
class _Rates:
    """Keys that torch's optimizers share."""

    lr: float
    weight_decay: float
    fused: bool | None


def check_subset(subset: str) -> None:
    """Refuse a part of a split that a model is not judged on.

    Raises:
        UserError: it is none of them.
    """
    from blippose.arguments import suggest  # noqa: PLC0415

    if subset not in _SUBSETS:
        near = suggest(subset, _SUBSETS)
        raise UserError(f"subset={subset}: expected one of {', '.join(_SUBSETS)}{near}")


def check_counts(samples: int, batch_size: int, seed: int) -> None:
    """Refuse numbers that no study can be made with, and more resamples than memory holds.

    Raises:
        UserError: one is too small, or `samples` too large.
    """
    for key, value, least in (
        ("samples", samples, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise UserError(f"{key}={value}: expected {least} or more")
    if samples > _MOST_SAMPLES:
        raise UserError(f"samples={samples}: expected {_MOST_SAMPLES:,} or fewer")


def check_data_files(data: Mapping[str, Any]) -> None:
    """Refuse, before torch is imported, data that are not there.

    Data of a user's own class are left to that class.
    """
    from blippose.mpii import check_annotations  # noqa: PLC0415
    from blippose.release_source import ReleaseSource  # noqa: PLC0415

    if data.get("_target_") != OWN_DATA:
        return
    root, annotations = data.get("root"), data.get("annotations")
    if (data.get("synthetic") is None or annotations is not None) and root is not None:
        check_annotations(ReleaseSource(root, annotations).path)


def check_data_values(data: Mapping[str, Any]) -> None:
    """Refuse, before torch is imported, data that cannot be dealt out so; looks at no file.

    Data of a user's own class are left to that class.
    """
    from blippose.arguments import check_arguments  # noqa: PLC0415
    from blippose.data_settings import DataSettings  # noqa: PLC0415

    if data.get("_target_") != OWN_DATA:
        return
    own = {key: data[key] for key in DataSettings.__annotations__ if key in data}
    check_arguments(DataSettings, own, "data")
    if len(own) == len(DataSettings.__annotations__):
        DataSettings(**own)
    places = {key: data.get(key) for key in _Places.__annotations__}
    check_arguments(_Places, places, "data")
    if (drawn := places["synthetic"]) is not None and drawn.get("_target_") == OWN_PEOPLE:
        drawn_people(drawn)


def check_rates(optimizer: Mapping[str, Any]) -> None:
    """Refuse, before torch is imported, what no optimizer of torch's or ours takes.

    Optimizers of others are left to themselves.
    """
    from blippose.arguments import check_arguments  # noqa: PLC0415

    if not str(optimizer.get("_target_")).startswith(("torch.optim.", "blippose.")):
        return
    known = {key: optimizer[key] for key in _Rates.__annotations__ if key in optimizer}
    own = {key: value for key, value in known.items() if not _is_target(value)}
    check_arguments(_Rates, own, "optimizer")
    for key in ("lr", "weight_decay"):
        if not 0 <= (value := own.get(key, 0)) < math.inf:
            raise UserError(f"optimizer.{key}={spelled(value)}: expected 0 or more")


def check_logger(logger: Any) -> None:
    """Refuse, before torch is imported, names and variables that W&B would not take.

    Loggers of others are left to themselves.
    """
    from blippose.arguments import check_arguments  # noqa: PLC0415
    from blippose.wandb_settings import WandbSettings, check_environment  # noqa: PLC0415

    if not isinstance(logger, Mapping) or logger.get("_target_") != OWN_LOGGER:
        return
    own = {key: value for key, value in logger.items() if not key.startswith("_")}
    check_arguments(WandbSettings, own, "logger")
    WandbSettings(**own)
    check_environment()


def drawn_people(settings: Mapping[str, Any]) -> Synthetic:
    """What `data.synthetic` asks to be drawn.

    Raises:
        UserError: a key or value that cannot be.
    """
    from blippose.arguments import check_arguments  # noqa: PLC0415
    from blippose.release_source import Synthetic  # noqa: PLC0415

    own = {key: value for key, value in settings.items() if not key.startswith("_")}
    check_arguments(Synthetic, own, "data.synthetic")
    return Synthetic(**own)


def check_targets(node: Mapping[str, Any], prefix: str = "") -> None:
    """Hold every `_target_`'s keys against its type hints, from the leaves up."""
    from hydra.utils import get_object  # noqa: PLC0415

    from blippose.arguments import check_arguments  # noqa: PLC0415

    for key, value in node.items():
        if isinstance(value, Mapping):
            check_targets(value, f"{prefix}.{key}" if prefix else key)
    if "_target_" in node:
        own = {k: v for k, v in node.items() if not k.startswith("_") and not _is_target(v)}
        check_arguments(get_object(node["_target_"]), own, prefix)


def _is_target(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def check_run_folder(runs: Any, name: Any) -> None:
    """Refuses what would be no folder of its own among the runs.

    Raises:
        UserError: it would be RUNS itself, beside it, or at the root of the disk.
    """
    said, where = ("" if word is None else str(word).strip() for word in (name, runs))
    if posixpath.normpath(said).split("/")[0] in (".", ".."):
        raise UserError(f"name={said}: name the run: its folder is RUNS/NAME")
    if posixpath.isabs(said):
        raise UserError(f"name={said}: its folder is RUNS/NAME; runs= says where all runs are")
    if not where:
        raise UserError("runs=: expected the folder that holds all runs, such as runs")
