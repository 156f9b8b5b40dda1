"""hydra/launcher=slurm: each cell a job of a Slurm array, through submitit.

A job that is pre-empted or comes to its time limit writes a checkpoint, is put back into the queue
and goes on from there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, final

from blippose.cli.launchers.base import CellLauncher, Task, given, needs, said
from blippose.errors import UserError
from blippose.runs import is_first_process

_LOGS = ".submitit"
_SECONDS = 5  # between two looks at the queue
_PATIENCE = 20  # s, of a job that was asked to leave


@final
class SlurmLauncher(CellLauncher):
    """Waits for all jobs: to cut it off here leaves them in the queue.

    Args:
        jobs: jobs at the same time.
        requeues: times that a job may come to its time limit, or be pre-empted in its last fifth;
            earlier pre-emptions do not count.
        minutes: time limit of a job.
        warning: seconds between the signal and the limit.
        name: of the jobs.
        partition: of the cluster.
        account: that is charged.
        qos: quality of service.
        gres: such as gpu:1.
        gpus: of a job.
        cpus: of a job.
        memory: of a job, GB.
        setup: commands of the shell before the job.
        sbatch: other options of sbatch, by their long names.
    """

    def __init__(
        self,
        jobs: int,
        requeues: int,
        minutes: int,
        warning: int,
        name: str,
        partition: str | None,
        account: str | None,
        qos: str | None,
        gres: str | None,
        gpus: int | None,
        cpus: int,
        memory: float | None,
        setup: list[str] | None,
        sbatch: dict[str, Any],
    ) -> None:
        self.requeues = requeues
        self.general = given(
            {
                "name": name,
                "timeout_min": minutes,
                "gpus_per_node": gpus,
                "cpus_per_task": cpus,
                "mem_gb": memory,
            }
        )
        self.slurm = given(
            {
                "partition": partition,
                "account": account,
                "qos": qos,
                "gres": gres,
                "signal_delay_s": warning,
                "array_parallelism": jobs,
                "setup": setup,
                "additional_parameters": sbatch,
            }
        )

    def run(self, tasks: Sequence[Task]) -> None:
        """Submit them as one array, and wait.

        Raises:
            UserError: submitit or Slurm is not there, or Slurm refuses.
        """
        submitit = needs("submitit", "slurm")
        if shutil.which("srun") is None:
            raise UserError(
                "hydra/launcher=slurm: there is no srun on this machine; give the command where "
                "jobs are submitted, or hydra/launcher=local runs the cells here"
            )
        logs = self.sweep_folder / _LOGS
        try:
            executor = submitit.AutoExecutor(
                logs / "%j", cluster="slurm", slurm_max_num_timeout=self.requeues
            )
            slurm = {f"slurm_{key}": value for key, value in self.slurm.items()}
            executor.update_parameters(**self.general, **slurm)
            with executor.batch():
                jobs = [executor.submit(_Requeued(task)) for task in tasks]
        except (RuntimeError, submitit.core.utils.FailedJobError) as error:
            raise UserError(f"Slurm: {' '.join(str(error).split())}") from error
        print(
            f"{len(jobs)} jobs in Slurm, the first is {jobs[0].job_id}; logs in {logs}", flush=True
        )
        _wait(
            dict(zip([job.job_id for job in jobs], zip(tasks, jobs, strict=True), strict=True)),
            logs,
        )


@dataclass(frozen=True)
class _Requeued:
    """A task as a node runs it, by submitit's protocol."""

    task: Task

    def __call__(self) -> None:
        """Run it, ready to be put back from now to its end."""
        if os.environ.get("SLURM_NTASKS") == "1":
            # Lightning would take the one task for the only process, whatever devices it has.
            del os.environ["SLURM_NTASKS"]
        from submitit.slurm.slurm import SlurmJobEnvironment  # noqa: PLC0415

        warning = signal.Signals[f"SIG{SlurmJobEnvironment.USR_SIG}"]
        put_back = _PutBack(signal.getsignal(warning), warning)
        for number in (signal.SIGTERM, warning):
            signal.signal(number, put_back)
        self.task()

    def checkpoint(self) -> Any:
        """What Slurm shall run next: the same, which then goes on."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415

        return DelayedSubmission(self)


class _PutBack:
    """Hears signals while no training does, and again once one has written its checkpoint.

    What warns of the time limit puts the job back. Where Slurm pre-empts with a grace time it asks
    by SIGTERM, and forgets a job that then leaves by itself: it is put back too. One that is
    cancelled hears SIGTERM as well, but counts as running no more. Of the processes of a job all
    hear it, and the first puts it back, once.

    Args:
        submitit: its handler: it has Slurm put the job back, and leaves.
        warning: the signal before the limit.
    """

    def __init__(self, submitit: Any, warning: signal.Signals) -> None:
        self.submitit, self.warning = submitit, warning
        self._is_leaving = not is_first_process()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._is_leaving or (number == signal.SIGTERM and _is_cancelled()):
            return
        self._is_leaving = True
        self.submitit(self.warning, frame)


def _is_cancelled() -> bool:
    """Whether Slurm says that the job runs no more; where it says nothing, it may."""
    command = ["squeue", "--noheader", "--format=%T", "--jobs", os.environ["SLURM_JOB_ID"]]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "RUNNING" not in listed.stdout.split()


def _wait(waiting: dict[str, tuple[Task, Any]], logs: Path) -> None:
    """Until every job has left a result or the queue.

    submitit itself asks sacct, and where nobody accounts waits for ever for a job that was killed.
    """
    absent: set[str] = set()
    while waiting:
        time.sleep(_SECONDS)
        listed = _listed(next(iter(waiting)).partition("_")[0])
        if listed is None:
            continue
        for name, (task, job) in list(waiting.items()):
            if not job.paths.result_pickle.exists() and (name in listed or name not in absent):
                absent = absent - {name} if name in listed else absent | {name}
                continue
            _tell(task, job, logs)
            del waiting[name]


def _listed(array: str) -> set[str] | None:
    """Ids of its jobs that wait or run; None while Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", "--jobs", array]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:  # as of an array that is forgotten
        return None
    return set(done.stdout.split())


def _tell(task: Task, job: Any, logs: Path) -> None:
    try:
        if not job.paths.result_pickle.exists():
            raise ChildProcessError("left the queue without a result: killed, or out of memory")
        job.results()
        print(f"{task.name}: ended", flush=True)
    except Exception as error:
        said(task, error, logs / job.job_id)
