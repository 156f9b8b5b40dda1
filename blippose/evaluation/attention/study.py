"""The study of a run's attention on its own data, from model to files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from blippose.attention import AttentionReader
from blippose.data import PoseDataset
from blippose.decoding import Free, InputFrame
from blippose.errors import UserError
from blippose.evaluation.asking import asking
from blippose.evaluation.attention.evidence import AttentionEvidence, as_input
from blippose.evaluation.attention.figures import CrossMaps
from blippose.evaluation.attention.files import (
    ARRAYS_FILE,
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
from blippose.evaluation.attention.stored_evidence import stored_evidence
from blippose.evaluation.evidence import judged
from blippose.evaluation.intervals import units, video_counts
from blippose.evaluation.subject import Subject
from blippose.evaluation.targets import Targets
from blippose.frame_file import Stated
from blippose.geometry import Crop
from blippose.output_folder import writable
from blippose.pose import Pose
from blippose.release_images import shown as shown_image
from blippose.versions import known_versions


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
        progress: whether stderr is told how far it is.
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


@dataclass(frozen=True)
class Outcome:
    """What a study leaves.

    Args:
        report: as in `attention.json`.
        names: of the files.
        was_stored: whether what was measured earlier was used again.
        skipped: photos that could not be read.
    """

    report: dict[str, Any]
    names: list[str]
    was_stored: bool
    skipped: tuple[Path, ...] = ()


def study_run(subject: Subject, out: Path, choice: Choice) -> Outcome | None:
    """The study of a run on its own data, with its files in `out`.

    Of several processes that share the work, all but the first get None.

    Raises:
        UserError: no such layer, head or subset, too few persons, or a folder that cannot be
            written.
    """
    captioner = subject.captioner
    reader = AttentionReader(captioner.blip, captioner.tokenizer, captioner.caption_format)
    layer, head = choice.indices(reader)
    subset, dataset = judged(subject, choice.subset)
    targets = Targets.of(dataset, captioner.frame.input_size)
    with writable(out):
        evidence, was_stored = stored_evidence(
            out / ARRAYS_FILE,
            _origin(subject, subset, dataset, targets),
            reader,
            lambda positions: as_input([dataset[position].image for position in positions]),
            targets.image_names,
            targets.xy_input,
            choice.batch_size,
            progress=choice.progress,
        )
    if evidence is None:
        return None
    truth = Truth.of(evidence, targets, choice.seed)
    shown = {"self": self_shown(evidence, layer, head), "cross": cross_shown(truth, layer, head)}
    position = middle_person(truth, shown["cross"])
    about = {
        **about_of(
            str(subject.run), str(subject.checkpoint), captioner.frame, subset, subject.stated
        ),
        **video_counts(targets.video),
        "split": subject.data.split_kind,
        "synthetic": bool(subject.data.manifest["synthetic"]),
        "person_shown": targets.image_names[position],
    }
    report = attention_report(
        about, evidence, truth, shown, units(targets.video), choice.samples, choice.seed
    )
    picture = _person_picture(reader, evidence, dataset, position, shown["cross"])
    order = captioner.caption_format.joint_order
    names = write_attention(out, report, evidence, shown, iter([picture]), order)
    return Outcome(report, names, was_stored)


def _origin(
    subject: Subject, subset: str, dataset: PoseDataset, targets: Targets
) -> dict[str, Any]:
    """All that decides the arrays."""
    return {
        **subject.origin(subset, dataset).deciding(),
        "indices": list(dataset.indices),
        "truth_sha256": hashlib.sha256(targets.xy_input.tobytes()).hexdigest(),
    }


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
    photo = np.asarray(shown_image(dataset.images / name))
    maps = cross_maps(reader, evidence, photo, sample.image, sample.crop, shown, sample.pose_input)
    label = (
        f"{name}, the median person by the distance from the peak; px of the input; {shown.why}"
    )
    return CrossPicture(CROSS_JOINTS, maps, label)


def cross_maps(
    reader: AttentionReader,
    evidence: AttentionEvidence,
    photo: UInt8[np.ndarray, "h w 3"],
    pixels: UInt8[np.ndarray, "size size 3"],
    crop: Crop,
    shown: Shown,
    target: Pose | None,
) -> CrossMaps:
    """The maps of one image, for which the model is asked once more: all of them take memory."""
    with asking(reader.blip):
        [attention] = reader(as_input([pixels]))
    grid, pred = evidence.grid, attention.parsed[0].pose
    share = np.where(pred.valid[:, None, None], cross_share(attention, shown, grid), np.nan)
    patch = np.nan_to_num(share).reshape(len(share), -1).argmax(axis=-1)
    peak = grid.centre(np.where(pred.valid & np.isfinite(share[:, 0, 0]), patch, -1))
    return CrossMaps(photo, crop, share, peak, pred, target)


def about_of(
    run: str, source: str, frame: InputFrame, subset: str, stated: Stated
) -> dict[str, Any]:
    """Where the captions come from, as the report has it."""
    return {
        "run": run,
        "source": source,
        "subset": subset,
        "frame": frame.record(),
        "decoding": Free().name,  # of `AttentionReader`
        "own_decoding": stated.own_decoding.name,
        "versions": known_versions(),
    }
