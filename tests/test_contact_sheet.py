"""Tiles with skeletons, and sheets of them: in order, with their labels, and cut nowhere."""

from __future__ import annotations

import numpy as np
import pytest
from example_poses import grey, pose_of, standing

from blippose.contact_sheet import contact_sheet, pose_tile
from blippose.drawing import PREDICTED, TRUE


@pytest.mark.parametrize("shape", [(50, 200), (200, 50), (7, 7), (1, 900)])
def test_a_tile_keeps_the_aspect_ratio_and_has_the_size_asked_for(shape: tuple[int, int]) -> None:
    tile = pose_tile(grey(*shape), standing(), standing(), size=120)
    assert max(tile.shape[:2]) == 120
    expected = max(1, round(min(shape) * 120 / max(shape)))
    assert min(tile.shape[:2]) == expected


def test_a_tile_draws_joints_where_they_are_on_the_smaller_image() -> None:
    image = np.zeros((400, 800, 3), np.uint8)
    tile = pose_tile(image, pose_of(left_ankle=(600, 300)), size=200)
    np.testing.assert_array_equal(tile[75, 150], PREDICTED.left)


def test_a_sheet_shows_every_tile_in_order_with_its_label() -> None:
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    tiles = [np.full((60, 100, 3), color, np.uint8) for color in colors]
    sheet = contact_sheet(tiles, ["one", "two", "three"], columns=2, tile_size=100, title="Title")
    centers = [np.argwhere((sheet == color).all(axis=-1)).mean(axis=0) for color in colors]
    assert centers[0][0] == centers[1][0] < centers[2][0]
    assert centers[0][1] == centers[2][1] < centers[1][1]
    for color, center in zip(colors, centers, strict=True):
        assert (sheet == color).all(axis=-1).sum() == 6000
        label = sheet[int(center[0]) + 32 : int(center[0]) + 50, int(center[1]) - 50 :][:, :100]
        assert label.min() < 100


def test_a_sheets_legend_has_the_true_skeletons_colours_of_each_side() -> None:
    sheet = contact_sheet([], [], tile_size=400)
    for color in (TRUE.right, TRUE.left):
        assert (sheet == color).all(axis=-1).any()


def test_long_labels_stay_within_their_tile() -> None:
    sheet = contact_sheet([grey(80, 80)] * 2, ["x" * 500, ""], columns=2, tile_size=80)
    below = sheet[-20:]
    second = below[:, 8 + 80 + 4 : 8 + 80 + 4 + 80]
    assert (second == 255).all()


def test_labels_that_do_not_match_the_tiles_are_refused() -> None:
    with pytest.raises(ValueError, match="2 tiles and 1 labels"):
        contact_sheet([grey(), grey()], ["one"])


def test_a_sheet_of_nothing_is_a_header() -> None:
    assert contact_sheet([], [], title="Nothing").shape[0] > 20
