"""A composed config: plain containers, typed keys, and what `_target_` makes of it."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from blippose.errors import UserError, first_line
from blippose.spelling import spelled

if TYPE_CHECKING:
    from blippose.release_source import Synthetic

_Keys = TypeVar("_Keys")
OWN_DATA, OWN_PEOPLE = "blippose.data.PoseDataModule", "blippose.data.Synthetic"
OWN_LOGGER = "blippose.wandb_logger.wandb_logger"
SEARCH_PATH = "hydra.searchpath"  # folders with choices of the user's own, beside conf/
_MOST_SAMPLES = 100_000  # x 8 bytes an image
# Of a model that is asked without decoding=.
UNSTATED = (
    "the model does not say how it was validated, or says a way that is no longer there: it is "
    "asked by decoding=free"
)


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


def plain_config(config: Any) -> dict[str, Any]:
    """The config as plain containers, interpolations resolved.

    Raises:
        UserError: a key that the user must give is still open, or made of one that is not there.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415
    from omegaconf.errors import InterpolationResolutionError  # noqa: PLC0415

    try:
        missing = sorted(OmegaConf.missing_keys(config))
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    except InterpolationResolutionError as error:
        key, why = error.full_key, first_line(error)
        why = why.rpartition("raised while resolving interpolation: ")[2].strip('"')
        raise UserError(f"{key}: {why}; add {key}=VALUE") from error
    if missing:
        wanted = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"{', '.join(missing)}: not given; add {wanted}")
    return plain


def checked(keys: Callable[..., _Keys], values: Mapping[str, Any], prefix: str = "") -> _Keys:
    """The keys that a command reads, with the types that it needs."""
    from blippose.arguments import check_arguments  # noqa: PLC0415

    if missing := [key for key in keys.__annotations__ if key not in values]:
        raise UserError(f"{missing[0]}: missing; leave ~{missing[0]} out")
    own = {key: values[key] for key in keys.__annotations__}
    check_arguments(keys, own, prefix)
    return keys(**own)


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


def instantiate_key(config: Any, key: str) -> Any:
    """What `_target_` at `key` makes of its keys; None for null.

    Raises:
        UserError: the target refuses a value.
    """
    from hydra.errors import InstantiationException  # noqa: PLC0415
    from hydra.utils import instantiate  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    node = OmegaConf.select(config, key)
    try:
        return None if node is None else instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = str(error.__cause__ or error)
        raise UserError(_named(cause, key, node)) from error


def _named(cause: str, key: str, node: Any) -> str:
    """What a target of `key` says, with the whole key where it begins with its own part of it.

    `order=x: expected ...` of model.caption is `model.caption.order=x: expected ...`.
    """
    own, is_value, _ = cause.partition("=")
    if cause.startswith(f"{key}."):
        return cause
    is_own = is_value and own.partition(".")[0] in node
    return f"{key}.{cause}" if is_own else f"{key}: {cause}"


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


def job_words() -> list[str]:
    """The key=value words that the job was composed of, as written: `${...}` stands as itself.

    Of Hydra's own keys only the one that says where choices of the user's own lie.
    """
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    words: Any = OmegaConf.to_container(HydraConfig.get().overrides, resolve=False)
    places = [word for word in words["hydra"] if word.startswith(f"{SEARCH_PATH}=")]
    return [*places, *words["task"]]


def short(path: Path) -> Path:
    """The path from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def out_folder(out: str | None, default: Path) -> Path:
    """Where `out=` says that files go, or else `default`."""
    return default if out is None else Path(out).expanduser()


def places(data: Mapping[str, str | None]) -> dict[str, str | None]:
    """Where a run's data lie now, as far as `data.root=` and `data.annotations=` say it."""
    return {key: place for key, place in data.items() if place is not None}


def say_loading(what: Any) -> None:
    """A line before what takes seconds; of several processes the first says it."""
    from blippose.runs import is_first_process  # noqa: PLC0415

    if is_first_process():
        print(f"loading {what} ...", flush=True)
