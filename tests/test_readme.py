"""Every command in the README is one that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from blippose.__main__ import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
MPII = ROOT.parent / "shared" / "mpii"


def _commands(program: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.split()[0] == program]


def test_the_best_recipes_header_expects_what_the_readme_has() -> None:
    header = (ROOT / "conf/experiment/best.yaml").read_text()
    epe, *shares = re.findall(r"[\d.]*\.\d+", header.partition("Expected:")[2].partition("(")[0])
    line = next(line for line in README.splitlines() if line.startswith("| model, free-running"))
    assert [epe, *shares] == line.split(" | ")[2:6]


def test_readme_has_commands_of_both_kinds() -> None:
    assert len(_commands("make")) >= 2
    assert len(_commands("blippose")) >= 6


@pytest.mark.parametrize("command", _commands("make"))
def test_make_targets_exist(command: str) -> None:
    assert re.search(rf"^{command.split()[1]}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("command", _commands("blippose"))
def test_blippose_commands_have_keys_that_exist(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command.replace("FOLDER", str(tmp_path)))[1:]
    words = [word for word in words if word != "-m"]  # a grid is composed a cell at a time
    words = [re.sub(r"interval\((.*)\)", r"\1", word) for word in words]
    words = [re.sub(r"^([\w.]+=[^\[]*?),.*$", r"\1", word) for word in words]
    if words[0] == "sweep":
        file, *settings = words[1:]
        assert (
            main(["sweep", str(ROOT / file), *settings, f"runs={tmp_path}", "dry_run=true"]) == 0
        )
        assert "18 cells: 18 missing" in capsys.readouterr().out
        return
    assert main([words[0], *words[1:], "--cfg", "job"]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", re.findall(r"^\| `([\w./]+)`", README, re.MULTILINE))
def test_the_file_tree_is_the_tree(name: str) -> None:
    assert (ROOT / name).exists()


def test_pictures_are_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()


@pytest.mark.skipif(not MPII.exists(), reason="the MPII samples are not at hand")
def test_data_counts_real_annotations_without_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", f"data.annotations={MPII / 'mini_release.mat'}"]) == 0
    assert "not at hand" in capsys.readouterr().out


def test_no_figure_is_left_open() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert "@@" not in page.read_text(), f"{page.name} has a place for a figure and none in it"
