"""A sweep file: the axes of a grid, and what all its cells have in common, as YAML.

settings:                      one value for every cell; may be left out
  experiment: poster
axes:                          several values; every combination is a cell
  data.batch_size: [1, 2, 4]
  optimizer: [adam, adamw]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from blippose.errors import UserError, first_line
from blippose.spelling import in_quotes, spelled

_KEYS = ("settings", "axes")
_OF_WANDB = {"method", "parameters"}
_PLAIN = re.compile(r"[A-Za-z0-9_.+/:@-]+")  # what Hydra's grammar reads without quotes
_WORDS = {"true", "false", "null"}  # of YAML's strings, which stay strings
_KEY = re.compile(r"[+~]*[\w.@/]+")


@dataclass(frozen=True)
class SweepFile:
    """Keys of the config with their values."""

    settings: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]

    @staticmethod
    def read(path: Path) -> SweepFile:
        """The sweep that is written in a file.

        Raises:
            UserError: there is no such file, or it is no sweep.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise UserError(
                f"{path}: cannot be read ({reason}); expected a sweep file, such as "
                "sweeps/poster.yaml of the repository"
            ) from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = "" if mark is None else f", line {mark.line + 1}"
            why = getattr(error, "problem", None) or first_line(error)
            raise UserError(f"{path}{where}: not YAML ({why})") from error
        return SweepFile._of(content, path)

    @staticmethod
    def _of(content: Any, path: Path) -> SweepFile:
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: expected the keys {' and '.join(_KEYS)}")
        if content.keys() >= _OF_WANDB:
            raise UserError(
                f"{path}: a sweep of W&B's, which `wandb sweep {path}` begins; `blippose sweep` "
                "takes files such as sweeps/poster.yaml"
            )
        if unknown := [str(key) for key in content if key not in _KEYS]:
            raise UserError(f"{path}: {unknown[0]}: no such key; expected {' and '.join(_KEYS)}")
        settings, axes = (_keys(content.get(key) or {}, key, path) for key in _KEYS)
        if not axes:
            raise UserError(f"{path}: axes: expected keys with lists of values, got none")
        for key, values in axes.items():
            if not isinstance(values, list) or not values:
                raise UserError(f"{path}: axes: {key}: expected a list of values, got {values!r}")
        if twice := sorted(settings.keys() & axes.keys()):
            raise UserError(f"{path}: {twice[0]}: stands in settings and in axes; take one out")
        return SweepFile(settings, axes)

    @property
    def overrides(self) -> list[str]:
        """The same as words of the command line, those of axes with commas."""
        fixed = [f"{key}={_word(value)}" for key, value in self.settings.items()]
        swept = [f"{key}={','.join(map(_word, values))}" for key, values in self.axes.items()]
        return [*fixed, *swept]


def _keys(node: Any, name: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(node, Mapping):
        raise UserError(f"{path}: {name}: expected keys with values, got {node!r}")
    if wrong := [key for key in node if not _KEY.fullmatch(str(key))]:
        raise UserError(f"{path}: {name}: {wrong[0]}: not a key, such as optimizer.lr")
    return {str(key): value for key, value in node.items()}


def _word(value: Any) -> str:
    """A value as the command line takes it.

    >>> [_word(value) for value in (None, True, "true", 5e-06, "5e-6", [1, "a b"])]
    ['null', 'true', "'true'", '5e-6', '5e-6', "[1,'a b']"]
    """
    if isinstance(value, list):
        return f"[{','.join(map(_word, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_word(item)}" for key, item in value.items()) + "}"
    text = spelled(value)
    is_string = isinstance(value, str) and value.lower() in _WORDS
    return in_quotes(text) if is_string or not _PLAIN.fullmatch(text) else text
