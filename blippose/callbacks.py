"""What happens beside training: a line an epoch, bars, sample pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch import Tensor

from blippose.caption import ParsedCaption
from blippose.contact_sheet import contact_sheet, pose_tile
from blippose.data import PoseDataModule, Sample
from blippose.model import PoseCaptioner, Said
from blippose.pose import Pose
from blippose.release_images import shown
from blippose.wandb_logger import RowLogger
from blippose.whole_file import whole_file

# MAE with the mean pose in place of what did not parse: a model that falls silent must not win.
MONITOR = "val/mae_all"
_SILENCE_S = 30.0  # at most without a word, where there are no bars
_NUM_LOGGED = 6  # pictures an epoch in W&B
_COLUMNS = ("image", "predicted and true", "MAE px", "joints", "caption")  # of their table
Heard = tuple[str, ParsedCaption]  # a caption, and what it says
# Titles and digits of an epoch's line, which fits a terminal of 80 columns.
_SHOWN = {
    "train/loss": ("loss", 2),
    "val/mae": ("MAE px", 2),
    "val/epe": ("EPE", 2),
    "val/acc_1px": ("@1", 2),
    "val/acc_5px": ("@5", 2),
    "val/parse_rate": ("parsed", 2),
}


@final
class EpochLine(Callback):
    """One line an epoch, on a terminal above the bars and in a log alone.

    Where there are no bars, one more now and then in an epoch of minutes.
    """

    def __init__(self) -> None:
        self._started = self._told = time.monotonic()
        self._has_validated = False
        self._losses: list[Tensor] = []  # where they lie: a GPU is not waited for

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the time."""
        self._started = self._told = time.monotonic()
        self._has_validated = False
        self._losses.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a batch's loss: that of the last one alone says little of an epoch."""
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None:
            self._losses.append(loss)
        self._tell(trainer, f"batch {batch_idx + 1:,} of {trainer.num_training_batches:,}")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """A validation can take as long as the training."""
        if not trainer.sanity_checking:
            num_batches = sum(trainer.num_val_batches)
            self._tell(trainer, f"validation, batch {batch_idx + 1:,} of {num_batches:,}")

    @rank_zero_only
    def _tell(self, trainer: Trainer, where: str) -> None:
        now = time.monotonic()
        if trainer.progress_bar_callback is None and now - self._told >= _SILENCE_S:
            self._told = now
            print(f"{_epoch(trainer)}: {where}, {now - self._started:.0f} s", flush=True)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Metrics are of this epoch, and not of an earlier one, from here on."""
        self._has_validated = True

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Print the mean of this process's losses, and the epoch's validation where it had one."""
        values = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if self._has_validated
        }
        if self._losses:
            values["train/loss"] = float(torch.stack(self._losses).mean())
        parts = [_epoch(trainer)]
        parts += [
            f"{title} {values[key]:.{digits}f}"
            for key, (title, digits) in _SHOWN.items()
            if key in values
        ]
        print("  ".join([*parts, f"{time.monotonic() - self._started:.0f} s"]), flush=True)


def _epoch(trainer: Trainer) -> str:
    """Counted from 1."""
    of_all = "" if trainer.max_epochs == -1 else f"/{trainer.max_epochs}"
    return f"epoch {trainer.current_epoch + 1}{of_all}"


@final
class Bars(RichProgressBar):
    """A bar of training, and below it one of validation, which generates captions."""

    @property
    def validation_description(self) -> str:
        """Short, as a line of 80 characters holds both times, the speed and the loss too."""
        return "Validation"

    def _get_train_description(self, current_epoch: int) -> str:
        """As in the epoch's line."""
        return _epoch(self.trainer).capitalize().ljust(len(self.validation_description))

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """The loss; the rest stands in the epoch's line."""
        loss = trainer.callback_metrics.get("train/loss")
        return {} if loss is None else {"loss": float(loss)}


@final
class SamplePictures(Callback):
    """A few validation persons in W&B, as a sheet and a table, after each validation."""

    def __init__(self, data: PoseDataModule) -> None:
        self.data = data
        self._heard: dict[int, Heard] = {}  # by the person's index

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any
    ) -> None:
        """Hear what is said, so that it need not be asked again."""
        said: Said = outputs
        every = zip(said["captions"], said["parsed"], strict=True)
        self._heard.update(zip(said["index"].tolist(), every, strict=True))

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw and send them."""
        heard, self._heard = self._heard, {}
        if trainer.sanity_checking:
            return
        positions = spread(len(self.data.val_set), _NUM_LOGGED)
        seen = compare(pl_module, self.data, positions, heard)
        sheet = contact_sheet([one.tile for one in seen], [one.label for one in seen], columns=3)
        rows = [(one.name, one.tile, one.mae, one.num_joints, one.caption) for one in seen]
        for logger in trainer.loggers:
            if isinstance(logger, RowLogger):
                logger.log_pictures("val/samples", sheet, _COLUMNS, rows)


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
