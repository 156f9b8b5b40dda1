"""Checkpoint files: written whole or not at all, checked before use, read without running code.

Knows nothing of what is in them.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
from lightning.fabric.plugins import CheckpointIO

from blippose.errors import first_line


def write_whole(checkpoint: dict[str, Any], path: Path, previous: Path | None = None) -> None:
    """Write to another name first, on to the disk, and rename: readers find all of it or the old.

    Args:
        checkpoint: what to write.
        path: where to.
        previous: where the file that was at `path` goes; None writes over it.

    Raises:
        OSError: it could not be written; what was there before is still there.
    """
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _save(checkpoint, partial)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if previous is not None and path.exists():
        path.replace(previous)
    partial.replace(path)
    _sync(path.parent)


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        try:
            # An open file: torch would write the name of a path into the archive.
            torch.save(checkpoint, file)
        except RuntimeError as error:
            # torch closes its archive after a failed write, and fails again over it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring the new names to the disk: a power cut must not undo a rename."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows syncs no folders
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, mmap: bool = False) -> Any:
    """What a file holds, on the CPU; tensors and plain containers alone, as no code of it runs.

    With `mmap` tensors are read when they are used, and damage in them goes unseen.
    """
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def damage(path: Path) -> str | None:
    """What is wrong with a file, or None. torch itself does not compare checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return f"cut short, or no checkpoint ({first_line(error)})"
    return f"damaged in {broken}" if broken else None


@final
class WholeFiles(CheckpointIO):
    """Lightning's way to files, by which they are whole.

    A file that could not be written raises nothing: the process that writes would leave the others
    waiting. `failure` says why, until the next is written.
    """

    def __init__(self) -> None:
        self.failure: str | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Path | None = None
    ) -> None:
        """Write; `storage_options` is where the file before goes."""
        if "optimizer_states" not in checkpoint:  # weights alone: where they were does not matter
            checkpoint.pop("loops", None)
        try:
            write_whole(checkpoint, Path(path), storage_options)
        except OSError as error:
            self.failure = error.strerror or first_line(error)
        else:
            self.failure = None

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read, weights only whatever was asked for."""
        return dict(read(Path(path)))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the file."""
        Path(path).unlink(missing_ok=True)
