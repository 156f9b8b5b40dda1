"""Two processes of this machine's processor that train one model: cut off together, they go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from same_run import assert_same
from tiny_training import tiny

from blippose import checkpoint_files
from blippose.runs import LAST

PROGRAM = Path(__file__).with_name("ddp_program.py")


def train(release: Path, folder: Path, die_at: str = "") -> int:
    """The exit status; negative is the signal that ended it."""
    words = [*tiny(release), f"runs={folder.parent}", f"name={folder.name}"]
    words += ["data.batch_size=2", "checkpoint.every_n_steps=2", "data.eval_batch_size=1"]
    words += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "optimizer=muon"]
    words += ["trainer.precision=32-true", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"]
    with (folder.parent / "log").open("a") as log:
        return subprocess.run(
            [sys.executable, str(PROGRAM), "train", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", "DIE_AT": die_at},
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
            timeout=300,
        ).returncode


def position(folder: Path) -> tuple[int, int]:
    """Epochs and batches behind the last checkpoint."""
    epochs, batches = checkpoint_files.read(folder / LAST)["PoseDataModule"]["position"]
    return epochs, batches


@pytest.mark.slow
def test_two_processes_that_are_killed_end_as_two_that_were_never_touched(
    release_root: Path, tmp_path: Path
) -> None:
    """In mid-epoch, and as an epoch has ended. Slow: eight processes import torch."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(release_root, whole) == 0, (tmp_path / "log").read_text()
    assert "Warning" not in (tmp_path / "log").read_text()
    assert train(release_root, killed, "training_step:4") == -signal.SIGKILL
    assert position(killed) == (0, 2)
    assert train(release_root, killed, "training_step:4") == -signal.SIGKILL
    assert position(killed) == (1, 0)
    assert train(release_root, killed) == 0, (tmp_path / "log").read_text()
    assert_same(killed, whole)
    last = checkpoint_files.read(killed / LAST)
    assert len(last["resume"]["random"]) == 2  # each process draws its own
