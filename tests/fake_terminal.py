"""A terminal in place of stderr, which remembers what it was sent."""

from __future__ import annotations

import io
import sys

import pytest


class Terminal(io.StringIO):
    """What a terminal answers; rich asks no more of it."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def fake_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Until the test ends."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return terminal
