"""`blippose` in processes that can be killed, without their imports, which cost seconds each.

Python's fork server imports them once, and each process is forked from it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["blippose.training", "blippose.cli.train"])


def start(words: list[str], folder: Path) -> BaseProcess:
    """The command, begun in `folder`, in a process group of its own; it prints into folder/log."""
    process = _CONTEXT.Process(target=_run, args=(words, folder))
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """It and all that it has started, at once."""
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _run(words: list[str], folder: Path) -> None:
    os.setsid()
    os.chdir(folder)
    with (folder / "log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    import torch  # noqa: PLC0415

    from blippose.cli import main  # noqa: PLC0415

    torch.set_num_threads(1)
    sys.exit(main(words))
