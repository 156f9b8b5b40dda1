"""How a model is decoded, kept beside its weights, and what asks it so."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from reciting import Reciting

from blippose.decoding import (
    Constrained,
    Decoding,
    Free,
    Parallel,
    Prompted,
    from_config,
    from_record,
    to_record,
)
from blippose.errors import UserError


@pytest.mark.parametrize(
    "decoding",
    [
        Free(),
        Constrained(expectation=True),
        Parallel(),
        Parallel(None, test_views=2),
        Parallel(2, expectation=True, test_views=2),
        Prompted(),
    ],
    ids=lambda decoding: decoding.name,
)
def test_a_way_to_decode_is_the_same_after_its_record(decoding: Decoding) -> None:
    record = to_record(decoding)
    assert record is not None
    assert from_record(record) == decoding


def test_a_flip_test_of_earlier_versions_is_no_way_of_todays() -> None:
    """Two test views are another: their figures would stand for those of a flip test."""
    record = {"way": "parallel", "refine": 0, "expectation": True, "flip_test": True}
    assert from_record(record) is None
    assert from_record(record | {"flip_test": False}) == Parallel(0, expectation=True)


def test_somebody_elses_way_has_no_record() -> None:
    assert to_record(Reciting(["a caption"])) is None


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"way": "beams"},
        {"way": "free", "refine": 1},
        {"way": ["free"]},
        "free",
        {"way": "parallel", "refine": "two"},
        {"way": "parallel", "refine": 1.5},
        {"way": "parallel", "refine": True},
        {"way": "parallel", "refine": -1},
        {"way": "free", "test_views": "yes"},
    ],
)
def test_what_is_no_way_to_decode_is_refused(record: Any) -> None:
    with pytest.raises(UserError, match=r"^decoding[.=]"):
        from_record(record)


@pytest.mark.parametrize("decoding", [Free(test_views=2), Constrained(), Parallel(2), Prompted()])
def test_the_config_of_a_run_names_the_same_way(decoding: Decoding) -> None:
    config = {"_target_": f"blippose.decoding.{type(decoding).__name__}", **asdict(decoding)}
    assert from_config(config) == decoding


def test_a_config_may_name_a_way_by_its_module_and_hold_words_of_hydras() -> None:
    target = "blippose.decoding.modes.Parallel"
    assert from_config({"_target_": target, "_convert_": "all", "refine": 2}) == Parallel(2)


@pytest.mark.parametrize("config", [{}, {"_target_": "theirs.Free"}, {"_target_": "theirs.Beams"}])
def test_a_config_may_name_somebody_elses_way(config: dict[str, Any]) -> None:
    assert from_config(config) is None
