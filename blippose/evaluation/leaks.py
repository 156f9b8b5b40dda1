"""Which judged persons the model may have seen in training: siblings of a video, near-duplicates.

A near-duplicate is an image whose perceptual hash lies within a few bits of a training image's
and whose colours do, too: of smooth scenes the hash alone takes a wall over a floor for another.
Knows nothing of models: the accuracy without the leaks is for those who have the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from jaxtyping import Bool, Float, Int, UInt64
from PIL import Image

from blippose.errors import UserError
from blippose.machine import num_cores
from blippose.mpii import Person
from blippose.progress import tracked
from blippose.release_images import opened
from blippose.split import shares_video

HASH_BITS = 64
# Of 64 bits. Measured on MPII's photos: another quality or size 0 bits, brightness x 1.3 up to 6,
# 2 % cropped or shifted up to 8, 4 % 8 to 14; two photos 26 or more, a photo and its mirror image
# 30 or more. Seven of 300 drawn scenes lay within 10 bits of another one.
THRESHOLD = 10
# Correlation of thumbnails. Measured likewise: another quality, size, brightness or 2 % cropped
# .957 or more, 2 % shifted .87 to .94; two photos up to .37, those seven drawn pairs up to .896.
ALIKE = 0.92
_THUMBNAIL = (16, 16)  # px

_NUM_PAIRS = 20  # in the report; the masks hold all
_DRAFT = (128, 128)  # px; JPEGs are decoded to no less than this, in a fraction of the time
_CHUNK = 256  # judged images compared at once: 256 x 11,503 x 9 bytes = 27 MB


@dataclass(frozen=True)
class Pair:
    """An image and the training image nearest to it."""

    val: str
    train: str
    distance: int  # of their hashes, bits


@dataclass(frozen=True, eq=False)
class Leaks:
    """What the judged persons share with the training ones, in the order of the judged."""

    shared_video: Bool[np.ndarray, " persons"]
    near_duplicate: Bool[np.ndarray, " persons"]
    in_training: Bool[np.ndarray, " persons"]  # whose very image is a training image
    pairs: tuple[Pair, ...]  # of the near-duplicates, nearest first
    threshold: int  # bits
    num_unknown: int  # judged persons whose video is not known
    num_train_unknown: int  # training persons likewise

    def record(self, manifest: str) -> dict[str, Any]:
        """As JSON has it, beside the hash of the split."""
        return {
            "manifest": manifest,
            "training_images": _counts(self.in_training),
            "shared_video": {
                **_counts(self.shared_video),
                "num_unknown": self.num_unknown,
                "num_train_unknown": self.num_train_unknown,
            },
            "near_duplicates": {
                **_counts(self.near_duplicate),
                "threshold": self.threshold,
                "pairs": [asdict(pair) for pair in self.pairs[:_NUM_PAIRS]],
            },
        }


def _counts(mask: Bool[np.ndarray, " persons"]) -> dict[str, int]:
    return {"num_images": int(mask.sum()), "num_left": int((~mask).sum())}


def leaks_between(
    train: Sequence[Person],
    judged: Sequence[Person],
    images: Path,
    *,
    train_images: Path | None = None,
    has_same_videos: bool = True,
    threshold: int = THRESHOLD,
    progress: bool = False,
) -> Leaks:
    """What `judged` share with `train`.

    Args:
        train: whom the model has learnt from.
        judged: whom it is judged on.
        images: the folder of the judged.
        train_images: the folder of those it has learnt from; None is the same.
        has_same_videos: whether ids of videos mean the same of both.
        threshold: largest distance of near-duplicates, bits of 64.
        progress: whether stderr is told how far it is.

    Raises:
        UserError: a threshold outside 0 to 64, or an image that cannot be decoded.
    """
    if not 0 <= threshold <= HASH_BITS:
        raise UserError(f"threshold={threshold}: expected 0 to {HASH_BITS} bits")
    folder = images if train_images is None else train_images
    train_paths = sorted({folder / person.image_name for person in train})
    paths = [images / person.image_name for person in judged]
    hashes = image_hashes(dict.fromkeys([*paths, *train_paths]), progress=progress)
    pairs = _near_duplicates(paths, train_paths, hashes, threshold)
    videos = [person.video for person in judged]
    known = [person.video for person in train] if has_same_videos else []
    trained = {_frame(person) for person in train} if has_same_videos else set()
    return Leaks(
        shared_video=shares_video(videos, known),
        near_duplicate=np.isin([path.name for path in paths], [pair.val for pair in pairs]),
        in_training=np.array([_frame(person) in trained for person in judged], dtype=bool),
        pairs=tuple(sorted(pairs, key=lambda pair: (pair.distance, pair.val))),
        threshold=threshold,
        num_unknown=videos.count(None) if has_same_videos else len(videos),
        num_train_unknown=known.count(None),
    )


def _frame(person: Person) -> tuple[str, int | None]:
    """Its image: names alone are drawn anew with each number of persons."""
    return person.image_name, person.video


def _near_duplicates(
    paths: Sequence[Path],
    train_paths: Sequence[Path],
    hashes: Mapping[Path, int],
    threshold: int,
) -> list[Pair]:
    """Each image that some training image is near to, with the nearest that is alike."""
    judged_hashes = np.array([hashes[path] for path in paths], dtype=np.uint64)
    train_hashes = np.array([hashes[path] for path in train_paths], dtype=np.uint64)
    distance, _ = nearest_hashes(judged_hashes, train_hashes)
    pairs = []
    for i in (distance <= threshold).nonzero()[0].tolist():
        bits = np.bitwise_count(judged_hashes[i] ^ train_hashes)
        for j in bits.argsort(kind="stable")[: int((bits <= threshold).sum())].tolist():
            if _are_alike(paths[i], train_paths[j]):
                pairs.append(Pair(paths[i].name, train_paths[j].name, int(bits[j])))
                break
    return pairs


def image_hashes(paths: Iterable[Path], *, progress: bool = False) -> dict[Path, int]:
    """The perceptual hash of each image, on all cores.

    It is the sign of the 64 lowest frequencies of the brightness: the same for another size or
    quality of a picture, nearly the same for the next frame of a video, another for another
    scene.

    Raises:
        UserError: an image that cannot be decoded.
    """
    wanted = list(paths)
    with ThreadPoolExecutor(num_cores()) as pool:
        hashes = pool.map(_hash, wanted)
        told = tracked(hashes, 0, len(wanted), description="hashing images", shown=progress)
        return dict(zip(wanted, told, strict=True))


def _are_alike(path: Path, other: Path) -> bool:
    """Whether their colours rise and fall together, whatever the brightness and contrast.

    Of an image of one colour nothing rises: NaN, and not alike.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return bool(np.corrcoef(_thumbnail(path), _thumbnail(other))[0, 1] >= ALIKE)


def _thumbnail(path: Path) -> Float[np.ndarray, " values"]:
    with opened(path) as image:
        image.draft("RGB", _DRAFT)
        small = image.convert("RGB").resize(_THUMBNAIL, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel()


def _hash(path: Path) -> int:
    with opened(path) as image:
        image.draft("L", _DRAFT)
        bits = imagehash.phash(image).hash
    return int.from_bytes(np.packbits(bits).tobytes())


def nearest_hashes(
    hashes: UInt64[np.ndarray, " image"], others: UInt64[np.ndarray, " other"]
) -> tuple[Int[np.ndarray, " image"], Int[np.ndarray, " image"]]:
    """Distance in bits to the nearest of `others`, and which; one more than all bits of none.

    >>> hashes, others = np.array([0b0111, 0b1000]), np.array([0b0000, 0b0110])
    >>> nearest_hashes(hashes.astype(np.uint64), others.astype(np.uint64))
    (array([1, 1]), array([1, 0]))
    """
    distance = np.full(len(hashes), HASH_BITS + 1)
    nearest = np.zeros(len(hashes), dtype=np.int64)
    if not len(others):
        return distance, nearest
    for first in range(0, len(hashes), _CHUNK):
        part = slice(first, first + _CHUNK)
        bits = np.bitwise_count(hashes[part, None] ^ others)  # (C, O)
        nearest[part] = bits.argmin(axis=1)
        distance[part] = bits.min(axis=1)
    return distance, nearest
