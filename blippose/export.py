"""A model as a plain Hugging Face folder, for people who do not have blippose.

config.json, model.safetensors, generation_config.json   BlipForConditionalGeneration
tokenizer*.json, pre-/processor_config.json              BlipProcessor
README.md                                                the model card
split.json        the images of each side of the split, where the data are still at hand
blippose.json     the frame of the coordinates: `PosePredictor.from_pretrained` reads it
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers import BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blippose import __version__
from blippose.decoding.inputs import CLIP_MEAN, CLIP_STD
from blippose.errors import UserError
from blippose.evaluation.learned import split_data
from blippose.frame_file import FRAME_FILE
from blippose.json_text import json_text
from blippose.model_card import model_card
from blippose.model_checkpoint import calibrations_beside, load_checkpoint, run_beside
from blippose.output_folder import writable
from blippose.predictor import PosePredictor
from blippose.split import write_manifest

_MARK = "exported_by"  # a key of blippose.json
_CARD, _SPLIT = "README.md", "split.json"
_PARTIAL = ".{}.partial"  # of the process that writes it


def export_checkpoint(path: Path, out: Path) -> PosePredictor:
    """The model in a checkpoint, which is a folder now.

    Args:
        path: of the checkpoint; what is known of its run lies beside it.
        out: folder, which is missing, empty, or an earlier export.

    Raises:
        UserError: a checkpoint that cannot be read, or a folder that holds other things or
            cannot be written.
    """
    check_out(out)
    checkpoint = load_checkpoint(path)
    predictor = PosePredictor.of_checkpoint(
        checkpoint, path, calibrations=calibrations_beside(path)
    )
    run = run_beside(path)
    record = {"manifest": run.get("results", {}).get("manifest"), **checkpoint["blippose"]}
    if "optimizer_states" in checkpoint:  # to go on from: what was validated last is not this
        record["metrics"] = {}
    with _filled(out) as folder:
        predictor.save_pretrained(folder)
        _save_processor(predictor, folder)
        _add_origin(folder / FRAME_FILE, record)
        has_split = _save_split(predictor, record, run, folder / _SPLIT)
        card = model_card(_title(path), predictor, record, run, has_split)
        (folder / _CARD).write_text(card, encoding="utf-8")
    return predictor


def check_out(out: Path) -> None:
    """Refuse a folder whose files are not an export's.

    Raises:
        UserError: it is such a folder, or a file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out}: is a file; name a folder that is new or empty")
    holds_others = out.is_dir() and set(out.iterdir()) - set(out.glob(_PARTIAL.format("*")))
    if holds_others and not _is_export(out):
        raise UserError(
            f"out={out}: holds files that `blippose export` did not write; name a folder that is "
            "new, empty, or an earlier export"
        )


def _is_export(folder: Path) -> bool:
    try:
        return _MARK in json.loads((folder / FRAME_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


@contextmanager
def _filled(out: Path) -> Iterator[Path]:
    """A folder to fill inside `out`, whose files go there once all are whole.

    Not beside it: `out` may be a link, or a disk of its own.
    """
    partial, is_new, began = out / _PARTIAL.format(os.getpid()), not out.exists(), time.time()
    try:
        with writable(out):
            partial.mkdir(parents=True)
            yield partial
            is_new = False
            if not (partial / _SPLIT).exists():
                (out / _SPLIT).unlink(missing_ok=True)  # of an earlier export
            mode = (partial / _CARD).stat().st_mode
            for file in sorted(partial.iterdir()):
                file.chmod(mode)  # safetensors lets nobody else read its file
                file.replace(out / file.name)
            # Halves of killed exports.
            for left in out.glob(_PARTIAL.format("*")):
                if left.stat().st_mtime < began:
                    shutil.rmtree(left, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new:  # and came to nothing
            with suppress(OSError):
                out.rmdir()


def _save_processor(predictor: PosePredictor, folder: Path) -> None:
    side = predictor.frame.input_size
    images = BlipImageProcessorPil(
        size={"height": side, "width": side}, image_mean=CLIP_MEAN, image_std=CLIP_STD
    )
    processor = BlipProcessor(images, predictor.tokenizer)  # type: ignore[no-untyped-call]  # not annotated
    processor.save_pretrained(folder)
    images.save_pretrained(folder)  # preprocessor_config.json, for transformers before 5


def _add_origin(path: Path, record: Mapping[str, Any]) -> None:
    kept = {key: record.get(key) for key in ("manifest", "earlier_manifests", "epoch", "metrics")}
    frame = json.loads(path.read_text(encoding="utf-8"))
    whole = {**frame, **kept, _MARK: f"blippose {__version__}"}
    path.write_text(json_text(whole), encoding="utf-8")


def _save_split(
    predictor: PosePredictor, record: Mapping[str, Any], run: Mapping[str, Any], path: Path
) -> bool:
    """Whether the split could be written: its data are there, and still the same."""
    settings = run.get("config", {}).get("data", {})
    data = split_data(record.get("manifest"), settings, predictor)
    if data is None:
        return False
    write_manifest(path, data.manifest)
    return True


def _title(path: Path) -> str:
    return path.resolve().parent.name or path.stem
