"""Folders that commands fill: nothing of an earlier call stays, nothing of the user's goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blippose.errors import UserError
from blippose.output_folder import check_out, filled, refuse_foreign


def fill(folder: Path, *names: str, command: str = "draw") -> None:
    with filled(folder, command) as filling:
        for name in names:
            filling.write_whole(name, "drawn")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_what_an_earlier_call_wrote_goes_and_the_rest_stays(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "mine.png").write_text("mine")
    fill(tmp_path, "1.png", "page.md")
    assert names_in(tmp_path) == {"1.png", "page.md", "mine.png"}


def test_a_file_of_ours_that_the_user_replaced_stays(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "2.png").write_text("the user's own by now")
    (tmp_path / "3.png").unlink()
    (tmp_path / "3.png").symlink_to(tmp_path / "1.png")
    fill(tmp_path, "1.png")
    assert names_in(tmp_path) == {"1.png", "2.png", "3.png"}


def test_what_another_command_wrote_stays(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", command="draw")
    fill(tmp_path, "b.png", command="paint")
    fill(tmp_path, "c.png", command="draw")
    assert names_in(tmp_path) == {"b.png", "c.png"}


def cut_off(folder: Path, name: str) -> None:
    with filled(folder, "draw") as filling:
        filling.write_whole(name, "half of the work")
        raise KeyboardInterrupt


def test_files_of_calls_that_were_cut_off_go_with_the_next_whole_one(tmp_path: Path) -> None:
    fill(tmp_path, "0.png")
    with pytest.raises(KeyboardInterrupt):
        cut_off(tmp_path, "1.png")
    assert names_in(tmp_path) == {"0.png", "1.png"}, "nothing goes before all is done"
    with (tmp_path / ".draw.files").open("a") as record:
        record.write('["2.pn')  # killed in the middle of a line
    with pytest.raises(KeyboardInterrupt):
        cut_off(tmp_path, "3.png")
    fill(tmp_path, "4.png")
    assert names_in(tmp_path) == {"4.png"}


def test_halves_of_files_that_a_killed_call_left_go(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
import os, signal
from blippose.whole_file import whole_file
with whole_file(Path({str(tmp_path)!r}) / "photo.png") as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    (tmp_path / ".mine.1.png").write_text("mine")
    [half] = tmp_path.glob(".photo*")
    with filled(tmp_path, "draw"):
        assert not (tmp_path / "photo.png").exists()
        (tmp_path / ".later.7.partial.png").write_text("another process is at it")
    assert not half.exists()
    assert {path.name for path in tmp_path.glob("*png")} == {".mine.1.png", ".later.7.partial.png"}


def test_a_file_is_on_record_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a call that was killed at any moment leaves none that the next one takes for another's.

    Nor is it forgotten what the file was before.
    """
    path = tmp_path / "1.png"
    for size in (3, 5):
        with filled(tmp_path, "draw") as filling, filling.whole_file("1.png") as partial:
            partial.write_text("." * size)
        refuse_foreign([path], tmp_path, "draw")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def draw() -> None:
        with filled(tmp_path, "draw") as filling:
            filling.write_whole("1.png", "seven..")

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            draw()
    assert path.stat().st_size == 5
    refuse_foreign([path], tmp_path, "draw")
    path.write_text("seven..")  # as if killed a moment later
    refuse_foreign([path], tmp_path, "draw")
    path.write_text("mine")
    with pytest.raises(UserError, match=r"draw would replace .*1\.png, which no earlier call"):
        refuse_foreign([path], tmp_path, "draw")


def test_a_link_to_nowhere_is_somebodys(tmp_path: Path) -> None:
    fill(tmp_path, "1.png")
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").symlink_to(tmp_path / "far away")
    with pytest.raises(UserError, match=r"would replace .*1\.png"):
        refuse_foreign([tmp_path / "1.png"], tmp_path, "draw")


def test_a_record_names_files_of_its_own_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("1234")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.draw.files").write_text('["../other.txt", 4]\n[".", 4096]\n7\n')
    fill(tmp_path / "out", "1.png")
    assert (tmp_path / "other.txt").exists()


def test_names_of_any_bytes_are_remembered(tmp_path: Path) -> None:
    name = b"caf\xe9\n.png".decode("utf-8", "surrogateescape")
    fill(tmp_path, name)
    fill(tmp_path, "1.png")
    assert names_in(tmp_path) == {"1.png"}


def test_a_folder_that_cannot_be_is_told_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out=.*file/out: .*file is no folder; name a folder"):
        check_out(f"{tmp_path}/file/out")
    with pytest.raises(UserError, match="cannot be written"):
        fill(tmp_path / "file/out", "1.png")
    check_out(f"{tmp_path}/new/one")
    assert not (tmp_path / "new").exists()
