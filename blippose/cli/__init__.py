"""The `blippose` program: commands in Hydra's grammar, and every mistake in one line.

A command is a module here with `run(config)`, which returns the exit status, and a primary config
of the same name in conf/. Nothing outside this package sees hydra or a DictConfig, and nothing
heavy is imported before a command needs it.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blippose import __version__
from blippose.cli import grammar
from blippose.errors import UserError

_HELP = """\
blippose: fine-tune BLIP, an image captioner, until its caption of a photo is the pose.

  blippose data      what the filter keeps step by step, the split, the leak audit
  blippose train     fit one model; with -m, a grid
  blippose predict   poses of your own images: overlays, JSON, CSV

  blippose train                                        the tiny model on synthetic people
  blippose train experiment=poster data.root=FOLDER     the study, on the real MPII
  blippose train -m name=grid optimizer.lr=1e-4,4e-4    two runs, one after the other
  blippose predict run=runs/demo images=photo.jpg

Settings are key=value. COMMAND --help explains them, COMMAND --cfg job prints them,
debug=true shows the traceback of a mistake."""

_SWEPT = "hydra.job.config.override_dirname.exclude_keys"


_COMMANDS = ("data", "train", "predict")
_ANSWERS = {
    "-h": _HELP,
    "--help": _HELP,
    "help": _HELP,
    "--version": f"blippose {__version__}",
}


@dataclass
class _Outcome:
    """How the jobs of one call ended."""

    statuses: list[int] = field(default_factory=list)

    @property
    def status(self) -> int:
        """0, or 1 where a job failed, or 2 where only users' mistakes stood in the way."""
        return min(set(self.statuses) - {0}, default=0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, 1 a job failed, 2 the user's mistake, 130 Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = arguments[0] if arguments else "--help"
    is_debug = any(re.fullmatch(r"\+*debug=true", item, re.IGNORECASE) for item in arguments)
    try:
        if command in _ANSWERS:
            print(_ANSWERS[command], flush=True)
            return 0
        return _run(command, arguments[1:])
    except UserError as error:
        return _refuse(str(error), is_debug)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        resumes = "; the same command goes on from the last epoch" if command == "train" else ""
        return _refuse(f"interrupted{resumes}", status=130)


def _refuse(message: str, is_debug: bool = False, status: int = 2) -> int:
    """One line on stderr; the status."""
    if is_debug:
        traceback.print_exc()
    print(f"blippose: {' '.join(message.split())}", file=sys.stderr)
    return status


def _run(command: str, arguments: list[str]) -> int:
    """Compose the config of a command by Hydra, and run its job, or the jobs of a grid."""
    if command not in _COMMANDS:
        from blippose.arguments import suggest  # noqa: PLC0415  beartype takes 0.1 s

        commands = f"; commands are {', '.join(_COMMANDS)}"
        raise UserError(f"{command}: no such command{suggest(command, _COMMANDS) or commands}")
    import hydra  # noqa: PLC0415  0.3 s
    from omegaconf import OmegaConf  # noqa: PLC0415

    arguments = [grammar.quoted(argument) for argument in arguments]
    overrides, is_multirun, runs_jobs = grammar.parse_flags(command, arguments)
    OmegaConf.register_new_resolver("cell", grammar.cell_name, replace=True)
    outcome = _Outcome()
    job = _job(command, outcome, is_multirun)
    if is_multirun:
        swept = grammar.swept_keys(overrides)
        if runs_jobs:
            grammar.check_swept(swept)
        arguments = [*arguments, f"{_SWEPT}=[{','.join(swept)}]"]
    with grammar.arguments_of(command, arguments), grammar.explained(command):
        hydra.main(version_base="1.3", config_path=str(grammar.conf()), config_name=command)(job)()
    if is_multirun and outcome.status:
        failed = sum(map(bool, outcome.statuses))
        _refuse(f"{failed} of {len(outcome.statuses)} runs did not end well")
    return outcome.status


def _job(command: str, outcome: _Outcome, is_multirun: bool) -> Callable[[Any], None]:
    """`command` for Hydra: it never raises, but Ctrl-C, so that the rest of a grid goes on."""
    program = sys.argv[0]

    run = importlib.import_module(f"blippose.cli.{command}").run

    def job(config: Any) -> None:
        # Lightning starts its other processes by this; -m would start the whole grid again.
        sys.argv = [program, command, *_overrides()]
        try:
            status = run(config)
        except UserError as error:
            status = _refuse(_of_cell(str(error), is_multirun), config.debug)
        except BrokenPipeError:
            raise
        except Exception as error:
            line = _unexpected(error)
            status = _refuse(_of_cell(line, is_multirun), config.debug, status=1)
        outcome.statuses.append(status)

    return job


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
    return list(hydra_config.overrides.task)


def _of_cell(message: str, is_multirun: bool) -> str:
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415

    cell = Path(HydraConfig.get().runtime.output_dir).name
    return f"{cell}: {message}" if is_multirun else message
