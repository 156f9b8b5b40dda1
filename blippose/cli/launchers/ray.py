"""hydra/launcher=ray: each cell a task of Ray, on this machine or on a cluster that is running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from blippose.cli.launchers.base import CellLauncher, Task, needs, said

_LOGS = "/tmp/ray/session_latest/logs"  # of the machine that ran it, as Ray sets it


@final
class RayLauncher(CellLauncher):
    """Folders must be the same on all machines.

    Args:
        init: arguments of ray.init.
        remote: what a cell needs, as ray.remote takes it.
    """

    def __init__(self, init: dict[str, Any], remote: dict[str, Any]) -> None:
        self.init, self.remote = init, remote

    def run(self, tasks: Sequence[Task]) -> None:
        """Hand them all to Ray, and wait.

        Raises:
            UserError: Ray is not there.
        """
        ray = needs("ray", "ray")
        ray.init(**self.init)
        try:
            function = ray.remote(**self.remote)(_run)
            references = [function.remote(task) for task in tasks]
            for task, reference in zip(tasks, references, strict=True):
                try:
                    ray.get(reference)
                    print(f"{task.name}: ended", flush=True)
                except Exception as error:
                    said(task, error, _LOGS)
        finally:
            ray.shutdown()


def _run(task: Task) -> None:
    task()
