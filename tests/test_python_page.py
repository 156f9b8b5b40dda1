"""The Python of README and docs/python.md runs as it stands there, one block after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blippose.synthetic import render_frame

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a photo."""
    Image.fromarray(render_frame(seed=7, video=59, frame=0).image).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text: str) -> dict[str, Any]:
    """What its blocks of Python have named, in the end."""
    named: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "block", "exec"), named)
    return named


def test_readmes_block_finds_a_pose(here: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    named = run(readme.replace('from_run("runs/demo")', 'from_pretrained("tiny")'))
    assert named["prediction"].pose.valid.all()


def test_every_block_of_the_page_runs_after_those_before_it(here: Path) -> None:
    named = run((ROOT / "docs" / "python.md").read_text())
    assert np.array(Image.open("pose.png")).shape == named["image"].shape
    assert len(named["persons"]) == 60
    assert named["caption"].startswith("right ankle (")
    assert [str(reason) for reason in named["parsed"].reasons[:2]] == ["None", "out of range"]
    assert named["predictor"].decoding == "constrained"
    assert named["again"].lineage == named["captioner"].lineage
    assert named["again"].reader.decoding == named["captioner"].reader.decoding
    assert 0 < named["measured"]["val/epe"] < 10  # px; the mean pose is at 22
    assert 0 <= named["pckh"].compute() <= 1
    assert len(named["reading"].captions) == len(named["batch"]["image"])
