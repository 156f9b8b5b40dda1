"""Progress where nobody looks at a terminal: few lines, on stderr alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_terminal import fake_terminal

from blippose.progress import tracked


def told(
    capfd: pytest.CaptureFixture[str], num: int, seconds: float, num_done: int = 0, **more: bool
) -> list[str]:
    """The lines of `num` items that take so long each."""
    clock: Iterator[float] = (i * seconds for i in range(num + 1))
    items = tracked(
        range(num),
        num_done,
        num + num_done,
        description="captions",
        clock=clock.__next__,
        **{"shown": True, **more},
    )
    assert list(items) == list(range(num))
    printed = capfd.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_long_work_tells_every_tenth(capfd: pytest.CaptureFixture[str]) -> None:
    lines = told(capfd, 1_000, 0.25)
    assert lines[0] == "captions: 100 of 1,000, 25 s"
    assert lines[-1] == "captions: 1,000 of 1,000, 250 s"
    assert len(lines) == 10


def test_very_long_work_tells_every_half_minute(capfd: pytest.CaptureFixture[str]) -> None:
    lines = told(capfd, 100, 15)
    assert lines[:2] == ["captions: 2 of 100, 30 s", "captions: 4 of 100, 60 s"]
    assert len(lines) == 50


def test_the_end_is_told_also_a_moment_after_the_last_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert told(capfd, 13, 1.9)[-2:] == ["captions: 12 of 13, 23 s", "captions: 13 of 13, 25 s"]


def test_slow_steps_are_told_one_by_one(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(told(capfd, 4, 100)) == 4


def test_short_work_tells_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert told(capfd, 1_000, 0.0015) == []


def test_work_that_goes_on_counts_from_where_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    assert told(capfd, 5, 3, num_done=5)[0] == "captions: 6 of 10, 3 s"


def test_nothing_is_told_unless_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    assert told(capfd, 4, 100, shown=False) == []


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = fake_terminal(monkeypatch)
    clock = iter(range(0, 500, 100))
    items = tracked(range(4), 0, 4, description="captions", shown=True, clock=clock.__next__)
    assert len(list(items)) == 4
    assert "━" in terminal.getvalue()
    assert "captions: " not in terminal.getvalue()
