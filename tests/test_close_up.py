"""Close-ups: to train on, and as a second look where the first found the person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from quiet_trainer import trainer
from telling import Told, around, as_states, in_view, made_keen
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.augmentation import Augmentation
from blippose.caption import CaptionFormat, xy_said
from blippose.data import Cutter, PoseBatch, PoseDataModule
from blippose.data.again import closer_of
from blippose.decoding import (
    AskedView,
    CaptionReader,
    Closer,
    Constrained,
    Free,
    Parallel,
    Taught,
    number_log_probability,
)
from blippose.decoding.close_up import CloseUps
from blippose.errors import UserError
from blippose.evaluation.asking import ask, asking
from blippose.evaluation.stored_predictions import xy_of
from blippose.frame_file import Stated
from blippose.geometry import MARGIN, Crop, Resize, to_img
from blippose.images import read_image
from blippose.model import PoseCaptioner
from blippose.pose import Pose
from blippose.predictor import PosePredictor
from blippose.readback import check_decoding
from blippose.release_images import shown

SIZE = 32
MakeData = Callable[..., PoseDataModule]
MakeCaptioner = Callable[..., PoseCaptioner]

wholes = st.builds(
    Crop.of_image,
    st.integers(40, 2000),
    st.integers(40, 2000),
    st.just(96),
    st.sampled_from(Resize),
)
shares = arrays(np.float64, (16, 2), elements=st.floats(0, 1))


# The rectangle


@given(wholes, shares)
def test_a_close_up_holds_the_pose_and_lies_in_the_image(whole: Crop, share: np.ndarray) -> None:
    xy_img = whole.to_img(share * 95)
    part = whole.close_up(xy_img)
    within = part.to_input(xy_img)
    assert within.min() > -0.51
    assert within.max() < 95.51
    corners = whole.to_input(part.to_img(np.array([[-0.5, -0.5], [95.5, 95.5]])))
    assert corners.min() > -0.51
    assert corners.max() < 95.51
    assert part.width >= whole.width / 4 - 1e-6
    assert part.height >= whole.height / 4 - 1e-6


def test_a_close_up_leaves_a_margin_of_the_longer_side() -> None:
    whole = Crop.of_image(640, 360, 96)
    xy_img = np.linspace([200.0, 60.0], [400.0, 260.0], 16)  # 200 px wide and high
    part = whole.close_up(xy_img)
    margin = 200 * MARGIN
    assert (part.left, part.top) == pytest.approx((200.5 - margin, 60.5 - margin))
    assert (part.width, part.height) == pytest.approx((200 + 2 * margin, 200 + 2 * margin))
    wider = whole.close_up(xy_img, (0.5, 0.1, 0.0, 0.2))
    assert (wider.left, wider.top) == pytest.approx((100.5, 40.5))
    assert (wider.width, wider.height) == pytest.approx((300, 260))


def test_of_a_joint_that_is_not_known_the_whole_image_is_shown() -> None:
    whole = Crop.of_image(640, 360, 96)
    xy_img = np.linspace([200.0, 60.0], [400.0, 260.0], 16)
    xy_img[3] = np.nan
    assert whole.close_up(xy_img) == whole


def test_a_close_up_shows_more_than_the_input_held() -> None:
    """Stripes of two pixels, which the input of the whole image cannot hold."""
    stripes = np.tile(np.repeat([0, 255], 2), 96)[:384].astype(np.uint8)
    image = Image.fromarray(np.tile(stripes, (384, 1))).convert("RGB")
    whole = Crop.of_image(384, 384, 96)
    part = whole.close_up(np.linspace([100.0, 100.0], [150.0, 150.0], 16))
    assert np.ptp(whole.cut(image)[48].astype(int)) < 40
    assert np.ptp(part.cut(image)[48].astype(int)) > 200


# What is said of it, read back


@given(wholes, shares, st.sampled_from([1.0, 0.5]), st.integers(0, 99))
def test_the_mean_of_what_is_said_stays_where_it_is(
    whole: Crop, share: np.ndarray, bin_px: float, seed: int
) -> None:
    part = whole.close_up(whole.to_img(share * 95))
    num_bins = int(96 / bin_px)
    at = torch.rand(1, 16, 2, generator=torch.Generator().manual_seed(seed))
    said = around((at * 0.5 + 0.25) * num_bins, num_bins, deviation=1.0).double()
    back = CloseUps((whole,), (part,), lambda view: Tensor()).read_back(said, bin_px)
    assert back.exp().sum(-1) == pytest.approx(1, abs=1e-6)
    px = torch.arange(num_bins).add(0.5) * bin_px - 0.5
    mean_part = (said.exp() * px).sum(-1)[0].numpy()
    mean = (back.exp() * px).sum(-1)[0].numpy()
    np.testing.assert_allclose(mean, whole.to_input(part.to_img(mean_part)), atol=1e-3)


@pytest.mark.parametrize("zoom", [1.05, 1.25, 1.5, 2.6])
def test_what_is_alike_everywhere_is_alike_when_it_is_read_back(zoom: float) -> None:
    """A number of the input may take one bin of a close-up or two, and is as likely."""
    whole = Crop(0.0, 0.0, 960.0, 960.0, 96)
    left = 0.37 * (960 - 960 / zoom)
    part = Crop(left, left, 960 / zoom, 960 / zoom, 96)
    flat = torch.zeros(1, 16, 2, 96).log_softmax(-1)
    back = CloseUps((whole,), (part,), lambda view: Tensor()).read_back(flat, 1.0).exp()
    within = back[0, 0, 0][int(left / 10) + 3 : int((left + 960 / zoom) / 10) - 3]
    torch.testing.assert_close(within, torch.full_like(within, zoom / 96), rtol=1e-4, atol=0)


@pytest.mark.parametrize("deviation", [1.0, 2.0, 3.0])
def test_the_number_that_is_written_is_the_one_nearest_to_the_peak(deviation: float) -> None:
    whole, part = Crop(0.0, 0.0, 960.0, 960.0, 96), Crop(100.3, 77.7, 720.0, 640.0, 96)
    at = 20 + 50 * torch.rand(1, 16, 2, generator=torch.Generator().manual_seed(0))
    said = around(at, 96, deviation)
    back = CloseUps((whole,), (part,), lambda view: Tensor()).read_back(said, 1.0)
    peak = torch.from_numpy(whole.to_input(part.to_img(at.double().numpy())))
    assert (back.argmax(-1) - peak).abs().max() < 0.62


def test_autocast_does_not_round_what_is_read_back() -> None:
    whole, part = Crop(0.0, 0.0, 960.0, 960.0, 96), Crop(100.3, 77.7, 720.0, 640.0, 96)
    close_ups = CloseUps((whole,), (part,), lambda view: Tensor())
    said = torch.randn(1, 16, 2, 96, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    expected = close_ups.read_back(said, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        back = close_ups.read_back(said, 1.0)
    assert back.dtype == torch.float32
    assert torch.equal(back, expected)


def test_what_the_whole_image_says_is_read_back_as_it_is() -> None:
    whole = Crop.of_image(640, 360, SIZE)
    said = torch.randn(1, 16, 2, SIZE).log_softmax(-1)
    said[0, 3] = torch.nan
    back = CloseUps((whole,), (whole,), lambda view: Tensor()).read_back(said, 1.0)
    torch.testing.assert_close(back, said, equal_nan=True, rtol=0, atol=1e-4)


# The second look


class Errs:
    """A closer over a model that errs by .4 pixels to the right in whatever it is shown."""

    def __init__(self, whole: Crop, xy_img: np.ndarray) -> None:
        self.whole, self.xy_img = whole, xy_img
        self.found: list[np.ndarray] = []

    def says(self, crop: Crop, view: AskedView) -> Tensor:
        xy = torch.from_numpy(crop.to_input(self.xy_img))[None].float()
        return as_states(
            around(in_view(xy, view, SIZE) + torch.tensor([0.4, 0.0]), SIZE, deviation=0.7)
        )

    def look(self, view: AskedView) -> Tensor:
        return self.says(self.whole, view)

    def __call__(self, xy_input: np.ndarray) -> CloseUps:
        self.found.append(xy_input[0])
        part = self.whole.close_up(self.whole.to_img(xy_input[0]))
        return CloseUps((self.whole,), (part,), lambda view: self.says(part, view))


@pytest.mark.parametrize("test_views", [1, 2, 4])
def test_a_second_look_errs_less_by_as_much_as_it_is_closer(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    test_views: int,
) -> None:
    whole = Crop.of_image(640, 320, SIZE)
    xy_img = np.linspace([260.0, 80.0], [420.0, 240.0], 16)
    errs = Errs(whole, xy_img)
    decoding = Told(expectation=True, test_views=test_views, close_up=True)
    reader = CaptionReader(blip, tokenizer, caption_format, decoding)
    said = reader.read(errs.look, errs, with_confidence=True)
    truth = whole.to_input(xy_img)
    np.testing.assert_allclose(errs.found[0] - truth, np.tile([0.4, 0.0], (16, 1)), atol=0.51)
    error = said.parsed[0].pose.xy - truth
    is_averaged = test_views > 1  # with mirror images, which err to the other side
    zoom = whole.width / whole.close_up(whole.to_img(errs.found[0])).width
    assert zoom > 2.5
    expected = 0 if is_averaged else 0.4 / zoom
    inner = error[2:-2]  # near a border a view that is moved cuts the bell off
    assert inner[:, 0] == pytest.approx(expected, abs=0.04)
    assert inner[:, 1] == pytest.approx(0, abs=0.04)
    np.testing.assert_allclose(  # the caption says the same, in whole numbers
        reader.writer.caption_format.decode(said.captions[0]).pose.xy,
        said.parsed[0].pose.xy,
        atol=0.76,
    )


def test_without_images_there_is_one_look(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    errs = Errs(Crop.of_image(640, 320, SIZE), np.linspace([280.0, 100.0], [400.0, 220.0], 16))
    reader = CaptionReader(blip, tokenizer, caption_format, Told(close_up=True))
    once = CaptionReader(blip, tokenizer, caption_format, Told())
    assert reader.read(errs.look).captions == once.read(errs.look).captions
    assert not errs.found


def test_a_way_that_looks_once_does_not_look_again(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    errs = Errs(Crop.of_image(640, 320, SIZE), np.linspace([280.0, 100.0], [400.0, 220.0], 16))
    reader = CaptionReader(blip, tokenizer, caption_format, Told())
    reader.read(errs.look, errs)
    assert not errs.found


# Captioner and predictor


WAYS = [
    Parallel(0, expectation=True, close_up=True),
    Constrained(test_views=2, close_up=True),
    Free(close_up=True),
]


@pytest.mark.parametrize("decoding", WAYS, ids=lambda way: way.name)
def test_captioner_and_predictor_say_the_same(
    make_data: MakeData,
    make_captioner: MakeCaptioner,
    tokenizer: BertTokenizer,
    decoding: Parallel | Constrained | Free,
) -> None:
    captioner = made_keen(make_captioner(decoding=decoding))
    data = make_data()
    with asking(captioner):
        rows = ask(captioner, data.val_set, data.collator, range(3))
        batch = data.collator([data.val_set[i] for i in range(3)])
        predicted = captioner.predict_step(batch, 0)
    stated = Stated(captioner.frame, decoding=decoding)
    predictor = PosePredictor(captioner.blip, tokenizer, stated, "test")
    images = [read_image(data.val_set.images / row.image) for row in rows]
    predictions = predictor(images)
    assert [row.caption for row in rows] == [each.caption for each in predictions]
    assert list(predicted["captions"]) == [each.caption for each in predictions]
    for row, each in zip(rows, predictions, strict=True):
        np.testing.assert_allclose(xy_of(row.xy_img), each.pose.xy, atol=0.05)
    predictor.decode_by(replace(decoding, close_up=False))
    assert [each.caption for each in predictor(images)] != [row.caption for row in rows]


def test_beside_the_truth_it_is_shown_the_close_up_that_it_found_itself(
    make_data: MakeData, make_captioner: MakeCaptioner
) -> None:
    """As if the parts were images of their own, with captions of their own."""
    captioner, data = made_keen(make_captioner(decoding=Constrained(close_up=True))), make_data()
    samples = [data.val_set[i] for i in range(3)]
    with asking(captioner):
        rows = ask(captioner, data.val_set, data.collator, range(3))
        batch = data.collator(samples)
        closer = captioner.closer(batch)
        assert closer is not None
        close_ups = closer(xy_said(captioner.say(batch["image"]).parsed))
        shown = [
            replace(one, image=pixels, pose_input=Pose.of(part.to_input(one.pose_img.xy)))
            for one, pixels, part in zip(
                samples, closer.cut(close_ups.parts), close_ups.parts, strict=True
            )
        ]
        alone = data.collator(shown)
        log_p = number_log_probability(
            captioner.reader.writer, captioner.look(alone["image"]), alone["input_ids"]
        )
    expected = close_ups.read_back(log_p, 1.0).argmax(-1).double().numpy()
    for row, xy_input in zip(rows, expected, strict=True):
        assert row.teacher_forced_all_looks_xy_input is not None
        np.testing.assert_array_equal(xy_of(row.teacher_forced_all_looks_xy_input), xy_input)
        assert row.teacher_forced_all_looks_xy_input != row.xy_input, "the truth is shown"
    assert not np.array_equal(log_p.argmax(-1).double().numpy(), expected)


def test_validation_looks_twice(make_data: MakeData, make_captioner: MakeCaptioner) -> None:
    data = make_data()
    batch = next(iter(data.val_dataloader()))
    captioner = made_keen(make_captioner(decoding=Parallel(0, close_up=True)))
    twice = measured(captioner, batch)
    captioner.reader.decoding = Parallel(0)
    once = measured(captioner, batch)
    assert twice["val/epe"] != once["val/epe"]
    assert twice["val/loss"] == once["val/loss"], "teacher forcing is of one look"
    said = made_keen(make_captioner(decoding=Parallel(0, close_up=True))).predict_step(batch, 0)
    errors = (said["xy_input"] - batch["xy_input"]).norm(dim=-1)
    assert float(twice["val/epe"]) == pytest.approx(float(errors.nanmean()), rel=1e-4)


def measured(captioner: PoseCaptioner, batch: PoseBatch) -> dict[str, Tensor]:
    with torch.no_grad():
        captioner.validation_step(batch, 0)
    return captioner.validation.results("val")


def test_a_batch_that_does_not_say_where_its_images_are_is_refused(
    make_data: MakeData, make_captioner: MakeCaptioner
) -> None:
    batch = next(iter(make_data().val_dataloader()))
    del batch["image_path"]
    captioner = make_captioner(decoding=Parallel(0, close_up=True)).eval()
    with pytest.raises(UserError, match=r"no image_path .*: give it, or .*close_up=false"):
        captioner.predict_step(batch, 0)
    captioner.reader.decoding = Parallel(0)
    captioner.predict_step(batch, 0)


def test_close_ups_are_cut_from_the_image_and_not_from_the_input(make_data: MakeData) -> None:
    data = make_data()
    batch = data.collator([data.val_set[i] for i in range(3)])
    seen: list[Tensor] = []

    def see(pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return torch.zeros(3, 1, 1)

    closer = closer_of(batch, see, torch.device("cpu"))
    assert isinstance(closer, Closer)
    close_ups = closer(batch["xy_input"].double().numpy())
    close_ups.look(AskedView())
    for i, person in enumerate(data.val_set.persons[:3]):
        image = shown(data.val_set.images / person.image_name)
        part = Crop.of_image(*image.size, SIZE).close_up(person.pose.xy)
        assert close_ups.parts[i].left == pytest.approx(part.left, abs=0.05)
        differs = np.abs(part.cut(image).transpose(2, 0, 1) - seen[0][i].numpy().astype(int))
        assert differs.mean() < 0.5, "the same but for the rounding of float32 coordinates"


def test_names_tell_ways_of_two_looks_from_those_of_one() -> None:
    way = Parallel(0, expectation=True, test_views=2, close_up=True)
    assert way.name == "parallel, refine 0, expectation, 2 test views, close-up"


# Training


def is_close(data: PoseDataModule, epoch: int) -> list[bool]:
    samples = [data.train_set[epoch, i] for i in range(len(data.train_set))]
    full = [data.train_set[i].crop for i in range(len(data.train_set))]
    return [sample.crop != crop for sample, crop in zip(samples, full, strict=True)]


def test_the_share_of_close_ups_is_the_one_asked_for(make_data: MakeData) -> None:
    data = make_data(close_up=0.3)
    found = [each for epoch in range(20) for each in is_close(data, epoch)]
    assert np.mean(found) == pytest.approx(0.3, abs=0.08)  # 3.5 deviations of 380


def test_which_are_close_follows_seed_epoch_and_person(make_data: MakeData) -> None:
    data = make_data(close_up=0.5)
    first = is_close(data, 0)
    assert first == is_close(make_data(close_up=0.5), 0)
    assert first != is_close(data, 1)
    assert first != is_close(make_data(close_up=0.5, seed=1), 0)


def test_validation_persons_and_parts_are_whole(make_data: MakeData) -> None:
    data = make_data(close_up=1.0)
    whole = make_data()
    for i in range(len(data.val_set)):
        assert data.val_set[i].crop == whole.val_set[i].crop
    part = data.train_set.part([0, 1])
    assert part[0, 1].crop == whole.train_set[1].crop


def test_targets_of_close_ups_lie_where_the_joints_are(make_data: MakeData) -> None:
    data = make_data(close_up=1.0)
    for i, person in enumerate(data.train_set.persons):
        sample = data.train_set[0, i]
        np.testing.assert_allclose(sample.pose_input.xy, sample.crop.to_input(person.pose.xy))
        assert sample.pose_input.xy.min() > -0.5
        assert sample.pose_input.xy.max() < SIZE - 0.5


def test_augmented_close_ups_train(make_data: MakeData, make_captioner: MakeCaptioner) -> None:
    data = make_data(close_up=1.0, augmentation=Augmentation())
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    corner, extent = batch["crop"][:, None, :2], batch["crop"][:, None, 2:]
    said = to_img(batch["xy_input"], corner, extent, SIZE)
    assert not torch.allclose(said, batch["xy_img"], atol=1.0), "augmented"
    loss = make_captioner().training_step(batch, 0)
    assert loss.isfinite()


def test_loader_processes_show_the_same(make_data: MakeData) -> None:
    settings: dict[str, object] = {"close_up": 0.5, "augmentation": Augmentation()}
    alone, helped = make_data(**settings), make_data(**settings, num_workers=2)
    both = zip(alone.train_dataloader(), helped.train_dataloader(), strict=True)
    for one, other in both:
        first, second = (alone.on_after_batch_transfer(batch, 0) for batch in (one, other))
        assert torch.equal(first["image"], second["image"])
        assert torch.equal(first["crop"], second["crop"])


def test_where_a_side_lies_does_not_tell_where_the_pose_ends(make_data: MakeData) -> None:
    data = make_data(close_up=1.0)
    found = []
    for i, person in enumerate(data.train_set.persons):
        part, whole = data.train_set[0, i].crop, data.train_set[i].crop
        first, last = person.pose.xy.min(axis=0) + 0.5, person.pose.xy.max(axis=0) + 0.5
        longer = (last - first).max()
        if whole.width / 4 < part.width < whole.width and part.left > whole.left:
            right = part.left + part.width
            if right < whole.left + whole.width:
                found += [(first[0] - part.left) / longer, (right - last[0]) / longer]
    assert len(found) >= 10
    assert 0.25 * MARGIN - 1e-6 <= min(found) < 0.8 * MARGIN
    assert 1.2 * MARGIN < max(found) <= 1.75 * MARGIN + 1e-6


def test_kept_close_ups_are_those_that_are_cut(make_data: MakeData, tmp_path: Path) -> None:
    kept = make_data(close_up=1.0, cache=str(tmp_path))
    assert kept.train_set.close_ups is not None
    assert kept.train_set.close_ups.pixels is not None
    cut = make_data(close_up=1.0, cache=None)
    for i in range(len(cut.train_set)):
        one, other = kept.train_set[0, i], cut.train_set[0, i]
        np.testing.assert_array_equal(one.image, other.image)
        assert one.crop == other.crop
    assert len(list(tmp_path.glob("*close_up*.npy"))) == 1
    names = {path.name for path in tmp_path.glob("*.npy")}
    make_data(cache=str(tmp_path))
    assert {path.name for path in tmp_path.glob("*.npy")} == names, "whole ones are kept as before"


def test_data_that_are_taken_over_have_close_ups_of_their_own_share(make_data: MakeData) -> None:
    for before in (0.0, 0.25):
        data = make_data(close_up=1.0)
        data.take_over(make_data(close_up=before))
        assert all(is_close(data, 0))
    data = make_data()
    data.take_over(make_data(close_up=1.0))
    assert not any(is_close(data, 0))


def test_a_cutter_of_close_ups_gives_each_person_margins_of_its_own(make_data: MakeData) -> None:
    data = make_data()
    cutter, again = (
        Cutter(data.val_set.images, SIZE, Resize.STRETCH, "full", is_close_up=True)
        for _ in range(2)
    )
    [first, second] = data.val_set.persons[:2]
    assert cutter.rectangle(first) == again.rectangle(first)
    assert cutter.cut(first)[1] == cutter.rectangle(first)
    assert cutter.rectangle(first) != cutter.rectangle(second)


def test_without_a_share_all_are_whole(make_data: MakeData) -> None:
    assert not any(is_close(make_data(close_up=None), 0))
    assert not any(is_close(make_data(), 0))


def test_a_person_of_whom_a_joint_is_not_known_is_seen_whole(make_data: MakeData) -> None:
    data = make_data(close_up=1.0, cache=None)
    person = data.train_set.persons[0]
    xy = person.pose.xy.copy()
    xy[3] = np.nan
    data.train_set.persons[0] = replace(person, pose=Pose.of(xy))
    assert data.train_set[0, 0].crop == data.train_set[0].crop


def test_a_model_that_was_shown_none_is_asked_with_a_caution() -> None:
    way = Parallel(0, close_up=True)
    said = Taught(hidden_coordinates=True, close_ups=False).caution(way)
    assert said is not None
    assert "showed no close-ups" in said
    for close_ups in (True, None):
        assert Taught(hidden_coordinates=True, close_ups=close_ups).caution(way) is None
    assert Taught(hidden_coordinates=True).caution(Parallel(0)) is None


def test_a_training_puts_close_ups_on_record(
    make_data: MakeData, make_captioner: MakeCaptioner, tmp_path: Path
) -> None:
    for share in (0.0, 0.5):
        captioner = make_captioner()
        trainer(tmp_path, max_steps=1).fit(captioner, make_data(close_up=share))
        assert captioner.lineage.taught.close_ups is (share > 0)


def test_whole_images_are_asked_of_a_model_alone_that_is_shown_some() -> None:
    check_decoding(Free(), None, 0.0, 0.9)
    check_decoding(Free(close_up=True), None, 0.0, 1.0)
    with pytest.raises(UserError, match=r"data\.close_up=1\): set fewer, or decoding\.close_up"):
        check_decoding(Free(), None, 0.0, 1.0)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_cannot_be_is_refused(make_data: MakeData, share: float) -> None:
    with pytest.raises(UserError, match=r"data\.close_up=.*: expected 0 to 1"):
        make_data(close_up=share)
