"""Where metrics go: metrics.csv in the run folder always, Weights & Biases beside it.

wandb is imported only where it is asked for.
"""

from __future__ import annotations

import csv
import netrc
import os
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

METRICS = "metrics.csv"
_SHORT = {"batch_size": "bs", "optimizer": "", "scheduler": "", "model": ""}  # in W&B's names
_CONNECT_SECONDS = 15  # wandb waits 90 for a server that does not answer


@final
class CSVLogger(Logger):
    """A row for each time metrics are logged, in one table with all columns.

    Lightning's own clears the folder when a run is resumed. This one goes on in the table that the
    checkpoint holds, or else in the one that is there: then a row at step s replaces what an
    earlier process had written from s on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._earlier = _read_rows(path)
        self._rows: list[dict[str, Any]] = []

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table."""
        return self._earlier + self._rows

    def go_on(self, rows: list[dict[str, Any]]) -> None:
        """Take up the table as it was when a checkpoint was written."""
        self._earlier, self._rows = [], list(rows)

    @property
    def name(self) -> str:
        """The run folder's."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Always empty: there are no version_0 folders."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Nothing: the run folder holds the config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row."""
        if step is not None:
            self._earlier = [row for row in self._earlier if int(row["step"]) < step]
        self._rows.append({"step": step, **metrics})

    @rank_zero_only
    def save(self) -> None:
        """Write the whole table: readers never see half a file."""
        rows = self.rows
        columns = list(dict.fromkeys(["epoch", "step", *(key for row in rows for key in row)]))
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("step")]


def wandb_logger(
    folder: Path,
    run_id: str,
    group: str | None,
    config: dict[str, Any],
    project: str = "blippose",
    entity: str | None = None,
    tags: list[str] | None = None,
) -> WandbLogger:
    """A logger on a W&B run with a fixed id, so that a resumed run goes on in it.

    Offline where no key is found or the server does not answer; says so in one line.
    """
    import wandb  # noqa: PLC0415  a second, and only for those who log there

    settings = wandb.Settings(silent=True, init_timeout=_CONNECT_SECONDS)
    start = partial(
        wandb.init,
        project=project,
        entity=entity,
        id=run_id,
        name=run_name(folder.name),
        group=group,
        tags=tags,
        config=config,
        dir=folder,
        resume="allow",
        settings=settings,
    )
    # WANDB_MODE, where it is set, is the user's own decision.
    is_lost = not has_key() and "WANDB_MODE" not in os.environ
    try:
        run = start(mode="offline" if is_lost else None)
    except wandb.errors.CommError:
        print("W&B does not answer", file=sys.stderr)
        wandb.teardown()  # its service holds the id of the run that could not begin
        run = start(mode="offline")
    if run.settings.mode == "offline":
        print(f"W&B is offline; send it later with: wandb sync {Path(run.dir).parent}")
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    for name in ("val/mae", "val/mae_all", "val/epe"):
        run.define_metric(name, step_metric="trainer/global_step", summary="min")
    return WandbLogger(experiment=run, save_dir=str(folder))


def run_name(folder: str) -> str:
    """A short name for a run, of that of its folder.

    >>> run_name("batch_size=2,lr=2e-05,optimizer=adamw")
    'bs2-lr2e-05-adamw'
    >>> run_name("demo")
    'demo'
    """
    parts = [part.partition("=") for part in folder.split(",")]
    if not all(is_cell for _, is_cell, _ in parts):
        return folder
    return "-".join(_SHORT.get(key, key) + value for key, _, value in parts)


def has_key() -> bool:
    """Whether wandb would find a key to log in with: in the environment or in a netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    places = (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")
    path = next((p for p in places if p and Path(p).expanduser().is_file()), None)
    if path is None:
        return False
    try:
        keys = netrc.netrc(Path(path).expanduser())
    except (netrc.NetrcParseError, OSError):
        return False
    return keys.authenticators(urlsplit(server).netloc) is not None
