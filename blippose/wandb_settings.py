"""What W&B is told of a run, and whether it would take it; without torch.

wandb is imported only where its variables are tried.
"""

from __future__ import annotations

import netrc
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from blippose.errors import UserError, first_line

PROJECT = "blippose"  # where neither the config nor the environment names one
LONGEST = 128  # characters that W&B takes of a project's, a group's or a run's name
_LONGEST_TAG = 64
_NOT_IN_PROJECTS = "/\\#?%:"
_SHORT = {"batch_size": "bs", "optimizer": "", "scheduler": "", "model": ""}  # in W&B's names


@dataclass(frozen=True)
class WandbSettings:
    """Keys of conf/logger/wandb.yaml, which says what each is.

    Raises:
        UserError: a name that W&B would not take.
    """

    project: str | None = None
    entity: str | None = None
    tags: list[str] | None = None

    def __post_init__(self) -> None:
        name = self.project
        if name is not None and (
            not 1 <= len(name) <= LONGEST or set(name) & set(_NOT_IN_PROJECTS)
        ):
            raise UserError(
                f"logger.project={name}: expected 1 to {LONGEST} characters, and none of "
                f"{' '.join(_NOT_IN_PROJECTS)}"
            )
        for tag in self.tags or ():
            if not 1 <= len(tag) <= _LONGEST_TAG:
                raise UserError(
                    f"logger.tags: expected 1 to {_LONGEST_TAG} characters each, got "
                    f"{len(tag)}: {tag!r}"
                )


def check_environment() -> None:
    """Try W&B's variables, each alone.

    Raises:
        UserError: one whose value W&B refuses; the value is not shown, as it may be a key.
    """
    variables = {name: os.environ[name] for name in os.environ if name.startswith("WANDB_")}
    if not variables:
        return
    import wandb  # noqa: PLC0415  a second
    from pydantic import ValidationError  # noqa: PLC0415  as wandb does

    for name, value in variables.items():
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except (wandb.Error, ValueError) as error:
            if isinstance(error, ValidationError):
                why = error.errors()[0]["msg"]
            else:
                why = first_line(error)
            raise UserError(
                f"{name}: W&B refuses its value ({why}); mend or unset it, or leave W&B out with "
                "logger=csv"
            ) from error


def run_name(folder: str) -> str:
    """A short name for a run, of that of its folder; as much of it as W&B takes.

    >>> run_name("batch_size=2,lr=2e-5,optimizer=adamw")
    'bs2-lr2e-5-adamw'
    >>> run_name("demo")
    'demo'
    """
    parts = [part.partition("=") for part in folder.split(",")]
    if not all(is_cell for _, is_cell, _ in parts):
        return folder[:LONGEST]
    return "-".join(_SHORT.get(key, key) + value for key, _, value in parts)[:LONGEST]


def has_key() -> bool:
    """Whether wandb would find a key to log in with: in the environment or in a netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    places = (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")
    path = next((p for p in places if p and Path(p).expanduser().is_file()), None)
    if path is None:
        return False
    try:
        keys = netrc.netrc(Path(path).expanduser())
    except (netrc.NetrcParseError, OSError):
        return False
    return keys.authenticators(urlsplit(server).netloc) is not None
