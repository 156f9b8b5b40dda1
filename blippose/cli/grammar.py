"""What stands between the user's words and Hydra: flags, quotes, grids, and errors in one line."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose.errors import UserError
from blippose.spelling import spelled

# Of Hydra, whose value is a word of its own.
_FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--info", "-i", "--experimental-rerun"),
)
# What stands for -m where there are no grids.
_INSTEAD_OF_GRID = {
    "data": "other settings are a call each",
    "eval": "several runs are run=[A,B], or a glob in quotes",
    "predict": "several images are images=[A,B], several models a call each with its own out=",
    "report": "several are named in one call, `blippose report A B`",
    "export": "several runs are a call each with its own out=",
    **dict.fromkeys(("analyze_attention", "analyze_occlusion"), "several runs are a call each"),
}
# Of commands to which a path alone is a mistake: the key that it is most likely meant for.
_PATH_KEYS = {
    "predict": "images",
    **dict.fromkeys(("export", "analyze_attention", "analyze_occlusion"), "run"),
}
GLOBAL = "# @package _global_"  # begins a choice that changes keys of others
# Hydra reads them as numbers, truths and nothing.
_NO_WORD = re.compile(r"null|true|false|nan|[+-]?(inf|[\d.][\d._e+-]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Flags:
    """The words of a command, told apart.

    Args:
        overrides: key=value.
        is_multirun: -m asks for a grid.
        helps: --help asks for the settings to be explained.
        prints: Hydra is to print something, and no job to run.
    """

    overrides: list[str]
    is_multirun: bool
    helps: bool
    prints: bool


def conf() -> Path:
    """conf/ inside the installed package, or at the repository's top."""
    inside = Path(__file__).parents[1] / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags with their values, and the other words, which Hydra wants side by side.

    >>> split_flags(["optimizer.lr=1,2", "--cfg", "job", "seed=1"])
    (['--cfg', 'job'], ['optimizer.lr=1,2', 'seed=1'])
    """
    flags: list[str] = []
    others: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_flag = argument.startswith("-") or before in _FLAGS_WITH_VALUE
        (flags if is_flag else others).append(argument)
    return flags, others


def parse_flags(command: str, arguments: list[str]) -> Flags:
    """What flags ask for.

    Raises:
        UserError: a flag that Hydra does not know, or -m where there are no grids.
    """
    from hydra._internal.utils import get_args_parser  # noqa: PLC0415  it has no public name

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            flags = get_args_parser().parse_args(arguments)
    except SystemExit as error:
        line = complaint.getvalue().strip().rpartition("error: ")[2]
        raise UserError(f"{line}; `blippose {command} --help` lists the flags") from error
    if bare := [word for word in flags.overrides if not word.partition("=")[0].strip("+~ ")]:
        raise UserError(f"{bare[0]}: expected key=value, got no key")
    _check_added(flags.overrides, command)
    prints = bool(flags.hydra_help or flags.cfg or flags.info)
    if flags.multirun and command in _INSTEAD_OF_GRID and not (flags.help or prints):
        raise UserError(f"-m: grids are of train alone; {_INSTEAD_OF_GRID[command]}")
    _check_one_of(flags)
    return Flags(flags.overrides, flags.multirun, flags.help, prints)


def _check_added(overrides: Sequence[str], command: str) -> None:
    """Refuses +key=value where nothing would read the key, or where there is nothing to add.

    Below a key that the command has, anything may be added: what reads it says what it thinks.
    """
    added = [word.lstrip("+").partition("=")[0] for word in overrides if word.startswith("+")]
    if not added:  # as nearly always: nothing is read for it
        return
    import yaml  # noqa: PLC0415

    own = yaml.safe_load((conf() / f"{command}.yaml").read_text(encoding="utf-8"))
    groups = groups_of(command)
    known = {*own, *groups, "hydra"} - {"defaults"}
    chosen = {word.partition("=")[0] for word in overrides}
    for key in added:
        first = re.split(r"[.@/]", key)[0]
        is_put_elsewhere = re.search("[@/]", key) and first != "hydra"
        has_no_choice = groups.get(first, "") is None and first not in chosen  # decoding: null
        if first not in known or is_put_elsewhere or (has_no_choice and first != key):
            raise UserError(f"+{key}: {_unknown(key, command)}")
        if key in groups or key.startswith("hydra/"):
            raise UserError(f"+{key}: leave out the +, as the command has {key} already")


def _check_one_of(flags: Any) -> None:
    """Hydra's own word on two wishes is a traceback."""
    if flags.multirun and (flags.cfg or flags.info) and not flags.help:
        raise UserError(
            "-m: --cfg and --info show one run; leave out -m, and give each key one value "
            "(dry_run=true lists the cells of a grid)"
        )
    if flags.cfg and flags.info:
        raise UserError("--cfg and --info: each prints something else; give one of them")


def named(arguments: Sequence[str], key: str) -> list[str]:
    """Paths that stand alone as `key`: `report runs/a runs/b` is `report run=['runs/a','runs/b']`.

    A path that exists is one even with = in its name.

    Raises:
        UserError: the key itself is given as well.
    """
    paths, others = [], []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_word = "=" not in argument and not argument.startswith(("-", "~"))
        is_path = is_word and before not in _FLAGS_WITH_VALUE
        if is_path or (not argument.startswith("-") and is_there(argument)):
            paths.append(_quote(argument))
        else:
            others.append(argument)
    value = paths[0] if len(paths) == 1 else f"[{','.join(paths)}]"
    if paths and (also := [word for word in others if word.lstrip("+").startswith(f"{key}=")]):
        raise UserError(f"{also[0]}: {value} stands beside it, for the same key; give one list")
    return [*others, f"{key}={value}"] if paths else others


def _quote(value: str) -> str:
    return "'" + value.replace("'", r"\'") + "'"


def quoted(argument: str) -> str:
    """Quotes round a path that exists, as Hydra's grammar reads runs/a/lr=1,x=2 otherwise.

    And round a glob, such as runs/a/seed=*, of which nothing need exist.
    """
    key, _, value = argument.partition("=")
    is_plain = not re.search(r"[,=:()\[\]{}'\"\s]", value)
    is_glob = re.search(r"[*?]", value) and not re.search(r"[,()\[\]{}'\"\s]", value)
    is_path = is_glob or is_there(value)
    if is_plain or key.startswith("-") or not is_path:
        return argument
    return f"{key}={_quote(value)}"


@contextlib.contextmanager
def printed_at_once(flags: Flags) -> Iterator[None]:
    """Holds back what Hydra prints: it logs, and logging shows a traceback where `| head` ends."""
    if not flags.prints:
        yield
        return
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        print(printed.getvalue(), end="")


def is_there(word: str) -> bool:
    """Whether it names a file or folder, which many words with commas are too long to do."""
    try:
        return Path(word).expanduser().exists()
    except OSError:  # a name of over 255 bytes
        return False


def choices(command: str, argument: str) -> str | None:
    """An argument as Hydra bears it: of a group it takes words alone, and else shows a traceback.

    What is no choice becomes a word, which Hydra refuses with those that there are:
    `decoding=null` is `decoding='null'`. None where null is the command's own choice.
    """
    key, is_given, value = argument.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if not (is_given and group) or value.startswith("{") or not _is_group(group):
        return argument
    is_optional = groups_of(command).get(group, "") is None
    if is_optional and value.lower() == "null":
        return None
    if value.startswith("["):
        stays = not value.endswith("]") or group.startswith("hydra/") or _are_changes(group)
        return argument if stays else f"{key}={_quote(value)}"
    words = [_quote(word) if _NO_WORD.fullmatch(word) else word for word in value.split(",")]
    return f"{key}={','.join(words)}"


def _are_changes(group: str) -> bool:
    """Whether the choices of a group change keys of others, so that several may go together."""
    return all(is_change(path) for path in (conf() / group).glob("*.yaml"))


def is_change(choice: Path) -> bool:
    """Whether the file of a choice changes keys of others, rather than having its own."""
    return choice.read_text(encoding="utf-8").startswith(GLOBAL)


def _is_group(key: str) -> bool:
    return key.startswith("hydra/") or (conf() / key).is_dir()


def groups_of(command: str) -> dict[str, str | None]:
    """The groups of a command, and the choice that it makes in each."""
    import yaml  # noqa: PLC0415

    config = yaml.safe_load((conf() / f"{command}.yaml").read_text(encoding="utf-8"))
    items = [item for item in config["defaults"] if isinstance(item, dict)]
    groups = {group: option for item in items for group, option in item.items()}
    return {group: option for group, option in groups.items() if "override " not in group}


@contextlib.contextmanager
def arguments_of(command: str, arguments: list[str]) -> Iterator[None]:
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
def explained(command: str) -> Iterator[None]:
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
        word = str(error.override)
        why = f" ({first})" if "=" in word else _meant(word, command)
        return f"{word}: cannot be read as key=value{why}"
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={option}: no such choice; choose one of {', '.join(error.options)}"
    if "Ambiguous value" in first:
        return _several(first, command)
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown[1].partition("@")[0]
        return f"{key}: {_unknown(key, command)}"
    return f"{first} (`blippose {command} --help` shows the keys)"


def _meant(word: str, command: str) -> str:
    """Of a word that is no key=value."""
    if command in _PATH_KEYS:
        return f"; did you mean {_PATH_KEYS[command]}={word}?"
    if command == "train" and word.endswith((".yaml", ".yml")):
        return f"; did you mean `blippose sweep {word}`?"
    return f"; expected {word}=VALUE" if word in _known_keys(command) else ""


def _several(complaint: str, command: str) -> str:
    """Of key=a,b, which Hydra has called ambiguous."""
    word = complaint.partition("'")[2].rpartition("'")[0]
    key, _, values = word.partition("=")
    grid = "" if command in _INSTEAD_OF_GRID else "a grid needs -m, "
    return f"{word}: one value is expected here; {grid}a list is {key}=[{values}]"


def _unknown(key: str, command: str) -> str:
    """Of a key that the config has not: whose it is, or what is near."""
    from blippose.arguments import suggest  # noqa: PLC0415

    if owners := _owners(key, command):
        *others, last = owners
        return (
            f"belongs to {', '.join(others)} or {last}; add one"
            if others
            else f"belongs to {last}"
        )
    group, _, own = key.partition(".")
    near = difflib.get_close_matches(own, _keys_of_choices(group, command), n=1, cutoff=0.7)
    if near:
        return f"no such key; did you mean {group}.{near[0]}?"
    return f"no such key{suggest(key, _known_keys(command))}"


def _owners(key: str, command: str) -> list[str]:
    """The choices of a group that have the key: of `data.synthetic` it is data=synthetic."""
    group, _, own = key.partition(".")
    return [
        f"{group}={choice}"
        for choice, keys in _choices_with_keys(group, command)
        if any(found == own or found.startswith(f"{own}.") for found in keys)
    ]


def _keys_of_choices(group: str, command: str) -> list[str]:
    """Keys that some choice of a group has, without its name; none where it is no group."""
    found = [own for _, keys in _choices_with_keys(group, command) for own in keys]
    return [own for own in dict.fromkeys(found) if not own.endswith("_")]


def _choices_with_keys(group: str, command: str) -> Iterator[tuple[str, list[str]]]:
    import yaml  # noqa: PLC0415

    from blippose.identity import flatten  # noqa: PLC0415

    if group in groups_of(command):
        for path in sorted((conf() / group).glob("*.yaml")):
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            yield path.stem, [own for own, _ in flatten(content)]


def _known_keys(command: str) -> list[str]:
    """Dotted keys of the command's default config, and its groups."""
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    from blippose.identity import flatten  # noqa: PLC0415

    with initialize_config_dir(str(conf()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose(command), resolve=False)
    keys = [key for key, _ in flatten(config) if not key.endswith("_target_")]
    return [*keys, *groups_of(command)]


def swept_keys(overrides: list[str]) -> list[str]:
    """Keys that are given several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415
    from hydra.errors import OverrideParseException  # noqa: PLC0415

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(_explain(error, "train")) from error
    return [item.key_or_group for item in parsed if item.is_sweep_override()]


def check_swept(swept: Sequence[str]) -> None:
    """Refuses a grid whose cells would not each have their own folder in that of the grid."""
    if not swept:
        raise UserError("-m: no key has several values; such as optimizer.lr=1e-4,4e-4")
    for key in ("name", "runs"):
        if key in swept:
            raise UserError(f"{key}: names the folder of the whole grid; give it one value")


def cell_name(
    overrides: Sequence[str], swept: Sequence[str], write: Callable[[Any], str] = spelled
) -> str:
    """A folder name for one cell of a grid: "batch_size=2,lr=2e-5", sorted."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {item.key_or_group: item.value() for item in parsed if item.key_or_group in swept}
    ends = [key.rpartition(".")[2] for key in values]
    names = {
        key if ends.count(end) > 1 else end: value
        for (key, value), end in zip(values.items(), ends, strict=True)
    }
    cell = ",".join(f"{name}={write(value)}" for name, value in sorted(names.items()))
    return re.sub(r"[^\w.,=+-]", "_", cell)
