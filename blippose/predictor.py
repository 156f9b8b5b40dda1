"""The public Python API: a model and the user's own images in, poses in their pixels out.

The model speaks its own frame, the predictor the user's. Knows nothing of files of images.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration, GenerationConfig
from transformers.utils import logging as transformers_logging

from blippose.blip import TINY, load_blip, load_tokenizer
from blippose.calibration import Calibration
from blippose.caption import Reason
from blippose.decoding import (
    CONFIDENCE_PX,
    CaptionReader,
    ClipNormalization,
    Closer,
    Decoding,
    InputFrame,
    Reading,
)
from blippose.errors import UserError, first_line
from blippose.frame_file import FRAME_FILE, Stated, find_frame_file, read_frame
from blippose.geometry import Crop, Resize
from blippose.model_checkpoint import calibrations_beside, load_checkpoint, model_in
from blippose.pose import Pose
from blippose.runs import best_checkpoint


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one image.

    Args:
        pose: in original image pixels, 0-based.
        pose_input: in pixels of the model's square input.
        caption: the text that the model wrote.
        reasons: per joint why it is missing, or None.
        crop: the part of the image that the model saw.
        confidence: probability that the true joint lies within 5 px of `pose_input`, 0 to 1; 0
            where the joint is missing. Calibrated where the model's source has a calibration for
            the way it is decoded, else what the model itself holds for likely.
    """

    pose: Pose
    pose_input: Pose
    caption: str
    reasons: tuple[Reason | None, ...]
    crop: Crop
    confidence: Float[np.ndarray, "16"]


@final
class PosePredictor:
    """Poses of images of any size.

    A drawn person for the tiny model that is shipped; `PosePredictor.from_run("runs/demo")` and
    `blippose.images.read_image(path)` are for your own.

    >>> from blippose.synthetic.scene import render_frame
    >>> image = render_frame(seed=7, video=59, frame=0).image  # uint8, (180, 320, 3), RGB
    >>> predictor = PosePredictor.from_pretrained("tiny")
    >>> [prediction] = predictor([image])
    >>> prediction.caption[:46]
    'right ankle ( 63, 84 ), right knee ( 67, 65 ),'
    >>> head_top = 9  # in MPII's order, `blippose.pose.JOINTS`
    >>> prediction.pose.xy[head_top].round(1)  # pixels of the image; NaN where it is missing
    array([226.3,  20.6])
    >>> prediction.pose.valid.all(), round(float(prediction.confidence[head_top]), 2)
    (np.True_, 1.0)

    Args:
        blip: the model.
        tokenizer: the model's.
        stated: what is known of it: the frame of the coordinates in its captions, and how it was
            decoded when it was validated, as which it is asked; as `generate` does where that is
            not known.
        source: what was loaded, for people to read.
        device: where to run, as torch names it.
    """

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        tokenizer: BertTokenizer,
        stated: Stated,
        source: str,
        device: str = "cpu",
    ) -> None:
        self.device = _device(device)
        nn.Module.to(blip, self.device)
        blip.train(False)
        self.blip = blip
        self.tokenizer, self.stated, self.source = tokenizer, stated, source
        self.frame, self.synthetic = stated.frame, stated.synthetic
        self.caption_format = self.frame.caption_format
        self._reader = CaptionReader(blip, tokenizer, self.caption_format, stated.decoding)
        self._normalization = ClipNormalization().to(self.device)

    @staticmethod
    def from_checkpoint(path: str | Path, device: str = "cpu") -> PosePredictor:
        """The model in a checkpoint that blippose wrote.

        Raises:
            UserError: there is no such file, it is damaged, or another program's.
        """
        path = Path(path).expanduser()
        checkpoint = load_checkpoint(path)
        return PosePredictor.of_checkpoint(checkpoint, path, device, calibrations_beside(path))

    @staticmethod
    def of_checkpoint(
        checkpoint: Mapping[str, Any],
        path: Path,
        device: str = "cpu",
        calibrations: Sequence[Calibration] = (),
    ) -> PosePredictor:
        """The model in what `load_checkpoint` read from `path`.

        Raises:
            UserError: it is another program's.
        """
        return PosePredictor(*model_in(checkpoint, path, calibrations), str(path), device)

    @staticmethod
    def from_run(folder: str | Path, device: str = "cpu") -> PosePredictor:
        """The best model of a run, with calibrations where `blippose eval` has judged it.

        Raises:
            UserError: the folder is missing, holds no best checkpoint, or a broken one.
        """
        return PosePredictor.from_checkpoint(best_checkpoint(folder), device)

    @staticmethod
    def from_pretrained(name: str | Path = "tiny", device: str = "cpu") -> PosePredictor:
        """A model in Hugging Face format: the shipped "tiny" one, a folder, or a hub name.

        Its `blippose.json` says the frame of its coordinates, {"frame": {"input_size",
        "num_bins", "resize", "crop"}} and more where it is not the default; without one, captions
        are taken to be in pixels of the input, into which the whole image is stretched.

        Raises:
            UserError: it cannot be loaded, or its frame does not fit the model.
        """
        source = str(Path(name).expanduser()) if isinstance(name, Path) else name
        blip, tokenizer = load_blip(source), load_tokenizer(source)
        size: Any = blip.vision_model.config.image_size
        path = find_frame_file(str(TINY) if source == "tiny" else source)
        unstated = Stated(InputFrame(size, None, "stretch", "full"))
        stated = unstated if path is None else read_frame(path)
        if stated.frame.input_size != size:
            raise UserError(
                f"{path}: says an input of {stated.frame.input_size} px, but the model's is "
                f"{size} px; export the model again"
            )
        return PosePredictor(blip, tokenizer, stated, source, device)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write what `from_pretrained` reads: a Hugging Face folder with `blippose.json`.

        Args:
            folder: made where it is missing; its files of the same names are replaced.
            dtype: of the written weights; float16 halves the size, and rounds a weight to 11 bits.
        """
        folder = Path(folder).expanduser()
        blip = copy.deepcopy(self.blip)
        nn.Module.to(blip, dtype=dtype)
        num_new = self._reader.writer.grammar.longest - 1  # [DEC] is there from the start
        # BLIP's `generate` never looks into generation_config.json: it asks its text decoder,
        # which makes its own settings of the text config.
        text: Any = blip.config.text_config
        text.max_new_tokens = num_new
        blip.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # not annotated
            max_new_tokens=num_new,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.sep_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
            do_sample=False,
            num_beams=1,
        )
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not annotated
        blip.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        record = json.dumps(self.stated.record(), indent=1)
        (folder / FRAME_FILE).write_text(f"{record}\n", encoding="utf-8")

    def __call__(
        self,
        images: Sequence[np.ndarray],
        crops: Sequence[Crop] | None = None,
        *,
        batch_size: int = 16,
    ) -> list[Prediction]:
        """A prediction for each image, in their order: its pose, and what stands behind it.

        Args:
            images: uint8, (height, width, 3), RGB, of any sizes.
            crops: the part of each image to look at; None looks at the whole image, as the model
                was trained to (a model of person crops sees it in its square with padding).
            batch_size: images that the model sees at once.

        Raises:
            UserError: an image is no such array, `batch_size` is below 1, or `crops` are not one
                of the model's input size for each image.
        """
        _check_images(images)
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: expected 1 or more")
        if crops is None:
            crops = [self.whole(image) for image in images]
        self._check_crops(crops, len(images))
        predictions: list[Prediction] = []
        for first in range(0, len(images), batch_size):
            part = slice(first, first + batch_size)
            predictions += self._predictions(self._read(images[part], crops[part]), crops[part])
        return predictions

    def _check_crops(self, crops: Sequence[Crop], num_images: int) -> None:
        if len(crops) != num_images:
            raise UserError(f"{len(crops)} crops for {num_images} images: expected one for each")
        for number, crop in enumerate(crops):
            if crop.size != self.frame.input_size or not (crop.width > 0 and crop.height > 0):
                raise UserError(
                    f"crops[{number}] is {crop.width:g} x {crop.height:g} for inputs of "
                    f"{crop.size} px: expected some pixels for inputs of "
                    f"{self.frame.input_size} px"
                )

    def whole(self, image: UInt8[np.ndarray, "h w 3"]) -> Crop:
        """The crop that holds the whole image, resized as the model was trained."""
        # Person crops keep the aspect ratio, so stretching would show what was never trained on.
        is_person = self.frame.crop == "person"
        resize = Resize.LETTERBOX if is_person else Resize(self.frame.resize)
        return Crop.of_image(image.shape[1], image.shape[0], self.frame.input_size, resize)

    def decode_by(self, decoding: Decoding) -> PosePredictor:
        """This predictor, asking its model in another way from now on.

        How it was validated stays as it is, and `save_pretrained` writes that.
        """
        self._reader.decoding = decoding
        return self

    def in_precision(self, dtype: torch.dtype) -> PosePredictor:
        """This predictor, its weights rounded to `dtype` from now on.

        torch.bfloat16 halves their memory and is faster where the hardware multiplies it; of
        numbers that are nearly as likely another may be written.
        """
        nn.Module.to(self.blip, dtype=dtype)
        return self

    @property
    def precision(self) -> str:
        """Type of its weights, such as "float32"."""
        return str(self.blip.dtype).removeprefix("torch.")

    @property
    def decoding(self) -> str:
        """Name of the way it is decoded."""
        return self._reader.decoding.name

    @property
    def confidence_is(self) -> str:
        """What `Prediction.confidence` is, for people and files."""
        what = f"probability of being within {CONFIDENCE_PX:g} px of the input"
        if (calibration := self._calibration()) is not None:
            return f"{what}, calibrated on {calibration.num_persons:,} persons"
        others = "; ".join(each.decoding for each in self.stated.calibrations)
        known = f" (calibrated for: {others})" if others else ""
        return f"{what}, as the model itself has it, not calibrated{known}"

    def _calibration(self) -> Calibration | None:
        """That of the way it is decoded."""
        for each in self.stated.calibrations:
            if (each.decoding, each.radius) == (self.decoding, CONFIDENCE_PX):
                return each
        return None

    @torch.no_grad()
    def _read(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], crops: Sequence[Crop]
    ) -> Reading:
        """What the model says of each."""
        photos = [Image.fromarray(image) for image in images]

        def cut(parts: Sequence[Crop]) -> UInt8[np.ndarray, "batch size size 3"]:
            return np.stack([part.cut(photo) for photo, part in zip(photos, parts, strict=True)])

        closer = Closer(crops, cut, self._look, self.device)
        pixels = closer.inputs(crops)
        return self._reader.read(
            lambda view: self._look(view.of(pixels)), closer, with_confidence=True
        )

    def _look(self, pixels: Tensor) -> Float[Tensor, "batch patch width"]:
        """What the vision tower says of inputs."""
        normalized = self._normalization(pixels).to(self.blip.dtype)
        states: Tensor = self.blip.vision_model(pixel_values=normalized)[0]
        return states

    def _predictions(self, reading: Reading, crops: Sequence[Crop]) -> Iterator[Prediction]:
        """What was said of each crop, in the pixels of its image."""
        assert reading.confidence is not None
        calibration = self._calibration()
        sure = reading.confidence if calibration is None else calibration(reading.confidence)
        for caption, parsed, confidence, crop in zip(
            reading.captions, reading.parsed, sure, crops, strict=True
        ):
            pose = Pose.of(crop.to_img(parsed.pose.xy))
            yield Prediction(pose, parsed.pose, caption, parsed.reasons, crop, confidence)


def _check_images(images: Sequence[Any]) -> None:
    for number, image in enumerate(images):
        found = getattr(image, "dtype", type(image).__name__), getattr(image, "shape", ())
        is_image = isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3
        if not is_image or image.dtype != np.uint8 or 0 in image.shape:
            raise UserError(
                f"images[{number}] is {found[0]} {found[1]}: expected a list of uint8 arrays of "
                "(height, width, 3), RGB; blippose.images.read_image(path) reads one"
            )


def _sentence(error: Exception) -> str:
    """The first of what torch says, which may go on to list every backend there is."""
    return first_line(error).partition(". ")[0].rstrip(".")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device={name}: not available here ({_sentence(error)}); use device=cpu"
        ) from error
    return device
