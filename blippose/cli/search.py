"""hydra/sweeper=optuna: cells whose values Optuna proposes, and whose journal lies on disk.

A trial that was cut off is run again with the same values, so that its cell goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf

from blippose import sweep
from blippose.arguments import suggest
from blippose.cli.launchers.base import needs
from blippose.errors import UserError

if TYPE_CHECKING:
    from blippose.cli.grid import Grid

_KEYS = ("trials", "jobs", "startup", "seed", "storage")


def search(grid: Grid, words: Sequence[str]) -> int:
    """Run trials until there are enough; 0 if one gave a value.

    Raises:
        UserError: Optuna is not there, or a key without an interval or values.
    """
    optuna = needs("optuna", "optuna")
    settings = _settings(grid)
    space = {
        str(item.get_key_element()): _distribution(optuna, item)
        for item in grid.overrides
        if item.is_sweep_override()
    }
    grid.folder.mkdir(parents=True, exist_ok=True)
    study = _study(optuna, settings)
    states = optuna.trial.TrialState
    while True:
        trials = study.get_trials(deepcopy=False)
        todo = [trial for trial in trials if trial.state is states.RUNNING]
        num_left = settings["trials"] - sum(trial.state.is_finished() for trial in trials)
        num_new = min(settings["jobs"], num_left) - len(todo)
        if num_left <= 0:
            break
        todo += [study.ask(space) for _ in range(max(0, num_new))]
        for trial, value in zip(todo, _values(grid, todo, words), strict=True):
            is_number = value is not None and math.isfinite(value)
            state = states.COMPLETE if is_number else states.FAIL
            study.tell(trial.number, value if is_number else None, state=state)
    return _told(study, states)


def _settings(grid: Grid) -> dict[str, Any]:
    settings: Any = OmegaConf.to_container(grid.config.hydra.sweeper, resolve=True)
    if unknown := [key for key in settings if key not in ("_target_", *_KEYS)]:
        raise UserError(f"hydra.sweeper.{unknown[0]}: no such key{suggest(unknown[0], _KEYS)}")
    return dict(settings)


def _study(optuna: Any, settings: Mapping[str, Any]) -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = optuna.storages.journal
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(settings["storage"]))
    sampler = optuna.samplers.TPESampler(
        seed=settings["seed"], n_startup_trials=settings["startup"]
    )
    study = optuna.create_study(
        storage=storage, sampler=sampler, study_name="blippose", load_if_exists=True
    )
    # A seed draws the same again in every process: what was drawn before is in the journal.
    sampler.reseed_rng() if study.get_trials(deepcopy=False) else None
    return study


def _values(grid: Grid, trials: Sequence[Any], words: Sequence[str]) -> list[float | None]:
    """Run the cells of trials; what came out."""
    fixed = [str(item.input_line) for item in grid.overrides if not item.is_sweep_override()]
    cells = [
        grid.planned([*fixed, *(f"{key}={value}" for key, value in trial.params.items())])
        for trial in trials
    ]
    asked = grid.sweep(cells, words)
    asked.write()
    grid.launch(cells)
    return [sweep.score(cell.folder) for cell in cells]


def _distribution(optuna: Any, item: Override) -> Any:
    made, value = optuna.distributions, item.value()
    if isinstance(value, IntervalSweep):
        kind = made.FloatDistribution
        if isinstance(value.start, int) and isinstance(value.end, int):
            kind = made.IntDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep) and isinstance(value.step, int):
        return made.IntDistribution(value.start, int(value.stop or 0) - 1, step=value.step)
    return made.CategoricalDistribution(tuple(item.sweep_string_iterator()))


def _told(study: Any, states: Any) -> int:
    trials = study.get_trials(deepcopy=False, states=(states.COMPLETE,))
    if not trials:
        print("no trial gave a value")
        return 1
    best = study.best_trial
    values = " ".join(f"{key}={value}" for key, value in best.params.items())
    print(f"{len(trials)} trials; the best: {values} with val/{sweep.METRIC} {best.value:.3f}")
    return 0
