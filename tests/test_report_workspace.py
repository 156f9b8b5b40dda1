"""The saved workspace, up to what is sent: a server is needed for the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from example_grid import BEST_CELL

from blippose.errors import UserError
from blippose.report import workspace
from blippose.report.cells import find_cells
from blippose.report.grid import Grid
from blippose.report.measures import MEASURES

pytest.importorskip("wandb_workspaces", reason="pip install 'blippose[report]'")
ACCURACY = MEASURES["acc_5px"]


def grid_of(folder: Path) -> Grid:
    return Grid.of(find_cells([folder]), MEASURES["mae_all"])


def logged(poster_grid: Path, folder: Path, projects: tuple[str | None, ...] = ("poses",)) -> Path:
    """The grid as if its runs had been logged to these projects in turn."""
    shutil.copytree(poster_grid, folder)
    for i, run in enumerate(sorted(folder.glob("*/run.json"))):
        record = json.loads(run.read_text())
        record["wandb_id"] = f"id{i:02}"
        record["wandb_project"] = projects[i % len(projects)]
        record["config"]["logger"] = {"project": "as configured", "entity": "team"}
        run.write_text(json.dumps(record))
    return folder


@pytest.fixture
def sent(poster_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What wandb-workspaces would send, caught at its last function before the network."""
    from wandb_workspaces.workspaces import internal  # noqa: PLC0415  the extra may be absent

    caught: dict[str, Any] = {}

    def upsert(view: Any) -> dict[str, Any]:
        spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
        caught.update(entity=view.entity, project=view.project, spec=spec)
        return {"upsertView": {"view": {"name": "nw-1", "id": "1"}}}

    monkeypatch.setattr(internal, "upsert_view2", upsert)
    monkeypatch.setattr(
        "wandb_workspaces.workspaces.interface.get_app_url", lambda _: "https://wandb.test"
    )
    monkeypatch.setattr("wandb.Api", lambda: None)  # it would ask for a key
    folder = logged(poster_grid, tmp_path / "grid")
    caught["url"] = workspace.save_workspace(grid_of(folder), "grid", ACCURACY)
    return caught


def test_the_workspace_holds_these_runs_and_no_others(sent: dict[str, Any]) -> None:
    assert (sent["entity"], sent["project"]) == ("team", "poses")
    assert sent["url"].startswith("https://wandb.test/team/poses")
    text = json.dumps(sent["spec"])
    assert all(f'"id{i:02}"' in text for i in range(18))


def test_the_workspace_shows_curves_settings_and_what_is_best(sent: dict[str, Any]) -> None:
    text = json.dumps(sent["spec"])
    for wanted in ("train/loss", "val/acc_5px", "val/mae_all.min", "val/acc_5px.max"):
        assert wanted in text, wanted
    assert "Parallel Coordinates Plot" in text
    for axis in ("optimizer.value.lr", "data.value.batch_size", "optimizer.value._target_"):
        assert axis in text, axis


def test_runs_of_several_projects_have_no_common_workspace(
    poster_grid: Path, tmp_path: Path
) -> None:
    folder = logged(poster_grid, tmp_path / "grid", ("poses", "others"))
    with pytest.raises(UserError, match=r"several projects \(team/others, team/poses\)"):
        workspace.workspace(grid_of(folder), "grid", ACCURACY, "team")


def test_the_project_is_that_which_a_variable_named_as_the_run_began(
    poster_grid: Path, tmp_path: Path
) -> None:
    folder = logged(poster_grid, tmp_path / "grid", (None,))
    for run in folder.glob("*/run.json"):
        record = json.loads(run.read_text()) | {"wandb_project": "mine"}
        run.write_text(json.dumps(record))
    assert workspace.workspace(grid_of(folder), "grid", ACCURACY, "team").project == "mine"


def test_a_run_that_never_came_to_wandb_is_in_no_project(
    poster_grid: Path, tmp_path: Path
) -> None:
    """Its id is noted before W&B is asked, its project only once W&B has said it."""
    folder = logged(poster_grid, tmp_path / "grid", (None,))
    for number, run in enumerate(folder.glob("*/run.json")):
        place = {"wandb_project": "mine"} if number else {}
        run.write_text(json.dumps(json.loads(run.read_text()) | place))
    assert workspace.workspace(grid_of(folder), "grid", ACCURACY, "team").project == "mine"


def test_a_server_that_refuses_is_a_line(
    poster_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb.Api", lambda: None)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = logged(poster_grid, tmp_path / "grid")
    with pytest.raises(UserError, match=r"W&B did not take the workspace \(.+\); the files are"):
        workspace.save_workspace(grid_of(folder / BEST_CELL), "grid", ACCURACY)
