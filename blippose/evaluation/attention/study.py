"""The study of attention, from model to files: of a run on its own data, or of photos."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blippose import runs
from blippose.attention import AttentionReader
from blippose.data import PoseDataset
from blippose.decoding import InputFrame
from blippose.errors import UserError
from blippose.evaluation.asking import asking, tracked
from blippose.evaluation.attention.evidence import (
    AttentionEvidence,
    as_input,
    collect,
    inputs_of,
)
from blippose.evaluation.attention.figures import CrossMaps
from blippose.evaluation.attention.files import (
    CROSS_JOINTS,
    CrossPicture,
    cross_share,
    write_attention,
)
from blippose.evaluation.attention.report import (
    WRITTEN,
    Shown,
    Truth,
    attention_report,
    cross_shown,
    self_shown,
)
from blippose.evaluation.evidence import judged
from blippose.evaluation.subject import Subject
from blippose.evaluation.targets import Targets
from blippose.geometry import Crop
from blippose.images import read_image
from blippose.pose import Pose
from blippose.predictor import PosePredictor


@dataclass(frozen=True)
class Choice:
    """What is asked for.

    Args:
        layer: of the pictures, from 1; None is the mean of all.
        head: of the pictures, from 1; None leaves it to what the heads do.
        subset: "val", "test" or "auto".
        samples: draws of the bootstrap.
        seed: of everything that is drawn.
        batch_size: images that the vision tower sees at once.
        progress: whether bars are shown.
    """

    layer: int | None = None
    head: int | None = None
    subset: str = "auto"
    samples: int = 1000
    seed: int = 0
    batch_size: int = 32
    progress: bool = False

    def indices(self, reader: AttentionReader) -> tuple[int | None, int | None]:
        """Layer and head from 0.

        Raises:
            UserError: the text decoder has no such layer or head.
        """
        for key, number, num in (
            ("layer", self.layer, reader.num_layers),
            ("head", self.head, reader.num_heads),
        ):
            if number is not None and not 1 <= number <= num:
                other = "all" if key == "layer" else "null"
                raise UserError(
                    f"{key}={number}: the text decoder has {num} {key}s; expected 1 to {num} or "
                    f"{other}"
                )
        layer, head = self.layer, self.head
        return None if layer is None else layer - 1, None if head is None else head - 1


def study_run(subject: Subject, out: Path, choice: Choice) -> tuple[dict[str, Any], list[str]]:
    """The report of a run on its own data, and the names of the files in `out`.

    Raises:
        UserError: no such layer, head or subset, too few persons, or a folder that cannot be
            written.
    """
    captioner = subject.captioner
    reader = AttentionReader(captioner.blip, captioner.tokenizer, captioner.caption_format)
    layer, head = choice.indices(reader)
    subset, dataset = judged(subject, choice.subset)
    with asking(captioner):
        images = inputs_of(dataset, choice.batch_size, progress=choice.progress)
        evidence = collect(reader, images)
        targets = Targets.of(dataset, captioner.frame.input_size)
        truth = Truth.of(evidence, targets, choice.seed)
        shown = {
            "self": self_shown(evidence, layer, head),
            "cross": cross_shown(truth, layer, head),
        }
        about = {
            **_about(str(subject.run), str(subject.checkpoint), captioner.frame, subset),
            "split": subject.data.split_kind,
            "synthetic": bool(subject.data.manifest["synthetic"]),
        }
        position = middle_person(truth, shown["cross"])
        about["person_shown"] = targets.image_names[position]
        report = attention_report(about, evidence, truth, shown, choice.samples, choice.seed)
        picture = _person_picture(reader, evidence, dataset, position, shown["cross"])
        names = write_attention(
            out, report, evidence, truth, shown, targets.image_names, iter([picture])
        )
    return report, names


def middle_person(truth: Truth, shown: Shown) -> int:
    """The person whose peaks are as far off as the median: neither the best nor the worst.

    Of those with the most joints to show.
    """
    own = truth.distances.own[:, WRITTEN]  # (N, L, H, 16)
    own = own if shown.layer is None else own[:, [shown.layer]]
    own = own if shown.head is None else own[:, :, [shown.head]]
    num_known = np.isfinite(own[:, 0, 0]).sum(axis=-1)
    whole = np.flatnonzero(num_known == num_known.max())
    total = np.nansum(own[whole], axis=(1, 2, 3))
    return int(whole[np.argsort(total, kind="stable")[len(whole) // 2]])


def _person_picture(
    reader: AttentionReader,
    evidence: AttentionEvidence,
    dataset: PoseDataset,
    position: int,
    shown: Shown,
) -> CrossPicture:
    sample, name = dataset[position], dataset.persons[position].image_name
    with Image.open(dataset.images / name) as image:
        photo = np.asarray(image.convert("RGB"))
    maps = _maps(reader, evidence, photo, sample.image, sample.crop, shown, sample.pose_input)
    label = f"{name}, the median person by this distance; px of the input; {shown.why}"
    return CrossPicture(CROSS_JOINTS, maps, label)


def _maps(
    reader: AttentionReader,
    evidence: AttentionEvidence,
    photo: UInt8[np.ndarray, "h w 3"],
    pixels: UInt8[np.ndarray, "size size 3"],
    crop: Crop,
    shown: Shown,
    target: Pose | None,
) -> CrossMaps:
    """The maps of one image, for which the model is asked once more: all of them take memory."""
    [attention] = reader(as_input([pixels]))
    grid, pred = evidence.grid, attention.parsed[0].pose
    share = np.where(pred.valid[:, None, None], cross_share(attention, shown, grid), np.nan)
    patch = np.nan_to_num(share).reshape(len(share), -1).argmax(axis=-1)
    peak = grid.centre(np.where(pred.valid & np.isfinite(share[:, 0, 0]), patch, -1))
    return CrossMaps(photo, crop, share, peak, pred, target)


def _about(run: str, source: str, frame: InputFrame, subset: str) -> dict[str, Any]:
    return {
        "run": run,
        "source": source,
        "subset": subset,
        "frame": asdict(frame),
        "versions": runs.known_versions(),
    }


def study_photos(
    predictor: PosePredictor, run: Path, paths: Sequence[Path], out: Path, choice: Choice
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The report of photos, without distances, the names of the files, and what was skipped.

    Raises:
        UserError: no such layer or head, no photo that can be read, or a folder that cannot be
            written.
    """
    reader = AttentionReader(predictor.blip, predictor.tokenizer, predictor.caption_format)
    layer, head = choice.indices(reader)
    photos = _Photos(predictor, choice)
    read = list(photos.readable(paths))
    if not read:
        raise UserError(f"images: none of {len(paths)} can be read; the reasons stand above")
    evidence = collect(reader, photos.inputs(read))
    shown = {"self": self_shown(evidence, layer, head), "cross": cross_shown(None, layer, head)}
    about: Mapping[str, Any] = {
        **_about(str(run), predictor.source, predictor.frame, "photos"),
        "split": None,
        "synthetic": bool(predictor.synthetic),
    }
    report = attention_report(about, evidence, None, shown, choice.samples, choice.seed)
    pictures = photos.pictures(reader, evidence, read, shown["cross"])
    names = tuple(map(str, read))
    return (
        report,
        write_attention(out, report, evidence, None, shown, names, pictures),
        photos.skipped,
    )


class _Photos:
    """The user's photos, read when they are needed, so that few are in memory at once."""

    def __init__(self, predictor: PosePredictor, choice: Choice) -> None:
        self._predictor, self._choice = predictor, choice
        self.skipped: list[str] = []

    def readable(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Those that can be read; the others are told on stderr."""
        for path in paths:
            try:
                read_image(path)
                yield path
            except UserError as error:
                self.skipped.append(str(path))
                print(f"skipped {path}: {error}", file=sys.stderr)

    def inputs(self, paths: Sequence[Path]) -> Iterator[Any]:
        """As batches of inputs, with a bar on stderr."""
        size = self._choice.batch_size
        starts = range(0, len(paths), size)
        bar = tracked(
            range(len(starts)),
            0,
            len(starts),
            description="attention, batches",
            shown=self._choice.progress,
        )
        for number in bar:
            part = paths[starts[number] : starts[number] + size]
            yield as_input([self._cut(read_image(path))[0] for path in part])

    def _cut(
        self, photo: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[UInt8[np.ndarray, "size size 3"], Crop]:
        crop = self._predictor.whole(photo)
        return crop.cut(Image.fromarray(photo)), crop

    def pictures(
        self,
        reader: AttentionReader,
        evidence: AttentionEvidence,
        paths: Sequence[Path],
        shown: Shown,
    ) -> Iterator[CrossPicture]:
        """One for each photo, `cross_joints.png` for the first, then with a number."""
        for number, path in enumerate(paths, 1):
            photo = read_image(path)
            pixels, crop = self._cut(photo)
            maps = _maps(reader, evidence, photo, pixels, crop, shown, None)
            name = CROSS_JOINTS if len(paths) == 1 else f"cross_joints_{number}.png"
            yield CrossPicture(name, maps, f"{path.name}; {shown.why}")
