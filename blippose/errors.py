"""The one exception that is the user's to mend, and the one line that is said of a mistake."""

from __future__ import annotations

import sys


class UserError(Exception):
    """A mistake at the border: a missing folder, a corrupt file, a wrong value.

    The message is one line that names the thing, what was expected and the remedy. `cli` prints
    it on stderr and exits with status 2, without a traceback.
    """


class DivergedError(UserError):
    """A training whose weights are no numbers any more; begun again it would come to the same."""


def warn(message: str) -> None:
    """Say it on stderr, in one line."""
    print(f"blippose: {' '.join(message.split())}", file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
