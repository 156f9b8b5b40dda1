"""A run folder: what was asked, how far it came, what came out. One JSON file, written whole.

    runs/demo/run.json       state, config and its hash, results, versions, W&B id, traceback
    runs/demo/config.yaml    the config again, for readers
    runs/demo/best.ckpt      weights of the best epoch
    runs/demo/last.ckpt      everything, to go on from; removed when the run is done
    runs/demo/last-1.ckpt    the one before it, should it be damaged
    runs/demo/traceback.txt  of a run that failed

Knows nothing of models or of how training is done, and must answer without torch.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from blippose.errors import DivergedError, UserError, first_line
from blippose.identity import config_hash, difference, words_of_decoding
from blippose.json_text import json_text
from blippose.usage import Usage
from blippose.versions import versions

RECORD, BEST, LAST, PREVIOUS = "run.json", "best.ckpt", "last.ckpt", "last-1.ckpt"
_CONFIG, _TRACEBACK, _LOCK = "config.yaml", "traceback.txt", ".lock"
_LOCKS = Path("/proc/locks")  # of all processes of the machine; Linux alone has it

# Set by Lightning, torchrun and Slurm; a lone process under Slurm has 0.
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


class State(StrEnum):
    """How far a run came."""

    RUNNING = "running"  # or killed: nothing tells them apart from outside
    STOPPED = "stopped"  # by a signal or Ctrl-C; the same command goes on
    DONE = "done"
    FAILED = "failed"


class RunDoneError(UserError):
    """Another process has brought the run to its end since it was opened."""


class RunFailedError(Exception):
    """Training raised what nobody expected; the message says where its traceback lies."""

    def __init__(self, folder: Path, error: Exception) -> None:
        line = (str(error).strip().splitlines() or [""])[0]
        place = f"traceback in {folder / _TRACEBACK}"
        super().__init__(f"{folder} failed: {type(error).__name__}: {line}; {place}")


@dataclass
class Run:
    """A run folder and what its run.json says.

    A run that failed or was stopped before its first checkpoint holds its folder no more.
    """

    folder: Path
    record: dict[str, Any]
    _usage: Usage | None = field(default=None, init=False, repr=False, compare=False)

    @staticmethod
    def open(folder: Path, config: Mapping[str, Any]) -> Run:
        """The run of `config` in `folder`: the one that is there, or a new one, not yet written.

        Raises:
            UserError: the folder holds a run of another config, or run.json cannot be read.
        """
        record = _read(folder / RECORD)
        if record is None or (record["state"] != State.DONE and not has_checkpoint(folder)):
            return Run(folder, {"state": None, "config": dict(config)} | _kept(record, config))
        if changes := difference(record["config"], config):
            words = words_of_decoding(record["config"], config)
            raise UserError(
                f"{folder} holds a run of another config ({'; '.join(changes)}): "
                f"{f'add {words} for that run, ' if words else ''}choose another name=, or "
                "remove that folder"
            )
        # Of equal values, as 0 and 0.0, those stay that its checkpoints have the hash of.
        is_same_text = config_hash(record["config"]) == config_hash(config)
        run = Run(folder, {**record, "config": dict(config)} if is_same_text else record)
        if run.is_done and not record.get("keep_last", True):
            with suppress(OSError):  # of a disk that is only read
                run._drop_checkpoints()  # it may have been killed before it came to that
        return run

    @staticmethod
    def read(folder: Path) -> Run:
        """The run that is in `folder`.

        Raises:
            UserError: there is none.
        """
        record = _read(folder / RECORD)
        if record is None:
            raise UserError(f"{folder}: no run there; expected a run folder with {RECORD}")
        return Run(folder, record)

    @property
    def is_done(self) -> bool:
        """Whether it ran to its end."""
        return bool(self.record["state"] == State.DONE)

    @property
    def checkpoints(self) -> list[Path]:
        """What a run that was cut off or failed may go on from, the newest first."""
        paths = [self.folder / name for name in (LAST, PREVIOUS)]
        return [] if self.is_done else [path for path in paths if path.is_file()]

    @property
    def resume_from(self) -> Path | None:
        """The newest of them."""
        return next(iter(self.checkpoints), None)

    @property
    def config_hash(self) -> str:
        """Of what decides its outcome."""
        return config_hash(self.record["config"])

    def check_free(self) -> None:
        """Look, before what takes seconds, whether another process of this machine trains there.

        Raises:
            UserError: one does, as far as the system tells.
        """
        if is_first_process() and is_held(self.folder):
            raise self._is_taken()

    @contextmanager
    def started(self) -> Iterator[None]:
        """Runs, and is recorded as failed if the block raises.

        Of a UserError before the first checkpoint nothing is left.

        Raises:
            UserError: the folder cannot be written, or another process is training in it, or has
                begun a run of another config there.
            RunDoneError: another process has trained there, and to the end.
            RunFailedError: the block raised anything else that is an Exception.
        """
        with self._lock():
            self._look_again()
            self._start()
            try:
                yield
            except UserError:
                self._give_up()
                raise
            except Exception as error:
                self._fail(error)
                raise RunFailedError(self.folder, error) from error
            except BaseException:  # it is asked to end, and goes on another time
                self.note(state=State.DONE if self.is_done else State.STOPPED)
                raise
            finally:
                self._usage = None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if not is_first_process():
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK, blocking=False)
            with lock:
                yield
        except Timeout as error:
            raise self._is_taken() from error
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror})") from error

    def _is_taken(self) -> UserError:
        return UserError(
            f"{self.folder}: another process is training there; wait for it, or choose another "
            "name="
        )

    def _look_again(self) -> None:
        """Take up what another process has left in the folder since this run was opened.

        It may have come far between: checking, data and weights take seconds to hours.
        """
        now = Run.open(self.folder, self.record["config"])
        if now.is_done and not self.is_done:
            raise RunDoneError(f"{self.folder}: another process has just ended it")
        if (self.folder / RECORD).is_file():  # not of a mistake, which leaves none behind
            self.record = now.record

    def _start(self) -> None:
        (self.folder / _TRACEBACK).unlink(missing_ok=True)
        self._usage = Usage.begin(self.record)
        self.note(
            state=State.RUNNING,
            config_hash=self.config_hash,
            versions=versions(),
            traceback=None,
        )

    def note(self, **facts: Any) -> None:
        """Add to the record, with what the run took so far, and write it."""
        self.record |= facts | (self._usage.facts() if self._usage else {})
        self._write()

    def write_config(self, text: str) -> None:
        """Write the config for readers, as YAML."""
        if is_first_process():
            (self.folder / _CONFIG).write_text(text, encoding="utf-8")

    def finish(self, results: Mapping[str, Any], keep_last: bool) -> None:
        """Say that it is done, with what came out; then what it could go on from may go."""
        self.note(state=State.DONE, results=dict(results), keep_last=keep_last)
        if not keep_last:
            self._drop_checkpoints()

    def _drop_checkpoints(self) -> None:
        for name in (LAST, PREVIOUS):
            (self.folder / name).unlink(missing_ok=True)

    def _give_up(self) -> None:
        if has_checkpoint(self.folder):
            self.note(state=State.FAILED)
        elif is_first_process():
            for name in (RECORD, _CONFIG, _LOCK):
                (self.folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # of what others wrote nothing is removed
                self.folder.rmdir()

    def fail(self, error: BaseException) -> None:
        """Record what stopped it, be it before it was started: a cell of a grid leaves a trace.

        Raises:
            UserError: the folder cannot be written, or another process is training in it, or has
                begun a run of another config there.
            RunDoneError: another process has trained there, and to the end.
        """
        with self._lock():
            self._look_again()
            self.record |= {"config_hash": self.config_hash}
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        self.note(state=State.FAILED, traceback=text)
        if is_first_process():
            (self.folder / _TRACEBACK).write_text(text, encoding="utf-8")

    def _write(self) -> None:
        if not is_first_process():
            return
        partial = self.folder / f".{RECORD}.{os.getpid()}"
        with partial.open("w", encoding="utf-8") as file:
            file.write(json_text(self.record))
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave an empty file
        partial.replace(self.folder / RECORD)


def is_done(folder: Path) -> bool:
    """Whether a run is there that ran to its end."""
    record = _read(folder / RECORD)
    return record is not None and record["state"] == State.DONE


def is_held(folder: Path) -> bool | None:
    """Whether a process of this machine trains there; None where the system does not tell.

    Asked without a lock, not to disturb.
    """
    if not _LOCKS.is_file():
        return None
    try:
        held = {line.split()[-3].rpartition(":")[2] for line in _LOCKS.read_text().splitlines()}
        return str((folder / _LOCK).stat().st_ino) in held
    except (OSError, IndexError):
        return False


def has_diverged(folder: Path) -> bool:
    """Whether a run is there that would come to no numbers again."""
    record = _read(folder / RECORD)
    if record is None or record["state"] != State.FAILED:
        return False
    last = str(record.get("traceback") or "").strip().rpartition("\n")[2]
    return last.startswith(f"{DivergedError.__module__}.{DivergedError.__name__}:")


def is_first_process() -> bool:
    """Whether this is the process that writes, where several train one model together."""
    return all(int(os.environ.get(name) or 0) == 0 for name in _RANKS)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run there has come so far that it would go on."""
    return any((folder / name).is_file() for name in (LAST, PREVIOUS, BEST))


def _kept(record: Mapping[str, Any] | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that begins again has from the try before: its place in W&B."""
    if record is None or difference(record["config"], config):
        return {}
    return {key: record[key] for key in ("wandb_id", "wandb_group") if key in record}


def best_checkpoint(folder: str | Path) -> Path:
    """The best checkpoint of a run.

    Raises:
        UserError: the folder is missing, or holds none.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"run={folder}: no such folder; `blippose train` makes run folders")
    path = folder / BEST
    if not path.is_file() and not (folder / RECORD).is_file():
        raise UserError(
            f"run={folder}: holds no {BEST} and no {RECORD}, so it is no run folder; expected one "
            "that `blippose train` has made, such as runs/demo"
        )
    if not path.is_file():
        raise UserError(
            f"run={folder}: holds no {BEST}; the run has not finished its first "
            "validation: start its `blippose train` command again"
        )
    return path


def checkpoint_file(path: Path, key: str = "") -> Path:
    """`path`, where a file is there; `key` is what a message calls it by.

    Raises:
        UserError: there is none.
    """
    if not path.is_file():
        named = f"{key}={path}" if key else str(path)
        raise UserError(f"{named}: no such checkpoint; `blippose train` writes RUN/{BEST}")
    return path


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["state"], record["config"], record["config_hash"]  # or KeyError
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise UserError(
            f"{path}: cannot be read as a run ({why}); move its folder away"
        ) from error
    return dict(record)
