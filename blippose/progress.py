"""How far a command is, on stderr: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_Item = TypeVar("_Item")
_LEAST_S, _MOST_S = 2.0, 30.0  # between lines: what is done in a moment needs none


def tracked(
    items: Iterable[_Item],
    num_done: int,
    num_all: int,
    *,
    description: str,
    shown: bool,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[_Item, None, None]:
    """`items`, while how far they are is told, from where earlier work ended.

    Args:
        items: what is still to do.
        num_done: how many were done before.
        num_all: with them.
        description: what they are.
        shown: whether anything is told.
        clock: seconds.
    """
    is_terminal = sys.stderr.isatty()
    line = _Lines(description, num_done, num_all, clock)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, soft_wrap=True),
        transient=True,
        disable=not (shown and is_terminal),
    )
    with bar:
        task = bar.add_task(description, completed=num_done, total=num_all)
        for item in items:
            yield item
            bar.advance(task)
            if shown and not is_terminal:
                line.advance()


class _Lines:
    """A line at every tenth of the work, but none within seconds of the last, and after 30 s.

    What has told of its way tells of its end as well, however soon that comes.
    """

    def __init__(
        self, description: str, num_done: int, num_all: int, clock: Callable[[], float]
    ) -> None:
        self._description, self._num_all, self._clock = description, num_all, clock
        self._done, self._tenth = num_done, 10 * num_done // max(num_all, 1)
        self._began = self._last = clock()
        self._has_told = False

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        now, tenth = self._clock(), 10 * self._done // self._num_all
        wait = _LEAST_S if tenth > self._tenth else _MOST_S
        is_end = self._has_told and self._done == self._num_all
        if now - self._last < wait and not is_end:
            return
        self._last, self._tenth, self._has_told = now, tenth, True
        counts = f"{self._done:,} of {self._num_all:,}, {now - self._began:.0f} s"
        print(f"{self._description}: {counts}", file=sys.stderr, flush=True)
