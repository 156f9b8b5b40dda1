"""The wheel is whole: configuration and the tiny model travel inside, and no folder is special."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("blippose-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def _run(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "blippose", *words],
        cwd=cwd,
        env={"PYTHONPATH": str(site), "PATH": "", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_config_and_the_tiny_model_are_inside(site: Path) -> None:
    configs = {path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml")}
    assert configs == {
        path.relative_to(site / "blippose") for path in site.rglob("conf/**/*.yaml")
    }
    for name in ("model.safetensors", "config.json", "tokenizer.json", "blippose.json"):
        assert (site / "blippose" / "blip_tiny" / name).is_file()


def test_train_composes_from_any_folder(site: Path, tmp_path: Path) -> None:
    done = _run(site, tmp_path, "train", "experiment=poster", "data.root=FOLDER", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "blip-image-captioning-base" in done.stdout


def test_data_runs_from_any_folder(site: Path, tmp_path: Path) -> None:
    done = _run(site, tmp_path, "data", "data.synthetic.num_persons=4", "format=json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "synthetic_4_seed0" / "images").is_dir()
