"""Validation persons as a model sees them: what it says, beside the truth, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from blippose.caption import ParsedCaption
from blippose.contact_sheet import contact_sheet, pose_tile
from blippose.data import PoseDataModule, Sample
from blippose.model import PoseCaptioner
from blippose.pose import Pose
from blippose.release_images import shown
from blippose.whole_file import whole_file

Heard = tuple[str, ParsedCaption]  # a caption, and what it says


def spread(num: int, wanted: int) -> list[int]:
    """`wanted` positions, or fewer, evenly over `num`."""
    positions = np.linspace(0, num - 1, min(num, wanted)).round()
    return sorted({int(position) for position in positions})


def write_samples(
    path: Path, captioner: PoseCaptioner, data: PoseDataModule, num: int = 12
) -> None:
    """A contact sheet of validation images with predicted and true skeletons."""
    seen = compare(captioner, data, spread(len(data.val_set), num))
    source = "synthetic people" if data.manifest["synthetic"] else "MPII"
    sheet = contact_sheet(
        [one.tile for one in seen],
        [one.label for one in seen],
        title="Validation images",
        subtitle=f"{source}; MAE in input pixels of {captioner.frame.input_size}",
    )
    with whole_file(path) as partial:
        Image.fromarray(sheet).save(partial)


@dataclass(frozen=True)
class Compared:
    """What the model says of a validation person.

    Args:
        name: of the image.
        tile: the image with the predicted and the true skeleton.
        caption: as it was read out.
        mae: in input pixels over the joints that parsed; None without one.
        num_joints: that parsed, of those that are annotated.
    """

    name: str
    tile: UInt8[np.ndarray, "_ _ 3"]
    caption: str
    mae: float | None
    num_joints: int

    @property
    def label(self) -> str:
        """Two lines below the picture."""
        if self.mae is None:
            return f"{self.name}\nno joint parsed"
        return f"{self.name}\nMAE {self.mae:.1f} px, {self.num_joints} joints"


def compare(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    positions: Sequence[int],
    heard: Mapping[int, Heard] = MappingProxyType({}),
) -> list[Compared]:
    """Validation persons as the model sees them.

    Args:
        captioner: the model.
        data: whose validation persons they are.
        positions: of the persons in the validation set.
        heard: what the model said of persons, by their index; of others it is asked.
    """
    samples = [data.val_set[position] for position in positions]
    if asked := [sample for sample in samples if sample.index not in heard]:
        heard = {**heard, **_said(captioner, data, asked)}
    return [_compared(data, sample, *heard[sample.index]) for sample in samples]


def _said(
    captioner: PoseCaptioner, data: PoseDataModule, samples: Sequence[Sample]
) -> dict[int, Heard]:
    batch = data.collator(samples)
    was_training = captioner.training
    captioner.eval()
    with torch.no_grad():
        said = captioner.say(batch["image"].to(captioner.device), closer=captioner.closer(batch))
    captioner.train(was_training)
    every = zip(said.captions, said.parsed, strict=True)
    return dict(zip((sample.index for sample in samples), every, strict=True))


def _compared(
    data: PoseDataModule, sample: Sample, caption: str, parsed: ParsedCaption
) -> Compared:
    name = data.persons[sample.index].image_name
    pixels = np.asarray(shown(data.release_source.images / name))
    tile = pose_tile(pixels, Pose.of(sample.crop.to_img(parsed.pose.xy)), sample.pose_img)
    both = parsed.pose.valid & sample.pose_input.valid
    errors = np.abs(parsed.pose.xy - sample.pose_input.xy)[both]
    mae = float(errors.mean()) if both.any() else None
    return Compared(name, tile, caption, mae, int(both.sum()))
