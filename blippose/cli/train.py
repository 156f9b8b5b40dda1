"""`blippose train`: fit one model into its run folder, or say what came out."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blippose.cli.checks import (
    check_data_files,
    check_data_values,
    check_logger,
    check_rates,
    check_run_folder,
    check_targets,
)
from blippose.cli.config import checked, instantiate_key, job_words, plain_config, short
from blippose.errors import UserError
from blippose.spelling import in_quotes
from blippose.weights_config import check_weights

if TYPE_CHECKING:
    from blippose.fit_options import FitOptions
    from blippose.reuse import Shelf
    from blippose.runs import Run

# Launchers whose processes run one cell after the other.
_LASTING = ("hydra._internal.core_plugins.", "blippose.cli.launchers.local.")
_shelves: list[Shelf] = []  # one, once a cell of a grid was run in this process


@dataclass(frozen=True)
class _TrainKeys:
    """Top-level keys of train.yaml."""

    name: str
    runs: str
    seed: int
    ckpt_path: str | None
    init_from: str | None
    keep_last: bool
    ema_decay: float | None
    debug: bool


@dataclass(frozen=True)
class _CheckpointKeys:
    """Keys of train.yaml's `checkpoint`."""

    every_n_steps: int | None


@dataclass(frozen=True)
class _ModelKeys:
    """Keys of train.yaml's `model`."""

    weights: str
    tokenizer: str
    caption: dict[str, Any]
    architecture: dict[str, Any]


def check(plain: Mapping[str, Any]) -> None:
    """Refuse what is wrong of a config by itself: without torch, and without a look at files.

    Raises:
        UserError: a key or a value that cannot be.
    """
    checked(_TrainKeys, plain)
    _check_groups(plain)


def check_files(plain: Mapping[str, Any]) -> None:
    """Refuse data and weights that are not there, without torch.

    Raises:
        UserError: they are not.
    """
    check_data_files(plain["data"])
    check_weights(plain["model"])


def check_with_torch(plain: Mapping[str, Any]) -> None:
    """Refuse what only Trainer, optimizer or decoding know to be wrong of a run that begins.

    Raises:
        UserError: one of them refuses a value, or the checkpoint that it begins with.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415

    from blippose import training  # noqa: PLC0415  seconds: torch, lightning

    training.quieten()
    options = _options(checked(_TrainKeys, plain), plain)
    options.check_start()
    _captioner_of(OmegaConf.create(dict(plain)), plain, options, goes_on=False)


def run(config: Any) -> int:
    """Fit one model, or go on with it, or say what came out; the exit status."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
    from hydra.types import RunMode  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from blippose.report.plan import RECORD as GRID_RECORD  # noqa: PLC0415
    from blippose.runs import Run, RunDoneError, is_first_process  # noqa: PLC0415
    from blippose.summary import print_next, print_summary  # noqa: PLC0415

    folder = short(Path(HydraConfig.get().runtime.output_dir))
    try:
        plain = plain_config(config)
        check_run_folder(plain["runs"], plain["name"])
        keys = checked(_TrainKeys, plain)  # before a wrong value makes another run of it
        run = Run.open(folder, plain)
        if plain["dry_run"]:
            return _tell(folder)
        if (folder / GRID_RECORD).exists():
            raise UserError(f"{folder} holds a grid; give the run another name=")
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            return 0 if run.is_done else _fit_cell(config, plain, keys, run)
        was_done = run.is_done
        if not was_done:
            run.check_free()
            try:
                _fit(config, plain, keys, run)
            except RunDoneError:
                run, was_done = Run.open(folder, plain), True
        if was_done:
            print(f"{folder} is done; this is what came out:")
        if not is_first_process():
            return 0
    finally:
        with contextlib.suppress(OSError):  # Hydra made it before anything was checked
            folder.rmdir()
    print_summary(run, Console())
    print_next(run, Console())
    return 0


def _tell(folder: Path) -> int:
    """How far the run came."""
    from rich.console import Console  # noqa: PLC0415

    from blippose.report.cells import read_cell  # noqa: PLC0415
    from blippose.report.cells_table import cells_table  # noqa: PLC0415

    console = Console()
    console.print(cells_table([read_cell(folder, str(folder))], console.width))
    return 0


def _fit_cell(config: Any, plain: dict[str, Any], keys: _TrainKeys, run: Run) -> int:
    """Fit one of a grid; also a mistake leaves its trace there, as nobody may be watching."""
    from blippose.runs import RunDoneError, RunFailedError  # noqa: PLC0415

    print(f"\n{run.folder.name}", flush=True)
    from blippose import reuse  # noqa: PLC0415  seconds: torch, lightning, transformers

    try:
        shelf = _shelf()
        reuse.give_back()
        _fit(config, plain, keys, run, keys.name, shelf)
    except RunDoneError:
        return 0
    except RunFailedError:
        raise
    except Exception as error:
        with contextlib.suppress(RunDoneError):
            run.fail(error)
        raise
    finally:
        reuse.give_back()
    return 0


def _shelf() -> Shelf | None:
    """What earlier cells of this process have left, where there can be others."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415

    from blippose import reuse  # noqa: PLC0415

    if not str(HydraConfig.get().launcher["_target_"]).startswith(_LASTING):
        return None
    if not _shelves:
        reuse.set_imports_aside()
        _shelves.append(reuse.Shelf())
    return _shelves[0]


def _fit(
    config: Any,
    plain: dict[str, Any],
    keys: _TrainKeys,
    run: Run,
    group: str | None = None,
    shelf: Shelf | None = None,
) -> None:
    _check_groups(plain)  # here, so that a cell of a search leaves its trace too
    check_files(plain)
    options = _options(keys, plain)
    if run.resume_from is None:
        options.check_start()
    print("loading ...", flush=True)
    from omegaconf import OmegaConf  # noqa: PLC0415

    from blippose import heap, training  # noqa: PLC0415  seconds: torch, lightning
    from blippose.threads import limit_threads  # noqa: PLC0415

    limit_threads()
    heap.keep_freed()
    training.seed(keys.seed)
    goes_on = run.resume_from is not None
    captioner_of = _captioner_of(config, plain, options, goes_on=goes_on)
    told = _patch_weight(plain, run)
    if not goes_on:
        _check_cells_are_told({**plain["captioner"], **told})
    captioner_of = partial(captioner_of, **told)
    captioner, data = _captioner_and_data(config, plain, captioner_of, shelf)
    with run.started():
        start = run.resume_from
        run.note(command=_command(run.folder, Path(plain["runs"]) / plain["name"]))
        run.write_config(OmegaConf.to_yaml(config, resolve=True))
        print(f"going on in {run.folder} from {start.name}" if start else f"into {run.folder}")
        training.fit(
            captioner,
            data,
            instantiate_key(config, "trainer"),
            run,
            logger=instantiate_key(config, "logger"),
            group=group,
            options=options,
        )


def _captioner_of(
    config: Any, plain: Mapping[str, Any], options: FitOptions, *, goes_on: bool
) -> Callable[..., Any]:
    """From BLIP, tokenizer and format to the captioner, once all that it trains with was tried."""
    from blippose import training_check  # noqa: PLC0415  seconds: torch, lightning
    from blippose.readback import check_decoding  # noqa: PLC0415

    check_targets(plain)
    parts = {key: instantiate_key(config, key) for key in ("optimizer", "scheduler")}
    decoding = instantiate_key(config, "decoding")
    captioner_of = partial(instantiate_key(config, "captioner"), **parts, decoding=decoding)
    mask = instantiate_key(config, "captioner.readback_mask")
    if not goes_on:  # what was begun goes on
        single_joint = plain["data"].get("single_joint") or 0.0
        check_decoding(decoding, mask, single_joint, _close_up(plain))
    training_check.check(
        **parts,
        trainer=instantiate_key(config, "trainer"),
        options=replace(options, ckpt_path=None) if goes_on else options,
        mask=mask,
    )
    return captioner_of


def _options(keys: _TrainKeys, plain: Mapping[str, Any]) -> FitOptions:
    from blippose.fit_options import FitOptions  # noqa: PLC0415

    own = _CheckpointKeys(**plain["checkpoint"])
    return FitOptions(
        ckpt_path=None if keys.ckpt_path is None else Path(keys.ckpt_path).expanduser(),
        init_from=None if keys.init_from is None else Path(keys.init_from).expanduser(),
        keep_last=keys.keep_last,
        every_n_steps=own.every_n_steps,
        ema_decay=keys.ema_decay,
    )


def _check_groups(plain: Mapping[str, Any]) -> None:
    """Refuses groups that were taken out, as by ~optimizer, or given other keys or values."""
    from blippose.arguments import check_arguments  # noqa: PLC0415

    for key in ("data", "model", "captioner", "decoding", "optimizer", "trainer"):
        if not isinstance(plain.get(key), Mapping):
            raise UserError(f"{key}: missing; leave ~{key} out, or add {key}=CHOICE")
    if not isinstance(plain.get("checkpoint"), Mapping):
        raise UserError("checkpoint: missing; such as checkpoint.every_n_steps=100")
    for key, keys in (("model", _ModelKeys), ("checkpoint", _CheckpointKeys)):
        check_arguments(keys, plain[key], key)
    check_data_values(plain["data"])
    check_rates(plain["optimizer"])
    check_logger(plain.get("logger"))


def _command(folder: Path, own: Path) -> str:
    """What makes this one run again; its folder is part of it where it is not RUNS/NAME."""
    words = ["blippose", "train", *job_words()]
    if folder.absolute() != own.absolute():
        words.append(f"hydra.run.dir={in_quotes(str(folder))}")
    return " ".join(map(_for_shell, words))


def _for_shell(word: str) -> str:
    """A word as one would write it for a shell.

    >>> print(_for_shell("hydra.run.dir='runs/grid/lr=1e-4,seed=0'"))
    "hydra.run.dir='runs/grid/lr=1e-4,seed=0'"
    """
    is_literal = "'" in word and not set(word) & set('"$`\\!')
    return f'"{word}"' if is_literal else shlex.quote(word)


def _captioner_and_data(
    config: Any, plain: dict[str, Any], captioner_of: Callable[..., Any], shelf: Shelf | None
) -> tuple[Any, Any]:
    from blippose import training  # noqa: PLC0415
    from blippose.blip import load_blip, load_tokenizer  # noqa: PLC0415
    from blippose.frame_file import check_locations, lineage_of  # noqa: PLC0415
    from blippose.location_tokens import (  # noqa: PLC0415
        add_location_tokens,
        grow_vocabulary,
        with_location_tokens,
    )
    from blippose.preparation import check_length  # noqa: PLC0415

    model = plain["model"]
    caption_format = instantiate_key(config, "model.caption")
    tokenizer = load_tokenizer(model["tokenizer"])
    architecture = with_location_tokens(model["architecture"], tokenizer)
    add_location_tokens(tokenizer, caption_format)
    check_length(tokenizer, caption_format, architecture["text"]["max_position_embeddings"])
    check_locations(model["weights"], caption_format)
    fit_together = {"caption_format": caption_format, "tokenizer": tokenizer}
    shown = {"close_up": _close_up(plain)} if "close_up" in plain["data"] else {}
    data = instantiate_key(config, "data")(**fit_together, **shown)
    if shelf is None:
        data.prepare_data()
        data.setup()  # before the weights, which may be a gigabyte to fetch
        blip = load_blip(model["weights"], architecture)
    else:
        shelf.set_up(data)
        blip = shelf.blip(model["weights"], architecture)
    grow_vocabulary(blip, tokenizer, caption_format)
    training.seed(plain["seed"])  # again: what is kept from an earlier cell drew nothing
    captioner = captioner_of(blip=blip, **fit_together)
    captioner.lineage = lineage_of(model["weights"])
    return captioner, data


def _close_up(plain: Mapping[str, Any]) -> float:
    """The share of close-ups among training samples; null is half where they are asked for."""
    share: float | None = plain["data"].get("close_up")
    if share is not None:
        return share
    return 0.5 if plain["decoding"].get("close_up") is True else 0.0


def _check_cells_are_told(captioner: Mapping[str, Any]) -> None:
    """Refuse to divide patches that nobody is told of.

    Raises:
        UserError: there are cells, and no head that would learn them.
    """
    cells = captioner.get("patch_cells", 1)
    if captioner.get("patch_weight", 0.0) == 0 and isinstance(cells, int) and cells > 1:
        raise UserError(
            f"captioner.patch_cells={cells} divides patches that nobody is told of, as "
            "captioner.patch_weight is 0 here: leave patch_cells 1, or set "
            "captioner.patch_weight=0.3"
        )


def _patch_weight(plain: dict[str, Any], run: Run) -> dict[str, float]:
    """What null stands for: 0 where the weights know poses, or nobody would learn by it.

    A run that goes on keeps what it began with, whatever its weights' folder says by now.
    """
    from blippose.frame_file import knows_poses  # noqa: PLC0415
    from blippose.model import LEARN_TO_LOOK  # noqa: PLC0415
    from blippose.trained_weights import has_patch_head  # noqa: PLC0415

    captioner = plain["captioner"]
    if captioner.get("patch_weight", 0.0) is not None:
        return {}
    if run.resume_from is not None and "patch_weight" in run.record:
        return {"patch_weight": run.record["patch_weight"]}
    if plain["ckpt_path"] is not None:  # as it was trained before
        is_off = not has_patch_head(Path(plain["ckpt_path"]).expanduser())
    else:
        is_off = plain["init_from"] is not None or knows_poses(plain["model"]["weights"])
    if is_off or captioner.get("freeze_vision"):
        return {"patch_weight": 0.0}
    print(f"weights that know no poses: captioner.patch_weight={LEARN_TO_LOOK}", flush=True)
    return {}
