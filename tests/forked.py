"""`blippose` in processes that can be killed, without their imports, which cost seconds each.

Python's fork server imports them once, and each process is forked from it. So all have the same
seed of hashes: what follows the order of a set is seen only beside a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["blippose.training", "blippose.cli.train"])


class Fate:
    """An audit hook: a signal as the n-th time a checkpoint is opened to write, or renamed."""

    def __init__(self, at: int, number: signal.Signals) -> None:
        self.remaining, self.number = at, number

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename") or ".ckpt" not in str(arguments[0]):
            return
        self.remaining -= event == "os.rename" or "w" in str(arguments[1])
        if self.remaining == 0:
            self.remaining = -1
            os.kill(os.getpid(), self.number)


@contextmanager
def started(words: list[str], folder: Path) -> Iterator[BaseProcess]:
    """The command, begun in `folder`, in a process group of its own; it prints into folder/log.

    At the end of the block it is killed with all that it has started, if it is still there.
    """
    process = begin(words, folder)
    assert process.pid is not None
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended, or not yet begun
            process.kill()
        process.join()


def begin(
    words: list[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    fate: Fate | None = None,
) -> BaseProcess:
    """The same without an end; what it has started goes on after it."""
    process = _CONTEXT.Process(target=_run, args=(words, folder, environment or {}, fate))
    process.start()
    return process


def _run(
    words: list[str], folder: Path, environment: Mapping[str, str], fate: Fate | None
) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment)
    with (folder / "log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from blippose.cli import main  # noqa: PLC0415

    np.random.seed()  # noqa: NPY002  the fork server's is the same in all
    torch.set_num_threads(1)
    if fate is not None:
        sys.addaudithook(fate)
    sys.exit(main(words))
