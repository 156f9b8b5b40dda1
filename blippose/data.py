"""MPII persons as batches: Dataset, sampler, collator and the LightningDataModule.

A batch speaks the model's frame (`image`, `xy_input`, tokens) and carries what leads back to the
user's (`xy_img`, `crop`). Knows nothing of the model beyond its tokenizer.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import lightning as L  # noqa: N812  the field's own convention
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from rich import get_console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import BertTokenizer

from blippose import mpii, split, synthetic
from blippose.augmentation import Augmentation
from blippose.caption import CaptionFormat
from blippose.errors import UserError
from blippose.geometry import Crop, Resize
from blippose.loss import IGNORED
from blippose.pose import Pose

_AUGMENTATION_STREAM = 1  # keeps a sample's draws apart from the order's, (seed, epoch) alike


class PoseBatch(TypedDict):
    """What one step reads. Joints that are not annotated are NaN and not `valid`."""

    image: UInt8[Tensor, "batch 3 size size"]  # RGB, as it came from the crop
    input_ids: Int[Tensor, "batch length"]  # [DEC] caption [SEP] [PAD]...
    attention_mask: Int[Tensor, "batch length"]
    labels: Int[Tensor, "batch length"]  # input_ids, with -100 for [PAD]
    xy_input: Float[Tensor, "batch 16 2"]
    xy_img: Float[Tensor, "batch 16 2"]
    valid: Bool[Tensor, "batch 16"]
    crop: Float[Tensor, "batch 4"]  # left, top, width, height, in image pixels
    head_size: Float[Tensor, "batch"]  # 0.6 x the head box's diagonal, image pixels
    index: Int[Tensor, "batch"]  # of the person in the filtered release


@dataclass(frozen=True, eq=False)
class Sample:
    """One person: the input's pixels, and the pose in both frames."""

    image: UInt8[np.ndarray, "size size 3"]
    pose_input: Pose
    pose_img: Pose
    crop: Crop
    head_size: float
    index: int


@dataclass(frozen=True)
class Synthetic:
    """A release that blippose draws itself.

    Args:
        num_persons: persons that the default filter keeps.
        seed: of everything that is drawn.
    """

    num_persons: int = 1500
    seed: int = 0


class PoseDataset(Dataset[Sample]):
    """Persons of a release, decoded once, cropped and resized to the model's input.

    An item is asked for by its position, or by (epoch, position) to have it augmented by that
    epoch's draw. Pixels are kept in memory: `size`^2 x 3 bytes a person.
    """

    def __init__(
        self,
        persons: Sequence[mpii.Person],
        indices: Sequence[int],
        images: Path,
        size: int,
        resize: Resize,
        crop: str,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.indices = indices
        self.persons = [persons[index] for index in indices]
        self.images = images
        self.augmentation = augmentation
        self.seed = seed
        self._cut = partial(_cut, images=images, size=size, resize=resize, crop=crop)
        self._pixels: list[tuple[UInt8[np.ndarray, "size size 3"], Crop]] = []

    def decode(self, description: str) -> None:
        """Read every image, on all cores.

        Raises:
            UserError: an image that cannot be decoded.
        """
        with ThreadPoolExecutor(synthetic.num_cores()) as pool:
            cut = pool.map(self._cut, self.persons)
            hidden = not get_console().is_terminal
            bar = track(cut, description, len(self.persons), transient=True, disable=hidden)
            self._pixels = list(bar)

    def pixels_sha256(self) -> str:
        """Of all images in their order, as the model sees them without augmentation."""
        digest = hashlib.sha256()
        for position in range(len(self)):
            digest.update(self[position].image.tobytes())
        return digest.hexdigest()

    def part(self, positions: Sequence[int]) -> PoseDataset:
        """Those of its persons, not augmented, with their pixels where they are decoded."""
        chosen = copy.copy(self)
        chosen.indices = [self.indices[position] for position in positions]
        chosen.persons = [self.persons[position] for position in positions]
        chosen.augmentation = None
        chosen._pixels = [self._pixels[position] for position in positions if self._pixels]
        return chosen

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, item: int | tuple[int, int]) -> Sample:
        epoch, position = item if isinstance(item, tuple) else (None, item)
        person = self.persons[position]
        image, crop = self._pixels[position] if self._pixels else self._cut(person)
        pose = Pose.of(crop.to_input(person.pose.xy))
        if self.augmentation is not None and epoch is not None:
            key = (self.seed, epoch, self.indices[position], _AUGMENTATION_STREAM)
            image, pose = self.augmentation(image, pose, np.random.default_rng(key))
        index = self.indices[position]
        return Sample(image, pose, person.pose, crop, person.head_size, index)


def _cut(
    person: mpii.Person, images: Path, size: int, resize: Resize, crop: str
) -> tuple[UInt8[np.ndarray, "size size 3"], Crop]:
    path = images / person.image_name
    try:
        with Image.open(path) as image:
            rectangle = _crop_of(person, image.width, image.height, size, resize, crop)
            return rectangle.cut(image), rectangle
    # Damaged files make Pillow's decoders raise almost anything (SyntaxError, struct.error).
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be decoded ({reason}); copy the image again") from error


def _crop_of(
    person: mpii.Person, width: int, height: int, size: int, resize: Resize, crop: str
) -> Crop:
    if crop == "person" and person.center is not None and person.scale is not None:
        return Crop.of_person(person.center, person.scale, size)
    return Crop.of_image(width, height, size, resize)


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, position) pairs in an order drawn from (seed, epoch); every rank gets its share.

    A run that is resumed begins in `epoch`, behind the first `num_seen` of its share: Lightning
    names the epoch only when workers have already asked for their first batches.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        num_seen: int = 0,
    ) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = self._first_epoch = epoch
        self._num_seen = num_seen

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_samples)
        # Every rank takes as many steps, or the others would wait for ever.
        share = order[self.rank :: self.world_size][: len(self)]
        num_seen = self._num_seen if self.epoch == self._first_epoch else 0
        return ((self.epoch, position) for position in share[num_seen:].tolist())


@dataclass(frozen=True)
class Collator:
    """Samples to a batch, with their captions as BLIP trains on them."""

    tokenizer: BertTokenizer
    caption_format: CaptionFormat

    def __call__(self, samples: Sequence[Sample]) -> PoseBatch:
        """The batch of `samples`, in their order."""
        captions = [
            self.caption_format.encode(sample.pose_input.xy, sample.pose_input.valid)
            for sample in samples
        ]
        tokens = self.tokenizer(captions, padding=True, return_tensors="pt")
        # `generate` starts from [DEC]; the tokenizer writes [CLS].
        tokens.input_ids[:, 0] = self.tokenizer.bos_token_id
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, IGNORED)
        crops = [(s.crop.left, s.crop.top, s.crop.width, s.crop.height) for s in samples]
        images = np.stack([sample.image for sample in samples])  # (B, S, S, 3)
        return PoseBatch(
            image=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            labels=labels,
            xy_input=_float(np.stack([s.pose_input.xy for s in samples])),
            xy_img=_float(np.stack([s.pose_img.xy for s in samples])),
            valid=torch.from_numpy(np.stack([s.pose_input.valid for s in samples])),
            crop=torch.tensor(crops, dtype=torch.float32),
            head_size=torch.tensor([s.head_size for s in samples], dtype=torch.float32),
            index=torch.tensor([s.index for s in samples]),
        )


def _float(values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(values).float()


class PoseDataModule(L.LightningDataModule):
    """The filtered release, split, as batches.

    Args:
        tokenizer: BLIP's.
        caption_format: also says the side of the input, px.
        root: folder with the .mat and `images/`.
        annotations: a .mat that lies elsewhere.
        synthetic: what to draw into `root` when it is not there; None reads what is there.
        reading: what "one person, all sixteen joints visible" means; see `mpii.READINGS`.
        split: "video" keeps the frames of a video on one side, "random" is the study's.
        train_fraction: share of the persons to train on.
        test_fraction: share of the persons to report on, kept from training and selection; 0
            makes no test side.
        split_seed: of the split's draw.
        resize: how an image fills the square input.
        crop: "full" image, or the "person" by MPII's objpos and scale.
        batch_size: persons a step, and a process.
        eval_batch_size: persons a validation step.
        num_workers: loader processes; 0 reads in the training process, from memory.
        augmentation: random views of training samples.
        seed: of order and augmentation.
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
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if crop not in ("full", "person"):
            raise UserError(f"data.crop={crop!r}: expected full or person")
        _check_least("batch_size", batch_size, 1)
        _check_least("eval_batch_size", eval_batch_size, 1)
        _check_least("num_workers", num_workers, 0)
        _check_least("seed", seed, 0)
        _check_least("split_seed", split_seed, 0)
        self.collator = Collator(tokenizer, caption_format)
        self.release_source = ReleaseSource(root, annotations, synthetic)
        self.reading, self.split_kind = reading, split
        self.train_fraction, self.test_fraction = train_fraction, test_fraction
        self.split_seed = split_seed
        self.resize, self.crop = _resize(resize), crop
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.augmentation, self.seed = num_workers, augmentation, seed
        self._position = (0, 0)
        self.persons: tuple[mpii.Person, ...] = ()
        self.manifest: dict[str, Any] = {}

    def prepare_data(self) -> None:
        """Draw the synthetic release where it is asked for and missing."""
        self.release_source.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Read, filter, split and decode; a broken release stops here, before training.

        Test images are decoded when they are asked for.

        Raises:
            UserError: a release or an image that cannot be read, or that nothing is kept of.
        """
        if self.persons:
            return
        self.find_persons()
        self.train_set.decode("reading training images")
        self.val_set.decode("reading validation images")

    def find_persons(self) -> None:
        """Read, filter and split, without the images: those are decoded when they are asked for.

        Raises:
            UserError: a release that cannot be read, or that nothing is kept of.
        """
        release = self.release_source.read()
        persons = mpii.select(release, self.reading)
        if not persons:
            raise UserError(
                f"{release.path}: data.reading={self.reading} keeps no person; "
                "`blippose data` shows what each filter keeps"
            )
        images = self.release_source.images
        mpii.check_images(persons, images)
        sides = split.split_persons(
            persons, self.split_kind, self.train_fraction, self.split_seed, self.test_fraction
        )
        self.manifest = split.manifest(persons, sides, release, self.reading)
        self.train_set = self._dataset(persons, sides.train, self.augmentation)
        self.val_set = self._dataset(persons, sides.val, None)
        self.test_set = self._dataset(persons, sides.test, None)
        self.persons = persons

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
            subset.augmentation = self.augmentation if name == "train_set" else None
            subset.seed = self.seed
            setattr(self, name, subset)

    def _dataset(
        self,
        persons: Sequence[mpii.Person],
        indices: Sequence[int],
        augmentation: Augmentation | None,
    ) -> PoseDataset:
        return PoseDataset(
            persons,
            indices,
            self.release_source.images,
            self.collator.caption_format.input_size,
            self.resize,
            self.crop,
            augmentation,
            self.seed,
        )

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

    def begin_at(self, epoch: int, num_batches: int) -> None:
        """Go on in an epoch behind its first batches, as they were seen before a resume.

        Said here, as Lightning makes the loader (to count its steps, and its workers begin) before
        it takes up where training was.
        """
        self._position = (epoch, num_batches * self.batch_size)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled by (seed, epoch); a last short batch is kept."""
        sampler = EpochSampler(len(self.train_set), self.seed, *self._rank(), *self._position)
        return self._loader(self.train_set, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every validation person once, none padded."""
        rank, world_size = self._rank()
        share = range(rank, len(self.val_set), world_size)
        return self._loader(self.val_set, self.eval_batch_size, share)

    def _rank(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _loader(self, dataset: PoseDataset, batch_size: int, sampler: Any) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            # Its own: an iterator draws, and would shift what else draws after a resume.
            generator=torch.Generator().manual_seed(self.seed),
            collate_fn=self.collator,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def mean_pose(self) -> Float[np.ndarray, "16 2"]:
        """Mean of the training poses in the input frame, px: what a blind model would say."""
        poses = [self.train_set[i].pose_input.xy for i in range(len(self.train_set))]
        mean: Float[np.ndarray, "16 2"] = np.nanmean(poses, axis=0)
        return mean


def _check_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"data.{key}={value}: expected {least} or more")


def _resize(name: str) -> Resize:
    try:
        return Resize(name)
    except ValueError as error:
        raise UserError(f"data.resize={name!r}: expected one of {', '.join(Resize)}") from error


@dataclass(frozen=True)
class ReleaseSource:
    """Where a release lies, and how it comes there."""

    root: str
    annotations: str | None = None
    synthetic: Synthetic | None = None

    @property
    def images(self) -> Path:
        """The folder of images."""
        return Path(self.root).expanduser() / "images"

    def prepare(self) -> None:
        """Draw the synthetic release where it is asked for and missing."""
        if self.synthetic is not None and self.annotations is None:
            root, spec = Path(self.root).expanduser(), self.synthetic
            synthetic.write_release(root, spec.num_persons, spec.seed)

    def read(self) -> mpii.Release:
        """The release.

        Raises:
            UserError: it is missing or corrupt.
        """
        return mpii.read_release(self.path)

    @property
    def path(self) -> Path:
        """Of the annotations."""
        return Path(self.annotations or Path(self.root) / mpii.ANNOTATIONS).expanduser()
