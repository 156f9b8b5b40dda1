"""The study of a model's attention on the user's photos: pictures, and no distances."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blippose import __version__, runs
from blippose.attention import AttentionReader
from blippose.errors import UserError
from blippose.evaluation.attention.evidence import AttentionEvidence, as_input
from blippose.evaluation.attention.files import (
    ARRAYS_FILE,
    CROSS_JOINTS,
    CrossPicture,
    write_attention,
)
from blippose.evaluation.attention.report import (
    Shown,
    attention_report,
    cross_shown,
    self_shown,
)
from blippose.evaluation.attention.stored_evidence import stored_evidence
from blippose.evaluation.attention.study import Choice, Outcome, about_of, cross_maps
from blippose.geometry import Crop
from blippose.images import read_image
from blippose.model_checkpoint import checkpoint_sha256
from blippose.output_folder import writable
from blippose.predictor import PosePredictor


def study_photos(
    predictor: PosePredictor, run: Path, paths: Sequence[Path], out: Path, choice: Choice
) -> Outcome | None:
    """The study of photos, with its files in `out`.

    Of several processes that share the work, all but the first get None.

    Raises:
        UserError: no such layer or head, no photo that can be read, or a folder that cannot be
            written.
    """
    reader = AttentionReader(predictor.blip, predictor.tokenizer, predictor.caption_format)
    layer, head = choice.indices(reader)
    hashes = _readable(paths)
    read = [path for path in paths if path in hashes]
    if not read:
        raise UserError(f"images: none of {len(paths)} can be read; the reasons stand above")
    with writable(out):
        evidence, was_stored = stored_evidence(
            out / ARRAYS_FILE,
            _origin(predictor, read, hashes),
            reader,
            lambda positions: as_input([_seen(predictor, read[i])[1] for i in positions]),
            [str(path) for path in read],
            None,
            choice.batch_size,
            progress=choice.progress,
        )
    if evidence is None:
        return None
    shown = {"self": self_shown(evidence, layer, head), "cross": cross_shown(None, layer, head)}
    photo = np.unique([hashes[path] for path in read], return_inverse=True)[1]  # copies are one
    about = {
        **about_of(str(run), predictor.source, predictor.frame, "photos", predictor.stated),
        "num_videos": None,
        "num_without_video": len(read),
        "num_different": int(photo.max()) + 1,
        "split": None,
        "synthetic": bool(predictor.synthetic),
    }
    report = attention_report(
        about, evidence, None, shown, ("image", photo), choice.samples, choice.seed
    )
    pictures = _pictures(predictor, reader, evidence, read, shown["cross"])
    order = predictor.caption_format.joint_order
    names = write_attention(out, report, evidence, shown, pictures, order)
    skipped = tuple(path for path in paths if path not in hashes)
    return Outcome(report, names, was_stored, skipped)


def _readable(paths: Sequence[Path]) -> dict[Path, str]:
    """Hashes of the pixels of those that can be read; the others are told on stderr."""
    hashes = {}
    for path in dict.fromkeys(paths):
        try:
            photo = read_image(path)
            hashes[path] = hashlib.sha256(repr(photo.shape).encode() + photo.tobytes()).hexdigest()
        except UserError as error:
            if runs.is_first_process():
                print(f"skipped {path}: {error}", file=sys.stderr)
    return hashes


def _origin(
    predictor: PosePredictor, paths: Sequence[Path], hashes: dict[Path, str]
) -> dict[str, Any]:
    """All that decides the arrays."""
    named = "\n".join(f"{hashes[path]} {path!r}" for path in paths)
    return {
        "checkpoint_sha256": checkpoint_sha256(Path(predictor.source)),
        "photos_sha256": hashlib.sha256(named.encode()).hexdigest(),
        "version": __version__,
    }


def _seen(
    predictor: PosePredictor, path: Path
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "size size 3"], Crop]:
    """A photo, what the model sees of it, and where that lies; read when it is needed."""
    photo = read_image(path)
    crop = predictor.whole(photo)
    return photo, crop.cut(Image.fromarray(photo)), crop


def _pictures(
    predictor: PosePredictor,
    reader: AttentionReader,
    evidence: AttentionEvidence,
    paths: Sequence[Path],
    shown: Shown,
) -> Iterator[CrossPicture]:
    """One for each photo, `cross_joints.png` for a single one, else with a number."""
    for number, path in enumerate(paths, 1):
        photo, pixels, crop = _seen(predictor, path)
        maps = cross_maps(reader, evidence, photo, pixels, crop, shown, None)
        name = CROSS_JOINTS if len(paths) == 1 else f"cross_joints_{number}.png"
        yield CrossPicture(name, maps, f"{path.name}; {shown.why}")
