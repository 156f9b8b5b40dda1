from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from wandb import wandb_agent

from blippose.callbacks import MONITOR
from blippose.cli import main
from blippose.cli.sweep import expanded
from blippose.errors import UserError
from blippose.sweep import PlannedCell, Sweep
from blippose.sweep_file import SweepFile

SWEEPS = Path(__file__).parents[1] / "sweeps"
POSTER = SWEEPS / "poster.yaml"


def read(path: Path, text: str) -> SweepFile:
    path.write_text(text)
    return SweepFile.read(path)


def test_poster_is_the_studys_grid() -> None:
    assert SweepFile.read(POSTER).overrides == [
        "data.batch_size=1,2,4",
        "optimizer.lr=5e-6,2e-5,5e-5",
        "optimizer=adam,adamw",
    ]


def test_values_become_words_that_hydra_reads_as_they_were(tmp_path: Path) -> None:
    text = "settings: {a: null, b: a b, c: [1, x], d: true, e: {f: 1}}\naxes: {g: [null, 'h,i']}"
    words = read(tmp_path / "sweep.yaml", text).overrides
    assert words == ["a=null", "b='a b'", "c=[1,x]", "d=true", "e={f:1}", "g=null,'h,i'"]


@pytest.mark.parametrize(
    "text",
    ["~/mpii", "/home/josé/mpii", "José's", "true", "a\\", "a\\'b", "a,b", "${x}", "", "a b"],
)
def test_any_string_is_read_as_it_was(text: str, tmp_path: Path) -> None:
    written = yaml.safe_dump(
        {"settings": {"a": text}, "axes": {"b": [text, 1]}}, allow_unicode=True
    )
    fixed, swept = read(tmp_path / "sweep.yaml", written).overrides
    parsed = OverridesParser.create().parse_overrides([fixed, swept])
    assert parsed[0].value() == text
    assert [getattr(one, "text", one) for one in parsed[1].value().list] == [text, 1]


WRONG = {
    "text": ("just words", "expected the keys settings and axes"),
    "no YAML": ("axes: [", "not YAML"),
    "unknown key": ("axis: {a: [1]}", "axis: no such key; expected settings and axes"),
    "no axes": ("settings: {a: 1}", "axes: expected keys with lists of values"),
    "a value for values": ("axes: {a: 1}", "axes: a: expected a list of values, got 1"),
    "no values": ("axes: {a: []}", "a: expected a list of values"),
    "no key": ("axes: {'a b': [1]}", "a b: not a key"),
    "twice": ("settings: {a: 1}\naxes: {a: [1, 2]}", "a: stands in settings and in axes"),
    "list of axes": ("axes: [a]", "axes: expected keys with values"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_in_the_file_names_it(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as error:
        read(tmp_path / "sweep.yaml", text)
    assert str(error.value).startswith(str(tmp_path / "sweep.yaml"))


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_is_not_there_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        SweepFile.read(tmp_path / name)


def test_other_words_of_the_command_come_after_the_files() -> None:
    words, axes = expanded([str(POSTER), "data.batch_size=1", "dry_run=true"])
    assert words[0] == "-m"
    assert words[-2:] == ["data.batch_size=1", "dry_run=true"]
    assert axes == ["data.batch_size", "optimizer.lr", "optimizer"]


class Told:
    """Stands for the process that an agent starts: keeps the command and what it is told."""

    def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
        self.command, self.run_id = command, env["WANDB_RUN_ID"]


def agents_commands(grid: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What W&B's own agent makes of every choice that a sweep's controller can hand it."""
    monkeypatch.setattr(wandb_agent, "AgentProcess", Told)
    agent: Any = object.__new__(wandb_agent.Agent)  # its constructor asks the server
    agent._in_jupyter = agent._forward_signals = False
    agent._function, agent._sweep_command, agent._run_processes = None, grid["command"], {}
    keys = [*grid["parameters"]]
    values = itertools.product(*(grid["parameters"][key]["values"] for key in keys))
    for number, chosen in enumerate(values):
        args = {key: {"value": value} for key, value in zip(keys, chosen, strict=True)}
        agent._command_run({"run_id": f"id{number}", "args": args, "program": None})
    return [process.command for process in agent._run_processes.values()]


def test_wandbs_agents_run_the_18_cells_of_the_poster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell for cell the folder and the config of `blippose sweep sweeps/poster.yaml`."""
    seen: list[PlannedCell] = []
    monkeypatch.setattr(Sweep, "check", lambda sweep: seen.extend(sweep.cells))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them: put them back
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(SWEEPS.parent)
    grid: dict[str, Any] = yaml.safe_load((SWEEPS / "wandb_poster.yaml").read_text())
    for command in agents_commands(grid, monkeypatch):
        assert command[:4] == ["/usr/bin/env", "blippose", "sweep", "sweeps/poster.yaml"]
        assert main([*command[2:], "dry_run=true"]) == 0
    agents, seen[:] = [*seen], []
    assert main(["sweep", "sweeps/poster.yaml", "dry_run=true"]) == 0
    assert len(agents) == 18
    by_folder = {cell.folder: cell.config for cell in seen}
    assert {cell.folder: cell.config for cell in agents} == by_folder


def test_wandbs_agents_look_at_what_is_logged() -> None:
    grid = yaml.safe_load((SWEEPS / "wandb_poster.yaml").read_text())
    assert grid["method"] == "grid"
    assert (grid["metric"]["name"], grid["metric"]["goal"]) == ("val/mae_all", "minimize")
    assert grid["metric"]["name"] == MONITOR
