"""What is judged: the model in a checkpoint, and the persons that it is judged on.

Of a run folder both are the run's own: its best epoch, and its data by run.json. Another split
would have trained on some of the persons, so that one is refused.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blippose.data import PoseDataModule
from blippose.errors import UserError
from blippose.evaluation.stored_predictions import Origin
from blippose.model import PoseCaptioner
from blippose.mpii import ANNOTATIONS
from blippose.predictor import PosePredictor
from blippose.runs import BEST, RECORD, Run

_NOT_NEEDED = ("augmentation", "num_workers")  # of a data config, to be judged on
_SHORT = 12  # characters of a hash, for people


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and its data, set up.

    Args:
        captioner: with the checkpoint's weights.
        data: with the split that is judged.
        checkpoint: the file.
        run: its run folder, where it is known.
        epoch: whose weights these are, from 0; None where the checkpoint does not say.
        trained_manifest: hash of the split that it was trained on; None where nobody knows.
    """

    captioner: PoseCaptioner
    data: PoseDataModule
    checkpoint: Path
    run: Path | None
    epoch: int | None
    trained_manifest: str | None

    @staticmethod
    def of_run(folder: Path, places: Mapping[str, str | None], device: str = "cpu") -> Subject:
        """The best epoch of a run, on the run's own data.

        Args:
            folder: of the run.
            places: `root` and `annotations` where the data lie elsewhere now.
            device: as torch names it.

        Raises:
            UserError: no run, none with a finished epoch, its data are gone or others by now.
        """
        run = finished_run(folder)
        settings = {**run.record["config"]["data"], **places, "synthetic": None}
        _check_there(folder, settings)
        trained = (run.record.get("results") or {}).get("manifest")
        subject = _subject(folder / BEST, folder, trained, settings, device)
        found = subject.data.manifest["hash"]
        if trained is not None and trained != found:
            raise UserError(
                f"{_annotations(settings)}: not the data that {folder} was trained on (manifest "
                f"{found[:_SHORT]}, expected {trained[:_SHORT]}): name the right ones with "
                "data.root=FOLDER, or judge it on these with ckpt="
            )
        return subject

    @staticmethod
    def of_checkpoint(path: Path, settings: Mapping[str, Any], device: str = "cpu") -> Subject:
        """A checkpoint on data that the user names, as `PoseDataModule` takes them.

        Raises:
            UserError: no checkpoint, or data that cannot be read.
        """
        record = path.parent / RECORD
        known = Run.read(path.parent).record if record.is_file() else {}
        trained = (known.get("results") or {}).get("manifest")
        return _subject(path, None, trained, settings, device)

    def origin(self, subset: str) -> Origin:
        """Whose predictions those of a subset are."""
        return Origin(
            source=str(self.checkpoint),
            checkpoint_sha256=_sha256(self.checkpoint),
            manifest=self.data.manifest["hash"],
            subset=subset,
            frame=self.captioner.frame,
            max_length=self.captioner.grammar.longest,
        )

    @property
    def images(self) -> Path:
        """Folder of the release's images."""
        return self.data.release_source.images


def finished_run(folder: Path) -> Run:
    """A run that has weights to judge.

    Raises:
        UserError: no run there, or none with a finished epoch.
    """
    if not folder.is_dir():
        raise UserError(f"run={folder}: no such folder; `blippose train` makes run folders")
    run = Run.read(folder)
    if not (folder / BEST).is_file():
        raise UserError(
            f"run={folder}: holds no {BEST}; the run has not finished its first validation: start "
            "its `blippose train` command again"
        )
    return run


def _annotations(settings: Mapping[str, Any]) -> Path:
    path = settings.get("annotations") or Path(settings["root"]) / ANNOTATIONS
    return Path(path).expanduser()


def _check_there(folder: Path, settings: Mapping[str, Any]) -> None:
    """Nothing is drawn for a run: what it was trained on has to be there."""
    path = _annotations(settings)
    if not path.is_file():
        raise UserError(
            f"{path}: the data of {folder} are not there any more; say where they are with "
            "data.root=FOLDER"
        )


def _subject(
    path: Path, run: Path | None, trained: str | None, settings: Mapping[str, Any], device: str
) -> Subject:
    predictor = PosePredictor.from_checkpoint(path, device)
    frame = predictor.frame
    data = _data(predictor, {**settings, "resize": frame.resize, "crop": frame.crop})
    captioner = PoseCaptioner(
        predictor.blip,
        predictor.tokenizer,
        predictor.caption_format,
        optimizer=_no_optimizer,
        resize=frame.resize,
        crop=frame.crop,
    )
    return Subject(captioner.to(device).eval(), data, path, run, _epoch(path), trained)


def _data(predictor: PosePredictor, settings: Mapping[str, Any]) -> PoseDataModule:
    """Set up, without what only training needs; the frame is the model's."""
    known = inspect.signature(PoseDataModule).parameters
    chosen = {key: value for key, value in settings.items() if key in known}
    for key in _NOT_NEEDED:
        chosen.pop(key, None)
    data = PoseDataModule(predictor.tokenizer, predictor.caption_format, **chosen)
    data.prepare_data()
    data.setup()
    return data


def _epoch(path: Path) -> int | None:
    # mmap: the weights, which may be a gigabyte, are not read a second time.
    record = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["blippose"]
    epoch = record.get("epoch")
    return None if epoch is None else int(epoch)


def _no_optimizer(parameters: Any) -> torch.optim.Optimizer:
    raise NotImplementedError("a model that is judged is not trained")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
