"""What a result is made with: packages, Python, platform, and the commit in a checkout."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PACKAGES = ("blippose", "torch", "lightning", "transformers", "torchmetrics", "numpy", "pillow")


def versions() -> dict[str, str | None]:
    """What the run is made with: packages, Python, platform, and the commit in a checkout."""
    packages = {name: _package_version(name) for name in _PACKAGES}
    python = {"python": platform.python_version(), "platform": platform.platform()}
    return {**packages, **python, "commit": _commit()}


def known_versions() -> dict[str, str]:
    """`versions` without what is not installed."""
    return {name: version for name, version in versions().items() if version is not None}


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with a + for changes; None in an installed package."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        described = subprocess.run(
            describe, cwd=root, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
