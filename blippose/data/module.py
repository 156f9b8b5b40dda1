"""The LightningDataModule: a release filtered, split and dealt out in batches."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import lightning as L  # noqa: N812  the field's own convention
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader
from transformers import BertTokenizer

from blippose import mpii, readings, release_images, split
from blippose.augmentation import Augmentation
from blippose.caption import CaptionFormat
from blippose.data.batch import Collator, PoseBatch, ViewsBatch, with_pixels
from blippose.data.cutter import Cutter
from blippose.data.dataset import CloseUpSource, PoseDataset, Sample
from blippose.data.pixel_cache import AUTO, PixelCache, cache_folders
from blippose.data.sampler import EpochSampler, OnceSampler
from blippose.data_settings import DataSettings
from blippose.errors import UserError
from blippose.geometry import Resize
from blippose.release_source import ReleaseSource, Synthetic


class PoseDataModule(L.LightningDataModule):
    """The filtered release, split, as batches.

    Args:
        tokenizer: BLIP's.
        caption_format: also says the side of the input, px.
        root: folder with the .mat and `images/`.
        annotations: a .mat that lies elsewhere.
        synthetic: what to draw into `root` when it is not there; None reads what is there.
        reading: what "one person, all sixteen joints visible" means; see `readings.READINGS`.
        split: "video" keeps the frames of a video on one side, "random" is the study's.
        train_fraction: share of the persons to train on.
        test_fraction: share of the persons to report on, kept from training and selection; 0
            makes no test side.
        split_seed: of the split's draw.
        resize: how an image fills the square input.
        crop: "full" image, or the "person" by MPII's objpos and scale.
        batch_size: persons a step, and a process.
        eval_batch_size: persons a validation step.
        num_workers: loader processes; 0 reads in the training process.
        cache: folder for images that are cut once; "auto" is `root`/pixels, or the user's cache
            where `root` cannot be written; None cuts them anew whenever they are seen.
        augmentation: random views of training samples.
        random_order: in training each caption names its joints in an order of its own.
        single_joint: share of training captions that name one joint alone, 0 to 1, as
            `decoding=prompted` asks for them.
        close_up: share of training samples that show the part of the image round the person alone,
            as `decoding.close_up=true` asks for it; None is 0. Persons of whom a joint is not
            known are seen whole.
        seed: of the persons' order, augmentation and joints' orders.
    """

    def __init__(
        self,
        tokenizer: BertTokenizer,
        caption_format: CaptionFormat,
        root: str,
        annotations: str | None = None,
        synthetic: Synthetic | None = None,
        reading: str = "visible",
        split: str = "video",
        train_fraction: float = 0.8,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        resize: str = "stretch",
        crop: str = "full",
        batch_size: int = 16,
        eval_batch_size: int = 64,
        num_workers: int = 0,
        cache: str | None = AUTO,
        augmentation: Augmentation | None = None,
        random_order: bool = False,
        single_joint: float = 0.0,
        close_up: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _ = DataSettings(  # or UserError
            reading=reading,
            split=split,
            train_fraction=train_fraction,
            test_fraction=test_fraction,
            split_seed=split_seed,
            resize=resize,
            crop=crop,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            single_joint=single_joint,
            close_up=close_up,
            seed=seed,
        )
        self.collator = Collator(tokenizer, caption_format)
        self.release_source = ReleaseSource(root, annotations, synthetic)
        self.reading, self.split_kind = reading, split
        self.train_fraction, self.test_fraction = train_fraction, test_fraction
        self.split_seed = split_seed
        self.resize, self.crop = Resize(resize), crop
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.cache = num_workers, cache
        self.augmentation, self.random_order, self.seed = augmentation, random_order, seed
        self.single_joint, self.close_up = single_joint, close_up or 0.0
        self._position = (0, 0)
        self.persons: tuple[mpii.Person, ...] = ()
        self.manifest: dict[str, Any] = {}

    def prepare_data(self) -> None:
        """Draw the synthetic release where it is asked for and missing."""
        self.release_source.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Read, filter and split, and cut the images where that is not done yet.

        Raises:
            UserError: a release or an image that cannot be read, or that nothing is kept of.
        """
        if self.persons:
            return
        self.find_persons()
        if self.train_set.pixels is None:
            pixels = self._pixel_cache_of(self._cutter).make(self.persons)
            for subset in (self.train_set, self.val_set, self.test_set):
                subset.pixels = pixels
        self.train_set.close_ups = self._kept_close_ups()

    def find_persons(self) -> None:
        """Read, filter and split; images that are not cut yet are when they are seen.

        Raises:
            UserError: a release that cannot be read, or that nothing is kept of.
        """
        release = self.release_source.read()
        persons = readings.select(release, self.reading)
        if not persons:
            raise UserError(
                f"{release.path}: data.reading={self.reading} keeps no person; "
                "`blippose data` shows what each filter keeps"
            )
        pixels = self._pixel_cache_of(self._cutter).find(persons)
        if pixels is None:
            release_images.check_images(persons, self.release_source.images)
        sides = split.split_persons(
            persons, self.split_kind, self.train_fraction, self.split_seed, self.test_fraction
        )
        self.manifest = split.manifest(persons, sides, release, self.reading)
        subset = partial(PoseDataset, persons, cutter=self._cutter, pixels=pixels, seed=self.seed)
        self.train_set = subset(
            sides.train,
            augmentation=self.augmentation,
            random_order=self.random_order,
            single_joint=self.single_joint,
            close_ups=self._close_ups,
        )
        self.val_set, self.test_set = subset(sides.val), subset(sides.test)
        self.persons = persons

    @property
    def _cutter(self) -> Cutter:
        size = self.collator.caption_format.input_size
        return Cutter(self.release_source.images, size, self.resize, self.crop)

    @property
    def _close_ups(self) -> CloseUpSource | None:
        if not self.close_up:
            return None
        return CloseUpSource(self.close_up, replace(self._cutter, is_close_up=True))

    def _kept_close_ups(self) -> CloseUpSource | None:
        """With the training persons' pixels, if they can be kept."""
        if (close_ups := self._close_ups) is None:
            return None
        pixels = self._pixel_cache_of(close_ups.cutter).make(self.train_set.persons)
        return replace(close_ups, pixels=pixels)

    def _pixel_cache_of(self, cutter: Cutter) -> PixelCache:
        return PixelCache(cutter, cache_folders(self.cache, self.release_source.images.parent))

    @property
    def reads(self) -> tuple[Any, ...]:
        """What decides persons and pixels; the same of two modules that would read the same."""
        how = (self.reading, self.split_kind, self.train_fraction, self.test_fraction)
        size = self.collator.caption_format.input_size
        return self.release_source, *how, self.split_seed, self.resize, self.crop, size

    def take_over(self, other: PoseDataModule) -> None:
        """Use what another has read that `reads` the same."""
        self.manifest, self.persons = other.manifest, other.persons
        for name in ("train_set", "val_set", "test_set"):
            subset = copy.copy(getattr(other, name))
            is_train = name == "train_set"
            subset.augmentation = self.augmentation if is_train else None
            subset.random_order = self.random_order and is_train
            subset.single_joint = self.single_joint if is_train else 0.0
            subset.seed, subset.close_ups = self.seed, None
            setattr(self, name, subset)
        if (kept := other.train_set.close_ups) is not None and self.close_up:
            self.train_set.close_ups = replace(kept, share=self.close_up)
        else:
            self.train_set.close_ups = self._kept_close_ups()

    def subset(self, name: str) -> PoseDataset:
        """The persons of "train", "val" or "test".

        Raises:
            UserError: no such subset, or a split without a test side.
        """
        subsets = {"train": self.train_set, "val": self.val_set, "test": self.test_set}
        if name not in subsets:
            raise UserError(f"subset={name}: expected one of {', '.join(subsets)}")
        if not len(subsets[name]):
            raise UserError(
                f"subset={name}: the split has no such side; train with "
                "data.test_fraction=0.1 to have one"
            )
        return subsets[name]

    def state_dict(self) -> dict[str, Any]:
        """Where a fit stands, for the checkpoints of any Trainer."""
        if self.trainer is None:
            return {}
        loop: Any = self.trainer.fit_loop
        num_batches = loop.epoch_loop.batch_progress.current.processed
        if num_batches >= loop.max_batches:  # of the epoch that is over
            num_batches = 0
        return {
            "position": [loop.epoch_progress.current.processed, num_batches],
            "persons_a_step": self._persons_a_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in an epoch behind its first batches, as they were seen before a resume.

        Said here, as Lightning makes the loader (to count its steps, and its workers begin) before
        it takes up where training was.

        Raises:
            UserError: other steps than now have seen a part of the epoch.
        """
        if "position" not in state_dict:
            return
        epoch, num_batches = state_dict["position"]
        was, now = state_dict.get("persons_a_step"), self._persons_a_step
        if num_batches and was not in (None, now):
            raise UserError(
                f"the checkpoint is from the middle of an epoch with {was} persons a step, and "
                f"now there are {now}: set data.batch_size and the number of processes as they "
                "were, or take a checkpoint from between two epochs"
            )
        self._position = (epoch, num_batches * self.batch_size)

    @property
    def _persons_a_step(self) -> int:
        """Of all processes."""
        return self.batch_size * (self._rank()[1] or 1)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled by (seed, epoch); a last short batch is kept.

        Augmented batches come without pixels, which `on_after_batch_transfer` makes.
        """
        position, self._position = self._position, (0, 0)  # of this fit, and of no later one
        sampler = EpochSampler(len(self.train_set), self.seed, *self._rank(), *position)
        return self._loader(self.train_set, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every validation person once, none padded."""
        return self._each_once(self.val_set)

    def test_dataloader(self) -> DataLoader[Sample]:
        """The same of the test side.

        Raises:
            UserError: the split has none.
        """
        return self._each_once(self.subset("test"))

    def _each_once(self, persons: PoseDataset) -> DataLoader[Sample]:
        sampler = OnceSampler(len(persons), *self._rank())
        return self._loader(persons, self.eval_batch_size, sampler)

    def on_after_batch_transfer(
        self, batch: PoseBatch | ViewsBatch, dataloader_idx: int
    ) -> PoseBatch:
        """The batch with its pixels, which the device that it lies on makes of augmented ones."""
        return with_pixels(batch)

    def _rank(self) -> tuple[int | None, int | None]:
        """Rank and world size; None before there is a Trainer."""
        trainer = self.trainer
        return (None, None) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _is_for_gpu(self) -> bool:
        if self.trainer is None:
            return torch.cuda.is_available()
        return isinstance(self.trainer.accelerator, CUDAAccelerator)

    def _loader(self, dataset: PoseDataset, batch_size: int, sampler: Any) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            # Its own: an iterator draws, and would shift what else draws after a resume.
            generator=torch.Generator().manual_seed(self.seed),
            collate_fn=self.collator if dataset.augmentation is None else self.collator.views,
            persistent_workers=self.num_workers > 0,
            pin_memory=self._is_for_gpu(),
        )

    def mean_pose(self) -> Float[np.ndarray, "16 2"]:
        """Mean of the training poses in the input frame, px: what a blind model would say."""
        mean: Float[np.ndarray, "16 2"] = np.nanmean(self.train_set.poses_input(), axis=0)
        return mean
