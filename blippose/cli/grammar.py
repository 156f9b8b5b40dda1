"""What stands between the user's words and Hydra: flags, quotes, paths and choices."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose.cli.config import SEARCH_PATH
from blippose.cli.groups import are_changes, conf, groups_of, is_group
from blippose.cli.mistakes import INSTEAD_OF_GRID, unknown
from blippose.errors import UserError
from blippose.spelling import in_quotes

# Of Hydra, whose value is a word of its own.
_FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--info", "-i", "--experimental-rerun"),
)
# Hydra reads them as numbers, truths and nothing.
_NO_WORD = re.compile(r"null|true|false|nan|[+-]?(inf|[\d.][\d._e+-]*)", re.IGNORECASE)
# Its grammar reads these as they stand, and these at all; the rest it reads in quotes alone.
_PLAIN = re.compile(r"[\w/+.$%*@?|-]*", re.ASCII)
_READ = re.compile(r"[\w/+.$%*@?|\\:,=()\[\]{}'\" \t-]*", re.ASCII)


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
    if flags.multirun and command in INSTEAD_OF_GRID and not (flags.help or prints):
        raise UserError(f"-m: grids are of train alone; {INSTEAD_OF_GRID[command]}")
    _check_one_of(flags)
    own = [_search_path(flags, command)] if flags.config_dir else []
    return Flags([*flags.overrides, *own], flags.multirun, flags.help, prints)


def _search_path(flags: Any, command: str) -> str:
    """--config-dir as the override that cells of a grid and recorded commands can bear."""
    folder = Path(flags.config_dir).expanduser()
    if not folder.is_dir():
        raise UserError(f"--config-dir {flags.config_dir}: no such folder")
    if beside := [word for word in flags.overrides if word.startswith(f"{SEARCH_PATH}=")]:
        raise UserError(
            f"{beside[0]}: stands beside --config-dir, which sets it; give one of them"
        )
    from blippose.cli.own_choices import check_own_choices  # noqa: PLC0415  omegaconf

    check_own_choices(folder, flags.overrides, command)
    return f"{SEARCH_PATH}=[{in_quotes(f'file://{folder.absolute()}')}]"


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
            raise UserError(f"+{key}: {unknown(key, command)}")
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
        is_of_flag = argument.startswith("-") or before in _FLAGS_WITH_VALUE
        is_word = "=" not in argument and not argument.startswith("~")
        if not is_of_flag and (is_word or is_there(argument)):
            paths.append(in_quotes(argument))
        else:
            others.append(argument)
    value = paths[0] if len(paths) == 1 else f"[{','.join(paths)}]"
    if paths and (also := [word for word in others if word.lstrip("+").startswith(f"{key}=")]):
        raise UserError(f"{also[0]}: {value} stands beside it, for the same key; give one list")
    return [*others, f"{key}={value}"] if paths else others


def quoted(argument: str) -> str:
    """Quotes round a path that exists, as Hydra's grammar reads runs/a/lr=1,x=2 otherwise.

    And round a glob, such as runs/a/seed=*, and values with a #, a ~ or anything else that this
    grammar does not read at all: of these nothing need exist.
    """
    at_home = re.fullmatch(r"runs=(['\"]?)(~/.*)\1", argument)
    if at_home is not None:  # not every shell expands it, and no sweep file does
        return f"runs={in_quotes(str(Path(at_home[2]).expanduser()))}"
    key, _, value = argument.partition("=")
    if _PLAIN.fullmatch(value) or key.startswith("-"):
        return argument
    is_glob = re.search(r"[*?]", value) and not re.search(r"[,()\[\]{}'\"\s]", value)
    if is_glob or is_there(value):
        return f"{key}={in_quotes(value)}"
    plain_values = re.fullmatch(r"(\[?)([^()\[\]{}'\"]*)(\]?)", value)
    if not _READ.fullmatch(value) and plain_values:
        opening, values, closing = plain_values.groups()
        return f"{key}={opening}{','.join(map(in_quotes, values.split(',')))}{closing}"
    return argument


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
    except (OSError, RuntimeError):  # a name of over 255 bytes, the home of nobody
        return False


def choices(command: str, argument: str) -> str | None:
    """An argument as Hydra bears it: of a group it takes words alone, and else shows a traceback.

    What is no choice becomes a word, which Hydra refuses with those that there are:
    `decoding=null` is `decoding='null'`. None where null is the command's own choice.
    """
    key, is_given, value = argument.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if not (is_given and group) or value.startswith("{") or not is_group(group):
        return argument
    is_optional = groups_of(command).get(group, "") is None
    if is_optional and value.lower() == "null":
        return None
    if value.startswith("["):
        stays = not value.endswith("]") or group.startswith("hydra/") or are_changes(group)
        return argument if stays else f"{key}={in_quotes(value)}"
    words = [in_quotes(word) if _NO_WORD.fullmatch(word) else word for word in value.split(",")]
    return f"{key}={','.join(words)}"


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
