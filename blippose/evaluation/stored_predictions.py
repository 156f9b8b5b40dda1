"""What a model said of every person of a subset, as values and as a JSON file.

One row a person and a line. A file says whose predictions they are (`Origin`): other weights,
another split, another frame or another version of blippose make it a stranger, that is asked for
again instead of believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from blippose.caption import Reason
from blippose.decoding import InputFrame
from blippose.evaluation.targets import Answers
from blippose.pose import JOINTS
from blippose.whole_file import write_whole

_Joints = tuple[tuple[float, float] | None, ...]  # sixteen, None where a joint is missing


@dataclass(frozen=True)
class Origin:
    """Whose predictions they are.

    `source`, a path, and `made_with`, packages and commit, are for people and do not count.
    """

    source: str
    checkpoint_sha256: str
    manifest: str  # hash of the split
    subset: str  # "val", "test" or "train"
    pixels_sha256: str  # of the images as the model sees them
    frame: InputFrame
    max_length: int  # of a caption, in tokens
    version: str  # of blippose
    made_with: Mapping[str, str]
    decoding: str  # its name

    def deciding(self) -> dict[str, Any]:
        """All that decides the captions."""
        own = self.record()
        return {key: own[key] for key in own if key not in ("source", "made_with")}

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "frame": self.frame.record()}

    def is_of(self, other: Mapping[str, Any]) -> bool:
        """Whether `other`, as JSON has it, says the same of all that decides the captions."""
        return all(value == other.get(key) for key, value in self.deciding().items())


@dataclass(frozen=True)
class PredictionRow:
    """What the model said of one person."""

    image: str
    index: int  # of the person in the filtered release
    video: int | None
    caption: str  # free-running
    truncated: bool  # whether it reached the longest length before its end
    reasons: tuple[str | None, ...]  # why a joint is missing from `caption`
    xy_input: _Joints
    xy_img: _Joints
    confidence: tuple[float, ...]  # of each joint, raw, 0 to 1
    teacher_forced_caption: str  # each token after the true ones before it
    teacher_forced_xy_input: _Joints  # of one look at the image
    teacher_forced_all_looks_xy_input: _Joints | None  # as free-running looks; None of one look
    coordinate_tokens: tuple[int, int]  # right and all, teacher-forced
    all_tokens: tuple[int, int]  # of them and of names, brackets, commas and the end

    @staticmethod
    def of(record: Mapping[str, Any]) -> PredictionRow:
        """The row that a line of JSON holds.

        Raises:
            KeyError, TypeError, ValueError: it does not hold one.
        """
        return PredictionRow(
            image=str(record["image"]),
            index=int(record["index"]),
            video=None if record["video"] is None else int(record["video"]),
            caption=str(record["caption"]),
            truncated=bool(record["truncated"]),
            reasons=tuple(record["reasons"]),
            xy_input=_joints(record["xy_input"]),
            xy_img=_joints(record["xy_img"]),
            confidence=tuple(map(float, record["confidence"])),
            teacher_forced_caption=str(record["teacher_forced_caption"]),
            teacher_forced_xy_input=_joints(record["teacher_forced_xy_input"]),
            teacher_forced_all_looks_xy_input=(
                None
                if (in_all_looks := record["teacher_forced_all_looks_xy_input"]) is None
                else _joints(in_all_looks)
            ),
            coordinate_tokens=_counts(record["coordinate_tokens"]),
            all_tokens=_counts(record["all_tokens"]),
        )


@dataclass(frozen=True)
class StoredPredictions:
    """A row for each person of a data set, in its order, in `frame`.

    `made_with` names the packages and the commit of the program that asked the model.
    """

    frame: InputFrame
    rows: tuple[PredictionRow, ...]
    made_with: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def free(self) -> Answers:
        """What the model says free-running."""
        captions = tuple(row.caption for row in self.rows)
        xy_input = _stacked(row.xy_input for row in self.rows)
        confidence = np.array([row.confidence for row in self.rows]).reshape(-1, 16)
        return Answers("model, free-running", "model", xy_input, captions, confidence)

    def teacher_forced(self) -> tuple[Answers, ...]:
        """What it says of each next token when it is shown the true ones before it.

        In as many looks as free-running, and then, where those are several, in one.
        """
        captions = tuple(row.teacher_forced_caption for row in self.rows)
        xy_input = _stacked(row.teacher_forced_xy_input for row in self.rows)
        one_look = Answers("model, teacher-forced", "model", xy_input, captions)
        in_all_looks = [row.teacher_forced_all_looks_xy_input for row in self.rows]
        known = [xy for xy in in_all_looks if xy is not None]
        if not known or len(known) < len(self.rows):
            return (one_look,)
        return (
            replace(one_look, xy_input=_stacked(known), captions=None),
            replace(one_look, name="model, teacher-forced, one look"),
        )

    def reasons(self) -> list[tuple[Reason | None, ...]]:
        """Why each joint is missing from the free-running captions, or None."""
        return [
            tuple(None if reason is None else Reason(reason) for reason in row.reasons)
            for row in self.rows
        ]

    def token_counts(self) -> tuple[Int[np.ndarray, "persons 2"], Int[np.ndarray, "persons 2"]]:
        """Right and all, teacher-forced: of the coordinates' tokens, and of every token."""
        coordinates = [row.coordinate_tokens for row in self.rows]
        tokens = [row.all_tokens for row in self.rows]
        return (
            np.array(coordinates, dtype=np.int64).reshape(-1, 2),
            np.array(tokens, dtype=np.int64).reshape(-1, 2),
        )

    def truncated(self) -> Bool[np.ndarray, " persons"]:
        """Whose caption was cut at the longest length."""
        return np.array([row.truncated for row in self.rows], dtype=bool)

    def save(self, path: Path, origin: Origin) -> None:
        """Write them as JSON, whole or not at all."""
        head = [f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in origin.record().items()]
        rows = [f"  {json.dumps(asdict(row))}" for row in self.rows]
        text = "".join(["{\n", *head, ' "rows": [\n', ",\n".join(rows), "\n ]\n}\n"])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)

    @staticmethod
    def load(path: Path, origin: Origin) -> StoredPredictions | None:
        """Those in the file; None where it is missing, torn, or not of this origin."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not origin.is_of(record):
                return None
            rows = tuple(map(PredictionRow.of, record["rows"]))
            return StoredPredictions(origin.frame, rows, dict(record["made_with"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def joints(xy: Float[np.ndarray, "16 2"]) -> _Joints:
    """Coordinates as JSON has them."""
    return tuple(None if np.isnan(x + y) else (float(x), float(y)) for x, y in xy)


def xy_of(joints: Sequence[Sequence[float] | None]) -> Float[np.ndarray, "16 2"]:
    """The inverse of `joints`: NaN where one is missing."""
    return np.array([(np.nan, np.nan) if at is None else at for at in joints], dtype=np.float64)


def _joints(values: Any) -> _Joints:
    if len(values) != len(JOINTS):
        raise ValueError(f"{len(values)} joints")
    return tuple(None if xy is None else (float(xy[0]), float(xy[1])) for xy in values)


def _counts(values: Any) -> tuple[int, int]:
    right, total = values
    return int(right), int(total)


def _stacked(rows: Iterable[_Joints]) -> Float[np.ndarray, "persons 16 2"]:
    return np.array([xy_of(row) for row in rows]).reshape(-1, 16, 2)
