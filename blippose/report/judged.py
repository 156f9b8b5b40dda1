"""Which runs were judged alike: on the same images, by a measure in pixels of the same frame.

Only those are held against each other. A run that is done says what it was judged on, by the hash
of its split manifest, how many persons that was, and its frame. One that is not is taken to be
judged as the done ones of the same settings. How captions are decoded is part of what is judged,
as every other setting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from blippose.identity import identity
from blippose.report.cells import Cell, CellState
from blippose.report.measures import Measure

# What decides the images, and what the frame of the input, of a run's config.
_IMAGES = ("data.root", "data.annotations", "data.reading", "data.split", "data.train_fraction",
           "data.test_fraction", "data.split_seed")  # fmt: skip
_FRAME = ("data.resize", "data.crop", "model.caption.input_size")
_RELEASE = "data.synthetic"
_LIMIT, _BATCH = "trainer.limit_val_batches", "data.eval_batch_size"


def validation_sets(cells: Sequence[Cell], measure: Measure) -> dict[str, int]:
    """The number of each cell's validation set by the cell's name; 0 is the one of most runs.

    Where `measure` does not depend on the input's pixels, runs of any frame share a set.
    """
    marks = _marks(cells, _FRAME if measure.is_of_input else ())
    of_done = Counter(
        marks[c.name] for c in cells if c.state is CellState.DONE and c.name in marks
    )
    order = [mark for mark, _ in (of_done or Counter(marks.values())).most_common()]
    order += [mark for mark in dict.fromkeys(marks.values()) if mark not in order]
    return {
        cell.name: order.index(marks[cell.name]) if cell.name in marks else 0 for cell in cells
    }


def set_name(number: int) -> str:
    """A, B, ... for readers; after Z they are numbers."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def difference(one: Cell, other: Cell) -> str:
    """What makes their validation differ, as `data.split=random`, of the other's settings."""
    before, after = (_judged_by(settings_of(cell)) for cell in (one, other))
    keys = sorted(key for key in after.keys() | before.keys() if key != f"{_RELEASE}._target_")
    words = [f"{k}={after.get(k, '(absent)')}" for k in keys if before.get(k) != after.get(k)]
    return ", ".join(words) or "the files of the release differ"


def _marks(cells: Sequence[Cell], frame: Sequence[str]) -> dict[str, Hashable]:
    """What tells the validation sets apart, by the cell's name; no cell without settings."""
    judged_by = {cell.name: _judged_by(own) for cell in cells if (own := settings_of(cell))}
    settings = {
        name: {key: value for key, value in own.items() if key in frame or key not in _FRAME}
        for name, own in judged_by.items()
    }
    known: dict[Hashable, Hashable] = {}
    marks: dict[str, Hashable] = {}
    for cell in cells:
        manifest = cell.results.get("manifest")
        if cell.name in settings and manifest is not None:
            own = settings[cell.name]
            seen = (cell.results.get("frame"), *(own.get(key) for key in frame)) if frame else ()
            judged = (manifest, cell.results.get("num_val"), seen)
            marks[cell.name] = known[_hashable(own)] = judged
    for name, own in settings.items():
        key = _hashable(own)
        marks.setdefault(name, known.get(key, key))
    return marks


def settings_of(cell: Cell) -> Mapping[str, Any]:
    """Dotted, what decides the outcome; of a cell that has no run, what its sweep asks for."""
    return dict(cell.planned) or identity(cell.config)


def _judged_by(config: Mapping[str, Any]) -> dict[str, Any]:
    is_limited = config.get(_LIMIT) not in (None, 1.0)
    decides = (*_IMAGES, *_FRAME, *((_LIMIT, _BATCH) if is_limited else ()))
    return {
        key: value
        for key, value in config.items()
        if key in decides or key.split(".")[:2] == _RELEASE.split(".")
    }


def _hashable(settings: Mapping[str, Any]) -> Hashable:
    return tuple(sorted((key, str(value)) for key, value in settings.items()))
