"""A way to decode as plain data, and back.

Checkpoints and the file beside weights hold it as `to_record` writes it, run.json as config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from blippose.arguments import check_arguments
from blippose.decoding.modes import Constrained, Decoding, Free, Parallel, Prompted
from blippose.errors import UserError

_WAYS: dict[str, type[Free | Constrained | Parallel | Prompted]] = {
    "free": Free,
    "constrained": Constrained,
    "parallel": Parallel,
    "prompted": Prompted,
}


def to_record(decoding: Decoding) -> dict[str, Any] | None:
    """What `from_record` takes; None of a way that is not blippose's own.

    >>> to_record(Parallel(flip_test=True))
    {'way': 'parallel', 'refine': 0, 'expectation': False, 'flip_test': True}
    """
    for name, way in _WAYS.items():
        if type(decoding) is way:
            return {"way": name, **asdict(decoding)}
    return None


def from_record(record: Mapping[str, Any]) -> Decoding:
    """The way that `to_record` wrote down.

    Raises:
        UserError: it is none, or has settings that the way does not take.
    """
    settings = dict(record)
    name = settings.pop("way", None)
    if name not in _WAYS:
        raise UserError(f"decoding.way={name}: expected one of {', '.join(_WAYS)}")
    check_arguments(_WAYS[name], settings, "decoding")
    return _WAYS[name](**settings)


def from_config(config: Mapping[str, Any]) -> Decoding | None:
    """The way that `decoding` in a run's config names; None of one that is not blippose's own.

    >>> from_config({"_target_": "blippose.decoding.Parallel", "refine": 1})
    Parallel(refine=1, expectation=False, flip_test=False)

    Raises:
        UserError: it has settings that the way does not take.
    """
    settings = dict(config)
    package, _, name = str(settings.pop("_target_", "")).rpartition(".")
    way = name.lower()
    is_own = package == "blippose.decoding" and way in _WAYS
    return from_record({"way": way, **settings}) if is_own else None
