"""The file beside weights that says what their captions mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import _CACHED_NO_EXIST

from blippose import frame_file
from blippose.blip import TINY
from blippose.frame_file import FRAME_FILE, find_frame_file, knows_poses


@pytest.mark.parametrize(("name", "does"), [("tiny", True), (str(TINY), True), ("random", False)])
def test_weights_of_blippose_know_poses_and_random_ones_do_not(name: str, does: bool) -> None:
    assert knows_poses(name) == does


def test_a_folder_of_another_captioner_knows_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not knows_poses(str(tmp_path))
    (tmp_path / FRAME_FILE).write_text("{}")
    assert knows_poses(str(tmp_path))


def test_weights_of_the_hub_know_poses_if_the_file_came_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached: dict[str, object] = {"our/model": str(tmp_path / FRAME_FILE), "no/file": None}
    monkeypatch.setattr(frame_file, "try_to_load_from_cache", lambda name, _: cached[name])
    assert knows_poses("our/model")
    assert not knows_poses("no/file")


@pytest.mark.parametrize("is_there", [True, False])
def test_the_hub_is_not_asked_for_what_the_cache_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_there: bool
) -> None:
    path = tmp_path / FRAME_FILE
    known = str(path) if is_there else _CACHED_NO_EXIST
    monkeypatch.setattr(frame_file, "try_to_load_from_cache", lambda *_: known)
    monkeypatch.setattr(frame_file, "hf_hub_download", None)
    assert find_frame_file("our/model") == (path if is_there else None)
