"""Whom each reading of "one person, all sixteen joints visible" keeps, and what filters leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mat_rows import EMPTY, Reader, annorect, point, points, row

from blippose import readings
from blippose.errors import UserError
from blippose.mpii import Release
from blippose.readings import READINGS, select


def kept(release: Release) -> dict[str, bool]:
    return {name: bool(count) for name, count in readings.reading_counts(release).items()}


def test_complete_visible_person_is_kept_by_all_but_strict(read: Reader) -> None:
    release = read(row(annorect(points()), single=1))
    assert kept(release) == {name: name != "strict" for name in READINGS}


def test_sixteen_literal_ones_are_kept_by_strict(read: Reader) -> None:
    release = read(row(annorect(points(j8=1, j9="1"))))
    assert kept(release)["strict"]


@pytest.mark.parametrize("hidden", [np.uint8(0), "0"])
def test_hidden_joint_is_kept_by_annotated_alone(read: Reader, hidden: Any) -> None:
    release = read(row(annorect(points(j5=hidden)), single=1))
    assert [name for name, keeps in kept(release).items() if keeps] == ["annotated"]


def test_missing_joint_is_kept_by_none(read: Reader) -> None:
    release = read(row(annorect(points()[:-1]), single=1))
    assert not any(kept(release).values())


def test_second_annorect_without_points_is_refused_by_one_annorect(read: Reader) -> None:
    keeps = kept(read(row(annorect(points()), annorect())))
    assert (keeps["visible"], keeps["one_annorect"]) == (True, False)


def test_single_person_picks_its_entry_among_several(read: Reader) -> None:
    release = read(row(annorect([point(0)]), annorect(points()), single=2))
    assert not kept(release)["visible"]
    assert [p.person_index for p in select(release, "single_person")] == [1]


@pytest.mark.parametrize("single", [EMPTY, np.array([[1, 2]]), 3])
def test_single_person_needs_one_annotated_entry(read: Reader, single: Any) -> None:
    release = read(row(annorect(points()), annorect(points()), annorect(), single=single))
    assert select(release, "single_person") == ()


@pytest.mark.parametrize("reading", READINGS)
def test_test_rows_are_never_kept(read: Reader, reading: str) -> None:
    release = read(row(annorect(points(j8=1, j9=1)), train=0, single=1))
    assert select(release, reading) == ()


def test_filter_steps_count_what_each_leaves(read: Reader) -> None:
    whole, half = annorect(points()), annorect(points()[:4])
    release = read(
        row(whole, train=0),
        row(),
        row(whole, half),
        row(half),
        row(annorect(points(j0=0))),
        row(whole),
    )
    assert [(step.images, step.persons) for step in readings.filter_steps(release)] == [
        (6, 6),  # rows
        (5, 5),  # of train
        (4, 5),  # with an annotated person
        (3, 3),  # with exactly one
        (2, 2),  # with all 16 points
        (1, 1),  # no flag that says 0
    ]


@pytest.mark.parametrize("reading", READINGS)
def test_last_filter_step_counts_what_select_keeps(read: Reader, reading: str) -> None:
    release = read(
        row(annorect(points()), single=1),
        row(annorect(points(j8=1, j9=1)), annorect(), single=1),
        row(annorect(points(j1=0)), annorect(points()), single=2),
    )
    assert readings.filter_steps(release, reading)[-1].persons == len(select(release, reading))


def test_unknown_reading_names_the_choices(read: Reader) -> None:
    with pytest.raises(UserError, match=r"reading=all: .*visible, annotated, .*strict"):
        select(read(row()), "all")


def test_real_rows_leave_the_counts_of_the_raw_file(real: Release) -> None:
    assert [step.images for step in readings.filter_steps(real)] == [106, 102, 100, 55, 30, 14]
    assert readings.reading_counts(real) == {
        "visible": 14,
        "annotated": 30,
        "one_annorect": 14,
        "single_person": 14,
        "strict": 0,
    }


def test_persons_come_in_the_order_of_the_file(read: Reader) -> None:
    release = read(*(row(annorect(points()), name=name) for name in ("b.jpg", "a.jpg")))
    assert [person.image_name for person in select(release)] == ["b.jpg", "a.jpg"]
