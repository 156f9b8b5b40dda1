"""hydra/launcher=local: a few processes of this machine, each running one cell after another."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, final

from blippose.child_process import die_with
from blippose.cli.launchers.base import CellLauncher, Task, said
from blippose.errors import UserError
from blippose.machine import num_cores
from blippose.preemption import CAN_BE_RESUMED

_LOGS = ".local"
_PATIENCE = 60  # s for a process that was asked to end, and writes a checkpoint first


class _DiedError(Exception):
    """A process that ended in the middle of a cell."""


@final
class LocalLauncher(CellLauncher):
    """Cells in processes of their own; each process pays imports, data and weights once.

    Args:
        jobs: processes at the same time.
        threads: of each; null shares out the cores.
        devices: GPUs to deal out, as CUDA_VISIBLE_DEVICES names them; null shows each process all.
    """

    def __init__(self, jobs: int, threads: int | None, devices: list[int] | None) -> None:
        if jobs < 1:
            raise UserError(f"hydra.launcher.jobs={jobs}: expected 1 or more")
        if threads is not None and threads < 1:
            raise UserError(f"hydra.launcher.threads={threads}: expected 1 or more, or null")
        self.jobs, self.devices = jobs, devices
        self.threads = threads or max(1, num_cores() // jobs)

    def run(self, tasks: Sequence[Task]) -> None:
        """Run them all, the next as soon as a process is free; Ctrl-C and SIGTERM end them all."""
        waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        logs = self.sweep_folder / _LOGS
        logs.mkdir(parents=True, exist_ok=True)
        workers = [
            _Worker(waiting, logs, self._environment(slot))
            for slot in range(min(self.jobs, len(tasks)))
        ]
        before = signal.signal(signal.SIGTERM, _leave)
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.2)  # a join without an end would not hear signals
        finally:
            for worker in workers:  # all at once: each writes a checkpoint first
                worker.ask_to_end()
            until = time.monotonic() + _PATIENCE
            for worker in workers:
                worker.wait(until)
            signal.signal(signal.SIGTERM, before)

    def _environment(self, slot: int) -> dict[str, str]:
        environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.threads))}
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = str(self.devices[slot % len(self.devices)])
        return environment


def _say(line: str) -> None:
    """In one write, as several threads do."""
    print(f"{line}\n", end="", flush=True)


def _how(code: int) -> str:
    """What ended a process, by its exit code, in which signals are negative."""
    if code == -signal.SIGKILL:
        return "its process was killed by SIGKILL, as Linux does when memory runs out"
    return f"its process ended with {signal.Signals(-code).name if code < 0 else code}"


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(CAN_BE_RESUMED)


class _Worker(threading.Thread):
    """Takes tasks as long as there are some; a process of its own runs them."""

    def __init__(
        self, waiting: queue.SimpleQueue[Task], logs: Path, environment: dict[str, str]
    ) -> None:
        super().__init__(daemon=True)
        self.waiting, self.logs, self.environment = waiting, logs, environment
        self._process: Any = None
        self._pipe: Any = None
        self._is_ended = False
        self._has_left = threading.Event()

    def run(self) -> None:
        """Run tasks until none is left."""
        try:
            self._run_all()
        finally:
            self._has_left.set()

    def _run_all(self) -> None:
        while not self._is_ended:
            try:
                task = self.waiting.get_nowait()
            except queue.Empty:
                break
            log = self.logs / f"{task.name}.log"
            _say(f"{task.name}: started, its words go to {log}")
            try:
                how = "ended" if self._run(task, log) else "stopped"
                _say(f"{task.name}: {how}")
            except Exception as error:  # one cell that cannot be sent or dies is not the others
                self._process = None
                if not self._is_ended:
                    said(task, error, log)
        if self._process is not None:
            self._pipe.send(None)
            self._process.join()

    def _run(self, task: Task, log: Path) -> bool:
        """Whether it came to its end; if not, its process was asked to leave, and did."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            arguments = (theirs, self.environment, os.getpid())
            self._process = context.Process(target=_serve, args=arguments)
            resource_tracker.ensure_running()  # or the start below would, which ends the block
            with _without_ctrl_c():
                self._process.start()
            if self._is_ended:  # it was asked to when there was no process to ask
                self._process.terminate()
            theirs.close()
        try:
            self._pipe.send((task, str(log)))
            self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            code, self._process = self._process.exitcode, None
            if code != CAN_BE_RESUMED:
                raise _DiedError(_how(code)) from error
            return False
        return True

    def ask_to_end(self) -> None:
        """Ask a process that is still at work to write a checkpoint and leave."""
        self._is_ended = True
        process = self._process
        if process is not None and process.is_alive():
            with suppress(OSError):
                process.terminate()

    def wait(self, until: float) -> None:
        """For its process to leave, but no longer than `until` (time.monotonic)."""
        if self.ident is not None:  # a thread whose join a signal broke off passes for dead
            self._has_left.wait(max(0.0, until - time.monotonic()))


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """What this thread starts is deaf to Ctrl-C until it says how it takes it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Any, environment: dict[str, str], parent: int) -> None:
    """Run tasks that come through the pipe, their output in files."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's, who then asks by SIGTERM
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    die_with(parent, CAN_BE_RESUMED)  # nobody would wait for these cells
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        if message is None:
            return
        task, log = message
        _write_to(log)
        task()
        sys.stdout.flush()
        sys.stderr.flush()
        pipe.send("ended")


def _write_to(log: str) -> None:
    with Path(log).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
