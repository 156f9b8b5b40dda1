"""The Python API: models rebuilt from files say what they said before, in the users' pixels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812  the field's own convention
import numpy as np
import pytest
import torch
from reciting import Reciting
from tiny_tokenizer import write_tiny_tokenizer
from torch import nn
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

from blippose.blip import load_tokenizer
from blippose.calibration import Calibration
from blippose.caption import CaptionFormat, Reason
from blippose.decoding import CONFIDENCE_PX, Constrained, InputFrame, Parallel
from blippose.errors import UserError
from blippose.export import export_checkpoint
from blippose.frame_file import Stated
from blippose.geometry import Crop
from blippose.model import PoseCaptioner
from blippose.pose import JOINTS
from blippose.predictor import PosePredictor
from blippose.runs import RECORD
from blippose.synthetic.scene import render_frame

SIZE, NUM_BINS = 32, 64
FRAME = InputFrame(SIZE, NUM_BINS, "letterbox", "full")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, NUM_BINS)
    return load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def blip(tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """A BLIP of a few thousand weights, drawn so large that it looks at the image."""
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = {"hidden_size": 16, "image_size": SIZE, "patch_size": 16, **layers}
    text = {
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": 256,
        **layers,
    }
    torch.manual_seed(0)
    blip = BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text))
    for name, weight in blip.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=1.0 if "vision" in name else 0.5)
    return blip.eval()


@pytest.fixture(scope="module")
def captioner(blip: BlipForConditionalGeneration, tokenizer: BertTokenizer) -> PoseCaptioner:
    return PoseCaptioner(
        blip,
        tokenizer,
        CaptionFormat(SIZE, NUM_BINS),
        partial(torch.optim.AdamW, lr=1e-3),
        patch_weight=0.5,
        resize="letterbox",
    )


@pytest.fixture(scope="module")
def checkpoint(captioner: PoseCaptioner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(captioner, tmp_path_factory.mktemp("run") / "best.ckpt")


def saved(captioner: PoseCaptioner, path: Path) -> Path:
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(captioner)
    trainer.save_checkpoint(path)
    return path


def images(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


@pytest.fixture
def calibrated(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, with a calibration for constrained decoding beside it."""
    path = tmp_path / "best.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    own = Calibration((2.0,) * 16, (0.5,) * 16, "constrained", CONFIDENCE_PX, 300, sha256)
    own.save(tmp_path)
    return path


def test_confidence_is_calibrated_where_a_calibration_is_known(
    checkpoint: Path, calibrated: Path
) -> None:
    inputs = images(*[(SIZE, SIZE)] * 2)
    raw = PosePredictor.from_checkpoint(checkpoint).decode_by(Constrained())
    assert "not calibrated" in raw.confidence_is
    for source in (calibrated, calibrated.parent):
        load = PosePredictor.from_run if source.is_dir() else PosePredictor.from_checkpoint
        predictor = load(source).decode_by(Constrained())
        assert predictor.confidence_is.endswith("calibrated on 300 persons")
        [own] = predictor.stated.calibrations
        for one, other in zip(predictor(inputs), raw(inputs), strict=True):
            np.testing.assert_allclose(one.confidence, own(other.confidence), rtol=1e-6)
            assert not np.allclose(one.confidence, other.confidence)


def test_a_model_is_asked_as_it_was_validated(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    decoding = Parallel(1, expectation=True, test_views=2)
    format_ = CaptionFormat(SIZE, NUM_BINS)
    captioner = PoseCaptioner(blip, tokenizer, format_, torch.optim.AdamW, decoding=decoding)
    path = saved(captioner, tmp_path / "best.ckpt")
    inputs = images((SIZE, SIZE), (50, 40))
    expected = PosePredictor.from_checkpoint(path).decode_by(decoding)(inputs)
    export_checkpoint(path, tmp_path / "exported")
    assert (
        f"blippose's own decoding ({decoding.name})"
        in (tmp_path / "exported" / "README.md").read_text()
    )
    for predictor in (
        PosePredictor.from_run(tmp_path),
        PosePredictor.from_pretrained(tmp_path / "exported"),
    ):
        assert predictor.stated.decoding == decoding
        for one, other in zip(predictor(inputs), expected, strict=True):
            np.testing.assert_array_equal(one.pose.xy, other.pose.xy)


@pytest.fixture
def older(checkpoint: Path, tmp_path: Path) -> Path:
    """The best of a version that did not write down how it was validated."""
    content = torch.load(checkpoint, weights_only=True)
    content.pop("optimizer_states", None)  # as in all that are kept to be used
    content["blippose"]["metrics"] = {"val/mae": 1.5}
    del content["blippose"]["decoding"]
    torch.save(content, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


def test_a_checkpoint_that_does_not_say_how_it_was_validated_is_asked_as_generate_does(
    older: Path,
) -> None:
    predictor = PosePredictor.from_checkpoint(older)
    assert (predictor.decoding, predictor.stated.decoding) == ("free", None)


def test_an_export_says_nothing_of_a_validation_that_nobody_knows(
    older: Path, tmp_path: Path
) -> None:
    export_checkpoint(older, tmp_path / "exported")
    assert PosePredictor.from_pretrained(tmp_path / "exported").stated.decoding is None
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "the run's own decoding (which its record does not say)" in card


def test_how_an_older_checkpoint_was_validated_is_read_from_its_run(
    older: Path, tmp_path: Path
) -> None:
    decoding = {"_target_": "blippose.decoding.Parallel", "refine": 1}
    config = {"model": {"weights": "random"}, "decoding": decoding}
    record = {"state": "done", "config": config, "config_hash": "of it"}
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert PosePredictor.from_run(tmp_path).stated.decoding == Parallel(1)
    export_checkpoint(older, tmp_path / "exported")
    assert PosePredictor.from_pretrained(tmp_path / "exported").stated.decoding == Parallel(1)


def test_a_checkpoint_that_is_broken_is_named_and_no_folder_of_a_moment(
    checkpoint: Path, tmp_path: Path
) -> None:
    broken = torch.load(checkpoint, weights_only=True)
    broken["blippose"]["tokenizer"] = "{}"
    torch.save(broken, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=rf"^{tmp_path}/best\.ckpt: not a checkpoint of blippose"):
        PosePredictor.from_run(tmp_path)


def test_a_model_asked_otherwise_is_saved_as_it_was_validated(older: Path, tmp_path: Path) -> None:
    PosePredictor.from_checkpoint(older).decode_by(Constrained()).save_pretrained(tmp_path / "a")
    assert PosePredictor.from_pretrained(tmp_path / "a").stated.decoding is None


def test_a_way_of_decoding_that_is_not_known_is_said_by_its_name(
    checkpoint: Path, tmp_path: Path
) -> None:
    newer = torch.load(checkpoint, weights_only=True)
    newer["blippose"]["decoding"] = {"way": "beams"}
    torch.save(newer, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"best\.ckpt: decoding\.way=beams: .*a newer blippose"):
        PosePredictor.from_run(tmp_path)


def test_a_calibration_goes_with_an_exported_folder(calibrated: Path, tmp_path: Path) -> None:
    predictor = PosePredictor.from_checkpoint(calibrated)
    export_checkpoint(calibrated, tmp_path / "exported")
    exported = PosePredictor.from_pretrained(tmp_path / "exported")
    assert exported.stated.calibrations == predictor.stated.calibrations
    assert len(exported.stated.calibrations) == 1


def test_a_calibration_is_for_its_decoding_its_weights_and_its_radius_alone(
    calibrated: Path,
) -> None:
    predictor = PosePredictor.from_checkpoint(calibrated)
    assert predictor.confidence_is.endswith("not calibrated (calibrated for: constrained)")
    inputs = images((SIZE, SIZE))
    raw = PosePredictor(predictor.blip, predictor.tokenizer, Stated(predictor.frame), "raw")
    np.testing.assert_array_equal(predictor(inputs)[0].confidence, raw(inputs)[0].confidence)
    [own] = predictor.stated.calibrations
    replace(own, radius=3.0).save(calibrated.parent)
    other = PosePredictor.from_checkpoint(calibrated).decode_by(Constrained())
    assert "not calibrated" in other.confidence_is
    replace(own, checkpoint_sha256="ab").save(calibrated.parent)
    assert PosePredictor.from_checkpoint(calibrated).stated.calibrations == ()


def test_a_checkpoint_gives_the_captions_of_the_module_that_it_was_saved_from(
    captioner: PoseCaptioner, checkpoint: Path
) -> None:
    inputs = images(*[(SIZE, SIZE)] * 4)
    pixels = torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2)
    expected = list(captioner.say(pixels).captions)
    predictor = PosePredictor.from_checkpoint(checkpoint)
    assert [prediction.caption for prediction in predictor(inputs)] == expected
    assert len(set(expected)) > 1, "a model that does not look at the image proves nothing"
    assert predictor.frame == captioner.frame


def test_in_bfloat16_it_says_nearly_the_same_poses() -> None:
    inputs = [render_frame(seed=3, video=video, frame=0).image for video in range(4)]
    predictor = PosePredictor.from_pretrained("tiny").decode_by(Constrained())
    assert predictor.precision == "float32"
    exact = np.stack([each.pose_input.xy for each in predictor(inputs)])
    assert predictor.in_precision(torch.bfloat16).precision == "bfloat16"
    near = np.stack([each.pose_input.xy for each in predictor(inputs)])
    assert {weight.dtype for weight in predictor.blip.parameters()} == {torch.bfloat16}
    assert (np.abs(near - exact) <= 1).mean() > 0.95


def test_a_run_folder_gives_its_best_checkpoint(checkpoint: Path) -> None:
    assert PosePredictor.from_run(checkpoint.parent).source == str(checkpoint)


def test_a_pretrained_folder_gives_the_same_captions_as_the_checkpoint(
    captioner: PoseCaptioner, checkpoint: Path, tmp_path: Path
) -> None:
    captioner.blip.save_pretrained(tmp_path)
    captioner.tokenizer.save_pretrained(tmp_path)
    record = {"frame": vars(FRAME), "synthetic": True}
    (tmp_path / "blippose.json").write_text(json.dumps(record))
    predictor = PosePredictor.from_pretrained(tmp_path)
    inputs = images((20, 40), (SIZE, SIZE))
    expected = PosePredictor.from_checkpoint(checkpoint)(inputs)
    assert [p.caption for p in predictor(inputs)] == [p.caption for p in expected]
    assert (predictor.frame, predictor.synthetic) == (FRAME, True)


def test_a_pretrained_folder_without_a_frame_is_taken_as_the_study_had_it(
    captioner: PoseCaptioner, tmp_path: Path
) -> None:
    captioner.blip.save_pretrained(tmp_path)
    captioner.tokenizer.save_pretrained(tmp_path)
    predictor = PosePredictor.from_pretrained(str(tmp_path))
    assert predictor.frame == InputFrame(SIZE, None, "stretch", "full")
    assert predictor.synthetic is None


def frame_file(**changed: Any) -> str:
    return json.dumps({"frame": {**vars(FRAME), **changed}})


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (frame_file(input_size=384), "384 px"),
        (frame_file(resize="squash"), "squash"),
        (frame_file(crop="face"), "face"),
        (frame_file(num_bins=0), "one bin"),
        (frame_file(unknown=1), "unknown"),
        ('{"frame": {"input_size": 32}}', "num_bins"),
        ("{", "expected"),
        ("[]", "expected"),
    ],
)
def test_a_frame_that_does_not_fit_the_model_is_refused(
    captioner: PoseCaptioner, tmp_path: Path, record: str, reason: str
) -> None:
    captioner.blip.save_pretrained(tmp_path)
    captioner.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "blippose.json").write_text(record)
    with pytest.raises(UserError, match=reason) as error:
        PosePredictor.from_pretrained(tmp_path)
    assert "blippose.json" in str(error.value)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    torch.save({"state_dict": {"conv.weight": torch.zeros(3)}, "epoch": 3}, path)


def bare_tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def unsafe(path: Path) -> None:
    torch.save({"state_dict": {}, "blippose": Path("x")}, path)


def without_a_weight(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    key = next(key for key in checkpoint["state_dict"] if key.startswith("blip.vision"))
    del checkpoint["state_dict"][key]
    torch.save(checkpoint, path)


def without_a_tokenizer(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["blippose"]["tokenizer"] = "{}"
    torch.save(checkpoint, path)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        emptied,
        foreign,
        bare_tensor,
        unsafe,
        without_a_weight,
        without_a_tokenizer,
        removed,
    ],
)
def test_a_bad_checkpoint_is_one_line_that_names_the_file(
    checkpoint: Path, tmp_path: Path, damage: Any
) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    damage(path)
    with pytest.raises(UserError) as error:
        PosePredictor.from_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        PosePredictor.from_run(tmp_path / "missing")
    with pytest.raises(UserError, match=r"holds no best\.ckpt"):
        PosePredictor.from_run(tmp_path)


def test_an_absent_device_is_refused(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer
) -> None:
    for device in ("cuda:77", "toaster"):
        with pytest.raises(UserError, match=f"device={device}"):
            PosePredictor(blip, tokenizer, Stated(FRAME), "test", device)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [(90, 160), (400, 30), (32, 32), (1, 1)])
def test_captions_become_pixels_of_each_image(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    shape: tuple[int, int],
    resize: str,
) -> None:
    height, width = shape
    xy_img = np.random.default_rng(1).uniform((0, 0), (width - 1, height - 1), (16, 2))
    # Written by hand rather than by Crop, which the predictor uses.
    side = np.array([width, height]) if resize == "stretch" else np.array([max(shape)] * 2)
    corner = (np.array([width, height]) - side) / 2
    xy_bin = np.floor((xy_img + 0.5 - corner) / side * NUM_BINS).astype(int)
    caption = ", ".join(f"{name} ({x},{y})" for name, (x, y) in zip(JOINTS, xy_bin, strict=True))
    predictor = PosePredictor(blip, tokenizer, Stated(replace(FRAME, resize=resize)), "test")
    predictor.decode_by(Reciting([caption]))
    [prediction] = predictor(images(shape))
    half_a_bin = side / NUM_BINS / 2 + 1e-9
    assert (np.abs(prediction.pose.xy - xy_img) <= half_a_bin).all()
    assert prediction.reasons == (None,) * 16
    assert prediction.caption.replace(" ", "") == caption.replace(" ", "")


def test_missing_joints_have_reasons_and_no_coordinates(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer
) -> None:
    reciting = Reciting(["right ankle ( 3, 4 ), right knee ( 99, 4 )"])
    [prediction] = PosePredictor(blip, tokenizer, Stated(FRAME), "test").decode_by(reciting)(
        images((50, 50))
    )
    assert prediction.pose.valid.tolist() == [True] + [False] * 15
    assert prediction.reasons[1:3] == (Reason.OUT_OF_RANGE, Reason.ABSENT)


def test_batches_change_neither_order_nor_captions(checkpoint: Path) -> None:
    predictor = PosePredictor.from_checkpoint(checkpoint)
    inputs = images((20, 40), (64, 32), (32, 32), (10, 10), (50, 20))
    at_once = [prediction.caption for prediction in predictor(inputs)]
    in_pairs = [prediction.caption for prediction in predictor(inputs, batch_size=2)]
    assert at_once == in_pairs
    assert predictor([]) == []


def test_every_joint_that_is_there_has_a_confidence_that_batches_do_not_change(
    checkpoint: Path,
) -> None:
    predictor = PosePredictor.from_checkpoint(checkpoint)
    inputs = images((20, 40), (64, 32), (32, 32), (10, 10), (50, 20))
    at_once, in_pairs = predictor(inputs), predictor(inputs, batch_size=2)
    for one, other in zip(at_once, in_pairs, strict=True):
        assert (one.confidence[~one.pose.valid] == 0).all()
        assert (one.confidence <= 1).all()
        np.testing.assert_allclose(one.confidence, other.confidence, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
    ],
)
def test_what_is_no_image_is_named_by_its_number(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, wrong: np.ndarray, said: str
) -> None:
    predictor = PosePredictor(blip, tokenizer, Stated(FRAME), "test")
    with pytest.raises(UserError, match=rf"images\[1\] is .*{said}.*read_image"):
        predictor([*images((4, 4)), wrong])


def test_a_model_of_person_crops_sees_whole_images_with_their_aspect_ratio(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer
) -> None:
    predictor = PosePredictor(
        blip, tokenizer, Stated(InputFrame(SIZE, None, "stretch", "person")), "test"
    )
    crop = Crop.of_person((20.0, 10.0), 0.1, SIZE)
    [whole] = predictor(images((20, 40)))
    [person] = predictor(images((20, 40)), [crop])
    assert whole.crop.width == whole.crop.height == 40
    assert person.crop == crop


@pytest.mark.parametrize(
    ("crops", "says"),
    [
        ([Crop(0.0, 0.0, 4.0, 4.0, SIZE)] * 2, "2 crops for 1 images"),
        ([Crop(0.0, 0.0, 4.0, 4.0, 2 * SIZE)], f"for inputs of {2 * SIZE} px"),
        ([Crop(0.0, 0.0, 0.0, 4.0, SIZE)], "0 x 4"),
    ],
)
def test_crops_that_are_not_of_the_images_or_the_model_are_refused(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, crops: list[Crop], says: str
) -> None:
    predictor = PosePredictor(
        blip, tokenizer, Stated(InputFrame(SIZE, None, "stretch", "full")), "test"
    )
    with pytest.raises(UserError, match=says):
        predictor(images((20, 40)), crops)


def test_a_saved_folder_is_read_back_with_its_frame_and_captions(
    checkpoint: Path, tmp_path: Path
) -> None:
    predictor = PosePredictor.from_checkpoint(checkpoint)
    predictor.save_pretrained(tmp_path / "saved")
    loaded = PosePredictor.from_pretrained(tmp_path / "saved")
    assert loaded.frame == predictor.frame
    pictures = images((40, 60), (33, 20))
    said = [prediction.caption for prediction in predictor(pictures)]
    assert [prediction.caption for prediction in loaded(pictures)] == said
