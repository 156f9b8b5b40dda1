"""The order in which captions name joints: written, decoded, kept; results are in id order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import ORDERS, CaptionFormat
from blippose.data import PoseDataModule
from blippose.decoding import (
    CaptionReader,
    Constrained,
    Decoding,
    InputFrame,
    Parallel,
    TokenGrammar,
    Writer,
    number_log_probability,
)
from blippose.frame_file import Stated, frame_of
from blippose.pose import JOINTS, NUM_JOINTS, SKELETON, TORSO_OUTWARDS
from blippose.predictor import PosePredictor

SIZE = 32
TORSO = CaptionFormat(SIZE, order="torso")
MakeData = Callable[..., PoseDataModule]


@pytest.fixture
def keen(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """Weights so large that it has preferences, and looks at the image; exact in its sums."""
    torch.manual_seed(1)
    for weight in blip.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return blip.double()


@pytest.fixture
def image(keen: BlipForConditionalGeneration) -> Tensor:
    pixels = torch.randn(3, 3, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        states: Tensor = keen.vision_model(pixels)[0]
    return states


def named(tokenizer: BertTokenizer, row: Tensor) -> list[str]:
    """The joints of a caption in its order."""
    return re.findall(r"(\w[\w ]*\w) \(", tokenizer.decode(row, skip_special_tokens=True))


def in_order(order: Sequence[int]) -> list[str]:
    return [JOINTS[joint] for joint in order]


@pytest.mark.parametrize("order", ORDERS.values())
def test_each_order_names_every_joint_once(order: tuple[int, ...]) -> None:
    assert sorted(order) == list(range(NUM_JOINTS))


def test_from_the_torso_each_joint_comes_after_one_that_it_hangs_on() -> None:
    place = np.argsort(TORSO_OUTWARDS)
    for joint in TORSO_OUTWARDS[1:]:
        neighbours = [sum(bone) - joint for bone in SKELETON if joint in bone]
        assert min(place[neighbours]) < place[joint]


def test_a_caption_in_another_order_is_the_same_pose() -> None:
    xy = np.arange(32.0).reshape(16, 2)
    caption = TORSO.encode(xy)
    assert caption.startswith("pelvis (12,13), thorax (14,15), upper neck (16,17), head top")
    np.testing.assert_array_equal(CaptionFormat(SIZE).decode(caption).pose.xy, xy)


def test_an_unknown_order_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="order='head first': expected one of mpii, torso"):
        CaptionFormat(SIZE, order="head first")


@pytest.mark.parametrize("decoding", [Constrained(), Parallel(), Parallel(refine=None)])
def test_captions_are_decoded_in_the_order_of_their_format(
    keen: BlipForConditionalGeneration, tokenizer: BertTokenizer, image: Tensor, decoding: Decoding
) -> None:
    reading = CaptionReader(keen, tokenizer, TORSO, decoding).read(lambda _: image)
    assert named(tokenizer, reading.tokens[0]) == in_order(TORSO_OUTWARDS)
    assert all(parsed.pose.valid.all() for parsed in reading.parsed)


def test_probabilities_leave_in_id_order_whatever_was_written(
    keen: BlipForConditionalGeneration, tokenizer: BertTokenizer, image: Tensor
) -> None:
    """All at once to the end is what is read token by token, joint for joint."""
    writer = Writer(keen, tokenizer, TORSO, TokenGrammar.of(tokenizer, TORSO))
    decoded = Parallel(refine=None)(writer, image, with_probability=True)
    assert decoded.log_probability is not None
    expected = number_log_probability(writer, image, decoded.tokens)
    torch.testing.assert_close(decoded.log_probability.float(), expected, rtol=1e-3, atol=1e-3)
    said = tokenizer.batch_decode(decoded.tokens, skip_special_tokens=True)
    poses = np.stack([TORSO.decode(caption).pose.xy for caption in said])
    np.testing.assert_array_equal(decoded.log_probability.argmax(-1).numpy(), poses)
    assert len({tuple(pair) for pair in poses[0].tolist()}) > 1  # joints differ, or all agree


def orders(data: PoseDataModule, epoch: int) -> list[list[str]]:
    samples = [data.train_set[epoch, position] for position in range(4)]
    batch = data.collator(samples) if samples[0].view is None else data.collator.views(samples)
    return [named(data.collator.tokenizer, row) for row in batch["input_ids"]]


def test_random_orders_follow_seed_epoch_and_person(make_data: MakeData) -> None:
    data = make_data(random_order=True)
    first = orders(data, 0)
    assert first == orders(make_data(random_order=True), 0)
    others = [orders(data, 1), orders(make_data(random_order=True, seed=1), 0)]
    drawn = [order for some in (first, *others) for order in some]
    assert all(a != b for a, b in pairwise(drawn))
    assert all(sorted(order) == sorted(JOINTS) for order in drawn)


def test_validation_and_parts_of_training_keep_the_formats_order(make_data: MakeData) -> None:
    data = make_data(random_order=True)
    for subset in (data.val_set, data.train_set.part([0, 1])):
        assert subset[0].order is None
        assert subset[0, 0].order is None
    assert data.val_set[0].order is None


def test_random_orders_leave_augmentation_and_default_orders_alone(make_data: MakeData) -> None:
    plain, mixed = make_data(), make_data(random_order=True)
    assert plain.train_set[0, 0].order is None
    same = plain.train_set[0, 0].pose_input.xy, mixed.train_set[0, 0].pose_input.xy
    np.testing.assert_array_equal(*same)


def test_a_record_says_its_order_and_an_old_one_means_mpii() -> None:
    frame = InputFrame.of(TORSO, "stretch", "full")
    assert frame.record()["order"] == "torso"
    assert frame_of(frame.record()).caption_format == TORSO
    old = {"input_size": SIZE, "num_bins": None, "resize": "stretch", "crop": "full"}
    assert frame_of(old).caption_format == CaptionFormat(SIZE)
    assert frame_of(old).record() == old
    with pytest.raises(ValueError, match="order='up'"):
        frame_of({**old, "order": "up"})


def test_a_saved_model_says_its_joints_in_its_order_again(
    keen: BlipForConditionalGeneration, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    frame = InputFrame.of(TORSO, "stretch", "full")
    predictor = PosePredictor(keen.float(), tokenizer, Stated(frame), "test").decode_by(
        Constrained()
    )
    predictor.save_pretrained(tmp_path)
    loaded = PosePredictor.from_pretrained(tmp_path).decode_by(Constrained())
    pictures = [np.full((SIZE, SIZE, 3), shade, np.uint8) for shade in (0, 255)]
    said = [prediction.caption for prediction in loaded(pictures)]
    assert said == [prediction.caption for prediction in predictor(pictures)]
    assert all(caption.startswith("pelvis") for caption in said)
