"""The `blippose` program: commands in Hydra's grammar, and every mistake in one line.

The only file that sees hydra or a DictConfig. Imports nothing heavy before a command needs it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from blippose import __version__
from blippose.errors import UserError

if TYPE_CHECKING:
    from blippose.runs import Run

_Keys = TypeVar("_Keys")

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

    arguments = [_quoted(argument) for argument in arguments]
    overrides, is_multirun, runs_jobs = _parse_flags(command, arguments)
    OmegaConf.register_new_resolver("cell", _cell_name, replace=True)
    outcome = _Outcome()
    job = _job(command, outcome, is_multirun)
    if is_multirun:
        swept = _swept_keys(overrides)
        if runs_jobs:
            _check_swept(swept)
        arguments = [*arguments, f"{_SWEPT}=[{','.join(swept)}]"]
    with _arguments_of(command, arguments), _explained(command):
        hydra.main(version_base="1.3", config_path=str(_conf()), config_name=command)(job)()
    if is_multirun and outcome.status:
        failed = sum(map(bool, outcome.statuses))
        _refuse(f"{failed} of {len(outcome.statuses)} runs did not end well")
    return outcome.status


def _conf() -> Path:
    """conf/ inside the installed package, or at the repository's top."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "conf"


def _parse_flags(command: str, arguments: list[str]) -> tuple[list[str], bool, bool]:
    """Hydra's overrides, whether -m asks for a grid, and whether jobs run: not for --help.

    Raises:
        UserError: a flag that Hydra does not know.
    """
    from hydra._internal.utils import get_args_parser  # noqa: PLC0415  it has no public name

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            flags = get_args_parser().parse_args(arguments)
    except SystemExit as error:
        line = complaint.getvalue().strip().rpartition("error: ")[2]
        raise UserError(f"{line}; `blippose {command} --help` lists the flags") from error
    runs_jobs = not (flags.help or flags.hydra_help or flags.cfg or flags.info)
    return flags.overrides, flags.multirun, runs_jobs


def _quoted(argument: str) -> str:
    """Quotes round a path that exists, as Hydra's grammar reads runs/a/lr=1,x=2 otherwise."""
    key, _, value = argument.partition("=")
    is_plain = not re.search(r"[,=:()\[\]{}'\"\s]", value)
    if is_plain or key.startswith("-") or not Path(value).expanduser().exists():
        return argument
    escaped = value.replace("'", r"\'")
    return f"{key}='{escaped}'"


@contextlib.contextmanager
def _arguments_of(command: str, arguments: list[str]) -> Iterator[None]:
    """What hydra.main reads: sys.argv, and the wish to have errors raised rather than printed."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [f"blippose {command}", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]


@contextlib.contextmanager
def _explained(command: str) -> Iterator[None]:
    """Hydra's errors as the user's mistakes, in one line."""
    from hydra.core.global_hydra import GlobalHydra  # noqa: PLC0415
    from hydra.errors import HydraException  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    try:
        yield
    except SystemExit as error:  # --help and --cfg end so
        if error.code:
            raise
    except (HydraException, OmegaConfBaseException) as error:
        GlobalHydra.instance().clear()
        raise UserError(_explain(error, command)) from error
    except OSError as error:  # of the run folder: jobs keep theirs to themselves
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: cannot be written ({error.strerror})") from error


def _explain(error: Exception, command: str) -> str:
    from hydra.errors import MissingConfigException, OverrideParseException  # noqa: PLC0415

    text = str(error)
    first = text.strip().splitlines()[0]
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as key=value ({first})"
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={option}: no such choice; choose one of {', '.join(error.options)}"
    if "Ambiguous value" in first:
        return f"{first}: several values are a grid, which needs -m; a list is key=[a,b]"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        from blippose.arguments import suggest  # noqa: PLC0415

        key = unknown[1].partition("@")[0]
        return f"{key}: no such key{suggest(key, _known_keys(command))}"
    return f"{first} (`blippose {command} --help` shows the keys)"


def _known_keys(command: str) -> list[str]:
    """Dotted keys of the command's default config, and its groups."""
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    from blippose.runs import flatten  # noqa: PLC0415

    with initialize_config_dir(str(_conf()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose(command), resolve=False)
    return [key for key, _ in flatten(config)] + [path.name for path in _conf().iterdir()]


def _swept_keys(overrides: list[str]) -> list[str]:
    """Keys that are given several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415
    from hydra.errors import OverrideParseException  # noqa: PLC0415

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(_explain(error, "train")) from error
    return [item.key_or_group for item in parsed if item.is_sweep_override()]


def _check_swept(swept: Sequence[str]) -> None:
    """Refuses a grid whose cells would not each have their own folder in that of the grid."""
    if not swept:
        raise UserError("-m: no key has several values; such as optimizer.lr=1e-4,4e-4")
    for key in ("name", "runs"):
        if key in swept:
            raise UserError(f"{key}: names the folder of the whole grid; give it one value")


def _cell_name(overrides: Sequence[str], swept: Sequence[str]) -> str:
    """A folder name for one cell of a grid: "batch_size=2,lr=2e-05", sorted."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {item.key_or_group: item.value() for item in parsed if item.key_or_group in swept}
    ends = [key.rpartition(".")[2] for key in values]
    names = {
        key if ends.count(end) > 1 else end: value
        for (key, value), end in zip(values.items(), ends, strict=True)
    }
    cell = ",".join(f"{name}={value}" for name, value in sorted(names.items()))
    return re.sub(r"[^\w.,=+-]", "_", cell)


def _job(command: str, outcome: _Outcome, is_multirun: bool) -> Callable[[Any], None]:
    """`command` for Hydra: it never raises, but Ctrl-C, so that the rest of a grid goes on."""
    program = sys.argv[0]

    def job(config: Any) -> None:
        # Lightning starts its other processes by this; -m would start the whole grid again.
        sys.argv = [program, command, *_overrides()]
        try:
            status = _COMMANDS[command](config)
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


def _plain(config: Any) -> dict[str, Any]:
    """The config as plain containers, interpolations resolved.

    Raises:
        UserError: a key that the user must give is still open.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415

    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        wanted = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"{', '.join(missing)}: not given; add {wanted}")
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return plain


@dataclass(frozen=True)
class _TrainKeys:
    """Top-level keys of train.yaml."""

    name: str
    runs: str
    seed: int
    ckpt_path: str | None
    init_from: str | None
    keep_last: bool
    debug: bool


@dataclass(frozen=True)
class _DataKeys:
    """Top-level keys of data.yaml."""

    format: Literal["table", "json"]
    manifest: str | None
    seed: int
    debug: bool


@dataclass(frozen=True)
class _ReleaseKeys:
    """Keys of the data group that `blippose data` reads: no model, no batches."""

    root: str | None  # None beside annotations alone
    annotations: str | None
    synthetic: dict[str, Any] | None
    reading: str
    split: str
    train_fraction: float
    split_seed: int


@dataclass(frozen=True)
class _PredictKeys:
    """Keys of predict.yaml."""

    images: str | list[str]
    out: str
    run: str | None
    ckpt: str | None
    batch_size: int
    device: str
    debug: bool


def _checked(keys: Callable[..., _Keys], values: Mapping[str, Any], prefix: str = "") -> _Keys:
    """The keys that a command reads, with the types that it needs."""
    from blippose.arguments import check_arguments  # noqa: PLC0415

    own = {key: values[key] for key in keys.__annotations__}
    check_arguments(keys, own, prefix)
    return keys(**own)


def _train(config: Any) -> int:
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
    from hydra.types import RunMode  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from blippose.runs import Run, is_first_process  # noqa: PLC0415
    from blippose.summary import print_next, print_summary  # noqa: PLC0415

    folder = _short(Path(HydraConfig.get().runtime.output_dir))
    is_multirun = HydraConfig.get().mode is RunMode.MULTIRUN
    try:
        plain = _plain(config)
        run = Run.open(folder, plain)
        if run.is_done:
            print(f"{folder} is done; this is what came out:")
        else:
            _fit(config, plain, run, plain["name"] if is_multirun else None)
        if not is_first_process():
            return 0
    finally:
        with contextlib.suppress(OSError):  # Hydra made it before anything was checked
            folder.rmdir()
    print_summary(run, Console())
    if not is_multirun:
        print_next(run, Console())
    return 0


def _fit(config: Any, plain: dict[str, Any], run: Run, group: str | None) -> None:
    keys = _checked(_TrainKeys, plain)
    print("loading ...", flush=True)
    from omegaconf import OmegaConf  # noqa: PLC0415

    from blippose import training  # noqa: PLC0415  seconds: torch, lightning, transformers

    _check_targets(plain)
    training.seed(keys.seed)
    parts = {key: _instantiate(config, key) for key in ("optimizer", "scheduler")}
    captioner_of = partial(_instantiate(config, "captioner"), **parts)
    trainer = _instantiate(config, "trainer")
    training.check(**parts, trainer=trainer, ckpt_path=keys.ckpt_path, init_from=keys.init_from)
    captioner, data = _captioner_and_data(config, plain["model"], captioner_of)
    start = run.resume_from
    with run.started():
        run.write_config(OmegaConf.to_yaml(config, resolve=True))
        print(f"going on in {run.folder} from {start.name}" if start else f"into {run.folder}")
        training.fit(
            captioner,
            data,
            _instantiate(config, "trainer"),
            run,
            logger=_instantiate(config, "logger"),
            group=group,
            ckpt_path=keys.ckpt_path,
            init_from=keys.init_from,
            keep_last=keys.keep_last,
        )


def _captioner_and_data(
    config: Any, model: dict[str, Any], captioner_of: Callable[..., Any]
) -> tuple[Any, Any]:
    from blippose.blip import load_blip, load_tokenizer  # noqa: PLC0415

    fit_together = {
        "caption_format": _instantiate(config, "model.caption"),
        "tokenizer": load_tokenizer(model["tokenizer"]),
    }
    data = _instantiate(config, "data")(**fit_together)
    data.prepare_data()
    data.setup()  # before the weights, which may be a gigabyte to fetch
    blip = load_blip(model["weights"], model["architecture"])
    return captioner_of(blip=blip, **fit_together), data


def _instantiate(config: Any, key: str) -> Any:
    """What `_target_` at `key` makes of its keys; None for null.

    Raises:
        UserError: the target refuses a value.
    """
    from hydra.errors import InstantiationException  # noqa: PLC0415
    from hydra.utils import instantiate  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    node = OmegaConf.select(config, key)
    try:
        return None if node is None else instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise UserError(f"{key}: {cause}") from error


def _check_targets(node: Mapping[str, Any], prefix: str = "") -> None:
    """Hold every `_target_`'s keys against its type hints, from the leaves up."""
    from hydra.utils import get_object  # noqa: PLC0415

    from blippose.arguments import check_arguments  # noqa: PLC0415

    for key, value in node.items():
        if isinstance(value, Mapping):
            _check_targets(value, f"{prefix}.{key}" if prefix else key)
    if "_target_" in node:
        own = {k: v for k, v in node.items() if not k.startswith("_") and not _is_target(v)}
        check_arguments(get_object(node["_target_"]), own, prefix)


def _is_target(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _short(path: Path) -> Path:
    """The path from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _data(config: Any) -> int:
    from omegaconf import OmegaConf  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from blippose import audit, mpii, split  # noqa: PLC0415
    from blippose.audit import print_audit  # noqa: PLC0415

    if OmegaConf.is_missing(config.data, "root") and config.data.annotations is not None:
        config.data.root = None  # the counts need no images
    plain = _plain(config)
    keys, source = _checked(_DataKeys, plain), _checked(_ReleaseKeys, plain["data"], "data")
    if keys.manifest is not None:
        split.check_manifest_path(Path(keys.manifest))
    path, images = _release_paths(source)
    with contextlib.redirect_stdout(sys.stderr):  # bars; stdout is for the counts alone
        if source.synthetic is not None and source.annotations is None:
            _write_synthetic(path.parent, source.synthetic)
        release = mpii.read_release(path)
    counts = audit.audit(
        release,
        source.reading,
        kind=source.split,
        fraction=source.train_fraction,
        seed=source.split_seed,
        images=images,
    )
    if keys.format == "json":
        print(json.dumps(counts, indent=1))
    else:
        print_audit(counts, Console())
    if keys.manifest is not None:
        persons = mpii.select(release, source.reading)
        halves = split.split_persons(
            persons, source.split, source.train_fraction, source.split_seed
        )
        record = split.manifest(persons, halves, release, source.reading)
        split.write_manifest(Path(keys.manifest), record)
        print(f"wrote {keys.manifest}", file=sys.stderr)
    return 0


def _release_paths(source: _ReleaseKeys) -> tuple[Path, Path | None]:
    """The .mat, and the folder of its images where one is meant."""
    from blippose.mpii import ANNOTATIONS  # noqa: PLC0415

    root = None if source.root is None else Path(source.root).expanduser()
    if source.annotations is None:
        if root is None:
            raise UserError("data.root=null: expected a folder, or data.annotations=FILE")
        return root / ANNOTATIONS, root / "images"
    path = Path(source.annotations).expanduser()
    if root is None or source.synthetic is not None:  # drawn images are not those of the file
        return path, None
    return path, root / "images"


def _write_synthetic(root: Path, settings: Mapping[str, Any]) -> None:
    from blippose.arguments import check_arguments  # noqa: PLC0415
    from blippose.synthetic import write_release  # noqa: PLC0415

    own = {key: value for key, value in settings.items() if not key.startswith("_")}
    check_arguments(write_release, own, "data.synthetic")
    write_release(root, **own)


def _predict(config: Any) -> int:
    keys = _checked(_PredictKeys, _plain(config))
    if keys.run is not None and keys.ckpt is not None:
        raise UserError("run and ckpt: both name a model; give one of them")
    if keys.batch_size < 1:
        raise UserError(f"batch_size={keys.batch_size}: expected 1 or more")
    from blippose.images import find_images  # noqa: PLC0415

    paths = find_images(keys.images)
    print(f"loading the model for {len(paths)} images ...", flush=True)
    from blippose.prediction_files import predict_files  # noqa: PLC0415  seconds, as training
    from blippose.predictor import PosePredictor  # noqa: PLC0415

    if keys.run is not None:
        predictor = PosePredictor.from_run(keys.run, keys.device)
    elif keys.ckpt is not None:
        predictor = PosePredictor.from_checkpoint(keys.ckpt, keys.device)
    else:
        predictor = PosePredictor.from_pretrained("tiny", keys.device)
    out = Path(keys.out).expanduser()
    status = predict_files(predictor, paths, out, keys.batch_size, sys.stderr.isatty())
    print(f"model {predictor.source}; overlays, JSON and CSV in {out}")
    return status


_COMMANDS: dict[str, Callable[[Any], int]] = {
    "data": _data,
    "train": _train,
    "predict": _predict,
}
