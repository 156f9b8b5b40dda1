"""Long work in batches, shared by several processes and kept as it goes.

Whole batches are dealt out, so that each holds the same persons as in one process alone: its
results are the same to the last digit. Each process adds its batches to a file of its own, one
line a batch; what is there already is not asked for again. The first process waits for the others
and puts all in order; they do their share and go. Knows nothing of what a batch's results are.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from blippose.errors import UserError
from blippose.whole_file import write_whole

_Result = TypeVar("_Result")
_PATIENCE_S = 1800.0  # without a sign of life of the others
_PAUSE_S = 0.1
# Of torchrun, and of srun's steps; a lone process inside an allocation has no step of its own.
_ENVIRONMENTS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))


def process_share() -> tuple[int, int]:
    """Which of how many processes this is, as the launcher says; (0, 1) alone."""
    for rank, world_size in _ENVIRONMENTS:
        if rank in os.environ and world_size in os.environ:
            return int(os.environ[rank]), int(os.environ[world_size])
    return 0, 1


def batches(num_rows: int, batch_size: int) -> list[range]:
    """Positions of each batch.

    >>> batches(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [
        range(first, min(first + batch_size, num_rows)) for first in range(0, num_rows, batch_size)
    ]


def kept(
    path: Path,
    task: Mapping[str, Any],
    num_batches: int,
    load: Callable[[], _Result | None],
    ask: Callable[[int], Any],
    track: Callable[[Sequence[int], int, int], Iterator[int]],
    save: Callable[[list[Any]], None],
) -> tuple[_Result | None, bool]:
    """What `load` gives, from work that all processes do together where it is not done yet.

    With it whether it was there already. All processes but the first get None, after their share.

    Args:
        path: of what is kept; the parts lie beside it until it is whole.
        task: what decides the results, as JSON has it.
        num_batches: of all processes together.
        load: reads what is kept; None where it is not there, or of another task.
        ask: the results of one batch, as JSON has them.
        track: shows a bar over the batches that are missing, of how many done, of how many.
        save: keeps the results of all batches, in their order.

    Raises:
        UserError: another process is evaluating there, or those of this evaluation have stopped.
    """
    rank, world_size = process_share()
    if (result := load()) is not None:
        return (result if rank == 0 else None), True
    folder, name = path.parent, path.stem
    shares = [Part(folder, name, task, r, world_size, num_batches) for r in range(world_size)]
    shares[rank].fill(ask, track)
    if rank > 0:
        if load() is not None:  # the first had this share from an earlier time
            shares[rank].remove()
        return None, False
    save(merged(shares))
    for share in shares:
        share.remove()
    return load(), False


class Part:
    """The batches of one process, in `folder`.

    Args:
        folder: of the parts; made where it is missing.
        name: of the whole.
        task: what decides the results, as JSON has it: a part of another task starts anew.
        rank: which process.
        world_size: of how many.
        num_batches: of all processes.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        task: Mapping[str, Any],
        rank: int,
        world_size: int,
        num_batches: int,
    ) -> None:
        self._path = folder / f".{name}.part-{rank}-of-{world_size}.jsonl"
        self._task = dict(task)
        self._wanted = range(rank, num_batches, world_size)

    def results(self) -> dict[int, Any]:
        """What is in its file, by the number of the batch; a line cut short does not count."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        if not lines or _parsed(lines[0]) != self._task:
            return {}
        records = (_parsed(line) for line in lines[1:])
        return {record["batch"]: record["results"] for record in records if record is not None}

    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self._path.is_file() and self.results().keys() >= set(self._wanted)

    def fill(self, ask: Callable[[int], Any], track: Callable[..., Iterator[int]]) -> None:
        """Ask for each batch that is missing, and keep what comes.

        Raises:
            UserError: another process is at it.
        """
        with self._lock():
            done = self.results()
            self._start(done)
            missing = [number for number in self._wanted if number not in done]
            with self._path.open("a", encoding="utf-8") as file:
                for number in track(missing, len(done), len(self._wanted)):
                    line = json.dumps({"batch": number, "results": ask(number)})
                    file.write(line + "\n")
                    file.flush()

    def _start(self, done: Mapping[int, Any]) -> None:
        """The file with what it holds of worth, and no half of a line at its end."""
        records = [self._task, *({"batch": n, "results": done[n]} for n in sorted(done))]
        write_whole(self._path, "".join(json.dumps(r) + "\n" for r in records))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path.with_suffix(".lock"), blocking=False)
        try:
            with lock:
                yield
        except Timeout as error:
            raise UserError(
                f"{self._path.parent}: another process is evaluating there; wait for it"
            ) from error

    def remove(self) -> None:
        """Delete its files, where they are there."""
        self._path.unlink(missing_ok=True)
        self._path.with_suffix(".lock").unlink(missing_ok=True)

    def age_s(self) -> float:
        """Seconds since it grew; infinite where it is not there."""
        try:
            return time.time() - self._path.stat().st_mtime
        except OSError:
            return float("inf")


def merged(parts: Sequence[Part]) -> list[Any]:
    """The results of all batches in their order, once every part is whole.

    Raises:
        UserError: no part has grown for half an hour.
    """
    began = time.monotonic()
    while not all(part.is_whole() for part in parts):
        waited = time.monotonic() - began
        if min(waited, *(part.age_s() for part in parts)) > _PATIENCE_S:
            raise UserError(
                "the other processes of this evaluation have stopped; start it again: what is "
                "done is kept"
            )
        time.sleep(_PAUSE_S)
    results = {number: each for part in parts for number, each in part.results().items()}
    return [results[number] for number in sorted(results)]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
