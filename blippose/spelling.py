"""Values as one types them on the command line, in names of folders, tables and messages."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

_SMALL, _LARGE = 1e-3, 1e6  # from these on a number is written with an exponent


def spelled(value: Any) -> str:
    """A value as one types it; a number is read back as the same, a float as a float.

    >>> [spelled(value) for value in (5e-06, 0.0001, 0.00125, 0.01, 16, 1.0, 2e6, None, True)]
    ['5e-6', '1e-4', '0.00125', '0.01', '16', '1.0', '2e6', 'null', 'true']
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if value == 0 or _SMALL < abs(value) < _LARGE:
        return repr(value)
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def in_quotes(text: str) -> str:
    r"""Any text as one value of Hydra's grammar, whose unquoted words are of ASCII alone.

    >>> print(in_quotes("José's"))
    'José\'s'
    """
    # A backslash is one but before a quote, where two are one.
    inside = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", inside) + "'"


def fixed(value: float, digits: int) -> str:
    """A figure in so many decimals; a float32 is rounded as the decimal that it stands for.

    >>> fixed(0.96749997, 3), f"{0.96749997:.3f}"
    ('0.968', '0.967')
    """
    return f"{round(value, 6):.{digits}f}"
