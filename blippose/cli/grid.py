"""A grid: its cells composed and looked at, then handed to a launcher of Hydra's.

Every cell is composed before any is run. A group's choice is composed once and values are set in
copies of that, which is what Hydra would do, in a hundredth of the time.
"""

from __future__ import annotations

import copy
import itertools
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError
from rich.console import Console

from blippose import runs, sweep
from blippose.cli import groups, train
from blippose.cli.cell_names import cell_name, check_swept
from blippose.cli.checks import check_run_folder, check_targets
from blippose.cli.config import SEARCH_PATH, instantiate_key, plain_config, short
from blippose.cli.job import Job, refuse
from blippose.errors import UserError, first_line
from blippose.identity import config_hash
from blippose.report.cells_table import cells_table
from blippose.runs import Run
from blippose.spelling import spelled
from blippose.sweep import PlannedCell, Sweep

_NAME = "grid"  # of a grid that nobody named; a single run's own default would be its folder
_OWN = "blippose."  # targets that Hydra's register of plugins does not know
_FILES = ("data", "model")
_TRAINED_BY = ("optimizer", "scheduler", "trainer", "captioner", "decoding", "ckpt_path",
               "init_from", "ema_decay", "checkpoint", "data")  # fmt: skip
_HERE = (  # launchers whose cells run on this machine
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "blippose.cli.launchers.local.LocalLauncher",
)


@dataclass(frozen=True)
class Grid:
    """What is asked for, as Hydra's launchers want it.

    Args:
        command: a module beside this one; its config is of the same name.
        config: composed without the axes.
        swept: keys with several values.
        overrides: of every cell and of the axes, parsed.
        places: the word that says where choices of the user's own lie, if one does.
    """

    command: str
    config: Any
    swept: tuple[str, ...]
    overrides: tuple[Override, ...]
    places: tuple[str, ...]
    _composed: dict[tuple[str, ...], Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Of the sweep."""
        return short(Path(self.config.hydra.sweep.dir).absolute())

    @property
    def is_search(self) -> bool:
        """Whether a sweeper of ours draws the values."""
        return str(self.config.hydra.sweeper["_target_"]).startswith(_OWN)

    @property
    def runs_here(self) -> bool:
        """Whether cells see the files that this process sees: nodes of a cluster may not."""
        return str(self.config.hydra.launcher["_target_"]) in _HERE

    @property
    def chosen(self) -> list[Override]:
        """The last override of each key, which takes the place of those before."""
        return list({item.get_key_element(): item for item in self.overrides}.values())

    def products(self) -> Iterator[list[str]]:
        """The words of each cell, in the order of the axes.

        Raises:
            UserError: an axis without values, or one that cannot be listed.
        """
        choices: dict[str, list[str]] = {}
        for item in self.chosen:
            key = item.get_key_element()
            if not item.is_sweep_override():
                choices[key] = [f"{key}={item.get_value_element_as_str()}"]
            elif item.is_discrete_sweep():
                values = [f"{key}={value}" for value in item.sweep_iterator(transformer=_word)]
                if not values:
                    raise UserError(f"{item.input_line}: there are no such values")
                choices[key] = values
            else:
                raise UserError(
                    f"{item.input_line}: not a list of values; an interval wants "
                    "hydra/sweeper=optuna"
                )
        yield from (list(words) for words in itertools.product(*choices.values()))

    def planned(self, words: Sequence[str]) -> PlannedCell:
        """The cell of these words, composed.

        Raises:
            UserError: a key is still open, or its folder would not be the grid's.
        """
        parsed = OverridesParser.create().parse_overrides(list(words))
        name = self._cell_name(words)
        values = {key: _simple(o.value()) for o in parsed if (key := o.key_or_group) in self.swept}
        config = plain_config(self._compose(parsed))
        for key in ("runs", "name"):
            if config[key] != self.config[key]:
                raise UserError(
                    f"{key}: {config[key]} of {name}, {self.config[key]} of the grid; "
                    f"add one {key}= for all its cells"
                )
        return PlannedCell(name, self.folder / name, values, tuple(words), config)

    def _cell_name(self, words: Sequence[str]) -> str:
        """As one types it, lr=1e-4; as earlier versions wrote it, lr=0.0001, where they did."""
        name = cell_name(words, self.swept)
        if not self._begun or name in self._begun:
            return name
        earlier = cell_name(words, self.swept, write=str)
        return earlier if earlier in self._begun else name

    def where_begun(self, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
        """The cells, each in the folder in which it was begun before the grid had all its axes."""
        names = {cell.name for cell in cells}
        earlier: dict[str, dict[str, Any]] = {}  # cells of the record, by their configs
        for other in sweep.read_record(self.folder).get("cells", []):
            if other["name"] not in names:
                with suppress(UserError):  # of one that has no run
                    run = Run.read(self.folder / other["name"])
                    earlier.setdefault(run.config_hash, other)
        found = []
        for cell in cells:
            same = config_hash(cell.config) if earlier else ""
            is_narrower = same in earlier and earlier[same]["values"].items() < cell.values.items()
            if is_narrower and not (cell.folder / runs.RECORD).exists():
                name = str(earlier.pop(same)["name"])
                found.append(replace(cell, name=name, folder=self.folder / name))
            else:
                found.append(cell)
        return found

    @cached_property
    def _begun(self) -> frozenset[str]:
        """Names of the cells that the folder and its record have."""
        recorded = (str(cell["name"]) for cell in sweep.read_record(self.folder).get("cells", []))
        return frozenset([*recorded, *(path.name for path in self.folder.glob("*/"))])

    def _compose(self, parsed: Sequence[Override]) -> Any:
        late = [item for item in parsed if self._is_value_of_axis(item)]
        early = tuple(str(item.input_line) for item in parsed if item not in late)
        if early not in self._composed:
            self._composed[early] = _compose(self.command, self.places + early)
        config = copy.deepcopy(self._composed[early])
        for item in late:
            try:
                OmegaConf.update(config, item.key_or_group, item.value(), merge=True)
            except (ConfigAttributeError, ConfigKeyError) as error:  # in the words of Hydra
                raise HydraException(f"Could not override '{item.key_or_group}'.") from error
        return config

    def sweep(self, cells: Sequence[PlannedCell], words: Sequence[str]) -> Sweep:
        """These cells as a whole."""
        axes = {
            key: list(dict.fromkeys(cell.values[key] for cell in cells if key in cell.values))
            for key in self.swept
        }
        return Sweep(self.folder, shlex.join(["blippose", *words]), axes, tuple(cells))

    def check_launcher(self) -> None:
        """Refuse wrong values of one of ours, before anything is written.

        Raises:
            UserError: such a value.
        """
        settings = OmegaConf.to_container(self.config.hydra.launcher, resolve=True)
        if str(self.config.hydra.launcher["_target_"]).startswith(_OWN):
            check_targets({"launcher": settings}, "hydra")
            self._launcher()

    def launch(self, cells: Sequence[PlannedCell]) -> None:
        """Run cells where hydra/launcher says; what happened their folders tell."""
        overrides = [[*cell.overrides, f"hydra.sweep.subdir='{cell.name}'"] for cell in cells]
        try:
            self._launcher().launch(overrides, initial_job_idx=0)
        except UserError:
            raise
        except Exception as error:  # of somebody else's launcher: ours bear a cell that dies
            refuse(f"{type(error).__name__} in the launcher: {first_line(error)}", status=1)

    def _launcher(self) -> Launcher:
        job = Job(self.command, sys.argv[0], is_cell=True)
        context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks(self.config))
        target = str(self.config.hydra.launcher["_target_"])
        if not target.startswith(_OWN):
            return Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=job, config=self.config
            )
        launcher: Launcher = instantiate_key(self.config, "hydra.launcher")
        launcher.setup(hydra_context=context, task_function=job, config=self.config)
        return launcher

    def _is_value_of_axis(self, item: Override) -> bool:
        is_value = not (item.is_add() or item.is_force_add() or item.is_delete())
        return is_value and item.key_or_group in self._swept_values

    @cached_property
    def _swept_values(self) -> frozenset[str]:
        """Swept keys that are no groups, whose choices Hydra alone can compose."""
        return frozenset(key for key in self.swept if not is_group(key))


def _compose(command: str, words: tuple[str, ...]) -> Any:
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration(command, list(words), run_mode=RunMode.RUN)
    with open_dict(config):
        del config["hydra"]
    return config


def is_group(key: str) -> bool:
    """Whether a key is a group of conf/."""
    return bool(GlobalHydra.instance().config_loader().get_group_options(key.partition("@")[0]))


def _word(element: Any) -> str:
    """A value as Hydra reads it, and as one types it."""
    if isinstance(element, float):
        return spelled(element)
    return Transformer.str(element)


def _simple(value: Any) -> Any:
    """What JSON can hold."""
    is_simple = value is None or isinstance(value, str | int | float | bool)
    return value if is_simple else str(value)


def run(command: str, arguments: Sequence[str], axes: Sequence[str], words: Sequence[str]) -> int:
    """Run what is not done yet of a grid; 0 if every cell is done, else 1.

    Args:
        command: what each cell runs.
        arguments: Hydra's overrides.
        axes: keys that name cells even where they have one value.
        words: what the user gave, for the record.

    Raises:
        UserError: a mistake in any cell; nothing was run then.
    """
    with initialize_config_dir(str(groups.conf()), version_base="1.3"):
        grid = _grid(command, list(arguments), axes)
        if grid.is_search:
            from blippose.cli.search import search  # noqa: PLC0415  optuna

            return search(grid, words)
        cells = grid.where_begun([grid.planned(product) for product in grid.products()])
        pending = [cell for cell in cells if not runs.is_done(cell.folder)]
        _check(grid, pending)
        asked = grid.sweep(cells, words)
        asked.check()
        if grid.config.dry_run:
            tell(asked)
            return 0  # the list is what was asked for
        asked.write()
        print(f"{sweep.counts(asked.seen())}, {asked.where}", flush=True)
        if pending:
            grid.launch(pending)
        return tell(asked)


def _check(grid: Grid, pending: Sequence[PlannedCell]) -> None:
    """Refuse what no cell could run with; what takes a while once where cells share it."""
    for cell in pending:
        train.check(cell.config)
    if grid.runs_here and not grid.config.dry_run:
        for cell in _unlike(pending, _FILES):
            train.check_files(cell.config)
        begins = [cell for cell in pending if not runs.has_checkpoint(cell.folder)]
        if begins:
            print("checking the cells ...", flush=True)  # torch alone takes seconds
        for cell in _unlike(begins, _TRAINED_BY):
            train.check_with_torch(cell.config)
    if pending:
        grid.check_launcher()


def _unlike(cells: Sequence[PlannedCell], keys: Sequence[str]) -> list[PlannedCell]:
    """One of those that have these keys alike."""
    kept: list[PlannedCell] = []
    for cell in cells:
        own = [cell.config.get(key) for key in keys]
        if all(own != [other.config.get(key) for key in keys] for other in kept):
            kept.append(cell)
    return kept


def _grid(command: str, arguments: list[str], axes: Sequence[str]) -> Grid:
    parsed = OverridesParser.create().parse_overrides(arguments)
    keys = {item.key_or_group for item in parsed if not item.is_sweep_override()}
    if not keys & {"name", "experiment"}:  # several experiments have one grid
        arguments = [f"name={_NAME}", *arguments]
    arguments = [*arguments, "hydra.mode=MULTIRUN"]  # cells inherit it
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration(command, arguments, run_mode=RunMode.MULTIRUN)
    parsed = OverridesParser.create(loader).parse_overrides(arguments)
    own = tuple(item for item in parsed if not item.is_hydra_override())
    swept = dict.fromkeys([*axes, *(o.key_or_group for o in own if o.is_sweep_override())])
    check_swept(tuple(swept))
    check_run_folder(config.runs, config.name)
    places = tuple(str(o.input_line) for o in parsed if o.key_or_group == SEARCH_PATH)
    return Grid(command, config, tuple(swept), own, places)


def tell(asked: Sweep) -> int:
    """Print the table of all cells; 0 if every one is done."""
    seen = asked.seen()
    console = Console()
    console.print()
    console.print(cells_table(seen, console.width))
    for line in [*sweep.reasons(seen), ""]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{sweep.counts(seen)}, {asked.where}", highlight=False, soft_wrap=True)
    return 0 if sweep.is_done(seen) else 1
