"""The MPII Human Pose release (`.mat`) read into persons, and the filters with their counts.

The only place, with the synthetic writer, that knows Matlab's 1-based coordinates: everything
that leaves here is 0-based. Knows nothing of captions, crops, splits or models.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from jaxtyping import Float
from PIL import Image

from blippose.errors import UserError
from blippose.pose import NUM_JOINTS, Pose

ANNOTATIONS = "mpii_human_pose_v1_u12_1.mat"
_WEBSITE = "http://human-pose.mpi-inf.mpg.de"
_NUM_NAMED = 3  # of many absent or unreadable images, an error names so many


@dataclass(frozen=True, eq=False)
class Person:
    """One annotated person: an annorect with at least one point. Image pixels, 0-based.

    `flags` are the sixteen `is_visible`: None where the flag is empty or the field is absent,
    and for a joint without a point. `head_size` is 0.6 x the diagonal of the head box, 0.0
    without one. `scale` is the person's height / 200 px. `video` is the file's own vididx (from
    1); frames of one YouTube video share it.
    """

    image_name: str
    image_index: int  # row in annolist, from 0
    person_index: int  # entry of annorect, from 0
    pose: Pose
    flags: tuple[bool | None, ...]
    head_size: float
    head_box: tuple[float, float, float, float] | None  # x0, y0, x1, y1
    center: tuple[float, float] | None  # objpos
    scale: float | None
    video: int | None
    activity: str | None


@dataclass(frozen=True)
class ImageRow:
    """One row of annolist. `single_person` holds entries of annorect, from 0."""

    name: str
    is_train: bool
    persons: tuple[Person, ...]  # annotated ones only
    num_annorects: int  # annotated or not
    single_person: tuple[int, ...]
    video: int | None


@dataclass(frozen=True)
class Release:
    """A whole annotation file. `sha256` is that of the file's bytes."""

    path: Path
    rows: tuple[ImageRow, ...]
    synthetic: bool  # written by `blippose.synthetic`: RELEASE.source == "synthetic"
    sha256: str


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


def read_release(annotations: Path) -> Release:
    """The release in `annotations`, MPII's own `.mat` or one that the synthetic writer made.

    Points go by their id, whatever their order; a point without x or y, or whose id is no joint,
    counts as absent. The first of two points with one id counts.

    Raises:
        UserError: no such file, or not a readable Matlab 5 file with MPII's RELEASE.
    """
    struct = _load(annotations)
    try:
        rows = tuple(_rows(struct))
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{annotations}: RELEASE is not laid out as MPII's {ANNOTATIONS} ({_line(error)}); "
            f"get the annotations from {_WEBSITE}"
        ) from error
    with annotations.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    synthetic = getattr(struct, "source", None) == "synthetic"
    return Release(annotations, rows, synthetic, sha256)


def _load(annotations: Path) -> Any:
    if annotations.is_dir():
        raise UserError(f"{annotations}: is a folder; expected the file {ANNOTATIONS} in it")
    if not annotations.is_file():
        raise UserError(
            f"{annotations}: no such file; expected MPII's annotations ({ANNOTATIONS}), "
            f"which come from {_WEBSITE}"
        )
    try:
        variables = scipy.io.loadmat(
            annotations, squeeze_me=True, struct_as_record=False, variable_names=["RELEASE"]
        )
    except NotImplementedError as error:
        raise UserError(
            f"{annotations}: a Matlab v7.3 (HDF5) file; MPII's own is Matlab 5: use the original "
            f"from {_WEBSITE}, or save it again with `save -v7`"
        ) from error
    except Exception as error:  # damaged bytes raise nearly anything inside scipy
        raise UserError(
            f"{annotations}: not a readable Matlab file, perhaps cut off while downloading "
            f"({_line(error)}); get it again from {_WEBSITE}"
        ) from error
    if "RELEASE" not in variables:
        raise UserError(
            f"{annotations}: holds no variable RELEASE; expected MPII's {ANNOTATIONS} "
            f"from {_WEBSITE}"
        )
    return variables["RELEASE"]


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _rows(release: Any) -> Iterator[ImageRow]:
    """The rows, with whatever the squeezing of single values and absent fields left."""
    images = _items(release.annolist)
    num_rows = len(images)
    is_train = _column(release.img_train, num_rows)
    single_person = _column(getattr(release, "single_person", None), num_rows)
    acts = _column(getattr(release, "act", None), num_rows)
    for index, image in enumerate(images):
        yield _row(index, image, bool(is_train[index]), single_person[index], acts[index])


@dataclass(frozen=True)
class _Image:
    name: str
    index: int
    video: int | None
    activity: str | None


def _row(index: int, row: Any, is_train: bool, single_person: Any, act: Any) -> ImageRow:
    name = _text(row.image.name)
    if name is None:
        raise ValueError(f"row {index + 1} of annolist has no image name")
    video = _number(getattr(row, "vididx", None))
    image = _Image(
        name, index, None if video is None else int(video), _text(getattr(act, "act_name", None))
    )
    annorects = _items(getattr(row, "annorect", None))
    persons = (_person(annorect, entry, image) for entry, annorect in enumerate(annorects))
    return ImageRow(
        name=name,
        is_train=is_train,
        persons=tuple(person for person in persons if person is not None),
        num_annorects=len(annorects),
        single_person=tuple(int(entry) - 1 for entry in _items(single_person)),
        video=image.video,
    )


def _person(annorect: Any, entry: int, image: _Image) -> Person | None:
    """None for an annorect without points (a head box only, or a test image's)."""
    points = _items(getattr(getattr(annorect, "annopoints", None), "point", None))
    xy_img, flags = _joints(points)
    if np.isnan(xy_img).all():
        return None
    head_box = _head_box(annorect)
    return Person(
        image_name=image.name,
        image_index=image.index,
        person_index=entry,
        pose=Pose.of(xy_img),
        flags=flags,
        head_size=_head_size(head_box),
        head_box=head_box,
        center=_xy(getattr(annorect, "objpos", None)),
        scale=_number(getattr(annorect, "scale", None)),
        video=image.video,
        activity=image.activity,
    )


def _joints(
    points: Sequence[Any],
) -> tuple[Float[np.ndarray, "16 2"], tuple[bool | None, ...]]:
    """Joints by id, 0-based, NaN where there is no point; and their flags."""
    xy_img = np.full((NUM_JOINTS, 2), np.nan)
    flags: list[bool | None] = [None] * NUM_JOINTS
    for point in reversed(points):  # so that the first of two with one id stays
        joint, xy = _number(getattr(point, "id", None)), _xy(point)
        if joint is None or xy is None or joint not in range(NUM_JOINTS):
            continue
        xy_img[int(joint)] = xy
        flags[int(joint)] = _flag(getattr(point, "is_visible", None))
    return xy_img, tuple(flags)


def _flag(value: Any) -> bool | None:
    """`is_visible` comes as uint8, bool, char "0" or "1", or empty (always for ids 8 and 9)."""
    number = _number(value)
    return None if number is None else number != 0


def _head_box(annorect: Any) -> tuple[float, float, float, float] | None:
    x0, y0, x1, y1 = (_number(getattr(annorect, key, None)) for key in ("x1", "y1", "x2", "y2"))
    if x0 is None or y0 is None or x1 is None or y1 is None:
        return None
    return x0 - 1, y0 - 1, x1 - 1, y1 - 1


def _head_size(box: tuple[float, float, float, float] | None) -> float:
    """0.6 x the diagonal. Source: SC_BIAS in MPII's own evalMPII toolkit."""
    return 0.0 if box is None else 0.6 * math.hypot(box[2] - box[0], box[3] - box[1])


def _xy(struct: Any) -> tuple[float, float] | None:
    """The 0-based x and y of a struct, None when either is missing."""
    x, y = _number(getattr(struct, "x", None)), _number(getattr(struct, "y", None))
    return None if x is None or y is None else (x - 1, y - 1)


def _items(value: Any) -> list[Any]:
    """A list again of what squeezing made a lone value, an array, or an empty array."""
    if value is None:
        return []
    return list(value.ravel()) if isinstance(value, np.ndarray) else [value]


def _column(values: Any, num_rows: int) -> list[Any]:
    """One value a row; None in each when the release lacks the field."""
    if values is None:
        return [None] * num_rows
    items = [values] if num_rows == 1 else _items(values)
    if len(items) != num_rows:
        raise ValueError(f"{num_rows} rows in annolist, but a field with {len(items)} values")
    return items


def _number(value: Any) -> float | None:
    """As float first: subtracting 1 from a uint8 0 would wrap round."""
    items = _items(value)
    number = float(items[0]) if items else math.nan
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


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
    rule = _reading(reading)
    return tuple(p for p in _picked(release, rule) if p.pose.valid.all() and rule.keeps(p))


def filter_steps(release: Release, reading: str = "visible") -> list[FilterStep]:
    """How many images and annotated persons each filter of `reading` leaves, in their order.

    Raises:
        UserError: no reading of this name.
    """
    rule = _reading(reading)
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


def _reading(name: str) -> Reading:
    if name not in READINGS:
        raise UserError(f"reading={name}: no such reading; choose one of {', '.join(READINGS)}")
    return READINGS[name]


def _picked(release: Release, rule: Reading) -> list[Person]:
    persons = (rule.pick(row) for row in release.rows if row.is_train)
    return [person for person in persons if person is not None]


def _row_step(text: str, rows: Sequence[ImageRow]) -> FilterStep:
    return FilterStep(text, len(rows), sum(len(row.persons) for row in rows))


def missing_images(persons: Sequence[Person], images: Path) -> list[str]:
    """The file names, each once, that `persons` need and the folder `images` does not hold."""
    return [name for name in _names(persons) if not (images / name).is_file()]


def check_images(persons: Sequence[Person], images: Path) -> None:
    """Refuses a folder in which an image of `persons` is absent or unreadable.

    Reads headers, PNG checksums and the end-of-image mark of a JPEG, and decodes only a JPEG
    without one, so that 1,500 images take about a second. It cannot notice damage inside a JPEG
    that has its end, nor another picture under the right name.

    Raises:
        UserError: no folder, or images that are absent or unreadable: counted, the first named.
    """
    if not images.is_dir():
        raise UserError(
            f"{images}: no such folder; expected the {len(_names(persons))} images that the "
            f"annotations name, which come from {_WEBSITE}"
        )
    num_images = len(_names(persons))
    if missing := missing_images(persons, images):
        raise UserError(
            f"{images}: {len(missing)} of {num_images} images are absent "
            f"({_first(missing)}); unpack MPII's images into this folder"
        )
    if broken := [name for name in _names(persons) if not _readable(images / name)]:
        raise UserError(
            f"{images}: {len(broken)} of {num_images} images are empty, cut off or no images "
            f"({_first(broken)}); copy them again from MPII's archive"
        )


def _names(persons: Sequence[Person]) -> list[str]:
    return list(dict.fromkeys(person.image_name for person in persons))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NUM_NAMED]) + (", ..." if len(names) > _NUM_NAMED else "")


def _readable(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.verify()
            is_jpeg = image.format == "JPEG"
        if is_jpeg and not _has_end_mark(path):  # a mark may lie before trailing bytes
            with Image.open(path) as image:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _has_end_mark(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() == b"\xff\xd9"
