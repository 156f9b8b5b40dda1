"""Signals by which a cluster asks a run to end: heard at once, obeyed at the next checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final

# Slurm and Kubernetes end jobs by SIGTERM; USR1 or USR2 come before (submitit, sbatch --signal).
SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
CAN_BE_RESUMED: Final = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"


class Preempted(SystemExit):
    """The run was asked to end, and did so between two steps; it can be resumed."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(CAN_BE_RESUMED)
        self.signal_name = signal_name


class StopSignals:
    """Notes the signals that ask for an end, from `listen` to the end of the with block.

    When the block ends as Preempted, those hear the signal who had listened before, such as a
    launcher that requeues jobs; they may end the process in their own way.
    """

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
        return self

    def listen(self) -> None:
        """Take the signals over, also from Lightning, which sets its own as training begins."""
        for number in self._before:
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
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
