"""`blippose report`: the curves, tables and pictures of a grid, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose.cli.config import checked, plain_config
from blippose.cli.folders import run_folders
from blippose.spelling import spelled


@dataclass(frozen=True)
class _ReportKeys:
    """Keys of report.yaml."""

    run: str | list[str]
    out: str | None
    metric: str
    accuracy: str
    reference: str | float | bool | list[Any] | None
    wandb: bool
    debug: bool


def run(config: Any) -> int:
    """Write the report and print its table; the exit status."""
    keys = checked(_ReportKeys, plain_config(config))
    from rich.console import Console  # noqa: PLC0415

    from blippose.report.cells import find_cells  # noqa: PLC0415
    from blippose.report.grid import Grid  # noqa: PLC0415
    from blippose.report.measures import measure  # noqa: PLC0415
    from blippose.report.reference import find_reference  # noqa: PLC0415

    chosen, accuracy = measure(keys.metric, "metric"), measure(keys.accuracy, "accuracy")
    folders = run_folders(keys.run)
    grid = Grid.of(find_cells(folders), chosen)
    reference = None if keys.reference is None else find_reference(grid, _named(keys.reference))
    # matplotlib takes half a second
    from blippose.report.files import PAGE, Report, keep_foreign  # noqa: PLC0415

    out = Path(keys.out).expanduser() if keys.out else _own_folder(folders)
    keep_foreign(out)
    report = Report.of(grid, reference)
    title = folders[0].resolve().name if len(folders) == 1 else out.resolve().name
    report.write(out, title, accuracy)
    report.print(Console())
    print(f"page     {out / PAGE}\nfigures  {out}/*.png, *.svg, grid.pdf\ntables   {out}/table.*")
    if keys.wandb:
        from blippose.report.workspace import save_workspace  # noqa: PLC0415  seconds

        print(f"W&B      {save_workspace(grid, title, accuracy)}")
    return 0


def _named(reference: str | float | bool | list[Any]) -> str:
    """Values as they are typed, with commas between."""
    parts = reference if isinstance(reference, list) else [reference]
    return ",".join(map(spelled, parts))


def _own_folder(folders: Sequence[Path]) -> Path:
    return folders[0] if len(folders) == 1 else Path("report")
