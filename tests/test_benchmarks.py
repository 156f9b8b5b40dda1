"""The loop that blippose is held against is one that runs, and learns the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TRAIN = Path(__file__).parents[1] / "benchmarks" / "train.py"


@pytest.mark.slow
def test_plain_loop_has_the_losses_of_ours(release_root: Path) -> None:
    def losses(side: str) -> Any:
        command = [sys.executable, TRAIN, "--side", side, "--root", release_root]
        done = subprocess.run(
            [*command, "--batch", "2", "--steps", "2"], check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout.splitlines()[-1])["losses"]

    assert losses("ours") == pytest.approx(losses("plain"), abs=1e-4)
