"""What a result is made with: versions of packages, and the checkout's commit."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import torch

from blippose import versions


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that blippose is as if it lay in."""
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "blippose" / "versions.py"))
    return tmp_path


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.com"]
    command = ["git", *who, *words]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_packages_python_and_platform_are_those_that_run() -> None:
    found = versions.versions()
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert {"blippose", "lightning", "transformers", "platform", "commit"} <= found.keys()


def test_what_is_not_installed_is_none_and_not_among_the_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versions, "_PACKAGES", ("torch", "no-such-package"))
    assert versions.versions()["no-such-package"] is None
    known = versions.known_versions()
    assert "no-such-package" not in known
    assert known["torch"] == torch.__version__


def test_commit_is_the_checkouts_with_a_plus_for_changes(checkout: Path) -> None:
    git(checkout, "init")
    (checkout / "file").write_text("one")
    git(checkout, "add", "file")
    git(checkout, "commit", "-m", "one", "--no-gpg-sign")
    commit = git(checkout, "rev-parse", "HEAD")
    git(checkout, "tag", "v1")  # its name says less
    assert versions.versions()["commit"] == commit
    (checkout / "file").write_text("two")
    assert versions.versions()["commit"] == f"{commit}+"


def test_an_installed_package_has_no_commit(checkout: Path) -> None:
    assert not (checkout / ".git").exists()
    assert versions.versions()["commit"] is None


def test_a_checkout_that_git_cannot_read_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / ".git").mkdir()
    assert versions.versions()["commit"] is None
    monkeypatch.setenv("PATH", str(checkout))  # no git at all
    assert versions.versions()["commit"] is None
