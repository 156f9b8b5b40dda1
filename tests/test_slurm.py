"""A sweep on a real Slurm of one node: a job that is killed and one that is pre-empted.

`make test-slurm` installs Slurm and runs this; without it there is nothing to test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_grid

SCRIPTS = Path(__file__).parent / "slurm"
PATIENCE = 420  # s

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("BLIPPOSE_SLURM" not in os.environ, reason="`make test-slurm` runs it"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a cluster that is up."""
    if os.geteuid() != 0 or not shutil.which("slurmctld"):
        pytest.skip("Slurm is not installed, or this is not root")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPTS / "up.sh", folder], check=True, timeout=60)
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    subprocess.run([SCRIPTS / "down.sh", folder], check=False, timeout=60)


def wait_for(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> object:
    """What comes true, or a failure after a long while."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := what():
            return found
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.5)
    output = process.communicate()[0] if process is not None else ""
    raise AssertionError(f"never came true\n{output}")


def jobs(environment: dict[str, str], state: str) -> list[str]:
    """Ids such as 1_3 of the jobs in a state."""
    command = ["squeue", "-h", "-r", "-o", "%A %i %T"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [name for _, name, found in rows if found == state]


def test_killed_and_preempted_jobs_end_in_four_done_cells(
    slurm: dict[str, str], release_root: Path, tmp_path: Path
) -> None:
    def control(*command: str) -> None:
        """Slurm alters no job that is just starting or ending."""
        wait_for(lambda: subprocess.run(command, env=slurm, check=False).returncode == 0)

    axes = {"seed": [0, 1, 2, 3]}
    common = tiny_grid.settings(release_root, name="grid", trainer__max_epochs=100)
    file = tiny_grid.write(tmp_path / "sweep.yaml", axes, common)
    launcher = ["hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.jobs=2"]
    command = [sys.executable, "-m", "blippose", "sweep", str(file), *launcher]
    grid = tmp_path / "runs" / "grid"
    common_arguments = {"cwd": tmp_path, "env": slurm, "text": True}
    sweep = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **common_arguments
    )  # type: ignore[call-overload]
    wait_for((grid / "seed=0/last.ckpt").is_file, sweep)
    [array] = {name.rpartition("_")[0] for name in jobs(slurm, "RUNNING")}
    control("scancel", "--signal=KILL", f"{array}_0")
    wait_for((grid / "seed=1/last.ckpt").is_file, sweep)
    control("scancel", "--signal=USR2", f"{array}_1")
    wait_for(lambda: f"{array}_1" in jobs(slurm, "PENDING"), sweep)
    assert tiny_grid.states(grid)["seed=1"] == "running"
    control("scontrol", "update", f"JobId={array}_1", "StartTime=now")  # it would wait minutes
    said = sweep.communicate(timeout=PATIENCE)[0]
    assert sweep.returncode == 1, said
    assert tiny_grid.states(grid) == {
        "seed=0": "running", "seed=1": "done", "seed=2": "done", "seed=3": "done"
    }, said  # fmt: skip
    again = subprocess.run(
        command, capture_output=True, check=False, timeout=PATIENCE, **common_arguments
    )  # type: ignore[call-overload]
    assert again.returncode == 0, again.stdout + again.stderr
    assert "4 cells: 4 done" in again.stdout
