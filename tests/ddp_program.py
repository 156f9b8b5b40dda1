"""`blippose` in several processes that die together by SIGKILL, as those of a job do.

    DIE_AT=training_step:3 python ddp_program.py train trainer=ddp ...

The first process kills the group as the hook is called for the n-th time; Lightning starts the
others by the same words.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from blippose import model, training
from blippose.cli import main
from blippose.runs import is_first_process


def die_at(hook: str, number: int) -> None:
    """Kill the group of processes at the n-th call of one of the model's hooks."""
    inner, remaining = getattr(model.PoseCaptioner, hook), [number]

    def counted(*arguments: Any) -> Any:
        remaining[0] -= 1
        if remaining[0] == 0:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        return inner(*arguments)

    setattr(model.PoseCaptioner, hook, counted)


if __name__ == "__main__":
    training.quieten()
    if is_first_process() and (moment := os.environ.get("DIE_AT")):
        hook, _, number = moment.partition(":")
        die_at(hook, int(number))
    sys.exit(main())
