"""Weights & Biases beside metrics.csv: one W&B run a run folder, also after it was cut off.

wandb is imported only where it is asked for.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, final

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from blippose.errors import first_line, warn
from blippose.metrics import PoseMetrics
from blippose.wandb_settings import LONGEST, PROJECT, has_key, run_name

_CONNECT_SECONDS = 10  # wandb waits 90 for a server that does not answer
_FINISH_SECONDS = 60  # wandb waits for ever for one that has stopped to answer
_HEADER = 7  # bytes of a .wandb file before the first record; wandb writes every 15 s
_OFFLINE = ("offline", "dryrun")  # of W&B's modes; the same
_STEP = "trainer/global_step"
_SMALL = ("mae", "epe", "loss")  # of a metric's name: the least is the best
_BEST = {
    f"{kind}/{name}": "min" if name.startswith(_SMALL) else "max"
    for kind in ("val", "val_tf")
    for name in (*PoseMetrics.NAMES, *(("loss",) if kind == "val" else ()))
}


@final
class RowLogger(Logger):
    """Sends the rows of metrics.csv to a W&B run, each once.

    W&B's own step is a row's number in that table: a resumed run sends what is missing, be it lost
    on the way or new, and leaves out what is there. wandb's count would begin again at 0 offline,
    and give what is trained again after a kill a second place. A row goes when the next begins:
    until then pictures may join it, and a kill loses it whole. What a kill has lost is sent again
    from the table, without its pictures.

    Args:
        run: of wandb.
        folder: the run folder.
        num_sent: rows that earlier processes have brought there.
    """

    def __init__(self, run: Any, folder: Path, num_sent: int = 0) -> None:
        super().__init__()
        self.run, self.folder, self.num_sent = run, folder, num_sent
        self._row: dict[str, Any] = {}
        self._number = 0  # of that row
        self._best: dict[str, float] = {}
        self._pictures: dict[str, Any] = {}
        self._takes_pictures, self._is_lost = True, False

    @property
    def name(self) -> str:
        """The project's."""
        return str(self.run.project)

    @property
    def version(self) -> str:
        """The W&B run's id."""
        return str(self.run.id)

    def go_on(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take up the table as it was when a checkpoint was written."""
        for row in rows:
            self.log_metrics({key: row[key] for key in row if key != "step"}, row["step"])

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Nothing: the run began with its config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Begin a row."""
        self._send()
        self._row = {**metrics, _STEP: step}

    @rank_zero_only
    def log_pictures(self, name: str, sheet: Any, columns: Sequence[str], rows: Any) -> None:
        """Add a picture, and a table whose arrays are pictures, to the row that was begun."""
        import wandb  # noqa: PLC0415  a second, and only for those who log there

        if self._takes_pictures and self._number >= self.num_sent:
            with self._surviving():
                cells = [[_picture(value) for value in row] for row in rows]
                table = wandb.Table(columns=list(columns), data=cells)
                self._pictures = {name: wandb.Image(sheet), f"{name}_table": table}

    def _send(self) -> None:
        if not self._row:
            return
        better = self._take_best()
        if not self._is_lost:
            with self._surviving():
                if self._number >= self.num_sent:
                    self._log()
                if self.num_sent and better:  # wandb knows the best of this process alone
                    self.run.summary.update(better)
        self._row, self._pictures, self._number = {}, {}, self._number + 1

    def _log(self) -> None:
        """Numbers go by a file, a table asks the server, for which wandb waits 19 s."""
        log = partial(self.run.log, step=self._number, commit=True)
        try:
            log({**self._row, **self._pictures})
        except Exception as error:
            if not self._pictures:
                raise
            self._takes_pictures = False
            warn(f"W&B takes no pictures ({_reason(error)}); from here on it gets numbers alone")
            log(self._row)

    def _take_best(self) -> dict[str, dict[str, float]]:
        """Summaries of what the row has, over all rows."""
        found = {key: self._row[key] for key in _BEST.keys() & self._row.keys()}
        for key, value in found.items():
            if not math.isnan(value):
                choose = min if _BEST[key] == "min" else max
                self._best[key] = choose(value, self._best.get(key, value))
        return {key: {_BEST[key]: self._best[key]} for key in found if key in self._best}

    def close(self, exit_code: int) -> None:
        """Send the last row, and end the W&B run; says so where not all could be sent."""
        self._send()
        with self._surviving():
            try:
                self.run.finish(exit_code=exit_code)
            except TimeoutError:
                warn(
                    f"W&B has not taken all within {_FINISH_SECONDS} s; nothing is lost; send the "
                    f"rest later with: {_sync(self.folder)} --include-online"
                )

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """What befalls W&B on the way is a line, and not the end of the training."""
        try:
            yield
        except Exception as error:  # wandb's own, sockets', what a server answers
            if not self._is_lost:
                warn(f"W&B failed ({_reason(error)}); training goes on, metrics.csv has it all")
            self._is_lost = True


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(first_line(error).split())}"


def _picture(value: Any) -> Any:
    import wandb  # noqa: PLC0415

    return wandb.Image(value) if hasattr(value, "shape") else value


def wandb_logger(
    folder: Path,
    run_id: str,
    group: str | None,
    config: dict[str, Any],
    project: str | None = None,
    entity: str | None = None,
    tags: list[str] | None = None,
) -> RowLogger | None:
    """A logger on a W&B run of this id, which it goes on with where there is one.

    Offline where no key is found or the server is of no use, and where an earlier part of the run
    is still to be sent; None where W&B is of no use at all. Says so in one line. An agent of W&B's
    brings its own id.
    """
    import wandb  # noqa: PLC0415

    try:
        return _begun(
            folder,
            run_id,
            project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
            entity=entity,
            name=run_name(folder.name),
            group=group and group[:LONGEST],
            tags=tags or None,  # or WANDB_TAGS would not be read
            config=config,
        )
    except Exception as error:  # wandb's own, the disk's
        warn(f"W&B cannot be used ({_reason(error)}); training goes on, metrics.csv has it all")
        with suppress(Exception):
            wandb.teardown()  # or the next of a grid would find what is left of this one
        return None


def _begun(folder: Path, run_id: str, **told: Any) -> RowLogger:
    import wandb  # noqa: PLC0415

    settings = wandb.Settings(
        silent=True,
        init_timeout=_CONNECT_SECONDS,
        finish_timeout=_FINISH_SECONDS,
        finish_timeout_raises=True,
    )
    start = partial(wandb.init, id=run_id, dir=folder, resume="allow", settings=settings, **told)
    wandb.setup(settings=wandb.Settings(silent=True))
    _drop_empty(_parts(folder, run_id))
    run = _start(start, folder, run_id)
    is_offline = run.settings.mode in _OFFLINE
    if not is_offline and run.url:
        print(f"W&B: {run.url}", flush=True)
    run.define_metric(_STEP)
    run.define_metric("*", step_metric=_STEP, step_sync=True)
    for name, best in _BEST.items():
        run.define_metric(name, step_metric=_STEP, summary=best)
    num_sent = _num_written(_parts(folder, run.id)[:-1]) if is_offline else run.starting_step
    return RowLogger(run, folder, num_sent)


def _start(start: Any, folder: Path, run_id: str) -> Any:
    import wandb  # noqa: PLC0415

    later = f"send it later with: {_sync(folder)}"
    if os.environ.get("WANDB_MODE") in (*_OFFLINE, "disabled"):  # the user's own decision
        return start()
    if not has_key():
        print(f"W&B is offline, as there is no key; {later}", flush=True)
        return start(mode="offline")
    parts = _parts(folder, run_id)
    if any(map(_is_unsent, parts)):
        print(f"W&B stays offline, as the run's first part is not sent; {later}", flush=True)
        return start(mode="offline")
    try:
        return start()
    except wandb.Error as error:
        reason = " ".join(first_line(error).split())
        warn(f"W&B cannot be used ({reason}); the run is logged offline, nothing is lost; {later}")
        wandb.teardown()  # its service holds the id of the run that could not begin
        for part in _parts(folder, run_id)[len(parts) :]:  # in which nothing was logged
            shutil.rmtree(part.parent)
        wandb.setup(settings=wandb.Settings(silent=True))
        return start(mode="offline")


def _parts(folder: Path, run_id: str) -> list[Path]:
    """Files of W&B's that processes have left of a run, the oldest first."""
    found = folder.glob(f"wandb/*run-*/run-{run_id}.wandb")
    return sorted(found, key=lambda path: path.parent.name.removeprefix("offline-"))


def _drop_empty(parts: Sequence[Path]) -> None:
    """Remove what a kill has left without a record: `wandb sync` would send no other part then."""
    for part in parts:
        if part.stat().st_size <= _HEADER:
            shutil.rmtree(part.parent)


def _is_unsent(part: Path) -> bool:
    is_offline = part.parent.name.startswith("offline-")
    return is_offline and not part.with_name(f"{part.name}.synced").exists()


def _num_written(parts: Sequence[Path]) -> int:
    """Rows in what earlier processes have left; each has gone on with those before it."""
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json"]
    for part in reversed(parts):
        done = subprocess.run([*inspect, str(part)], capture_output=True, text=True, check=False)
        step = json.loads(done.stdout)["step"] if done.returncode == 0 else None
        if step is not None:
            return int(step) + 1
    return 0


def _sync(folder: Path) -> str:
    return f"wandb sync {shlex.quote(str(folder / 'wandb'))}"
