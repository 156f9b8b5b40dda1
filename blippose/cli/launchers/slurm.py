"""hydra/launcher=slurm: each cell a job of a Slurm array, through submitit.

A job that is pre-empted or comes to its time limit writes a checkpoint, is put back into the queue
and goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from blippose.cli.launchers.base import CellLauncher, Task, given, needs, said
from blippose.errors import UserError

_LOGS = ".submitit"


@final
class SlurmLauncher(CellLauncher):
    """Waits for all jobs: to cut it off here leaves them in the queue.

    Args:
        jobs: jobs at the same time.
        requeues: times that a job may come to its time limit; pre-emptions do not count.
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
        logs = self.sweep_folder / _LOGS
        try:
            executor = submitit.AutoExecutor(
                logs / "%j", cluster="slurm", slurm_max_num_timeout=self.requeues
            )
            slurm = {f"slurm_{key}": value for key, value in self.slurm.items()}
            executor.update_parameters(**self.general, **slurm)
            with executor.batch():
                jobs = [executor.submit(task) for task in tasks]
        except (RuntimeError, submitit.core.utils.FailedJobError) as error:
            raise UserError(f"Slurm: {' '.join(str(error).split())}") from error
        print(
            f"{len(jobs)} jobs in Slurm, the first is {jobs[0].job_id}; logs in {logs}", flush=True
        )
        for task, job in zip(tasks, jobs, strict=True):
            try:
                job.results()
                print(f"{task.name}: ended", flush=True)
            except Exception as error:
                said(task, error, logs / job.job_id)
