"""Training, validation and test: which persons learn and which judge, and the record of it.

Two kinds: `random` draws persons, as the study did; `video` keeps all frames of one YouTube video
on one side. A test side is carved out of validation, so that training stays the same with it and
without. Knows nothing of images or of how a person was read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from blippose.errors import UserError
from blippose.mpii import Person, Release
from blippose.whole_file import write_whole

KINDS = ("random", "video")


@dataclass(frozen=True)
class Split:
    """Indices into the persons, ascending; every person is on exactly one side."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    kind: str
    seed: int
    fraction: float  # of the persons that train should get
    test: tuple[int, ...] = ()
    test_fraction: float = 0.0  # of the persons that test should get; 0 makes no test side


def split_persons(
    persons: Sequence[Person],
    kind: str,
    fraction: float = 0.8,
    seed: int = 0,
    test_fraction: float = 0.0,
) -> Split:
    """The split of `persons` by the name of its kind.

    Raises:
        UserError: an unknown kind, fractions that leave nothing for validation, or one side
            would be empty.
    """
    check_kind(kind)
    if kind == "random":
        return split_random(len(persons), fraction, seed, test_fraction)
    return split_video([person.video for person in persons], fraction, seed, test_fraction)


def split_random(
    num_persons: int, fraction: float = 0.8, seed: int = 0, test_fraction: float = 0.0
) -> Split:
    """`fraction * num_persons`, rounded down, persons for training, then those for test.

    >>> split = split_random(1463, fraction=0.8, seed=0)
    >>> len(split.train), len(split.val)
    (1170, 293)
    >>> split = split_random(1463, fraction=0.8, seed=0, test_fraction=0.1)
    >>> len(split.train), len(split.val), len(split.test)
    (1170, 147, 146)

    They are drawn one by one.

    Raises:
        UserError: fractions that leave nothing for validation, or one side would be empty.
    """
    num_train, num_test = _sizes(num_persons, fraction, test_fraction)
    order = np.random.default_rng(seed).permutation(num_persons).tolist()
    test = order[num_train : num_train + num_test]
    split = Split((), (), "random", seed, fraction, test_fraction=test_fraction)
    return _filled(split, order[:num_train], test, num_persons)


def split_video(
    videos: Sequence[int | None],
    fraction: float = 0.8,
    seed: int = 0,
    test_fraction: float = 0.0,
) -> Split:
    """Whole videos for training, whose sizes sum as near to the random split's as they can.

    Of two sums equally near, the smaller. `videos` has one id a person; None is a video of its
    own. Videos come in an order drawn from `seed`, and each is taken unless what is left could
    then no longer be filled exactly. What is left is parted between test and validation alike.

    Raises:
        UserError: fractions that leave nothing for validation, or fewer videos than sides.
    """
    num_train, num_test = _sizes(len(videos), fraction, test_fraction)
    groups = _groups(videos)
    if len(groups) < 2:
        raise UserError(
            f"data.split=video: all {len(videos)} persons come from one video, so that one "
            "side would be empty; expected two videos or more (data.split=random takes any)"
        )
    order = np.random.default_rng(seed).permutation(len(groups))
    drawn = [groups[i] for i in order.tolist()]
    train = set(_fill(drawn, num_train))
    left = [group for group in drawn if group[0] not in train]
    if num_test and len(left) < 2:
        raise UserError(
            f"data.split=video: one video alone ({len(left[0])} persons) is left for "
            "validation and test; choose a smaller data.train_fraction, or data.test_fraction=0"
        )
    test = _fill(left, num_test) if num_test else []
    split = Split((), (), "video", seed, fraction, test_fraction=test_fraction)
    return _filled(split, train, test, len(videos))


def shares_video(
    persons: Iterable[int | None], train: Iterable[int | None]
) -> Bool[np.ndarray, " persons"]:
    """Which videos of `persons` are among those of `train`, one a person; unknown: none.

    >>> shares_video([7, 8, None], [7, 7, None])
    array([ True, False, False])
    """
    known = set(train) - {None}
    return np.array([video in known for video in persons], dtype=bool)


def shared_video_count(
    split: Split, videos: Sequence[int | None], side: Sequence[int] | None = None
) -> int:
    """How many persons of `side` have a frame of the same video in training; unknown: none.

    `side` is validation where it is not given.
    """
    judged = split.val if side is None else side
    return int(shares_video([videos[i] for i in judged], [videos[i] for i in split.train]).sum())


def manifest(
    persons: Sequence[Person], split: Split, release: Release, reading: str
) -> dict[str, Any]:
    """The split as plain JSON data, without paths, and the `hash` of all the rest.

    The hash is the sha256 of the rest as JSON with sorted keys and without spaces, in ASCII: the
    same on every platform, and another as soon as one person changes sides. `test` and its
    fraction are in it where there is a test side.
    """
    record: dict[str, Any] = {
        "kind": split.kind,
        "seed": split.seed,
        "fraction": split.fraction,
        "reading": reading,
        "annotations_sha256": release.sha256,
        "synthetic": release.synthetic,
        "train": _entries(persons[i] for i in split.train),
        "val": _entries(persons[i] for i in split.val),
    }
    if split.test:
        record["test_fraction"] = split.test_fraction
        record["test"] = _entries(persons[i] for i in split.test)
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return {**record, "hash": hashlib.sha256(canonical.encode("ascii")).hexdigest()}


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Writes `manifest` as JSON, whole or not at all: readers never see half a file.

    Raises:
        UserError: it cannot be written there.
    """
    check_manifest_path(path)
    try:
        write_whole(path, json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"manifest={path}: cannot be written ({error.strerror})") from error


def check_manifest_path(path: Path) -> None:
    """Makes the folder of a manifest that is to be written, before the work that comes first.

    Raises:
        UserError: the folder cannot be made or written to, or `path` is itself a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"manifest={path}: cannot be written ({error.strerror})") from error
    if path.is_dir():
        raise UserError(f"manifest={path}: is a folder; expected a file such as split.json")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"manifest={path}: its folder cannot be written to")


def check_kind(kind: str) -> None:
    """Refuses what is no kind of split.

    Raises:
        UserError: it is none.
    """
    if kind not in KINDS:
        raise UserError(f"data.split={kind}: no such split; choose one of {', '.join(KINDS)}")


def check_fractions(fraction: float, test_fraction: float = 0.0) -> None:
    """Refuses shares of training and test persons that leave nothing for validation.

    Raises:
        UserError: they do, or one is outside its range.
    """
    if not 0 < fraction < 1:
        raise UserError(
            f"data.train_fraction={fraction}: expected more than 0 and less than 1, such as 0.8"
        )
    if not 0 <= test_fraction < 1:
        raise UserError(
            f"data.test_fraction={test_fraction}: expected 0 or more and less than 1, such as 0.1"
        )
    if fraction + test_fraction >= 1:
        raise UserError(
            f"data.test_fraction={test_fraction} beside data.train_fraction={fraction} leaves "
            "nothing for validation; expected less than 1 together"
        )


def _sizes(num_persons: int, fraction: float, test_fraction: float) -> tuple[int, int]:
    """How many persons train and test should get."""
    check_fractions(fraction, test_fraction)
    num_train, num_test = (_rounded_down(f * num_persons) for f in (fraction, test_fraction))
    if num_train in (0, num_persons):
        raise UserError(
            f"a split of {num_persons} persons at data.train_fraction={fraction} leaves one side "
            "empty; choose another, or a data.reading that keeps more persons"
        )
    if test_fraction and num_test in (0, num_persons - num_train):
        raise UserError(
            f"a split of {num_persons} persons at data.train_fraction={fraction}, "
            f"data.test_fraction={test_fraction} leaves test or validation empty; choose others"
        )
    return num_train, num_test


def _rounded_down(product: float) -> int:
    """0.29 x 100 is 28.999999999999996 in floating point, and 29 persons."""
    return int(round(product, 9))


def _filled(split: Split, train: Iterable[int], test: Iterable[int], num_persons: int) -> Split:
    """`split` with its sides; validation is whoever is on neither."""
    sides = tuple(sorted(train)), tuple(sorted(test))
    val = tuple(sorted(set(range(num_persons)).difference(*sides)))
    return replace(split, train=sides[0], val=val, test=sides[1])


def _groups(videos: Sequence[int | None]) -> list[list[int]]:
    """The persons of each video, in the order in which the videos first come."""
    groups: dict[tuple[int, int | None], list[int]] = {}
    for i, video in enumerate(videos):
        key = (i, None) if video is None else (-1, video)
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _fill(groups: Sequence[list[int]], num_train: int) -> list[int]:
    """Persons of whole groups, as near to `num_train` as sums of sizes come.

    Bit s of `reach[i]` says whether some of `groups[i:]` sum to s: sizes 3, 3, 4 reach 0, 3, 4,
    6, 7, 10, so that 6 of 10 leaves the 4 out even when it comes first.
    """
    reach = [1]
    for group in reversed(groups):
        reach.append(reach[-1] | reach[-1] << len(group))
    reach.reverse()
    left = _nearest(reach[0], num_train, sum(map(len, groups)))
    train: list[int] = []
    for group, after in zip(groups, reach[1:], strict=True):
        if len(group) <= left and after >> (left - len(group)) & 1:
            train += group
            left -= len(group)
    return train


def _nearest(reachable: int, num_train: int, num_persons: int) -> int:
    """The reachable sum nearest to `num_train` that leaves neither side empty."""
    sums = (s for s in range(1, num_persons) if reachable >> s & 1)
    return min(sums, key=lambda s: (abs(s - num_train), s))


def _entries(persons: Iterable[Person]) -> list[dict[str, Any]]:
    return [{"image": p.image_name, "person_index": p.person_index} for p in persons]
