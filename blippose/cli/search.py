"""hydra/sweeper=optuna: cells whose values Optuna proposes, and whose journal lies on disk.

The same command goes on: a trial whose cell failed or was cut off is run again with its values,
and what is proposed next is what an undisturbed search would have proposed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf

from blippose import runs, sweep
from blippose.arguments import suggest
from blippose.cli import train
from blippose.cli.config import checked
from blippose.cli.grid import Grid, is_group, tell
from blippose.cli.launchers.base import needs
from blippose.errors import UserError, first_line
from blippose.spelling import spelled
from blippose.sweep import PlannedCell, Sweep


@dataclass(frozen=True)
class _Keys:
    """Keys of the sweeper."""

    trials: int
    jobs: int
    startup: int
    seed: int
    storage: str


def search(grid: Grid, words: Sequence[str]) -> int:
    """Run trials until there are enough; 0 if every one is done and one gave a value.

    Raises:
        UserError: Optuna is not there, a mistake in its settings, or the folder holds a search
            of other settings.
    """
    optuna = needs("optuna", "optuna")
    settings = _settings(grid)
    space = {
        str(item.get_key_element()): _distribution(optuna, item)
        for item in grid.chosen
        if item.is_sweep_override()
    }
    has_begun = Path(settings["storage"]).exists()  # then its cells say what is wrong
    if not has_begun:
        _check_ends(grid, space)
    trials = _Trials(optuna, _study(optuna, settings, grid), space, settings, grid, tuple(words))
    trials.check()
    if not grid.config.dry_run:
        trials.run()
    return trials.tell()


def drawn_from(distributions: Any, item: Override) -> Any:
    """The distribution that a word asks for, of Optuna's `distributions`.

    Raises:
        ValueError: there can be none.
    """
    value = item.value()
    if isinstance(value, IntervalSweep):
        kind = distributions.FloatDistribution
        if isinstance(value.start, int) and isinstance(value.end, int):
            kind = distributions.IntDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep):
        listed = value.range()
        if isinstance(listed, range) and listed:  # of whole numbers; broken ones are choices
            low, high = sorted((listed[0], listed[-1]))
            return distributions.IntDistribution(low, high, "log" in value.tags, abs(listed.step))
    choices = tuple(item.sweep_string_iterator())
    if not choices:
        raise ValueError("there are no such values")
    return distributions.CategoricalDistribution(choices)


def _settings(grid: Grid) -> dict[str, Any]:
    settings: Any = OmegaConf.to_container(grid.config.hydra.sweeper, resolve=True)
    known = tuple(_Keys.__annotations__)
    if unknown := [key for key in settings if key not in ("_target_", *known)]:
        raise UserError(f"hydra.sweeper.{unknown[0]}: no such key{suggest(unknown[0], known)}")
    checked(_Keys, settings, "hydra.sweeper")
    for key, least in (("trials", 1), ("jobs", 1), ("startup", 0), ("seed", 0)):
        if settings[key] < least:
            raise UserError(f"hydra.sweeper.{key}={settings[key]}: expected {least} or more")
    return dict(settings)


def _study(optuna: Any, settings: Mapping[str, Any], grid: Grid) -> Any:
    """The one of the journal; a dry run begins none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = Path(settings["storage"])
    if grid.config.dry_run and not path.exists():
        return optuna.create_study()
    grid.folder.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal
    try:
        storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
        return optuna.create_study(storage=storage, study_name="blippose", load_if_exists=True)
    except (ValueError, KeyError, TypeError) as error:  # of damaged lines
        raise UserError(f"{path}: not a journal of Optuna's ({first_line(error)})") from error


def _distribution(optuna: Any, item: Override) -> Any:
    if is_group(str(item.key_or_group)) and not item.is_choice_sweep():
        raise UserError(f"{item.input_line}: a group takes choices, such as adam,adamw")
    try:
        return drawn_from(optuna.distributions, item)
    except ValueError as error:  # mostly in Optuna's words
        raise UserError(f"{item.input_line}: {first_line(error)}") from error


def _planned(grid: Grid, values: Mapping[str, Any]) -> PlannedCell:
    """The cell in which the space's keys have these values."""
    fixed = [str(item.input_line) for item in grid.chosen if not item.is_sweep_override()]
    return grid.planned([*fixed, *(f"{key}={spelled(value)}" for key, value in values.items())])


def _ends(drawn: Any) -> tuple[Any, ...]:
    """Every choice, or the first and the last of an interval, floats within its ends."""
    if (choices := getattr(drawn, "choices", None)) is not None:
        return tuple(choices)
    if isinstance(drawn.low, float):
        return math.nextafter(drawn.low, drawn.high), math.nextafter(drawn.high, drawn.low)
    return drawn.low, drawn.high


def _check_ends(grid: Grid, space: Mapping[str, Any]) -> None:
    """Refuse what is wrong of cells at the ends of the space, before any is proposed.

    Each choice, and both ends of each interval, with the first of the others.
    """
    ends = {key: _ends(drawn) for key, drawn in space.items()}
    first = {key: values[0] for key, values in ends.items()}
    others = ({**first, key: value} for key, values in ends.items() for value in values[1:])
    for values in (first, *others):
        try:
            train.check(_planned(grid, values).config)
        except UserError as error:
            raise _in_words(grid, values, error) from error


def _in_words(grid: Grid, values: Mapping[str, Any], error: UserError) -> UserError:
    """A mistake of a cell, by the word that draws it where that draws another kind of number."""
    for item in reversed(grid.overrides):  # the last of a key holds
        key = str(item.get_key_element())
        is_broken = isinstance(values.get(key), float)
        if is_broken and str(error).startswith(f"{key}={values[key]!r}: expected int"):
            return UserError(
                f"{item.input_line}: draws broken numbers where whole ones are expected; "
                "int(interval(1,4)) draws those"
            )
    return error


@dataclass(frozen=True)
class _Trials:
    """Of one study, each a cell of the grid; trials of the same values share one."""

    optuna: Any
    study: Any
    space: Mapping[str, Any]
    settings: Mapping[str, Any]
    grid: Grid
    words: tuple[str, ...]

    def check(self) -> None:
        """Hold what was proposed earlier against what is asked for now."""
        for trial in self.study.get_trials(deepcopy=False):
            for key, distribution in trial.distributions.items():
                if distribution != (asked := self.space.get(key, "(absent)")):
                    raise UserError(
                        f"{self.grid.folder} holds a search of other values ({key}: "
                        f"{distribution} -> {asked}): choose another name=, or remove that folder"
                    )
        self._cells(self._proposed()).check()

    def run(self) -> None:
        """Until there are enough. One that fails here waits for the next command."""
        tried: set[int] = set()
        while todo := self._next(tried):
            tried |= {trial.number for trial in todo}
            asked = self._cells(todo)
            asked.write()
            self.grid.launch([cell for cell in asked.cells if not runs.is_done(cell.folder)])
            for trial in todo:
                self._judge(trial)

    def tell(self) -> int:
        """Print the table of all cells and the best; the exit status."""
        trials, is_dry = self._proposed(), self.grid.config.dry_run
        status = tell(self._cells(trials)) if trials else 0
        num_asked = max(self.settings["trials"], len(trials))
        complete = self.optuna.trial.TrialState.COMPLETE
        if not self.study.get_trials(deepcopy=False, states=(complete,)):
            print(f"{len(trials)} of {num_asked} trials proposed; none gave a value yet")
            return 0 if is_dry else 1
        best = self.study.best_trial
        values = " ".join(f"{key}={spelled(value)}" for key, value in best.params.items())
        result = f"val/{sweep.METRIC} {best.value:.3f}"
        print(f"{len(trials)} of {num_asked} trials proposed; the best: {values} with {result}")
        return 0 if is_dry else status

    def _proposed(self) -> list[Any]:
        """Those with all their values: a process may have been killed while it drew some."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.params.keys() == self.space.keys()]

    def _next(self, tried: set[int]) -> list[Any]:
        proposed, running = self._proposed(), self.optuna.trial.TrialState.RUNNING
        todo = [t for t in proposed if t.state is running and t.number not in tried]
        todo = todo[: self.settings["jobs"]]
        num_left = self.settings["trials"] - len(proposed)
        num_new = min(self.settings["jobs"] - len(todo), num_left)
        return [*todo, *(self._ask() for _ in range(num_new))]

    def _ask(self) -> Any:
        """A new one, drawn by its number and what came out before it alone."""
        entropy = [self.settings["seed"], len(self._proposed())]
        [seed] = np.random.SeedSequence(entropy).generate_state(1).tolist()
        startup = self.settings["startup"]
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        return self.study.ask(dict(self.space))

    def _cells(self, trials: Sequence[Any]) -> Sweep:
        cells = [_planned(self.grid, trial.params) for trial in trials]
        return self.grid.sweep(list({cell.name: cell for cell in cells}.values()), self.words)

    def _judge(self, trial: Any) -> None:
        [cell] = self._cells([trial]).cells
        value = sweep.score(cell.folder)
        if value is not None and math.isfinite(value):
            self.study.tell(trial.number, value, skip_if_finished=True)
        elif runs.is_done(cell.folder) or runs.has_diverged(cell.folder):
            failed = self.optuna.trial.TrialState.FAIL
            self.study.tell(trial.number, state=failed, skip_if_finished=True)
