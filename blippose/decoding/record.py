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

    >>> to_record(Parallel(test_views=2))
    {'way': 'parallel', 'expectation': False, 'test_views': 2, 'close_up': False, 'refine': 0}
    """
    for name, way in _WAYS.items():
        if type(decoding) is way:
            return {"way": name, **asdict(decoding)}
    return None


def from_record(record: Any) -> Decoding | None:
    """The way that `to_record` wrote down, as it stands in somebody's file.

    None of a flip test, in which earlier versions asked the mirror image in its place.

    Raises:
        UserError: it is none, or has settings that the way does not take.
    """
    settings = _mapping(record)
    name = str(settings.pop("way", None))
    if name not in _WAYS:
        raise UserError(
            f"decoding.way={name}: expected one of {', '.join(_WAYS)}; a newer blippose may know "
            "others"
        )
    if settings.pop("flip_test", False) is True:
        return None
    check_arguments(_WAYS[name], settings, "decoding")
    return _WAYS[name](**settings)


def from_config(config: Any) -> Decoding | None:
    """The way that `decoding` in a run's config names; None of one that is not blippose's own.

    >>> from_config({"_target_": "blippose.decoding.Parallel", "refine": 1})
    Parallel(expectation=False, test_views=1, close_up=False, refine=1)

    Raises:
        UserError: it has settings that the way does not take.
    """
    settings = _mapping(config)
    target = settings.get("_target_")
    own = {key: value for key, value in settings.items() if not key.startswith("_")}  # not Hydra's
    for name, way in _WAYS.items():
        if target in (f"{__package__}.{way.__name__}", f"{way.__module__}.{way.__name__}"):
            return from_record({"way": name, **own})
    return None


def _mapping(record: Any) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise UserError(f"decoding={record}: expected a way to decode with its settings")
    return dict(record)
