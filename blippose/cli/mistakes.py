"""A user's mistakes in one line: what Hydra refuses, and what was meant."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import re
from collections.abc import Iterator

from blippose.cli import groups
from blippose.cli.groups import keys_of_choices, known_keys, owners, targets_of_choices
from blippose.errors import UserError

# What stands for -m where there are no grids.
INSTEAD_OF_GRID = {
    "data": "other settings are a call each",
    "eval": "several runs are run=[A,B], or a glob in quotes",
    "predict": "several images are images=[A,B], several models a call each with its own out=",
    "report": "several are named in one call, `blippose report A B`",
    "export": "several runs are a call each with its own out=",
    **dict.fromkeys(("analyze_attention", "analyze_occlusion"), "several runs are a call each"),
}
# Keys of earlier versions, which are also the usual words, with what does it now.
_NOW = {"decoding.flip_test": "decoding.test_views=2 asks the mirror image too"}
# Keys that trainings have elsewhere.
_RATE, _GPUS = (
    "optimizer.lr is the learning rate",
    "trainer=gpu trains on one, trainer.devices=2 on two",
)
_OF_TRAINING = {
    **dict.fromkeys(("learning_rate", "optimizer.learning_rate"), _RATE),
    **dict.fromkeys(("gpus", "trainer.gpus"), _GPUS),
    **dict.fromkeys(("data.path", "data.dir"), "data.root is the folder of the release"),
    "data.batch": "did you mean data.batch_size?",
    "model.name": "model.weights is a name on the hub, or a folder",
    "resume": "the same command again goes on from what is there",
    "wandb": "logger=wandb sends a run there, logger=csv does not",
}
# Of commands to which a path alone is a mistake: the key that it is most likely meant for.
_PATH_KEYS = {
    "predict": "images",
    **dict.fromkeys(("export", "analyze_attention", "analyze_occlusion"), "run"),
}


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
        why = _quoted(word, first) if "=" in word else _meant(word, command)
        return f"{word}: cannot be read as key=value{why}"
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={option}: no such choice; choose one of {', '.join(error.options)}"
    if "Ambiguous value" in first:
        return _several(first, command)
    refused = re.search(r"Could not override '([^']+)'", text)
    if refused:
        key = refused[1].partition("@")[0]
        return f"{key}: {unknown(key, command)}"
    return f"{first} (`blippose {command} --help` shows the keys)"


def _quoted(word: str, complaint: str) -> str:
    """Of a value that Hydra does not read: one with = in it wants quotes."""
    key, _, value = word.partition("=")
    if "=" in value and not set(value) & set("'\"[]{} "):
        return f"; a value with = in it wants quotes: '{key}=\"{value}\"'"
    return f" ({complaint})"


def _meant(word: str, command: str) -> str:
    """Of a word that is no key=value."""
    if command in _PATH_KEYS:
        return f"; did you mean {_PATH_KEYS[command]}={word}?"
    if command == "train" and word.endswith((".yaml", ".yml")):
        return f"; did you mean `blippose sweep {word}`?"
    return f"; expected {word}=VALUE" if word in known_keys(command) else ""


def _several(complaint: str, command: str) -> str:
    """Of key=a,b, which Hydra has called ambiguous."""
    word = complaint.partition("'")[2].rpartition("'")[0]
    key, _, values = word.partition("=")
    grid = "" if command in INSTEAD_OF_GRID else "a grid needs -m, "
    return f"{word}: one value is expected here; {grid}a list is {key}=[{values}]"


def unknown(key: str, command: str) -> str:
    """Of a key that the config has not: whose it is, or what is near."""
    from blippose.arguments import suggest  # noqa: PLC0415

    if instead := (_NOW | (_OF_TRAINING if command == "train" else {})).get(key):
        return f"no such key; {instead}"
    if found := owners(key, command):
        *others, last = found
        return (
            f"belongs to {', '.join(others)} or {last}; add one"
            if others
            else f"belongs to {last}"
        )
    if near := difflib.get_close_matches(key, groups.hydra_keys(), n=1, cutoff=0.7):
        return f"no such key; did you mean {near[0]}?"
    group, _, own = key.partition(".")
    if takers := _takers(group, own, command):
        return f"no key of conf/; +{key}=VALUE hands it to {' or '.join(takers)}"
    near = difflib.get_close_matches(own, keys_of_choices(group, command), n=1, cutoff=0.7)
    if near:
        return f"no such key; did you mean {group}.{near[0]}?"
    return f"no such key{suggest(key, known_keys(command))}"


def _takers(group: str, own: str, command: str) -> list[str]:
    """The classes, of those that a group's choices make, that take a key which conf/ has not."""
    from hydra.utils import get_object  # noqa: PLC0415

    targets = targets_of_choices(group, command)
    return [name for name in targets if own in inspect.signature(get_object(name)).parameters]
