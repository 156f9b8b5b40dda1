"""`blippose train` in processes that can be killed: each is forked from one that has imported all.

Reads a job a line from stdin, as JSON; writes the pid of its process, then its exit status.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch

from blippose import training
from blippose.cli import main


class Fate:
    """An audit hook: a signal as the n-th time a checkpoint is opened to write, or renamed."""

    def __init__(self, remaining: int, number: int) -> None:
        self.remaining, self.number = remaining, number

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename") or ".ckpt" not in str(arguments[0]):
            return
        self.remaining -= event == "os.rename" or "w" in str(arguments[1])
        if self.remaining == 0:
            self.remaining = -1
            os.kill(os.getpid(), self.number)


def run(job: dict[str, Any]) -> int:
    """Train as the job says, in this process."""
    os.environ.update(job["environment"])
    if job["at"]:
        sys.addaudithook(Fate(job["at"], job["signal"]))
    with open(job["log"], "a") as log:  # noqa: PTH123
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        return main(job["arguments"])
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def serve() -> None:
    """One job after the other, until stdin is closed."""
    torch.set_num_threads(1)
    training.quieten()
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(run(job))
        print(pid, flush=True)
        sys.stdin.readline()  # until then an ended process stays, and its pid is no other's
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
