"""One job: a command run on one config, in this process or in a launcher's.

It never raises, but Ctrl-C and what asks the process to end, so that the rest of a grid goes on.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose.cli.config import job_words
from blippose.errors import UserError, warn


@dataclass
class Job:
    """`command` for Hydra and its launchers; can be sent to another process.

    Args:
        command: a module beside this one.
        program: what this process was called as.
        is_cell: whether it is one of a grid.
        status: of the last config.
    """

    command: str
    program: str
    is_cell: bool = False
    status: int = 0

    def __call__(self, config: Any) -> float | None:
        """Run it; in a grid, what a search makes small."""
        # Lightning starts its other processes by these two: with -m the whole grid would start
        # again, and in a launcher's process the main module is not ours.
        sys.argv = [self.program, self.command, *_overrides()]
        main = sys.modules["__main__"]
        spec, main.__spec__ = main.__spec__, importlib.util.find_spec("blippose.__main__")
        environment = dict(os.environ)
        try:
            self.status = importlib.import_module(f"blippose.cli.{self.command}").run(config)
        except UserError as error:
            self.status = refuse(self._of_cell(str(error)), config.debug)
        except BrokenPipeError:
            raise
        except PermissionError as error:
            line = f"{error.filename}: {error.strerror}; give this user the right, or take a copy"
            self.status = refuse(self._of_cell(line), config.debug)
        except Exception as error:
            self.status = refuse(self._of_cell(_unexpected(error)), config.debug, status=1)
        finally:
            # The ranks that Lightning leaves there would make the next cell wait for a first.
            os.environ.clear()
            os.environ.update(environment)
            main.__spec__ = spec
        return _score() if self.is_cell else None

    def _of_cell(self, message: str) -> str:
        return f"{_folder().name}: {message}" if self.is_cell else message


def refuse(message: str, is_debug: bool = False, status: int = 2) -> int:
    """One line on stderr; the status."""
    if is_debug:
        traceback.print_exc()
    warn(message)
    return status


def _unexpected(error: Exception) -> str:
    from blippose.runs import RunFailedError  # noqa: PLC0415

    if isinstance(error, RunFailedError):
        return str(error)
    return f"{type(error).__name__}: {error} (debug=true shows the traceback)"


def _overrides() -> list[str]:
    """What makes this one job again; Lightning adds the folder, which in a grid is the cell's."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
    from omegaconf import read_write  # noqa: PLC0415

    hydra_config: Any = HydraConfig.get()
    with read_write(hydra_config):
        hydra_config.run.dir = hydra_config.runtime.output_dir
    return job_words()


def _folder() -> Path:
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415

    return Path(HydraConfig.get().runtime.output_dir)


def _score() -> float | None:
    from blippose.sweep import score  # noqa: PLC0415

    return score(_folder())
