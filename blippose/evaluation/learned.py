"""What a model was trained on, as far as it can still be found."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from blippose.data import PoseDataModule, PoseDataset
from blippose.errors import UserError
from blippose.predictor import PosePredictor
from blippose.synthetic import people_of

_NOT_NEEDED = (
    "augmentation",
    "random_order",
    "single_joint",
    "close_up",
    "num_workers",
)  # of a data config, to be judged on


@dataclass(frozen=True, eq=False)
class Learned:
    """The training side of the split that a model was trained on.

    Args:
        manifest: hash of that split; None where nobody knows.
        persons: its training side; None where it is not known, or not there any more.
        earlier: hashes of the splits that its first weights had learned from; None of one that
            nobody knows.
        has_same_videos: whether ids of videos mean the same as in what the model is judged on: of
            one release, or drawn from one seed.
    """

    manifest: str | None
    persons: PoseDataset | None
    earlier: tuple[str | None, ...] = ()
    has_same_videos: bool = True

    @staticmethod
    def of(
        manifest: str | None,
        earlier: tuple[str | None, ...],
        judged: PoseDataModule,
        settings: Mapping[str, Any],
        predictor: PosePredictor,
    ) -> Learned:
        """What the split of hash `manifest` trains on.

        Args:
            manifest: None where nobody knows.
            earlier: those of its first weights.
            judged: the data that the model is judged on, which mostly are the same.
            settings: the data config of the run that trained it, empty where it is not known.
            predictor: the model.
        """
        unknown = Learned(manifest, None, earlier)
        if manifest == judged.manifest["hash"]:
            return replace(unknown, persons=judged.train_set)
        data = split_data(manifest, settings, predictor)
        if data is None:
            return unknown
        return replace(
            unknown, persons=data.train_set, has_same_videos=_have_same_videos(data, judged)
        )


def _have_same_videos(data: PoseDataModule, other: PoseDataModule) -> bool:
    """Whether one id of a video means the same people in both."""
    if data.manifest["annotations_sha256"] == other.manifest["annotations_sha256"]:
        return True
    people = people_of(data.release_source.path)
    return people is not None and people == people_of(other.release_source.path)


def split_data(
    manifest: str | None, settings: Mapping[str, Any], predictor: PosePredictor
) -> PoseDataModule | None:
    """The data whose split has the hash `manifest`, images not read; None where it is not there.

    Args:
        manifest: None where nobody knows.
        settings: the data config of the run, empty where it is not known.
        predictor: the model.
    """
    if manifest is None or not settings.get("root"):
        return None
    data = data_module(predictor, {**settings, "synthetic": None})
    try:
        data.find_persons()
    except UserError:  # moved, or gone
        return None
    return data if data.manifest["hash"] == manifest else None  # else it has changed since


def data_module(predictor: PosePredictor, settings: Mapping[str, Any]) -> PoseDataModule:
    """Data in the model's frame, without what only training needs; nothing is read yet."""
    frame = predictor.frame
    known = inspect.signature(PoseDataModule).parameters
    chosen = {key: value for key, value in settings.items() if key in known}
    for key in _NOT_NEEDED:
        chosen.pop(key, None)
    chosen |= {"resize": frame.resize, "crop": frame.crop}
    return PoseDataModule(predictor.tokenizer, predictor.caption_format, **chosen)
