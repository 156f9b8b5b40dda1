"""Between two runs in one process: what the next can use again, and what is given back.

Kept are the last release as it was read and split and the last weights as they were read; one of
each, by what decides them and by the files' sizes and times.
"""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import BlipForConditionalGeneration

from blippose import heap
from blippose.blip import TINY, load_blip
from blippose.data import PoseDataModule

_Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class Shelf:
    """What the process keeps."""

    _data: PoseDataModule | None = None
    _data_stamp: _Stamp = ()
    _blips: dict[tuple[Any, ...], BlipForConditionalGeneration] = field(default_factory=dict)

    def set_up(self, data: PoseDataModule) -> None:
        """Set `data` up, from the one before where that read the same files in the same way.

        Raises:
            UserError: a release that cannot be read.
        """
        data.prepare_data()
        kept = self._data
        is_same = kept is not None and kept.reads == data.reads
        if kept is not None and is_same and _stamp(_files(kept)) == self._data_stamp:
            data.take_over(kept)
            return
        data.setup()
        # A copy, as a data module holds its trainer, and that the whole run.
        self._data, self._data_stamp = copy.copy(data), _stamp(_files(data))

    def blip(
        self, weights: str, architecture: Mapping[str, Mapping[str, Any]]
    ) -> BlipForConditionalGeneration:
        """BLIP as `load_blip` gives it; random weights are always drawn.

        Raises:
            UserError: weights that cannot be loaded.
        """
        if weights == "random":
            return load_blip(weights, architecture)
        folder = TINY if weights == "tiny" else Path(weights).expanduser()
        stamp = _stamp(sorted(folder.iterdir())) if folder.is_dir() else ()
        key = (weights, json.dumps(architecture, sort_keys=True), stamp)
        if key not in self._blips:
            self._blips.clear()
            self._blips[key] = load_blip(weights, architecture)
        return copy.deepcopy(self._blips[key])


def _files(data: PoseDataModule) -> Iterator[Path]:
    source = data.release_source
    yield source.path
    names = dict.fromkeys(person.image_name for person in data.persons)
    yield from (source.images / name for name in names)


def _stamp(files: Any) -> _Stamp:
    """Names, sizes and times; a file that is gone differs from any."""
    stamps = []
    for path in files:
        try:
            found = path.stat()
            stamps.append((str(path), found.st_size, found.st_mtime_ns))
        except OSError:
            stamps.append((str(path), -1, -1))
    return tuple(stamps)


def set_imports_aside() -> None:
    """What a run imports stays to the end: `give_back` need not look through it each time.

    Of all that torch, transformers and lightning bring, that takes half a second. For a process
    whose runs are to come: whatever else lives by now is not looked through either.
    """
    from blippose import training  # noqa: F401, PLC0415  and with it all the others

    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Leave the processes that trained together, and give memory back to system and GPU."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # or the next run would wait for its processes
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    heap.give_back()
