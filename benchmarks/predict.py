"""What `blippose predict` holds while it works through many images: MB, every tenth of them.

    python benchmarks/predict.py                 10,000 images, a predictor that knows the answer
    python benchmarks/predict.py --model tiny    the same with the model that is shipped
    python benchmarks/predict.py --images 100    fewer

Fails if the process holds 20 MB more after the last image than after the first tenth of them. The
files grow on disk, not in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from process import held_mb, in_one_line

from blippose.caption import CaptionFormat
from blippose.decoding import InputFrame
from blippose.geometry import Crop
from blippose.pose import Pose
from blippose.prediction_files import predict_files
from blippose.predictor import PosePredictor, Prediction

MOST_GROWTH = 20.0  # MB
SIZE = (320, 240)


class Known:
    """Says the same pose of every image, at once."""

    frame, source, synthetic = InputFrame(96, None, "stretch", "full"), "known pose", True
    decoding, confidence_is, precision = "none", "of a known pose", "float32"

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> list[Prediction]:
        """The same of each."""
        return [self.prediction(image) for image in images]

    def prediction(self, image: np.ndarray) -> Prediction:
        """As if its caption had been read."""
        pose_input = Pose.of(np.random.default_rng(0).uniform(10, 80, (16, 2)))
        caption_format = CaptionFormat(96)
        caption = caption_format.encode(pose_input.xy)
        parsed = caption_format.decode(caption)
        crop = Crop.of_image(image.shape[1], image.shape[0], 96)
        pose = Pose.of(crop.to_img(parsed.pose.xy))
        return Prediction(pose, parsed.pose, caption, parsed.reasons, crop, np.full(16, 0.5))


class Watched:
    """A predictor, and what the process holds after every `step` images."""

    def __init__(self, predictor: Known | PosePredictor, step: int) -> None:
        self.predictor, self.step, self.done = predictor, step, 0
        self.frame, self.source = predictor.frame, predictor.source
        self.synthetic: bool | None = predictor.synthetic
        self.precision = predictor.precision
        self.decoding, self.confidence_is = predictor.decoding, predictor.confidence_is
        self.megabytes: list[float] = []
        self.began = time.perf_counter()

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> list[Prediction]:
        """What the predictor says; now and then, what the process holds."""
        predictions = self.predictor(images, batch_size=batch_size)
        if self.done // self.step != (self.done + len(images)) // self.step or not self.done:
            self.megabytes.append(held_mb())
            seconds = time.perf_counter() - self.began
            print(f"{self.done + len(images):>8,} {self.megabytes[-1]:>9.1f} MB {seconds:>7.0f} s")
        self.done += len(images)
        return predictions


def draw(folder: Path, number: int) -> list[Path]:
    """Images of noise: fifty files, each under many names."""
    rng = np.random.default_rng(0)
    files = []
    for index in range(min(50, number)):
        files.append(folder / f"noise{index}.jpg")
        pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(files[-1])
    paths = []
    for index in range(number):
        paths.append(folder / f"{index}.jpg")
        paths[-1].hardlink_to(files[index % len(files)])
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--model", help="a model for from_pretrained; else a known pose")
    given = parser.parse_args()
    if given.images < 20:
        parser.error("--images: 20 or more, of which memory is read ten times")
    predictor = PosePredictor.from_pretrained(given.model) if given.model else Known()
    watched = Watched(predictor, max(1, given.images // 10))
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder), given.images)
        predict_files(watched, paths, Path(folder) / "out", progress=False, format="coco")
    growth = watched.megabytes[-1] - watched.megabytes[1]
    print(f"growth from a tenth to the end: {growth:.1f} MB")
    if growth > MOST_GROWTH:
        raise SystemExit(f"grew by more than {MOST_GROWTH} MB")


if __name__ == "__main__":
    in_one_line(main)
