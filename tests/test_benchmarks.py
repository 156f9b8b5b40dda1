"""What blippose is held against runs, and does the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_plain_loop_has_the_losses_of_ours(release_root: Path) -> None:
    def losses(side: str) -> Any:
        command = [sys.executable, BENCHMARKS / "train.py", "--side", side, "--root", release_root]
        done = subprocess.run(
            [*command, "--batch", "2", "--steps", "2"], check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout.splitlines()[-1])["losses"]

    assert losses("ours") == pytest.approx(losses("plain"), abs=1e-4)


@pytest.mark.slow
def test_a_loop_over_blips_processor_sees_the_pixels_of_ours(release_root: Path) -> None:
    command = [sys.executable, BENCHMARKS / "data.py", "--root", release_root, "--times", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)  # 1: slower than asked, which says nothing here
    ways = [line.split()[3] for line in done.stdout.splitlines() if " images " in line[:16]]
    assert ways == ["peer", "cold", "warm"], done.stderr  # they saw the same
