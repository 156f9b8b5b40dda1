"""Test views: an image, moved and mirrored, answers together with itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from reciting import Reciting
from telling import Told, around, as_states, in_view, made_keen
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.augmentation import View, mirror
from blippose.caption import CaptionFormat
from blippose.data import Collator, PoseDataModule
from blippose.decoding import (
    AskedView,
    CaptionReader,
    Constrained,
    Decoding,
    Free,
    Parallel,
)
from blippose.decoding.views import asked_views, averaged
from blippose.errors import UserError
from blippose.evaluation.asking import ask, asking
from blippose.geometry import PADDING_RGB
from blippose.model import PoseCaptioner
from blippose.pose import JOINTS, MIRROR, Pose
from blippose.predictor import PosePredictor
from blippose.synthetic.scene import render_frame

SIZE = 32
MIRRORED = AskedView(is_mirrored=True)
WAYS = (
    Constrained(test_views=4),
    Parallel(0, test_views=4),
    Constrained(expectation=True, test_views=4),
)


@pytest.fixture
def told(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> CaptionReader:
    return CaptionReader(blip, tokenizer, caption_format, Told(test_views=2))


@pytest.fixture
def keen(make_captioner: Callable[..., PoseCaptioner]) -> PoseCaptioner:
    return made_keen(make_captioner())


@pytest.fixture
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=generator)


def answers(seed: int = 0, bins: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(2, 16, 2, bins, generator=generator)).log_softmax(-1)


def test_a_pose_lies_in_a_view_where_its_pixels_do() -> None:
    xy_input = np.stack([8 + np.arange(16), 20 - np.arange(16)], axis=-1).astype(float)
    for view in (AskedView(3, -2), MIRRORED, AskedView(-4, 1, is_mirrored=True)):
        xy_view = view.pose(xy_input, SIZE)
        for joint, (x, y) in enumerate(xy_input.astype(int)):
            dot = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
            dot[..., y, x] = 200
            name = MIRROR[joint] if view.is_mirrored else joint
            to_x, to_y = xy_view[name].astype(int)
            assert view.of(dot)[0, 0, to_y, to_x] == 200


def mirrored_xy(xy_input: np.ndarray, size: int) -> np.ndarray:
    return View(mirror(size), True, np.ones(3), np.zeros(4, int)).pose(Pose.of(xy_input)).xy


def showing(*answers: Tensor) -> Callable[[AskedView], Tensor]:
    """A tower that says, of each view that it is asked about, the next of these."""
    rest = iter(answers)
    return lambda view: as_states(next(rest))


def joints_drawn(size: int) -> Tensor:
    """Places away from the border: (2, 16, 2)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(6, size - 6, (2, 16, 2), generator=generator)


def test_mirrored_twice_is_as_before() -> None:
    once = MIRRORED.read_back(answers(), 1.0)
    assert torch.equal(MIRRORED.read_back(once, 1.0), answers())


@pytest.mark.parametrize("num_bins", [None, 10])
def test_mirrored_numbers_are_those_of_the_mirrored_pose(num_bins: int | None) -> None:
    caption_format = CaptionFormat(32, num_bins)
    rng = np.random.default_rng(0)
    xy_bin = rng.integers(0, caption_format.bins, (16, 2))
    said = around(torch.from_numpy(xy_bin)[None], caption_format.bins)
    found = MIRRORED.read_back(said, 32 / caption_format.bins).argmax(-1)[0].numpy()
    expected = mirrored_xy(caption_format.dequantize(xy_bin), 32)
    np.testing.assert_allclose(caption_format.dequantize(found), expected)


VIEWS = [AskedView(*moved) for moved in product((-3, 0, 2), (-1, 0, 4), (False, True))]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_dot_of_the_image_is_in_the_view_where_its_answer_is_read_back_from(
    view: AskedView,
) -> None:
    """Frames of pixels and of numbers are moved and mirrored by code apart."""
    xy = joints_drawn(SIZE)
    image = torch.zeros(len(xy), 3, SIZE, SIZE, dtype=torch.uint8)
    places = in_view(xy, view)
    for joint in range(16):
        x, y = xy[:, joint].T
        image[:] = 0
        image[torch.arange(len(xy)), :, y, x] = 255
        shown = view.of(image)
        named = MIRROR[joint] if view.is_mirrored else joint
        x, y = places[:, named].T
        assert (shown[torch.arange(len(xy)), :, y, x] == 255).all()
        assert (shown == 255).sum() == 3 * len(xy)
    assert torch.equal(view.read_back(around(places), 1.0).argmax(-1), xy)


def test_what_comes_into_a_view_from_outside_is_padding() -> None:
    shown = AskedView(2, -3).of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    padding = torch.tensor(PADDING_RGB, dtype=torch.uint8)[:, None, None]
    is_padding = (shown[0] == padding).all(dim=0)
    assert is_padding[:, :2].all()
    assert is_padding[5:].all()
    assert not is_padding[:5, 2:].any()


@pytest.mark.parametrize("bin_px", [0.5, 384 / 342, 1.6, 4.0])
def test_a_move_of_less_than_a_bin_moves_the_mean_by_as_much(bin_px: float) -> None:
    bins, view = 60, AskedView(2, -3)
    middle = torch.full((1, 16, 2), 30.0)
    said = around(middle + torch.tensor([2 / bin_px, -3 / bin_px]), bins)
    found = view.read_back(said, bin_px).softmax(-1)
    mean = (found * torch.arange(bins)).sum(-1)
    torch.testing.assert_close(mean, middle, atol=1e-3, rtol=0)


def test_a_number_whose_place_a_view_has_not_is_impossible_in_it() -> None:
    found = AskedView(2, -3).read_back(answers(), 1.0)
    impossible = found == -torch.inf
    assert impossible[..., 0, -2:].all()
    assert impossible[..., 1, :3].all()
    assert not impossible[..., 0, :-2].any()
    assert not impossible[..., 1, 3:].any()


def test_a_view_of_two_is_the_image_itself_and_four_are_moved_to_every_side() -> None:
    assert asked_views(1, 8) == (AskedView(),)
    assert asked_views(2, 8) == (AskedView(), AskedView(2, 2, True))
    four = asked_views(4, 16)
    assert {(view.right, view.down) for view in four} == set(product((-4, 4), repeat=2))
    for is_mirrored in (False, True):
        moved = [(v.right, v.down) for v in four if v.is_mirrored is is_mirrored]
        assert np.sum(moved, axis=0).tolist() == [0, 0]


@pytest.mark.parametrize("way", [Free, Constrained, Parallel])
@pytest.mark.parametrize("number", [0, 3, 8, True])
def test_other_numbers_of_views_are_refused(way: Callable[..., Decoding], number: int) -> None:
    with pytest.raises(UserError, match=rf"test_views={number}: expected one of 1, 2, 4"):
        way(test_views=number)


def test_average_is_that_of_probabilities_and_keeps_those_there_are() -> None:
    one, other, third = answers(0), answers(1), answers(2)
    one[0, 3] = other[1, 4] = third[1, 4] = torch.nan
    one[1, 5] = other[1, 5] = third[1, 5] = torch.nan
    mean = averaged([one, other, third])
    every = torch.stack([one, other, third]).exp()
    torch.testing.assert_close(mean.exp(), every.nanmean(dim=0), equal_nan=True)
    torch.testing.assert_close(mean[1, 4], one[1, 4])
    assert mean[1, 5].isnan().all()


def test_average_at_a_border_is_of_the_views_that_have_a_place_there() -> None:
    one, moved = answers(0), AskedView(2, 2).read_back(answers(1), 1.0)
    total = averaged([one, moved]).exp().sum(dim=-1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_symmetric_model_says_what_it_says_without(told: CaptionReader) -> None:
    """Away from the border it says of a view what it says of the image."""
    truth = joints_drawn(SIZE)
    [_, view] = asked_views(2, told.writer.blip.config.vision_config.patch_size)
    both = around(truth, deviation=0.5), around(in_view(truth, view), deviation=0.5)
    with_views = told.read(showing(*both), with_confidence=True)
    told.decoding = Told()
    without = told.read(showing(both[0]), with_confidence=True)
    assert with_views.captions == without.captions
    assert with_views.confidence is not None
    assert without.confidence is not None
    np.testing.assert_allclose(with_views.confidence, without.confidence, rtol=1e-5)


@pytest.mark.parametrize("num_views", [2, 4])
def test_model_that_errs_to_the_right_is_mended(told: CaptionReader, num_views: int) -> None:
    truth, right = joints_drawn(SIZE), torch.tensor([1, 0])
    told.decoding = Told(test_views=num_views)
    said = told.read(lambda view: as_states(around(in_view(truth, view) + right)))
    assert np.array_equal([each.pose.xy for each in said.parsed], truth.numpy())


def test_caption_and_confidence_follow_the_average(told: CaptionReader) -> None:
    """Both hold 10 for likely; they differ about its rival, which each alone prefers."""
    [_, view] = asked_views(2, told.writer.blip.config.vision_config.patch_size)
    image, other = (torch.full((1, 16, 2, SIZE), 1e-6) for _ in range(2))
    image[..., 10], image[..., 2] = 0.45, 0.55
    for place, likely in ((10, 0.45), (28, 0.55)):
        at = in_view(torch.full((1, 16, 2), place), view) % SIZE  # 28 may lie outside
        other.scatter_(-1, at[..., None], likely)
    said = told.read(showing(image.log(), other.log()), with_confidence=True)
    assert said.captions[0].startswith("right ankle ( 10, 10 )")
    assert said.confidence is not None
    np.testing.assert_allclose(said.confidence, 0.45**2, rtol=1e-2)


@pytest.mark.parametrize("decoding", WAYS, ids=lambda way: way.name)
def test_by_four_views_image_and_mirror_image_get_mirrored_poses(
    keen: PoseCaptioner, pixels: Tensor, decoding: Decoding
) -> None:
    keen.reader.decoding = decoding
    said, of_mirror = keen.say(pixels), keen.say(pixels.flip(-1))
    for one, other in zip(said.parsed, of_mirror.parsed, strict=True):
        assert one.pose.valid.all()
        # Means lie between pixels, and come of sums in the other order.
        np.testing.assert_allclose(mirrored_xy(one.pose.xy, 32), other.pose.xy, atol=1e-4)
    keen.reader.decoding = replace(decoding, test_views=1)  # type: ignore[type-var]  # all are
    assert keen.say(pixels).captions != said.captions


def test_beside_the_truth_image_and_mirror_image_get_mirrored_poses(
    keen: PoseCaptioner, pixels: Tensor
) -> None:
    truth = joints_drawn(SIZE).double().numpy()[:1]
    collator = Collator(keen.tokenizer, keen.caption_format)

    def beside(image: Tensor, xy_input: np.ndarray, test_views: int) -> np.ndarray:
        def true_captions(view: AskedView) -> Tensor:
            pose = in_view(torch.from_numpy(xy_input), view).numpy()[0]
            rows = [collator.tokens.encode(pose, np.ones(16, dtype=bool))]
            return torch.tensor(rows)

        keen.reader.decoding = Constrained(expectation=True, test_views=test_views)
        [parsed] = keen.reader.teacher_forced_in_all_looks(
            lambda view: keen.look(view.of(image)), None, true_captions
        )
        return parsed.pose.xy

    image, mirror_image = pixels[:1], pixels[:1].flip(-1)
    mirrored = mirrored_xy(truth[0], SIZE)[None]
    said = beside(image, truth, 4)
    of_mirror = beside(mirror_image, mirrored, 4)
    np.testing.assert_allclose(mirrored_xy(said, SIZE), of_mirror, atol=1e-4)
    assert not np.allclose(said, beside(image, truth, 1), atol=0.1)
    assert not np.allclose(said, beside(image, mirrored, 4), atol=0.1), "the truth is shown"


def test_free_captions_lend_each_other_joints(keen: PoseCaptioner, pixels: Tensor) -> None:
    reciting = Reciting(
        ["right ankle (3,4)", "pelvis (9,9), right wrist (1,2), right wrist (1,2)"]
    )
    reciting.test_views = 2
    keen.reader.decoding = reciting
    [parsed] = keen.say(pixels[:1]).parsed
    assert [JOINTS[i] for i in parsed.pose.valid.nonzero()[0]] == ["right ankle", "pelvis"]


def test_caption_that_was_cut_counts_as_cut(keen: PoseCaptioner, pixels: Tensor) -> None:
    keen.reader.decoding = Free()
    assert keen.say(pixels).truncated.all(), "this model never ends"
    keen.reader.decoding = Free(test_views=2)
    said = keen.say(pixels)
    assert said.truncated.all()
    assert said.captions == ("",) * 3


def test_a_caption_counts_as_cut_if_that_of_the_first_view_was(told: CaptionReader) -> None:
    """Of two images the first one's is cut, and that of the second one's other view."""
    told.decoding = Told(test_views=2, cut=(0, 3))
    said = told.read(showing(answers(), answers(1)))
    assert said.truncated.tolist() == [True, False]


def test_names_tell_the_number_of_views() -> None:
    ways, no_yes = (Free, Constrained, Parallel), (False, True)
    names = {
        way(expectation=e, test_views=v).name for way in ways for e in no_yes for v in (1, 2, 4)
    }
    assert len(names) == 18
    assert (
        Constrained(expectation=True, test_views=2).name
        == "constrained, expectation, 2 test views"
    )


def test_evaluation_and_validation_ask_the_views(
    keen: PoseCaptioner, make_data: Callable[..., PoseDataModule]
) -> None:
    data = make_data()
    positions = range(len(data.val_set))
    batch = data.collator([data.val_set[i] for i in positions])
    keen.reader.decoding = Constrained(test_views=2)
    with asking(keen):
        said = keen.say(batch["image"], with_confidence=True)
        rows = ask(keen, data.val_set, data.collator, positions)
        keen.validation_step(batch, 0)
    assert [row.caption for row in rows] == list(said.captions)
    assert all(row.teacher_forced_all_looks_xy_input is not None for row in rows)
    assert said.confidence is not None
    np.testing.assert_allclose([row.confidence for row in rows], said.confidence)
    off = np.stack([each.pose.xy for each in said.parsed]) - batch["xy_input"].numpy()
    epe = np.linalg.norm(off, axis=-1)[batch["valid"].numpy()].mean()
    assert float(keen.validation.free.compute()["epe"]) == pytest.approx(epe, rel=1e-5)


def test_predictor_mirrors_images_as_the_model_sees_them() -> None:
    image = render_frame(seed=7, video=59, frame=0).image
    predictor = PosePredictor.from_pretrained("tiny").decode_by(Constrained(test_views=4))
    one, other = predictor([image, np.ascontiguousarray(image[:, ::-1])])
    size = predictor.frame.input_size
    np.testing.assert_allclose(mirrored_xy(one.pose_input.xy, size), other.pose_input.xy)
    np.testing.assert_allclose(mirrored_xy(one.pose.xy, image.shape[1]), other.pose.xy, atol=1e-9)
    np.testing.assert_allclose(one.confidence[list(MIRROR)], other.confidence, atol=1e-5)


def test_views_are_read_back_by_the_width_of_a_bin(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer
) -> None:
    """Bins of 2 px: a view that is moved by 2 px is moved by one bin."""
    coarse, xy_bin = CaptionFormat(SIZE, 16), joints_drawn(16)
    reader = CaptionReader(blip, tokenizer, coarse, Told(test_views=4))

    def look(view: AskedView) -> Tensor:
        moved = AskedView(view.right // 2, view.down // 2, view.is_mirrored)
        return as_states(around(in_view(xy_bin, moved, 16), 16, 0.5))

    said = reader.read(look)
    expected = coarse.dequantize(xy_bin.numpy())
    assert np.array_equal([each.pose.xy for each in said.parsed], expected)


def test_confidence_is_of_the_place_between_bins_that_is_said(told: CaptionReader) -> None:
    """6 lies within 5 px of 10, which is written, and not of 11.4, the mean."""
    told.decoding = Told(expectation=True)
    likely = torch.zeros(1, 16, 2, SIZE)
    likely[..., 1, 10] = 1.0
    for number, share in ((10, 0.4), (12, 0.25), (13, 0.25), (6, 0.1)):
        likely[..., 0, number] = share
    said = told.read(showing(likely.clamp(min=1e-9).log()), with_confidence=True)
    assert said.confidence is not None
    np.testing.assert_allclose(said.confidence, 0.9, rtol=1e-5)
