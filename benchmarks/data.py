"""Images per second, ours against what users write: PIL and BlipImageProcessor for every sample.

    python benchmarks/data.py                    the synthetic release, at 96 px
    python benchmarks/data.py --root FOLDER      another release, as data.root
    python benchmarks/data.py --photos FOLDER    a folder of JPEGs, each 30 times, at 384 px

The peer is a DataLoader over a Dataset that opens, converts and asks BlipImageProcessor (with its
PIL backend), with one worker a core. Ours is the same loader over pixels: cold, cut into a new
cache first; warm, from the file that is there. Both end in batches of normalised float32 pixels in
the training process; some pixels of each image are kept, and must be the same. Times of workers'
starts are in it, imports are not. Every figure is the median of several runs, taken in turn; files
are in the system's memory.
The first ratio is by the clock, all workers of the peer together; the second by seconds of the
processor. Fails if warm is less than 20 times the peer by the processor, or cold slower than the
peer by the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from process import in_one_line
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blippose import mpii, readings, synthetic
from blippose.data.cutter import Cutter
from blippose.data.pixel_cache import PixelCache, PixelFile
from blippose.decoding import ClipNormalization
from blippose.errors import UserError
from blippose.geometry import Resize
from blippose.machine import num_cores
from blippose.pose import Pose

BATCH = 16
DEFAULT = Path("data/synthetic_1500_seed0")  # of conf/data/synthetic.yaml
LEAST_WARM, LEAST_COLD = 20.0, 1.0


class Peer(Dataset[Tensor]):
    """What users write."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths = paths
        self.processor = BlipImageProcessorPil(size={"height": size, "width": size})

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image = Image.open(self.paths[index]).convert("RGB")
        pixels: Tensor = self.processor(image, return_tensors="pt").pixel_values[0]
        return pixels


class Ours(Dataset[np.ndarray]):
    """Rows of the file, as PoseDataset reads them."""

    def __init__(self, pixels: PixelFile, num: int) -> None:
        self.pixels, self.num = pixels, num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pixels[index][0]


def stacked(samples: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(samples)).permute(0, 3, 1, 2).contiguous()


def looked_at(batches: Iterable[Tensor]) -> Tensor:
    """Some pixels of each image, in their order: to keep all would take as long as making them."""
    return torch.cat([batch[..., ::16, ::16].clone() for batch in batches])  # (N, 3, h, w)


def peer(paths: Sequence[Path], size: int, num_workers: int) -> Tensor:
    """What is looked at of all batches."""
    return looked_at(DataLoader(Peer(paths, size), BATCH, num_workers=num_workers))


def ours(cutter: Cutter, folder: Path, persons: Sequence[mpii.Person]) -> Tensor:
    """What is looked at of all batches, cut into `folder` first where it has none."""
    cache, normalization = PixelCache(cutter, (folder,)), ClipNormalization()
    kept = cache.find(persons) or cache.make(persons)
    assert kept is not None
    loader = DataLoader(Ours(kept, len(persons)), BATCH, collate_fn=stacked)
    return looked_at(normalization(batch) for batch in loader)


def timed(work: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """Seconds waited, seconds of processors, and what was seen."""
    began, busy = time.perf_counter(), processor_seconds()
    seen = work()
    return time.perf_counter() - began, processor_seconds() - busy, seen


def processor_seconds() -> float:
    """Of this process and those of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(
    title: str, images: Path, persons: Sequence[mpii.Person], size: int, times: int
) -> tuple[float, float]:
    """Print a row for each way; the peer's speed goes how often into that of warm and of cold.

    Of warm, which is one process, by the processor; of cold by the clock, all cores on both sides.
    """
    cores, cutter = num_cores(), Cutter(images, size, Resize.STRETCH, "full")
    paths = [images / person.image_name for person in persons]
    seconds: dict[str, list[float]] = {"peer": [], "cold": [], "warm": []}
    busy: dict[str, list[float]] = {"peer": [], "cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        ways = {
            "peer": lambda: peer(paths, size, cores),
            "cold": lambda: ours(cutter, Path(name) / "pixels", persons),
            "warm": lambda: ours(cutter, Path(name) / "pixels", persons),
        }
        for _ in range(times):
            shutil.rmtree(Path(name) / "pixels", ignore_errors=True)
            seen = []
            for way, work in ways.items():
                taken, used, pixels = timed(work)
                seconds[way].append(taken)
                busy[way].append(used)
                seen.append(pixels)
            for of_ours in seen[1:]:
                torch.testing.assert_close(of_ours, seen[0], rtol=0, atol=1e-4)
    middle = {way: median(taken) for way, taken in seconds.items()}
    processor = {way: median(used) for way, used in busy.items()}
    workers = {"peer": f"{cores} processes", "cold": f"{cores} threads", "warm": "1 thread"}
    for way, taken in middle.items():
        rate, ratio = len(persons) / taken, middle["peer"] / taken
        by_processor = processor["peer"] / processor[way]
        spread = f"{min(seconds[way]):.2f} to {max(seconds[way]):.2f}"
        row = f"{title:22} {size:4}  {way:4}  {workers[way]:11}  {rate:10,.0f}  {ratio:6.1f} x"
        each = 1000 * processor[way] / len(persons)
        print(f"{row}  {taken:6.2f}  {spread:16}  {each:6.2f}  {by_processor:6.1f} x")
    return processor["peer"] / processor["warm"], middle["peer"] / middle["cold"]


def photos_as_persons(folder: Path) -> list[mpii.Person]:
    """Each JPEG 30 times, as if of a release."""
    someone = mpii.Person(
        image_name="",
        image_index=0,
        person_index=0,
        pose=Pose.of(np.full((16, 2), np.nan)),
        flags=(None,) * 16,
        head_size=0.0,
        head_box=None,
        center=None,
        scale=None,
        video=None,
        activity=None,
    )
    names = sorted(path.name for path in folder.glob("*.jpg"))
    if not names:
        raise UserError(f"--photos {folder}: no *.jpg there")
    return [replace(someone, image_name=name) for name in names * 30]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=DEFAULT)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs instead")
    parser.add_argument("--size", type=int, help="of the input, px; 96, for photos 384")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':22}   px        {'':11}  images / s  ratio     s", end="     ")
    print("least to most     processor ms an image, ratio")
    if given.photos:
        persons: Sequence[mpii.Person] = photos_as_persons(given.photos)
        images, size, title = given.photos, given.size or 384, f"{len(persons)} photos"
    else:
        if given.root == DEFAULT:
            synthetic.write_release(given.root, 1500, 0)
        release = mpii.read_release(given.root / mpii.ANNOTATIONS)
        persons, images = readings.select(release), given.root / "images"
        size, title = given.size or 96, f"{len(persons):,} images"
    warm, cold = measure(title, images, persons, size, given.times)
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {num_cores()} cores")
    return int(warm < LEAST_WARM or cold < LEAST_COLD)


if __name__ == "__main__":
    in_one_line(main)
