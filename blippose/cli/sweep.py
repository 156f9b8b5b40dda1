"""`blippose sweep FILE`: the words of `blippose train -m` that a sweep file stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blippose.cli.grammar import is_there, split_flags
from blippose.errors import UserError
from blippose.sweep_file import SweepFile

HELP = """\
blippose sweep: a grid from a file. The same command again finishes what is
missing.

  blippose sweep sweeps/poster.yaml               18 cells, on the tiny model
  blippose sweep sweeps/poster.yaml experiment=poster name=poster_grid \\
    data.root=FOLDER                              the study, on the real MPII
  blippose sweep sweeps/poster.yaml dry_run=true  the cells and their states
  blippose sweep sweeps/poster.yaml data.batch_size=1
                                                  the six cells with that value
  blippose sweep sweeps/poster.yaml hydra/launcher=local hydra.launcher.jobs=2
  blippose sweep sweeps/poster.yaml hydra/launcher=slurm

The file has two keys: `axes`, keys with lists of values, of which every
combination is a cell, and `settings`, keys with one value. Other settings are
those of `blippose train`, key=value; one of an axis takes the axis' place. A
cell's folder is RUNS/NAME/KEY=VALUE,..., name=grid if nothing says otherwise;
sweep.json there lists the axes and cells."""


def expanded(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of `train -m`, and the axes of the file.

    Raises:
        UserError: no file, or one that is no sweep.
    """
    flags, words = split_flags(arguments)
    files = [word for word in words if _is_file(word)]
    if len(files) != 1:
        given = f"got {', '.join(files)}" if files else "such as sweeps/poster.yaml"
        raise UserError(f"sweep: expected one sweep file, {given}")
    others = [word for word in [*flags, *words] if word not in (*files, "-m", "--multirun")]
    file = SweepFile.read(Path(files[0]).expanduser())
    return ["-m", *file.overrides, *others], list(file.axes)


def _is_file(word: str) -> bool:
    return not word.startswith(("+", "~")) and ("=" not in word or is_there(word))
