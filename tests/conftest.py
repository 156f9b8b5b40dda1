"""Shared fixtures: a small synthetic release, a random BLIP of one layer, and their tokenizers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from example_grid import write_grid
from hypothesis import settings
from mat_rows import EMPTY, Reader, cells, struct_array
from tiny_tokenizer import write_tiny_tokenizer
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose import mpii
from blippose.blip import load_blip, load_tokenizer
from blippose.caption import CaptionFormat
from blippose.data import PoseBatch, PoseDataModule
from blippose.model import PoseCaptioner
from blippose.mpii import Release, read_release
from blippose.synthetic import write_release

SIZE = 32  # px; few patches, few numbers, so that a step takes milliseconds
NUM_PERSONS = 24
SHARED = Path(__file__).parents[2] / "shared"  # real material that does not ship with blippose


def pytest_configure() -> None:
    torch.set_num_threads(1)
    # A slow machine is no failed test.
    settings.register_profile("blippose", deadline=None, derandomize="CI" in os.environ)
    settings.load_profile("blippose")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end no process works at one alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def release_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A release of 24 kept persons. Read only: tests that break one copy it first."""
    root = tmp_path_factory.mktemp("release") / "root"
    write_release(root, NUM_PERSONS, progress=False)
    files = _files(root)
    yield root
    assert _files(root) == files, "a test of this process changed the release that all read"


def _files(root: Path) -> dict[Path, tuple[int, int]]:
    """Annotations and images, with size and time; pixels that are cut from them come and go."""
    found = [*root.glob("*.mat"), *root.glob("images/*")]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, SIZE)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> BertTokenizer:
    return load_tokenizer(str(tokenizer_folder))


@pytest.fixture(scope="session")
def bert_tokenizer() -> BertTokenizer:
    """The real one."""
    folder = SHARED / "reference" / "bert_tokenizer"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return load_tokenizer(str(folder))


@pytest.fixture(scope="session")
def mpii_images() -> list[Path]:
    """Real photos of MPII."""
    photos = sorted((SHARED / "mpii" / "images").glob("*.jpg"))
    if not photos:
        pytest.skip("no real MPII images here")
    return photos


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Writes rows (`mat_rows`) as a release and reads them back."""

    def write_then_read(*rows: dict[str, Any], **fields: Any) -> Release:
        path = tmp_path / mpii.ANNOTATIONS
        annolist = [
            {
                "image": {"name": r.get("name", f"{i:03}.jpg")},
                "annorect": struct_array(r["annorects"]),
                "vididx": r.get("video", i + 1),
            }
            for i, r in enumerate(rows)
        ]
        release = {
            "annolist": struct_array(annolist),
            "img_train": np.array([[r["train"] for r in rows]], dtype=np.uint8),
            "single_person": cells([r["single"] for r in rows]),
            "act": struct_array([{"act_name": r.get("act", EMPTY)} for r in rows]),
            **fields,
        }
        scipy.io.savemat(path, {"RELEASE": {k: v for k, v in release.items() if v is not None}})
        return read_release(path)

    return write_then_read


@pytest.fixture(scope="session")
def real() -> Release:
    """Real rows of MPII's annotations."""
    path = SHARED / "mpii" / "mini_release.mat"
    if not path.is_file():
        pytest.skip("no real MPII rows here")
    return read_release(path)


@pytest.fixture(scope="session")
def caption_format() -> CaptionFormat:
    return CaptionFormat(SIZE)


@pytest.fixture(scope="session")
def architecture(tokenizer: BertTokenizer) -> dict[str, dict[str, Any]]:
    """One layer of width 32 for the eyes, one for the words."""
    shared = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": 32,
        "max_position_embeddings": 160,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return {"vision": {**shared, "image_size": SIZE, "patch_size": 8}, "text": {**shared, **text}}


@pytest.fixture
def blip(architecture: dict[str, dict[str, Any]]) -> BlipForConditionalGeneration:
    """Seeded, in evaluation mode; each test has its own."""
    torch.manual_seed(0)
    return load_blip("random", architecture).eval()


@pytest.fixture
def make_data(
    release_root: Path, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> Callable[..., PoseDataModule]:
    """A set-up data module over the release; keywords replace the defaults."""

    def make(**settings: Any) -> PoseDataModule:
        settings = {"root": str(release_root), "batch_size": 8, **settings}
        data = PoseDataModule(tokenizer, caption_format, **settings)
        data.prepare_data()
        data.setup("fit")
        return data

    return make


@pytest.fixture
def batch(make_data: Callable[..., PoseDataModule]) -> PoseBatch:
    batch: PoseBatch = next(iter(make_data().train_dataloader()))
    return batch


@pytest.fixture
def make_captioner(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> Callable[..., PoseCaptioner]:
    """A captioner round `blip`; keywords go to the constructor."""

    def make(**settings: Any) -> PoseCaptioner:
        settings = {"optimizer": lambda p: torch.optim.AdamW(p, lr=1e-3), **settings}
        return PoseCaptioner(blip, tokenizer, caption_format, **settings)

    return make


@pytest.fixture(scope="session")
def poster_grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's 18 runs, all done. Read only: tests that break one copy it first."""
    return write_grid(tmp_path_factory.mktemp("runs") / "poster_grid")
