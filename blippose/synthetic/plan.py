"""Which rows a release has: persons that the default filter keeps, and every quirk it rejects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEPT = "kept"
# Each of these rows occurs in MPII and must not be counted as a wholly visible single person.
QUIRKS: tuple[str, ...] = (
    "two persons",
    "three persons",
    "two persons, one with all joints",
    "char flag 0",
    "uint8 flag 0",
    "missing joints",
    "missing joints, no flags",
    "one missing joint",
    "test row",
    "test row, two persons",
    "empty annorect",
    "head box only",
    "empty annopoints",
    "no scale, missing joints",
    "empty scale and objpos, missing joints",
)
# One annotated person beside an annorect without joints: kept, since only one is annotated.
KEPT_BESIDE_BARE = "kept, two persons, one without annopoints"
REJECTED_SHARE = 0.2  # of the kept persons; every rejected row costs an image
_FRAMES = (1, 7)  # of a video: 1 to 6, mostly several


@dataclass(frozen=True)
class Row:
    """One image of the release: what it shows and where its randomness comes from."""

    name: str
    kind: str  # KEPT or one of QUIRKS
    video: int
    frame: int
    second: int  # of the video, MPII's frame_sec
    num_people: int


def plan_rows(num_persons: int, seed: int) -> list[Row]:
    """The rows of a release, `num_persons` of them kept, in a seeded order."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 2**31)))
    num_rejected = max(len(QUIRKS), round(REJECTED_SHARE * num_persons))
    num_beside = -(-num_persons // 50)
    kinds = [KEPT] * (num_persons - num_beside) + [KEPT_BESIDE_BARE] * num_beside
    kinds += [QUIRKS[i % len(QUIRKS)] for i in range(num_rejected)]
    kinds = [kinds[i] for i in rng.permutation(len(kinds))]
    names = rng.choice(10**8, size=len(kinds), replace=False, shuffle=True).tolist()
    rows: list[Row] = []
    while len(rows) < len(kinds):
        video = rows[-1].video + 1 if rows else 1
        second = int(rng.integers(1, 300))
        for frame in range(min(int(rng.integers(*_FRAMES)), len(kinds) - len(rows))):
            kind = kinds[len(rows)]
            second += int(rng.integers(1, 4))
            name = f"{names[len(rows)]:09d}.jpg"
            rows.append(Row(name, kind, video, frame, second, num_people(kind)))
    return rows


def num_people(kind: str) -> int:
    """How many people an image of this kind shows."""
    if "two persons" in kind:
        return 2
    return 3 if kind == "three persons" else 1
