"""A composed config: plain containers, typed keys, and what `_target_` makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from blippose.errors import UserError, first_line

_Keys = TypeVar("_Keys")
SEARCH_PATH = "hydra.searchpath"  # folders with choices of the user's own, beside conf/
# Of a model that is asked without decoding=.
UNSTATED = (
    "the model does not say how it was validated, or says a way that is no longer there: it is "
    "asked by decoding=free"
)


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


def kept_or_used(was_stored: bool) -> str:
    """What became of a model's answers, or of what was measured."""
    return "used again, as nothing has changed" if was_stored else "kept for the next time"


def say_loading(what: Any) -> None:
    """A line before what takes seconds; of several processes the first says it."""
    from blippose.runs import is_first_process  # noqa: PLC0415

    if is_first_process():
        print(f"loading {what} ...", flush=True)
