"""Choices of a user's own, in the folder of --config-dir: mistakes that Hydra does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blippose.cli.groups import (
    GLOBAL,
    are_changes,
    conf,
    groups_of,
    is_change,
    is_group,
    known_keys,
)
from blippose.errors import UserError, first_line

_DEFAULTS, _HYDRA = "defaults", "hydra"


def check_own_choices(folder: Path, overrides: Sequence[str], command: str) -> None:
    """Look at the files in `folder` that a command's words choose, and at those that these name.

    Raises:
        UserError: one is no YAML, has the name of one of ours, or has keys that nothing reads.
    """
    todo = [choice for word in overrides for choice in _chosen(word)]
    seen: set[tuple[str, str]] = set()
    while todo:
        group, name = choice = todo.pop()
        path = folder / group / f"{name}.yaml"
        if choice not in seen and path.is_file():
            seen.add(choice)
            if (conf() / group / path.name).is_file():
                raise UserError(
                    f"{path}: {group}={name} is a choice of ours; give it another name"
                )
            content = _content(path)
            _check_keys(path, group, content, command)
            todo += _named(group, content.get(_DEFAULTS) or [])


def _chosen(word: str) -> Iterator[tuple[str, str]]:
    """Groups and choices of `experiment=a`, `experiment=a,b` and `experiment=[a,b]`."""
    key, is_value, value = word.lstrip("+").partition("=")
    group = key.partition("@")[0]
    if is_value and is_group(group):
        yield from ((group, name) for name in re.split(r"[\[\],'\"\s]+", value) if name)


def _named(group: str, defaults: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Groups and choices of a file's own list of defaults."""
    for item in defaults:
        pairs = item.items() if isinstance(item, Mapping) else [("", item)]
        for key, value in pairs:
            place = str(key).split()[-1] if key else ""  # after `override` or `optional`
            own = place.partition("@")[0].lstrip("/") or group
            for name in map(str, value if isinstance(value, list) else [value]):
                other, _, choice = name.lstrip("/").rpartition("/")
                is_absolute = not place and name.startswith("/")
                yield (other, choice) if is_absolute else (own, name)


def _content(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf  # noqa: PLC0415
    from yaml import MarkedYAMLError  # noqa: PLC0415

    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: {error.problem}; expected YAML") from error
    except Exception as error:  # OmegaConf and codecs raise several
        raise UserError(f"{path}: {first_line(error)}; expected YAML") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys with values")
    return {str(key): value for key, value in content.items()}


def _check_keys(path: Path, group: str, content: Mapping[str, Any], command: str) -> None:
    if not is_change(path):
        if are_changes(group):
            raise UserError(
                f"{path}: begins without the line `{GLOBAL}`, so its keys would be of "
                f"{group} alone and change nothing"
            )
        return
    known, groups = known_keys(command), groups_of(command)
    text = path.read_text(encoding="utf-8")
    for key, value in content.items():
        if key in (_DEFAULTS, _HYDRA) or key in groups or _is_read(key, text):
            continue
        if "." in key:
            raise UserError(
                f"{path}: {key}: no such key; write {key.replace('.', ': {', 1)}: ...}}"
            )
        own = [f"{key}.{one}" for one in value] if isinstance(value, Mapping) else [key]
        for one in own:
            if one not in known:
                from blippose.arguments import suggest  # noqa: PLC0415

                raise UserError(f"{path}: {one}: no such key{suggest(one, known)}")


def _is_read(key: str, text: str) -> bool:
    """Whether a file makes other values of a key, as `lr: ${my_rate}`."""
    return re.search(rf"\$\{{{re.escape(key)}[.}}]", text) is not None
