"""Ways to read "one person, all sixteen joints visible", and what filters leave of a release."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from blippose.errors import UserError
from blippose.mpii import ImageRow, Person, Release


class FilterStep(NamedTuple):
    """What is left after one filter: images, and annotated persons in them."""

    text: str
    images: int
    persons: int


@dataclass(frozen=True)
class Reading:
    """One way to read "one person, all sixteen joints visible": a choice, then a condition.

    `pick` gives the one person of a train image, or None; `keeps` says whether the flags of a
    person with all sixteen points allow it to stay.
    """

    text: str
    pick_text: str
    pick: Callable[[ImageRow], Person | None]
    keeps_text: str
    keeps: Callable[[Person], bool]


def _one_annotated(row: ImageRow) -> Person | None:
    return row.persons[0] if len(row.persons) == 1 else None


def _one_annorect(row: ImageRow) -> Person | None:
    return _one_annotated(row) if row.num_annorects == 1 else None


def _one_single_person(row: ImageRow) -> Person | None:
    if len(row.single_person) != 1:
        return None
    return next((p for p in row.persons if p.person_index == row.single_person[0]), None)


def _no_flag_false(person: Person) -> bool:
    return False not in person.flags


_ONE = "exactly one annotated person"
_VISIBLE = "no flag that says 0"
READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        "visible": Reading(
            "one annotated person, 16 points, no is_visible of 0 (empty or absent is visible)",
            *(_ONE, _one_annotated, _VISIBLE, _no_flag_false),
        ),
        "annotated": Reading(
            "one annotated person, 16 points, whatever is_visible says",
            *(_ONE, _one_annotated, "whatever the flags", lambda person: True),
        ),
        "one_annorect": Reading(
            "as visible, and the image has no second annorect, not even one without points",
            *("exactly one annorect, annotated", _one_annorect, _VISIBLE, _no_flag_false),
        ),
        "single_person": Reading(
            "as visible, for the lone entry of RELEASE.single_person; others may stand near",
            *("exactly one entry in single_person, annotated", _one_single_person),
            *(_VISIBLE, _no_flag_false),
        ),
        "strict": Reading(
            "one annotated person, 16 flags that literally say 1 (keeps next to nothing)",
            *(_ONE, _one_annotated, "16 flags that say 1", lambda person: all(person.flags)),
        ),
    }
)


def select(release: Release, reading: str = "visible") -> tuple[Person, ...]:
    """The persons that `reading` keeps, at most one a train image, in the order of the file.

    Raises:
        UserError: no reading of this name.
    """
    rule = reading_of(reading)
    return tuple(p for p in _picked(release, rule) if p.pose.valid.all() and rule.keeps(p))


def filter_steps(release: Release, reading: str = "visible") -> list[FilterStep]:
    """How many images and annotated persons each filter of `reading` leaves, in their order.

    Raises:
        UserError: no reading of this name.
    """
    rule = reading_of(reading)
    train = [row for row in release.rows if row.is_train]
    picked = _picked(release, rule)
    complete = [person for person in picked if person.pose.valid.all()]
    kept = [person for person in complete if rule.keeps(person)]
    return [
        _row_step("rows", release.rows),
        _row_step("train images", train),
        _row_step("with an annotated person", [row for row in train if row.persons]),
        FilterStep(rule.pick_text, len(picked), len(picked)),
        FilterStep("all 16 points", len(complete), len(complete)),
        FilterStep(rule.keeps_text, len(kept), len(kept)),
    ]


def reading_counts(release: Release) -> dict[str, int]:
    """How many persons every reading keeps, by its name."""
    return {name: len(select(release, name)) for name in READINGS}


def reading_of(name: str) -> Reading:
    """The reading of this name.

    Raises:
        UserError: there is none.
    """
    if name not in READINGS:
        raise UserError(
            f"data.reading={name}: no such reading; choose one of {', '.join(READINGS)}"
        )
    return READINGS[name]


def _picked(release: Release, rule: Reading) -> list[Person]:
    persons = (rule.pick(row) for row in release.rows if row.is_train)
    return [person for person in persons if person is not None]


def _row_step(text: str, rows: Sequence[ImageRow]) -> FilterStep:
    return FilterStep(text, len(rows), sum(len(row.persons) for row in rows))
