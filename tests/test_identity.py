"""What of a config makes it another run, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from run_config import CONFIG, changed

from blippose.identity import config_hash, difference, words_of_decoding


@pytest.mark.parametrize(
    "other",
    [
        changed(logger=None),
        changed(name="b"),
        changed(debug=True),
        changed(checkpoint={"every_n_steps": 5}),
        changed(data={"batch_size": 2, "num_workers": 3}),
    ],
)
def test_what_changes_no_result_is_not_identity(other: dict[str, Any]) -> None:
    assert config_hash(other) == config_hash(CONFIG)
    assert difference(CONFIG, other) == []


@pytest.mark.parametrize(
    "other",
    [
        changed(trainer={"max_epochs": 9}),
        changed(seed=1),
        changed(data={"batch_size": 3, "num_workers": 0}),
    ],
)
def test_what_changes_a_result_is_identity(other: dict[str, Any]) -> None:
    assert config_hash(other) != config_hash(CONFIG)
    assert difference(CONFIG, other)


def test_new_and_lost_keys_are_differences() -> None:
    assert difference({"a": 1}, {"b": {"c": 2}}) == ["a: 1 -> (absent)", "b.c: (absent) -> 2"]


def test_a_run_from_before_cells_of_patches_is_one_of_one_cell() -> None:
    was, now, other = (
        {"captioner": {"seed": 0, **each}} for each in ({}, {"patch_cells": 1}, {"patch_cells": 8})
    )
    assert not difference(was, now)
    assert config_hash(was) == config_hash(now)
    assert difference(was, other) == ["captioner.patch_cells: 1 -> 8"]


def test_no_flip_test_as_earlier_versions_said_it_is_one_view() -> None:
    was, now = ({"decoding": each} for each in ({"flip_test": False}, {"test_views": 1}))
    assert not difference(was, now)
    assert config_hash(was) == config_hash(now)
    assert difference({"decoding": {"flip_test": True}}, {"decoding": {"test_views": 2}})


def test_a_run_of_the_default_before_close_ups_is_told_how_to_go_on() -> None:
    way = {"_target_": "blippose.decoding.Parallel", "expectation": True, "refine": 0}
    old = {"data": {"seed": 0}, "decoding": {**way, "test_views": 2}}
    new = {
        "data": {"seed": 0, "close_up": None},
        "decoding": {**way, "test_views": 2, "close_up": True},
    }
    assert difference(old, new) == ["decoding.close_up: false -> true"]
    words = words_of_decoding(old, new)
    assert words == "decoding=parallel decoding.expectation=true decoding.test_views=2"
    again = {"data": new["data"], "decoding": {**old["decoding"], "close_up": False}}
    assert config_hash(again) == config_hash(old)
