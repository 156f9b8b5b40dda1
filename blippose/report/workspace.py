"""The same comparison as a saved workspace of Weights & Biases, by wandb-workspaces.

Its runs are those of the report, found by the ids in their run.json; seeds of a choice are drawn
as one line with its range.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from blippose.errors import UserError, first_line
from blippose.report.axes import SEED, Axis
from blippose.report.cells import Cell
from blippose.report.grid import Grid
from blippose.report.measures import TRAIN_LOSS, Measure

_STEP = "trainer/global_step"


@dataclass(frozen=True)
class _Place:
    """Where the runs were logged."""

    entity: str | None
    project: str


def save_workspace(grid: Grid, title: str, accuracy: Measure) -> str:
    """Save it on the server; its address.

    Raises:
        UserError: the extra is not installed, no run was logged there, or the server refuses.
    """
    try:
        _workspaces()
    except ImportError as error:
        raise UserError(
            "wandb=true: needs wandb-workspaces; pip install 'blippose[report]'"
        ) from error
    import wandb  # noqa: PLC0415

    place = _place(grid)
    try:
        entity = place.entity or wandb.Api().default_entity
        if not entity:
            raise UserError("wandb=true: the key has no default entity; train with logger.entity=")
        return str(workspace(grid, title, accuracy, entity).save().url)
    except UserError:
        raise
    except Exception as error:  # wandb raises its own, requests' and plain ones
        raise UserError(
            f"wandb=true: W&B did not take the workspace ({first_line(error)}); "
            "the files are written. `wandb login`, then the same command again"
        ) from error


def workspace(grid: Grid, title: str, accuracy: Measure, entity: str) -> Any:
    """The workspace, not yet saved: curves, parallel coordinates, the settings' importance.

    Raises:
        UserError: no run was logged to W&B, or not all to one project.
    """
    wr, ws = _panels(), _workspaces()

    ids = [str(cell.fact("wandb_id")) for cell in grid.cells if _logged_to(cell)]
    measures = list(dict.fromkeys([accuracy, grid.measure]))
    curves = [TRAIN_LOSS.name, *(f"val/{one.name}" for one in measures)]
    lines = [wr.LinePlot(title=name, x=_STEP, y=[name], max_runs_to_show=100) for name in curves]
    best = [_summary(one) for one in measures]
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(axis.key)) for axis in _axes(grid)]
    columns += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name)) for name in best]
    settings = [
        wr.ParallelCoordinatesPlot(columns=columns),
        wr.ParameterImportancePlot(with_respect_to=best[-1]),
        wr.RunComparer(diff_only="split"),
    ]
    samples = [wr.MediaBrowser(title="samples", media_keys=["val/samples"])]
    return ws.Workspace(
        name=f"blippose report: {title}",
        entity=entity,
        project=_place(grid).project,
        sections=[
            ws.Section(name="Curves", panels=lines, is_open=True),
            ws.Section(name="Settings", panels=settings, is_open=True),
            ws.Section(name="Samples", panels=samples, is_open=False),
        ],
        settings=ws.WorkspaceSettings(x_axis=_STEP, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=[ws.Metric("ID").isin(ids)],
            groupby=_grouped(grid) if grid.is_replicated else [],
            order=[ws.Ordering(ws.Summary(best[-1]), ascending=grid.measure.is_error)],
            pinned_columns=[
                *(f"summary:{name}" for name in best),
                *(f"config:{axis.key}" for axis in _axes(grid)),
            ],
        ),
    )


def _panels() -> Any:
    """wandb_workspaces.reports.v2, which takes seconds and hides its names from type checkers."""
    return importlib.import_module("wandb_workspaces.reports.v2")


def _workspaces() -> Any:
    return importlib.import_module("wandb_workspaces.workspaces")


def _grouped(grid: Grid) -> list[Any]:
    """What tells choices apart, so that seeds are drawn as one line."""
    return [_workspaces().Config(axis.key) for axis in _axes(grid) if axis.key != SEED]


def _axes(grid: Grid) -> list[Axis]:
    """The axes by keys that W&B has: a group is told by its target."""
    configs = [cell.config for cell in grid.cells if cell.config]
    is_group = {a.key: any(isinstance(c.get(a.key), Mapping) for c in configs) for a in grid.axes}
    return [replace(a, key=f"{a.key}._target_") if is_group[a.key] else a for a in grid.axes]


def _summary(one: Measure) -> str:
    """Best-of, as `loggers` asks W&B to keep it."""
    return f"val/{one.name}.{'min' if one.is_error else 'max'}"


def _place(grid: Grid) -> _Place:
    places = {place for cell in grid.cells if (place := _logged_to(cell))}
    if not places:
        raise UserError("wandb=true: none of these runs was logged to W&B (logger=wandb)")
    if len(places) > 1:
        names = ", ".join(sorted(f"{place.entity or '-'}/{place.project}" for place in places))
        raise UserError(f"wandb=true: these runs are in several projects ({names})")
    return places.pop()


def _logged_to(cell: Cell) -> _Place | None:
    """Where W&B said that it is; None of a cell that W&B did not get."""
    project = cell.fact("wandb_project")
    if not project or not cell.fact("wandb_id"):
        return None
    logger = cell.config.get("logger") or {}
    return _Place(logger.get("entity"), str(project))
