"""What our launchers share: a cell as a task that another process can run, and that may die."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobRuntime, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import OmegaConf, open_dict

from blippose.cli.config import plain_config
from blippose.cli.job import refuse
from blippose.errors import UserError
from blippose.runs import Run


@dataclass
class Task:
    """One cell; to call it is to run it."""

    context: HydraContext
    function: TaskFunction
    config: Any  # composed, of Hydra
    overrides: list[str]
    number: int
    folder: Path = field(default_factory=Path.cwd)

    @property
    def name(self) -> str:
        """The cell's."""
        subdir = next(o for o in self.overrides if o.startswith("hydra.sweep.subdir="))
        return subdir.partition("=")[2].strip("'")

    def __call__(self) -> None:
        """Run it from the folder that the user stands in."""
        os.chdir(self.folder)
        version.setbase("1.3")
        setup_globals()
        Plugins.instance()  # knows how to read folders that the user adds to conf/
        JobRuntime.instance().set("name", self.config.hydra.job.config_name)
        config = self._composed()
        with open_dict(config.hydra.job):
            config.hydra.job.id = config.hydra.job.num = self.number
        run_job(
            hydra_context=self.context,
            task_function=self.function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _composed(self) -> Any:
        return self.context.config_loader.load_sweep_config(self.config, self.overrides)

    def fail(self, error: BaseException) -> None:
        """Record in its folder what ended it, for a process that could not do so itself."""
        config = self._composed()
        with open_dict(config):
            folder = Path(str(config.hydra.sweep.dir)) / self.name
            del config["hydra"]
        with suppress(UserError):  # somebody else goes on with it by now
            run = Run.open(folder, plain_config(config))
            if not run.is_done:
                run.fail(error)


class CellLauncher(Launcher):
    """Of Hydra's kind. A cell that dies takes no other with it."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: Any
    ) -> None:
        """Called by Hydra's rules before `launch`."""
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run every cell; what came out stands in their folders."""
        tasks = [
            Task(self.context, self.function, self.config, list(words), initial_job_idx + number)
            for number, words in enumerate(job_overrides)
        ]
        self.run(tasks)
        return []

    @property
    def sweep_folder(self) -> Path:
        """Of the whole grid."""
        return Path(str(OmegaConf.select(self.config, "hydra.sweep.dir")))

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> None:
        """Run them all."""


def said(task: Task, error: BaseException, logs: Path | str) -> None:
    """A line about a cell whose process died, and a trace in its folder."""
    task.fail(error)
    line = (str(error).strip().splitlines() or [""])[-1]
    refuse(f"{task.name}: {type(error).__name__}: {line} (logs in {logs})", status=1)


def needs(module: str, extra: str) -> Any:
    """An optional package.

    Raises:
        UserError: it is not installed.
    """
    import importlib  # noqa: PLC0415

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{module} is not installed: pip install 'blippose[{extra}]'") from error


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are not null."""
    return {key: value for key, value in settings.items() if value is not None}
