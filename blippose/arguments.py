"""Checks a config's values against the type hints of what they are passed to.

A wrong type is found before anything is loaded, and named by its dotted key.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from beartype import BeartypeConf
from beartype.door import is_bearable

from blippose.errors import UserError
from blippose.spelling import spelled

_INT_IS_FLOAT = BeartypeConf(is_pep484_tower=True)  # an int will do for a float


def check_arguments(target: Callable[..., Any], values: Mapping[str, Any], prefix: str) -> None:
    """Refuse a value that does not fit the hint of its parameter, or has no parameter.

    >>> def step(size: int) -> None: ...
    >>> check_arguments(step, {"size": 1.5}, "walk")
    Traceback (most recent call last):
    ...
    blippose.errors.UserError: walk.size=1.5: expected int, got float

    Raises:
        UserError: such a value; it names `prefix`.key.
    """
    function = target.__init__ if inspect.isclass(target) else target
    parameters = inspect.signature(target).parameters
    hints = typing.get_type_hints(function)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in values.items():
        path = f"{prefix}.{key}" if prefix else key
        if key not in parameters and not takes_any:
            raise UserError(f"{path}: no such key{suggest(key, parameters)}")
        hint = hints.get(key, Any)
        if not fits(value, hint):
            found = f"{path}={spelled(value)}"
            raise UserError(f"{found}: expected {describe(hint)}, got {_got(value, hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from a YAML file fits a type hint: lists stand for tuples too."""
    if isinstance(value, bool) and not _takes_bool(hint):
        return False
    if is_bearable(value, hint, conf=_INT_IS_FLOAT):
        return True
    return isinstance(value, list) and is_bearable(tuple(value), hint, conf=_INT_IS_FLOAT)


def _takes_bool(hint: Any) -> bool:
    """Python's bool is an int, yet `batch_size=true` is a mistake."""
    options = _options(hint)
    return not any(option in (int, float) for option in options) or bool in options


def _options(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def describe(hint: Any) -> str:
    """A type hint in a reader's words.

    >>> describe(int | None)
    'int or null'
    >>> describe(typing.Literal["json", "coco", "hrnet"])
    'json, coco or hrnet'
    """
    words = [word for option in _options(hint) for word in _describe_one(option)]
    said = [word for word in words if word != "Tensor"]  # which no YAML has
    *others, last = dict.fromkeys(said or words)
    return f"{', '.join(others)} or {last}" if others else last


def _got(value: Any, hint: Any) -> str:
    """The word itself where words are expected, else its type, as YAML has it."""
    is_choice = any(len(_describe_one(option)) > 1 for option in _options(hint))
    if is_choice and isinstance(value, str):
        return repr(value)
    return "null" if value is None else type(value).__name__


def _describe_one(hint: Any) -> list[str]:
    """One word, or those to choose from."""
    if hint is type(None):
        return ["null"]
    if hint is bool:
        return ["true", "false"]
    if typing.get_origin(hint) is typing.Literal:
        return [str(choice) for choice in typing.get_args(hint)]
    if typing.get_origin(hint) is None and isinstance(hint, type):
        return [hint.__name__]
    return [re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(hint))]


def suggest(word: str, known: Iterable[str]) -> str:
    """A question to add to an error, where something known is near, in whole or in its last part.

    >>> suggest("lr", ["optimizer.lr", "seed"])
    '; did you mean optimizer.lr?'
    """
    names = [name for name in known if name != word]
    same_end = [name for name in names if name.rpartition(".")[2] == word.rpartition(".")[2]]
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.7) or same_end[:1]
    if not near:
        ends = {name.rpartition(".")[2]: name for name in reversed(names)}
        near = [ends[end] for end in difflib.get_close_matches(word.rpartition(".")[2], ends, n=1)]
    return f"; did you mean {near[0]}?" if near else ""
