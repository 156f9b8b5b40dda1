"""The groups of conf/ as they lie on the disk: their choices and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

GLOBAL = "# @package _global_"  # begins a choice that changes keys of others


def conf() -> Path:
    """conf/ inside the installed package, or at the repository's top."""
    inside = Path(__file__).parents[1] / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def is_change(choice: Path) -> bool:
    """Whether the file of a choice changes keys of others, rather than having its own."""
    # Hydra takes it from the first line alone.
    first = choice.read_text(encoding="utf-8").lstrip().partition("\n")[0]
    return first.startswith("#") and first.lstrip("#").split() == GLOBAL.split()[1:]


def are_changes(group: str) -> bool:
    """Whether the choices of a group change keys of others, so that several may go together."""
    return all(is_change(path) for path in (conf() / group).glob("*.yaml"))


def is_group(key: str) -> bool:
    """Whether a key is a group of conf/, or one of Hydra's."""
    return key.startswith("hydra/") or (conf() / key).is_dir()


def groups_of(command: str) -> dict[str, str | None]:
    """The groups of a command, and the choice that it makes in each."""
    import yaml  # noqa: PLC0415

    config = yaml.safe_load((conf() / f"{command}.yaml").read_text(encoding="utf-8"))
    items = [item for item in config["defaults"] if isinstance(item, dict)]
    groups = {group: option for item in items for group, option in item.items()}
    return {group: option for group, option in groups.items() if "override " not in group}


def owners(key: str, command: str) -> list[str]:
    """The choices of a group that have the key: of `data.synthetic` it is data=synthetic."""
    group, _, own = key.partition(".")
    return [
        f"{group}={choice}"
        for choice, keys in _choices_with_keys(group, command)
        if any(found == own or found.startswith(f"{own}.") for found in keys)
    ]


def keys_of_choices(group: str, command: str) -> list[str]:
    """Keys that some choice of a group has, without its name; none where it is no group."""
    found = [own for _, keys in _choices_with_keys(group, command) for own in keys]
    return [own for own in dict.fromkeys(found) if not own.endswith("_")]


def targets_of_choices(group: str, command: str) -> list[str]:
    """What the choices of a group make of their keys, each once; none where it is no group."""
    found = [content.get("_target_") for _, content in _choices(group, command)]
    return [target for target in dict.fromkeys(found) if target]


def hydra_keys() -> list[str]:
    """Dotted keys of our launchers and sweepers."""
    import yaml  # noqa: PLC0415

    found = [
        f"hydra.{path.parent.name}.{key}"
        for path in sorted((conf() / "hydra").glob("*/*.yaml"))
        for key in yaml.safe_load(path.read_text(encoding="utf-8"))
        if not key.startswith("_")
    ]
    return list(dict.fromkeys(found))


def _choices_with_keys(group: str, command: str) -> Iterator[tuple[str, list[str]]]:
    from blippose.identity import flatten  # noqa: PLC0415

    for choice, content in _choices(group, command):
        yield choice, [own for own, _ in flatten(content)]


def _choices(group: str, command: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The choices of a group with what their files say; none where it is no group."""
    import yaml  # noqa: PLC0415

    if group in groups_of(command):
        for path in sorted((conf() / group).glob("*.yaml")):
            yield path.stem, yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def known_keys(command: str) -> list[str]:
    """Dotted keys of the command's default config, and its groups."""
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    from blippose.identity import flatten  # noqa: PLC0415

    with initialize_config_dir(str(conf()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose(command), resolve=False)
    keys = [key for key, _ in flatten(config) if not key.endswith("_target_")]
    return [*keys, *groups_of(command)]
