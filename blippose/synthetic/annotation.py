"""Drawn people as MPII's Matlab structs, 1-based coordinates and quirks included.

Source: http://human-pose.mpi-inf.mpg.de, "Annotation description"; shapes and number types as in
`mpii_human_pose_v1_u12_1.mat` read by scipy without squeezing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from blippose.pose import JOINTS
from blippose.synthetic.plan import KEPT, Row
from blippose.synthetic.poses import ACTIVITIES
from blippose.synthetic.scene import Person

Struct = np.ndarray  # a structured object array, Matlab's struct array
POINT_ORDER = (6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)
UPPER_NECK, HEAD_TOP = JOINTS.index("upper neck"), JOINTS.index("head top")
EMPTY = np.zeros((0, 0))  # Matlab's []


def structs(rows: list[dict[str, Any]]) -> Struct:
    """A 1xN struct array; the rows share their fields."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        for name, value in row.items():
            array[0, index][name] = value
    return array


def integer(value: int | float, kind: type = np.uint16) -> Struct:
    """A 1x1 integer array."""
    return np.array([[round(value)]], dtype=kind)


def annolist_row(row: Row, people: tuple[Person, ...]) -> dict[str, Any]:
    """One entry of `RELEASE.annolist`."""
    is_test = row.kind.startswith("test")
    return {
        "image": structs([{"name": np.array([row.name])}]),
        "annorect": _annorect(row, people),
        "frame_sec": EMPTY if is_test else integer(row.second),
        "vididx": EMPTY if is_test else integer(row.video),
    }


def activity_row(row: Row, activity: int) -> tuple[Any, Any, Any]:
    """One entry of `RELEASE.act`: category, activity, id; empty and -1 for test rows."""
    if row.kind.startswith("test"):
        return EMPTY, EMPTY, np.array([[-1]], dtype=np.int16)
    kind = ACTIVITIES[activity]
    return np.array([kind.category]), np.array([kind.name]), integer(activity + 1, np.int16)


def single_person_row(row: Row) -> Struct:
    """MPII's own list of persons that stand apart, as 1-based indices; [] where people crowd."""
    if row.kind == "empty annorect" or row.num_people == 3:
        return EMPTY
    if row.num_people == 2:
        return EMPTY if row.frame % 2 else np.array([[1], [2]], dtype=np.uint8)
    return integer(1, np.uint8)


def _annorect(row: Row, people: tuple[Person, ...]) -> Struct:
    rng = np.random.default_rng(np.random.SeedSequence((int(row.name[:-4]), 7)))
    if row.kind == "empty annorect":
        return EMPTY
    if row.kind.startswith("test"):
        return structs([_size_and_place(person) for person in people])
    if row.kind == "head box only":
        return structs([_head(people[0])])
    rects = [_rect(person, row.kind, index, rng) for index, person in enumerate(people)]
    if row.kind == "no scale, missing joints":
        rects = [{k: v for k, v in rect.items() if k not in ("scale", "objpos")} for rect in rects]
    return structs(rects)


def _rect(person: Person, kind: str, index: int, rng: np.random.Generator) -> dict[str, Any]:
    points = _points(person.xy_img, rng)
    rect = _head(person)
    rect["annopoints"] = structs([{"point": _point_structs(points, kind, index, rng)}])
    # The bare one stands behind: what MPII annotates is the person whom the picture is about.
    if kind == "empty annopoints" or (index == 0 and "without annopoints" in kind):
        rect["annopoints"] = EMPTY
    rect |= _size_and_place(person)
    if kind.startswith("empty scale"):
        rect |= {"scale": EMPTY, "objpos": EMPTY}
    return rect


def _points(xy_img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """1-based points: whole numbers but for most necks and head tops, as in MPII."""
    points: np.ndarray = np.round(xy_img + 1)
    if rng.random() < 0.94:
        head = [UPPER_NECK, HEAD_TOP]
        points[head] = np.round(xy_img[head] + 1, 4)
    points[[j for j in range(len(JOINTS)) if j not in (UPPER_NECK, HEAD_TOP)]] = np.maximum(
        points[[j for j in range(len(JOINTS)) if j not in (UPPER_NECK, HEAD_TOP)]], 1
    )
    return points


def _head(person: Person) -> dict[str, Any]:
    """The box round the head as it is seen, whole pixels.

    MPII's neck and head top are made of its box, |neck - top| = 0.8 x the diagonal; ours are where
    they are in space, nearer to each other in a head that is seen from above.
    """
    corners = (person.head_box + 1).ravel().tolist()
    return {
        name: integer(value, np.int16)
        for name, value in zip(("x1", "y1", "x2", "y2"), corners, strict=True)
    }


def _size_and_place(person: Person) -> dict[str, Any]:
    """Where she is, and her true stature, so that a crop by it holds her whatever her pose.

    MPII's own scale is 6 x |neck - top| / 200 px, about 0.84 of the stature of one upright.
    """
    centre = (person.xy_img.min(axis=0) + person.xy_img.max(axis=0)) / 2 + 1
    x, y = (integer(max(1.0, float(value))) for value in centre)
    scale = np.array([[round(person.stature / 200, 6)]])
    return {"scale": scale, "objpos": structs([{"x": x, "y": y}])}


def _point_structs(points: np.ndarray, kind: str, index: int, rng: np.random.Generator) -> Struct:
    present, flags = _visibility(kind, index, rng)
    style = str(rng.choice(["plain", "char flags", "no flags"], p=[0.8, 0.13, 0.07]))
    as_char = kind == "char flag 0" or (kind != "uint8 flag 0" and style == "char flags")
    has_flags = kind != "missing joints, no flags" and not (kind == KEPT and style == "no flags")
    rows = []
    for joint in (joint for joint in POINT_ORDER if joint in present):
        x, y = points[joint]
        whole = float(x).is_integer() and float(y).is_integer() and min(x, y) >= 0
        row: dict[str, Any] = {
            "x": integer(x) if whole else np.array([[x]]),
            "y": integer(y) if whole else np.array([[y]]),
            "id": integer(joint, np.uint8),
        }
        if has_flags:
            flag = int(flags[joint])
            value = np.array([str(flag)]) if as_char else integer(flag, np.uint8)
            row["is_visible"] = EMPTY if joint in (UPPER_NECK, HEAD_TOP) else value
        rows.append(row)
    return structs(rows)


def _visibility(kind: str, index: int, rng: np.random.Generator) -> tuple[set[int], np.ndarray]:
    """The joints that are annotated, and a flag for each of the sixteen, whatever is hidden."""
    present, flags = set(range(len(JOINTS))), np.ones(len(JOINTS), dtype=int)
    hideable = [joint for joint in range(len(JOINTS)) if joint not in (6, 7, UPPER_NECK, HEAD_TOP)]
    if "flag 0" in kind or (kind in ("two persons", "three persons") and index > 0):
        flags[rng.choice(hideable, size=int(rng.integers(1, 4)), replace=False)] = 0
    if "missing joints" in kind:
        # The frame of MPII often cuts off the legs first.
        legs = [0, 5, 1, 4, 2, 3][: int(rng.integers(2, 7))]
        present -= set(legs)
    if kind == "one missing joint" or (kind == "two persons, one with all joints" and index > 0):
        present -= {int(rng.choice(hideable))}
    return present, flags
