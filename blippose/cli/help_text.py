"""`--help` of a command: its flags, the choices of its groups, its keys with their values now.

What keys and choices mean is said in conf/, in the comments, and read from there.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from blippose.cli.config import SEARCH_PATH
from blippose.cli.groups import GLOBAL, conf, groups_of, is_change
from blippose.spelling import spelled

_WIDTH, _COLUMN = 80, 28  # of the page; where explanations begin
_OF_TRAIN = ("hydra/launcher", "hydra/sweeper")  # groups of a grid, of which conf/ holds some
_FLAGS = {
    "--cfg job": "print the settings that these words make, and run nothing",
    "--cfg job --resolve": "the same, with what refers to other keys filled in",
    "--info defaults": "print which files of conf/ the settings come from, in order",
    "--config-dir FOLDER": "take choices of your own from there as well: experiment=mine is "
    "FOLDER/experiment/mine.yaml",
    "-h, --help": "this; with other words too: it tells what they make of the settings",
}
_GRID = {"-m, --multirun": "a grid: every combination of key=a,b"}


def help_text(command: str, overrides: Sequence[str]) -> str:
    """What `COMMAND OVERRIDES --help` prints."""
    with initialize_config_dir(str(conf()), version_base="1.3"):
        config = compose(command, _of_one_run(overrides), return_hydra_config=True)
    choices = {str(group): choice for group, choice in config.hydra.runtime.choices.items()}
    folders = _folders(overrides)
    flags = {**_GRID, **_FLAGS} if command == "train" else _FLAGS
    sections = (
        config.hydra.help.header.rstrip(),
        "Flags, anywhere after the command:",
        _table((f"  {flag}", what) for flag, what in flags.items()),
        *_groups_section(command, choices, folders),
        "Settings (key=value) and what they are now:",
        _settings(config, _comments(command, choices, folders), choices),
    )
    return "\n\n".join(sections)


def _of_one_run(overrides: Sequence[str]) -> list[str]:
    """Without the axes of a grid, which have no one value to show."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [str(item.input_line) for item in parsed if not item.is_sweep_override()]


def _folders(overrides: Sequence[str]) -> list[Path]:
    """conf/, and those of the user's own."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    own: list[Any] = [item.value() for item in parsed if item.key_or_group == SEARCH_PATH]
    return [conf(), *(Path(place.removeprefix("file://")) for places in own for place in places)]


def _groups_section(
    command: str, choices: Mapping[str, str | None], folders: Sequence[Path]
) -> Iterator[str]:
    groups = [*groups_of(command), *(_OF_TRAIN if command == "train" else ())]
    if not groups:
        return
    yield "Groups (group=choice); * is the choice now:"
    for group in groups:
        paths = [path for folder in folders for path in sorted((folder / group).glob("*.yaml"))]
        options = [(path.stem, _first_sentence(path)) for path in paths]
        if none := _of_no_choice(command, group):
            options = [("null", none), *options]
        choice = choices.get(group) or "null"
        yield _table(
            (f"{'*' if option == choice else ' '} {group}={option}", what)
            for option, what in options
        )


def _of_no_choice(command: str, group: str) -> str | None:
    """What a command's file says behind the null of a group that it makes no choice in."""
    text = (conf() / f"{command}.yaml").read_text(encoding="utf-8")
    found = re.search(rf"^  - {group}: null +# (.+)$", text, flags=re.MULTILINE)
    return found and found[1]


def _first_sentence(path: Path) -> str:
    """Of the comment that opens a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line != GLOBAL]
    first = next(i for i, line in enumerate([*comments, ""]) if not re.match(r"# \S", line))
    text = " ".join(line.removeprefix("# ") for line in comments[:first])
    return re.split(r"(?<=\.)\s+(?=[A-Z])", text)[0].removesuffix(".")


def _settings(config: Any, comments: Mapping[str, str], choices: Mapping[str, str | None]) -> str:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    ours = {key: value for key, value in plain.items() if key != "hydra"}
    for group in _OF_TRAIN:
        if (conf() / group / f"{choices.get(group)}.yaml").is_file():
            name = group.partition("/")[2]
            ours[f"hydra.{name}"] = plain["hydra"][name]
    own = {key: value for key, value in ours.items() if not isinstance(value, dict)}
    parts = [own, *({key: ours[key]} for key in ours if key not in own)]
    return "\n\n".join(_table(_rows(part, comments)) for part in parts)


def _rows(
    node: Mapping[str, Any], comments: Mapping[str, str], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """A key with its value, and what it means; a block of keys where something is said of it."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if name in ("_target_", "_partial_"):
            continue
        comment = comments.get(key, "")
        if not (isinstance(value, dict) and value):
            yield f"  {key}={_word(value)}", f"needed: {comment}" if value == "???" else comment
            continue
        if comment:
            yield f"  {key}.", comment
        yield from _rows(value, comments, f"{key}.")


def _word(value: Any) -> str:
    """As it stands on the command line."""
    if value == "???":
        return "VALUE"
    if isinstance(value, list):
        return f"[{','.join(map(_word, value))}]"
    return spelled(value)


def _comments(
    command: str, choices: Mapping[str, str | None], folders: Sequence[Path]
) -> dict[str, str]:
    """What conf/ says of each dotted key: where the key is at home, not where it is changed."""
    comments = _comments_of(conf() / f"{command}.yaml")
    changes: dict[str, str] = {}
    for group, choice in choices.items():
        paths = [folder / group / f"{choice}.yaml" for folder in folders]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            continue
        changes_others = is_change(path)
        prefix = "" if changes_others else f"{group.replace('/', '.')}."
        found = {f"{prefix}{key}": text for key, text in _comments_of(path).items()}
        (changes if changes_others else comments).update(found)
    return changes | comments


def _comments_of(path: Path) -> dict[str, str]:
    """The comment behind each dotted key of a file, and of those that it builds on."""
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text)
    bases = (yaml.safe_load(text) or {}).get("defaults", ())
    siblings = [path.with_name(f"{base}.yaml") for base in bases if isinstance(base, str)]
    comments: dict[str, str] = {}
    for sibling in siblings:
        if sibling.is_file():
            comments |= _comments_of(sibling)
    return comments | dict(_comments_in(root, text.splitlines()))


def _comments_in(
    node: yaml.Node | None, lines: Sequence[str], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        # Of a block of keys the comment stands behind its own key.
        is_block = value.start_mark.line > key.start_mark.line
        mark = key.end_mark if is_block else value.end_mark
        rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
        before, _, comment = rest.partition("#")
        if before.strip() in ("", ":"):
            # Also an empty one: a block in place of a base's null is not what the base says of it.
            yield from [(f"{prefix}{key.value}", comment.strip())] * bool(comment or is_block)
        yield from _comments_in(value, lines, f"{prefix}{key.value}.")


def _table(rows: Iterator[tuple[str, str]]) -> str:
    """Words, and beside them what they mean: below, where they are long."""
    return "\n".join(line for word, what in rows for line in _entry(word, what))


def _entry(word: str, what: str) -> Iterator[str]:
    lines = textwrap.wrap(what, _WIDTH - _COLUMN, break_long_words=False, break_on_hyphens=False)
    if lines and len(word) <= _COLUMN - 2:
        word = f"{word:<{_COLUMN}}{lines.pop(0)}"
    yield word
    yield from (" " * _COLUMN + line for line in lines)
