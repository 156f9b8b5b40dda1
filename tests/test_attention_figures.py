"""Pictures of attention: what is drawn where, read from the figures themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blippose.attention import RELATIONS
from blippose.caption import CaptionFormat
from blippose.evaluation.attention import figures
from blippose.pose import JOINTS

ORDER = CaptionFormat(96, order="torso").joint_order


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures that are made, kept."""
    kept: list[Any] = []
    make = figures._figure

    def keep(*args: Any) -> Any:
        kept.append(make(*args))
        return kept[-1]

    monkeypatch.setattr(figures, "_figure", keep)
    return kept


def looks_at_the_first(order: tuple[int, ...]) -> np.ndarray:
    """By joint id: half to the joint itself, half to the one that captions name first."""
    share = np.eye(16) / 2
    share[:, order[0]] += 0.5
    return share


def report_of(num_units: int) -> dict[str, Any]:
    """One head that is above the uniform decoder in everything."""
    cells = {name: {"value": 0.5} for name in ("entropy", *RELATIONS)}
    above = {"above_uniform": {"value": 0.2, "low": 0.1, "high": 0.3}}
    head = {"layer_index": 0, "layer_number": 1, "head_index": 0, "head_number": 1}
    return {
        "about": {"interval": {"num_units": num_units}},
        "uniform": cells,
        "heads": [{**head, "self": {name: {**cell, **above} for name, cell in cells.items()}}],
    }


def write_overview(folder: Path, num_units: int = 30) -> None:
    shares, uniform = looks_at_the_first(ORDER)[None, None], np.zeros((16, 16))
    path = folder / "overview.png"
    figures.write_self_overview(path, shares, uniform, ORDER, report_of(num_units), "of a test")


def test_rows_and_columns_stand_as_captions_name_the_joints(
    drawn: list[Any], tmp_path: Path
) -> None:
    """The first column is full, and nothing of the lower triangle is left out."""
    names = [JOINTS[joint] for joint in ORDER]
    share, uniform = looks_at_the_first(ORDER), np.zeros((16, 16))
    figures.write_self_head(tmp_path / "head.png", share, uniform, ORDER, "head 1", "of a test")
    write_overview(tmp_path)
    head, overview = drawn
    for axes in (*head.axes[:2], overview.axes[0]):
        [picture] = axes.images
        values = np.ma.filled(picture.get_array().astype(float), np.nan)
        assert np.isfinite(values).tolist() == np.tri(16, dtype=bool).tolist()
        assert values[:, 0].tolist() == [1.0, *[0.5] * 15]
    assert [label.get_text() for label in head.axes[0].get_yticklabels()] == names
    assert [label.get_text() for label in head.axes[1].get_xticklabels()] == names


@pytest.mark.parametrize(("num_units", "is_marked"), [(2, False), (5, False), (6, True)])
def test_heads_are_marked_where_there_are_images_enough_to_tell_them_apart(
    drawn: list[Any], tmp_path: Path, num_units: int, is_marked: bool
) -> None:
    write_overview(tmp_path, num_units)
    axes, bar = drawn[0].axes
    [figures_of_head] = [text.get_text() for text in axes.texts]
    assert ("own .50+" in figures_of_head) == is_marked
    assert ("+ or -" in bar.get_xlabel()) == is_marked
