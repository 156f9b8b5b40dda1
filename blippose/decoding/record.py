"""A way to decode as plain data, for checkpoints and the file beside weights, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from blippose.decoding.modes import Constrained, Decoding, Free, Parallel, Prompted

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
        KeyError, TypeError, ValueError: it is none.
    """
    settings = dict(record)
    way = _WAYS[settings.pop("way")]
    for key in ("expectation", "flip_test"):
        if type(settings.get(key, False)) is not bool:
            raise ValueError(f"{key} {settings[key]!r} is neither true nor false")
    return way(**settings)
