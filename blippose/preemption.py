"""Signals by which a cluster or Ctrl-C asks a run to end: heard at once, obeyed after the step."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final

# Slurm and Kubernetes end jobs by SIGTERM; USR1 or USR2 come before (submitit, sbatch --signal).
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
SIGNALS: Final = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_PATIENCE = b"\nCtrl-C: ends after this step, with a checkpoint; once more ends at once\n"
INTERRUPTED: Final = 130  # a shell's own, of Ctrl-C
TOLD: Final = "told"  # argument of a KeyboardInterrupt of which the user has been told already
CAN_BE_RESUMED: Final = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"


class Preempted(SystemExit):
    """The run was asked to end, and did so between two steps; it can be resumed."""

    def __init__(self) -> None:
        super().__init__(CAN_BE_RESUMED)


class StopSignals:
    """Notes the signals that ask for an end, from `listen` to the end of the with block.

    A second Ctrl-C is Python's own KeyboardInterrupt, at once.

    When the block ends as Preempted, those hear the signal who had listened before, such as a
    launcher that requeues jobs; they may end the process in their own way.
    """

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in SIGNALS}
            if found[signal.SIGINT] is signal.SIG_IGN:  # a launcher's process: its parent hears it
                del found[signal.SIGINT]
            self._before = found
        return self

    def listen(self) -> None:
        """Take the signals over, also from Lightning, which sets its own as training begins."""
        for number in self._before:
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.heard is signal.SIGINT:
                raise KeyboardInterrupt
            os.write(2, _PATIENCE)  # print may be what was interrupted
        self.heard = signal.Signals(number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.heard is not None and isinstance(error, Preempted):
            handler = self._before.get(self.heard)
            if callable(handler):
                handler(int(self.heard), None)
