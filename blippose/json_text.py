"""JSON that every reader takes: a float that is no number is null, and all is ASCII."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any) -> str:
    """The value as a file's text.

    >>> print(json_text({"epe": float("nan")}), end="")
    {
     "epe": null
    }
    """
    return json.dumps(without_nan(value), indent=1, allow_nan=False) + "\n"


def without_nan(value: Any) -> Any:
    """The value as it is read back from its text."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
