"""The MPII Human Pose release (`.mat`) read into persons.

The only place, with the synthetic writer, that knows Matlab's 1-based coordinates: everything
that leaves here is 0-based. Knows nothing of captions, crops, splits or models.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import Float

from blippose.errors import UserError
from blippose.pose import NUM_JOINTS, Pose

ANNOTATIONS = "mpii_human_pose_v1_u12_1.mat"
WEBSITE = "http://human-pose.mpi-inf.mpg.de"


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
            f"get the annotations from {WEBSITE}"
        ) from error
    with annotations.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    synthetic = getattr(struct, "source", None) == "synthetic"
    return Release(annotations, rows, synthetic, sha256)


def check_annotations(annotations: Path) -> None:
    """Refuse at once what is no file.

    Raises:
        UserError: it is a folder, or not there.
    """
    if annotations.is_dir():
        raise UserError(f"{annotations}: is a folder; expected the file {ANNOTATIONS} in it")
    if not annotations.is_file():
        raise UserError(
            f"{annotations}: no such file; expected MPII's annotations ({ANNOTATIONS}), "
            f"which come from {WEBSITE}"
        )


def _load(annotations: Path) -> Any:
    check_annotations(annotations)
    try:
        variables = scipy.io.loadmat(
            annotations, squeeze_me=True, struct_as_record=False, variable_names=["RELEASE"]
        )
    except NotImplementedError as error:
        raise UserError(
            f"{annotations}: a Matlab v7.3 (HDF5) file; MPII's own is Matlab 5: use the original "
            f"from {WEBSITE}, or save it again with `save -v7`"
        ) from error
    except Exception as error:  # damaged bytes raise nearly anything inside scipy
        raise UserError(
            f"{annotations}: not a readable Matlab file, perhaps cut off while downloading "
            f"({_line(error)}); get it again from {WEBSITE}"
        ) from error
    if "RELEASE" not in variables:
        raise UserError(
            f"{annotations}: holds no variable RELEASE; expected MPII's {ANNOTATIONS} "
            f"from {WEBSITE}"
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
        scale=_positive(getattr(annorect, "scale", None)),
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


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
