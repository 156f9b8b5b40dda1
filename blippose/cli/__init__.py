"""The `blippose` program: commands in Hydra's grammar, and every mistake in one line.

A command is a module here with `run(config)`, which returns the exit status, and a primary config
of the same name in conf/. Nothing outside this package sees hydra or a DictConfig, and nothing
heavy is imported before a command needs it.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from blippose import __version__
from blippose.cli import grammar, groups, mistakes
from blippose.cli.job import Job, refuse
from blippose.errors import UserError
from blippose.preemption import INTERRUPTED, TOLD

_HELP = """\
blippose: fine-tune BLIP, an image captioner, until its caption of a photo is
the pose.

  blippose data      what the filter keeps step by step, the split, its leaks
  blippose train     fit one model; with -m, a grid
  blippose sweep     a grid from a file; run again, it finishes what is missing
  blippose eval      the full trust report of a run
  blippose predict   poses of your own images: overlays, JSON, CSV
  blippose analyze   why it works: attention, occlusion
  blippose report    a grid's curves, tables, pictures: files and one HTML page
  blippose export    a run as a plain Hugging Face folder

  blippose train                                      the tiny model, as shipped
  blippose train experiment=poster data.root=FOLDER   the study, on real MPII
  blippose train -m name=rates optimizer.lr=5e-6,1e-4  two runs after each other
  blippose sweep sweeps/poster.yaml                   18 runs of the tiny model
  blippose eval run=runs/demo                         what its numbers are worth
  blippose predict run=runs/demo images=photo.jpg
  blippose analyze attention run=runs/demo            where it looks
  blippose analyze occlusion run=runs/demo            what a hidden joint costs
  blippose export run=runs/demo out=FOLDER            for transformers alone
  blippose report runs/grid                           what the grid says so far

Settings are key=value. COMMAND --help explains them, COMMAND --cfg job prints
them, debug=true shows the traceback of a mistake."""

_COMMANDS = ("data", "train", "sweep", "eval", "predict", "analyze", "report", "export")
_LISTED = ", ".join(_COMMANDS)
_RESUMES = {
    **dict.fromkeys(("train", "sweep"), "; the same command goes on from what is there"),
    **dict.fromkeys(("eval", "analyze"), "; the same command goes on with what is missing"),
}
_POSITIONAL = {"eval": "run", "report": "run"}  # the key of words that are no key=value
_ANSWERS = {
    "-h": _HELP,
    "--help": _HELP,
    "help": _HELP,
    "--version": f"blippose {__version__}",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, 1 a job failed, 2 the user's mistake, 130 Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")  # a ± is not to end a command
    try:
        status = _status(arguments)
        sys.stdout.flush()  # a pipe that has ended is told of here, or else by Python at its end
    except BrokenPipeError:  # `| head` has read enough
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 1
    return status


def _status(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    is_debug = any(re.fullmatch(r"\+*debug=true", item, re.IGNORECASE) for item in arguments)
    if command == "help" and len(arguments) > 1:
        command, arguments = arguments[1], [*arguments[1:], "--help"]
    elif arguments[1:] == ["help"]:
        arguments = [command, "--help"]
    answer = "--version" if "--version" in arguments else command
    try:
        if answer in _ANSWERS:
            print(_ANSWERS[answer])
            return 0
        return _run(command, arguments[1:])
    except UserError as error:
        return refuse(str(error), is_debug)
    except KeyboardInterrupt as error:
        if TOLD in error.args:
            return INTERRUPTED
        return refuse(f"interrupted{_RESUMES.get(command, '')}", status=INTERRUPTED)


def _run(command: str, arguments: list[str]) -> int:
    """What a command stands for in Hydra's grammar, and that done."""
    _check_command(command)
    words = [command, *arguments]
    axes: list[str] = []
    if command == "analyze":
        from blippose.cli import analyze  # noqa: PLC0415  beartype takes 0.1 s

        if (study := analyze.study(arguments)) is None:
            print(analyze.HELP)
            return 0
        command, arguments = study
    elif command == "sweep":
        from blippose.cli import sweep  # noqa: PLC0415  yaml

        if not {"-h", "--help"}.isdisjoint(arguments):
            print(sweep.HELP)
            return 0
        command, (arguments, axes) = "train", sweep.expanded(arguments)
    if command in _POSITIONAL:
        arguments = grammar.named(arguments, _POSITIONAL[command])
    quoted = [grammar.quoted(argument) for argument in arguments]
    arguments = [item for word in quoted if (item := grammar.choices(command, word)) is not None]
    return _compose(command, arguments, axes, words)


def _check_command(command: str) -> None:
    if command in _COMMANDS:
        return
    if command.startswith("-"):
        raise UserError(f"{command}: flags stand after a command; commands are {_LISTED}")
    from blippose.arguments import suggest  # noqa: PLC0415  beartype takes 0.1 s

    commands = f"; commands are {_LISTED}"
    raise UserError(f"{command}: no such command{suggest(command, _COMMANDS) or commands}")


def _compose(command: str, arguments: list[str], axes: list[str], words: list[str]) -> int:
    """Compose the config of a command by Hydra, and run its job, or the jobs of a grid."""
    options, overrides = grammar.split_flags(arguments)
    flags = grammar.parse_flags(command, [*options, *overrides])
    with mistakes.explained(command):
        if flags.helps:
            from blippose.cli import help_text  # noqa: PLC0415  0.3 s: hydra

            print(help_text.help_text(command, flags.overrides))
            return 0
        if flags.is_multirun and not flags.prints:
            from blippose.cli import grid  # noqa: PLC0415  0.3 s: hydra

            return grid.run(command, flags.overrides, axes, words)
        with grammar.printed_at_once(flags):
            return _run_one(command, [*options, *flags.overrides])
    return 0  # of --cfg, after which Hydra exits


def _run_one(command: str, arguments: list[str]) -> int:
    import hydra  # noqa: PLC0415  0.3 s

    job = Job(command, sys.argv[0])

    def run(config: Any) -> None:  # Hydra asks functions for their module
        job(config)

    with grammar.arguments_of(command, arguments):
        hydra.main(version_base="1.3", config_path=str(groups.conf()), config_name=command)(run)()
    return job.status
