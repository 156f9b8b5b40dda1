"""Pictures of the best, the median and the worst run, small enough to travel inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from blippose.report.cells import Cell, CellState
from blippose.report.grid import Grid

# What a run may hold, the more telling first.
_PICTURES = {
    "overlays.png": "best, median and worst validation images, by `blippose eval`",
    "samples.png": "validation images, evenly spread; `blippose eval run={folder}` adds a sheet "
    "of the best, median and worst ones",
}
_WIDTH = 1400  # px


@dataclass(frozen=True)
class Sample:
    """A picture as a data URI, and whose it is."""

    cell: Cell
    title: str
    caption: str
    data: str


def samples(grid: Grid) -> list[Sample]:
    """One for each of the three runs that has a picture."""
    return [sample for title, cell in _chosen(grid) if (sample := _sample(grid, title, cell))]


def _chosen(grid: Grid) -> Iterator[tuple[str, Cell]]:
    alike = [cell for cell in grid.ranked if grid.is_comparable(cell)]
    done = [c for c in alike if c.state is CellState.DONE and grid.score(c) is not None]
    places = {"best run": 0, "median run": len(done) // 2, "worst run": len(done) - 1}
    if len(done) == 2:
        del places["median run"]
    seen: set[int] = set()
    for title, place in places.items():
        if done and place not in seen:
            seen.add(place)
            yield title, done[place]


def _sample(grid: Grid, title: str, cell: Cell) -> Sample | None:
    if cell.folder is None:
        return None
    for name, caption in _PICTURES.items():
        path = cell.folder / name
        if not path.is_file():
            continue
        score = f"{grid.measure.title} {grid.measure.text(grid.score(cell))} {grid.measure.unit}"
        whose = f"{title}, {grid.label(cell)}, {score.strip()}"
        try:
            return Sample(cell, whose, caption.format(folder=cell.folder), _jpeg(path))
        except (OSError, ValueError):  # half a picture is none
            continue
    return None


def _jpeg(path: Path) -> str:
    with Image.open(path) as image:
        picture = image.convert("RGB")
    if picture.width > _WIDTH:
        picture = picture.resize((_WIDTH, round(picture.height * _WIDTH / picture.width)))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
