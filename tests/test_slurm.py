"""Sweeps on a real Slurm of one node: a job that is killed, one that is pre-empted, one of DDP.

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
PATIENCE = 600  # s, on a machine that others use
# Epochs of a fifth of a second: the first two cells are long enough to be caught at work.
AXES = {"trainer.max_epochs": [20, 60, 1, 2]}
KILLED, PREEMPTED, *OTHERS = (f"max_epochs={number}" for number in AXES["trainer.max_epochs"])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("BLIPPOSE_SLURM" not in os.environ, reason="`make test-slurm` runs it"),
]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a cluster that is up. Its logs are printed, and shown on failure."""
    if os.geteuid() != 0 or not shutil.which("slurmctld"):
        pytest.skip("Slurm is not installed, or this is not root")
    folder = tmp_path / "slurm"
    try:
        subprocess.run([SCRIPTS / "up.sh", folder], check=True, timeout=PATIENCE)
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    finally:
        jobs = tmp_path.glob("runs/grid/.submitit/*/*_log.*")
        for path in sorted([*folder.glob("log/*"), *jobs]):
            print(f"--- {path}", *path.read_text().splitlines()[-40:], sep="\n")
        subprocess.run([SCRIPTS / "down.sh", folder], check=False, timeout=PATIENCE)


class Grid:
    """`blippose sweep` in Slurm, always the same command, and the jobs of its array."""

    def __init__(self, file: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = file.parent / "runs/grid", environment
        launcher = ["hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.jobs=2"]
        self.words = [sys.executable, "-m", "blippose", "sweep", str(file), *launcher]
        self.log = file.parent / "log"

    def start(self, *words: str) -> None:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*self.words, *words],
                cwd=self.log.parent,
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    def end(self) -> tuple[int, str]:
        """The exit status and what was said."""
        return self.process.wait(PATIENCE), self.log.read_text()

    def wait_for(self, what: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            said = self.log.read_text()
            assert self.process.poll() is None, f"ended too early\n{said}"
            assert time.monotonic() < end, f"never came true\n{said}"
            time.sleep(0.1)

    def states(self) -> dict[str, str]:
        """Of the jobs in the queue, by ids such as 1_3."""
        rows = self._ask("squeue", "--noheader", "--array", "--format=%i %T").stdout.splitlines()
        return dict(row.split() for row in rows)

    def control(self, *command: str) -> None:
        """Until it succeeds: Slurm alters no job that is just starting or ending."""
        self.wait_for(lambda: self._ask(*command).returncode == 0)

    def put_back(self, job: str) -> None:
        """Wait until it was requeued, and let it start now, not in two minutes."""
        self.wait_for(lambda: self.states().get(job) == "PENDING")
        assert tiny_grid.states(self.folder)[PREEMPTED] == "stopped"
        self.control("scontrol", "update", f"JobId={job}", "StartTime=now")

    def preempt(self, job: str, log: Path, at: str) -> None:
        """Of one that was just put back: SIGTERM and a grace time, for another's priority.

        It comes when it has started again, and its log says `at`.
        """
        before = len(log.read_text())
        self.wait_for(lambda: at in log.read_text()[before:] and set(self.states()) == {job})
        urgent = ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null"]
        self.control(*urgent, "--wrap=true")
        self.put_back(job)

    def _ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )


def test_killed_and_preempted_jobs_end_in_four_done_cells(
    slurm: dict[str, str], release_root: Path, tmp_path: Path
) -> None:
    common = tiny_grid.settings(release_root, name="grid")
    del common["trainer.max_epochs"]
    grid = Grid(tiny_grid.write(tmp_path / "sweep.yaml", AXES, common), slurm)
    grid.start()
    grid.wait_for((grid.folder / KILLED / "last.ckpt").is_file)
    [array] = {job.partition("_")[0] for job in grid.states()}
    killed, preempted = f"{array}_0", f"{array}_1"
    grid.control("scancel", "--signal=KILL", f"{killed}.0")
    grid.wait_for((grid.folder / PREEMPTED / "last.ckpt").is_file)
    grid.control("scancel", "--signal=USR2", f"{preempted}.0")  # as sbatch's --signal does
    grid.put_back(preempted)
    log = grid.folder / f".submitit/{preempted}/{preempted}_0_log.out"
    grid.preempt(preempted, log, at=f"\n{PREEMPTED}\n")  # while it imports and loads
    grid.preempt(preempted, log, at="\nepoch ")  # while it trains
    status, said = grid.end()
    done = dict.fromkeys([PREEMPTED, *OTHERS], "done")
    assert tiny_grid.states(grid.folder) == done | {KILLED: "failed"}, said
    assert "ChildProcessError" in (grid.folder / KILLED / "traceback.txt").read_text()
    assert status == 1
    assert f"{KILLED}: ChildProcessError: left the queue without a result" in said
    check_words_of_preempted(log.read_text(), log.with_suffix(".err").read_text())
    grid.start()
    status, said = grid.end()
    assert status == 0, said
    assert "1 jobs in Slurm" in said
    assert "4 cells: 4 done" in said
    grid.start()
    status, said = grid.end()
    assert status == 0, said
    assert "jobs in Slurm" not in said
    grid.start("optimizer.lr=1")
    status, said = grid.end()
    assert status == 2
    assert "holds a run of another config (optimizer.lr: 2e-5 -> 1)" in said


def check_words_of_preempted(words: str, complaints: str) -> None:
    """A line each time that it left and went on; nothing that looks like a fault."""
    assert complaints.count("this job is preempted") == 3, complaints
    assert complaints.count("blippose: SIGUSR2: stopped at step") == 1, complaints
    # On a slow Slurm the one that comes while it loads comes a moment later.
    assert complaints.count("blippose: SIGTERM: stopped at step") in (1, 2), complaints
    assert words.count(f"going on in runs/grid/{PREEMPTED} from last.ckpt") in (2, 3), words
    assert "Traceback" not in words + complaints
    assert "Interrupt" not in words + complaints


def test_a_job_of_one_task_starts_the_processes_that_it_was_asked_for(
    slurm: dict[str, str], release_root: Path, tmp_path: Path
) -> None:
    common = tiny_grid.settings(release_root, trainer="ddp", trainer__devices=2)
    common |= {"trainer.accelerator": "cpu", "trainer.precision": "32-true"}
    grid = Grid(tiny_grid.write(tmp_path / "sweep.yaml", {"seed": [0]}, common), slurm)
    grid.start()
    status, said = grid.end()
    assert status == 0, said
    [log] = grid.folder.glob(".submitit/*/*_log.out")
    assert log.read_text().count("into runs/grid/seed=0") == 2
