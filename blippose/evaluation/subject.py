"""What is judged: the model in a checkpoint, and the persons that it is judged on.

Of a run folder both are the run's own: its best epoch, and its data by run.json. Another split
would have trained on some of the persons, so that one is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from blippose import __version__
from blippose.data import PoseDataModule, PoseDataset
from blippose.decoding import Decoding
from blippose.errors import UserError
from blippose.evaluation.learned import Learned, data_module
from blippose.evaluation.stored_predictions import Origin
from blippose.frame_file import Stated
from blippose.identity import first_weights
from blippose.lineage import Lineage
from blippose.model import PoseCaptioner
from blippose.model_checkpoint import load_checkpoint
from blippose.predictor import PosePredictor
from blippose.release_source import ReleaseSource
from blippose.runs import RECORD, Run, State, best_checkpoint, is_held
from blippose.versions import known_versions

_SHORT = 12  # characters of a hash, for people


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and its data, set up.

    Args:
        captioner: with the checkpoint's weights.
        data: with the split that is judged.
        checkpoint: the file.
        sha256: of the file as it was read.
        run: its run folder, where it is known.
        state: of the run, such as "done"; None without one.
        epoch: whose weights these are, from 0; None where the checkpoint does not say.
        learned: what it was trained on.
        began_from: the weights that its training began from, as the run's config names them.
        stated: what is known of the model beside its weights.
    """

    captioner: PoseCaptioner
    data: PoseDataModule
    checkpoint: Path
    sha256: str
    run: Path | None
    state: str | None
    epoch: int | None
    learned: Learned
    began_from: str | None
    stated: Stated

    @staticmethod
    def of_run(
        folder: Path,
        places: Mapping[str, str | None],
        device: str = "cpu",
        decoding: Decoding | None = None,
    ) -> Subject:
        """The best epoch of a run, on the run's own data.

        Args:
            folder: of the run.
            places: `root` and `annotations` where the data lie elsewhere now.
            device: as torch names it.
            decoding: how it is asked; None as it was validated.

        Raises:
            UserError: no run, none with a finished epoch, its data are gone or others by now.
        """
        checkpoint = best_checkpoint(folder)
        run = Run.read(folder)
        settings = {**run.record["config"]["data"], **places, "synthetic": None}
        _check_there(folder, settings)
        model = _Model.of(checkpoint, device)
        data = model.data(settings)
        trained, found = model.manifest or _manifest(run.record), data.manifest["hash"]
        if trained is not None and trained != found:
            raise UserError(
                f"{_annotations(settings)}: not the data that {folder} was trained on "
                f"(manifest {found[:_SHORT]}, expected {trained[:_SHORT]}): name the right ones "
                "with data.root=FOLDER, or judge it on these with ckpt="
            )
        learned = Learned.of(trained, model.earlier, data, {}, model.predictor)
        return model.subject(data, folder, run.record, learned, decoding)

    @staticmethod
    def of_checkpoint(
        path: Path,
        settings: Mapping[str, Any],
        device: str = "cpu",
        decoding: Decoding | None = None,
    ) -> Subject:
        """A checkpoint on data that the user names, as `PoseDataModule` takes them.

        What it was trained on the run.json beside it says, where there is one.

        Raises:
            UserError: no checkpoint, or data that cannot be read.
        """
        record = path.parent / RECORD
        run = Run.read(path.parent).record if record.is_file() else {}
        model = _Model.of(path, device)
        data = model.data({**settings, "synthetic": None})  # nothing is drawn to be judged on
        trained = model.manifest or _manifest(run)
        trained_on = run["config"].get("data", {}) if run else {}
        learned = Learned.of(trained, model.earlier, data, trained_on, model.predictor)
        return model.subject(data, None, run, learned, decoding)

    @property
    def decoding(self) -> Decoding:
        """How it is asked."""
        return self.captioner.reader.decoding

    def origin(self, subset: str, dataset: PoseDataset) -> Origin:
        """Whose predictions those of a subset are."""
        return Origin(
            source=str(self.checkpoint),
            checkpoint_sha256=self.sha256,
            manifest=self.data.manifest["hash"],
            subset=subset,
            pixels_sha256=dataset.pixels_sha256(),
            frame=self.captioner.frame,
            max_length=self.captioner.grammar.longest,
            version=__version__,
            made_with=self.versions,
            decoding=self.decoding.name,
        )

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of packages and the commit; git is asked once."""
        return known_versions()

    @property
    def images(self) -> Path:
        """Folder of the release's images."""
        return self.data.release_source.images


def _manifest(record: Mapping[str, Any]) -> str | None:
    """Hash of the split that a finished run says it was trained on."""
    found = (record.get("results") or {}).get("manifest")
    return None if found is None else str(found)


def _annotations(settings: Mapping[str, Any]) -> Path:
    return ReleaseSource(settings["root"], settings.get("annotations")).path


def _check_there(folder: Path, settings: Mapping[str, Any]) -> None:
    """Nothing is drawn for a run: what it was trained on has to be there."""
    path = _annotations(settings)
    if not path.is_file():
        raise UserError(
            f"{path}: the data of {folder} are not there any more; say where they are with "
            "data.root=FOLDER"
        )


@dataclass(frozen=True, eq=False)
class _Model:
    """What a checkpoint holds."""

    path: Path
    sha256: str
    predictor: PosePredictor
    epoch: int | None
    lineage: Lineage

    @property
    def manifest(self) -> str | None:
        """Hash of the split that it was trained on."""
        return self.lineage.manifests[-1]

    @property
    def earlier(self) -> tuple[str | None, ...]:
        """Hashes of those that its first weights were trained on."""
        return self.lineage.manifests[:-1]

    @staticmethod
    def of(path: Path, device: str) -> _Model:
        if not path.is_file():
            load_checkpoint(path)  # says so
        # One open file: a run that goes on may put another in its place at any time.
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            checkpoint = load_checkpoint(path, file)
        predictor = PosePredictor.of_checkpoint(checkpoint, path, device)
        record = checkpoint["blippose"]
        return _Model(
            path,
            sha256,
            predictor,
            epoch=record.get("epoch"),
            lineage=Lineage.of(record),
        )

    def data(self, settings: Mapping[str, Any]) -> PoseDataModule:
        """Set up, in the model's frame."""
        data = data_module(self.predictor, settings)
        data.setup()
        return data

    def subject(
        self,
        data: PoseDataModule,
        folder: Path | None,
        record: Mapping[str, Any],
        learned: Learned,
        decoding: Decoding | None,
    ) -> Subject:
        """The model as it is asked; `record` is of the run that made it, where it is known."""
        predictor = self.predictor
        captioner = PoseCaptioner(
            predictor.blip,
            predictor.tokenizer,
            predictor.caption_format,
            optimizer=_no_optimizer,
            resize=predictor.frame.resize,
            crop=predictor.frame.crop,
            decoding=decoding or predictor.stated.decoding,
        )
        captioner = captioner.to(predictor.device).eval()
        config = record.get("config", {})
        return Subject(
            captioner,
            data,
            self.path,
            self.sha256,
            folder,
            state=None if folder is None else _state(folder, str(record["state"])),
            epoch=self.epoch,
            learned=learned,
            began_from=first_weights(config),
            stated=predictor.stated,
        )


def _state(folder: Path, said: str) -> str:
    """What its record says, but for a run that says that it runs, and which nobody holds."""
    if said == State.RUNNING and is_held(folder) is False:
        return "cut off, or running elsewhere"
    return said


def _no_optimizer(parameters: Any) -> torch.optim.Optimizer:
    raise NotImplementedError("a model that is judged is not trained")
