"""The flip test: an image and its mirror image answer together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from reciting import Reciting
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.augmentation import View, mirror
from blippose.caption import CaptionFormat
from blippose.data import PoseDataModule
from blippose.decoding import (
    CaptionReader,
    Constrained,
    Decoded,
    Decoding,
    Free,
    Parallel,
    Writer,
)
from blippose.decoding.flip import averaged, mirrored
from blippose.decoding.written import written
from blippose.evaluation.asking import ask, asking
from blippose.model import PoseCaptioner
from blippose.pose import JOINTS, MIRROR, Pose
from blippose.predictor import PosePredictor
from blippose.synthetic.scene import render_frame

WAYS = (Constrained(flip_test=True), Parallel(0, flip_test=True), Constrained(True, True))


@dataclass(frozen=True)
class Told:
    """Takes what it is to say of an image from the image: no model errs as exactly as asked."""

    expectation: bool = False
    flip_test: bool = False
    name: str = "told"
    cut: tuple[int, ...] = ()  # rows whose captions have no end

    def __call__(self, writer: Writer, image: Tensor, *, with_probability: bool) -> Decoded:
        log_p = image.view(len(image), 16, 2, -1)
        valid = ~log_p.isnan().any(-1).any(-1)
        numbers = log_p.nan_to_num(neginf=-1e9).argmax(-1)
        tokens = written(writer.tokenizer, writer.caption_format, numbers, valid)
        is_cut = torch.isin(torch.arange(len(image)), torch.tensor(self.cut))[:, None]
        return Decoded(
            tokens.masked_fill((tokens == writer.grammar.sep) & is_cut, writer.grammar.pad), log_p
        )


@pytest.fixture
def told(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> CaptionReader:
    return CaptionReader(blip, tokenizer, caption_format, Told(flip_test=True))


@pytest.fixture
def keen(make_captioner: Callable[..., PoseCaptioner]) -> PoseCaptioner:
    """Weights so large that it has preferences, and looks at the image."""
    captioner = make_captioner().eval()
    torch.manual_seed(1)
    for weight in captioner.blip.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return captioner


@pytest.fixture
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=generator)


def answers(seed: int = 0, bins: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(2, 16, 2, bins, generator=generator)).log_softmax(-1)


def around(xy_bin: Tensor, bins: int = 32, deviation: float = 2.0) -> Tensor:
    """A bell round each number."""
    away = torch.arange(bins) - xy_bin[..., None]
    return (-0.5 * (away / deviation) ** 2).log_softmax(-1)


def mirrored_xy(xy_input: np.ndarray, size: int) -> np.ndarray:
    return View(mirror(size), True, np.ones(3), np.zeros(4, int)).pose(Pose.of(xy_input)).xy


def as_states(log_p: Tensor) -> Tensor:
    return log_p.flatten(1, 2)


def test_mirrored_twice_is_as_before() -> None:
    assert torch.equal(mirrored(mirrored(answers())), answers())


@pytest.mark.parametrize("num_bins", [None, 10])
def test_mirrored_numbers_are_those_of_the_mirrored_pose(num_bins: int | None) -> None:
    caption_format = CaptionFormat(32, num_bins)
    rng = np.random.default_rng(0)
    xy_bin = rng.integers(0, caption_format.bins, (16, 2))
    said = around(torch.from_numpy(xy_bin)[None], caption_format.bins)
    found = mirrored(said).argmax(-1)[0].numpy()
    expected = mirrored_xy(caption_format.dequantize(xy_bin), 32)
    np.testing.assert_allclose(caption_format.dequantize(found), expected)


def test_average_is_that_of_probabilities_and_keeps_the_one_there_is() -> None:
    one, other = answers(0), answers(1)
    one[0, 3], other[1, 4], one[1, 5], other[1, 5] = (torch.nan,) * 4
    mean = averaged(one, other)
    both = ~(one.isnan() | other.isnan())
    torch.testing.assert_close(mean.exp()[both], ((one.exp() + other.exp()) / 2)[both])
    assert torch.equal(mean[0, 3], other[0, 3])
    assert torch.equal(mean[1, 4], one[1, 4])
    assert mean[1, 5].isnan().all()


def test_symmetric_model_says_what_it_says_without(told: CaptionReader) -> None:
    states = as_states(answers())
    with_flip = told.read(states, lambda: as_states(mirrored(answers())), with_confidence=True)
    told.decoding = Told()
    without = told.read(states, with_confidence=True)
    assert with_flip.captions == without.captions
    assert with_flip.confidence is not None
    assert without.confidence is not None
    np.testing.assert_allclose(with_flip.confidence, without.confidence, rtol=1e-5)


def test_model_that_errs_to_the_right_is_mended(told: CaptionReader) -> None:
    truth = torch.randint(4, 28, (2, 16, 2), generator=torch.Generator().manual_seed(0))
    in_mirror = truth[:, list(MIRROR)].clone()
    in_mirror[..., 0] = 31 - in_mirror[..., 0]
    right = torch.tensor([1, 0])
    states = as_states(around(truth + right))
    said = told.read(states, lambda: as_states(around(in_mirror + right)))
    assert np.array_equal([each.pose.xy for each in said.parsed], truth.numpy())


def test_caption_and_confidence_follow_the_average(told: CaptionReader) -> None:
    """Both hold x = 10 for likely; they differ about its rival, which each alone prefers."""
    image, in_mirror = (torch.full((1, 16, 2, 32), 1e-6) for _ in range(2))
    image[..., 10], image[..., 2] = 0.45, 0.55
    in_mirror[..., 10], in_mirror[..., 28] = 0.45, 0.55
    states = as_states(image.log())
    said = told.read(states, lambda: as_states(mirrored(in_mirror.log())), with_confidence=True)
    assert said.captions[0].startswith("right ankle ( 10, 10 )")
    assert said.confidence is not None
    np.testing.assert_allclose(said.confidence, 0.45**2, rtol=1e-3)


@pytest.mark.parametrize("decoding", WAYS, ids=lambda way: way.name)
def test_image_and_mirror_image_get_mirrored_poses(
    keen: PoseCaptioner, pixels: Tensor, decoding: Decoding
) -> None:
    keen.reader.decoding = decoding
    said, of_mirror = keen.say(pixels), keen.say(pixels.flip(-1))
    for one, other in zip(said.parsed, of_mirror.parsed, strict=True):
        assert one.pose.valid.all()
        # Means lie between pixels, and come of sums in the other order.
        np.testing.assert_allclose(mirrored_xy(one.pose.xy, 32), other.pose.xy, atol=1e-4)
    keen.reader.decoding = replace(decoding, flip_test=False)  # type: ignore[type-var]  # all are
    assert keen.say(pixels).captions != said.captions


def test_free_captions_lend_each_other_joints(keen: PoseCaptioner, pixels: Tensor) -> None:
    reciting = Reciting(
        ["right ankle (3,4)", "pelvis (9,9), right wrist (1,2), right wrist (1,2)"]
    )
    reciting.flip_test = True
    keen.reader.decoding = reciting
    [parsed] = keen.say(pixels[:1]).parsed
    assert [JOINTS[i] for i in parsed.pose.valid.nonzero()[0]] == ["right ankle", "pelvis"]


def test_caption_that_was_cut_counts_as_cut(keen: PoseCaptioner, pixels: Tensor) -> None:
    keen.reader.decoding = Free()
    assert keen.say(pixels).truncated.all(), "this model never ends"
    keen.reader.decoding = Free(flip_test=True)
    said = keen.say(pixels)
    assert said.truncated.all()
    assert said.captions == ("",) * 3


def test_a_caption_counts_as_cut_if_the_images_own_was(told: CaptionReader) -> None:
    """Of two images the first one's is cut, and that of the second one's mirror image."""
    told.decoding = Told(flip_test=True, cut=(0, 3))
    said = told.read(as_states(answers()), lambda: as_states(mirrored(answers())))
    assert said.truncated.tolist() == [True, False]


def test_flip_test_without_a_mirror_image_is_refused(told: CaptionReader) -> None:
    with pytest.raises(ValueError, match="mirror"):
        told.read(as_states(answers()))


def test_names_tell_the_flip_test() -> None:
    ways, no_yes = (Free, Constrained, Parallel), (False, True)
    names = {way(expectation=e, flip_test=f).name for way in ways for e in no_yes for f in no_yes}
    assert len(names) == 12
    assert Constrained(True, True).name == "constrained, expectation, flip test"


def test_evaluation_and_validation_ask_the_mirror_image(
    keen: PoseCaptioner, make_data: Callable[..., PoseDataModule]
) -> None:
    data = make_data()
    positions = range(len(data.val_set))
    batch = data.collator([data.val_set[i] for i in positions])
    keen.reader.decoding = Constrained(flip_test=True)
    with asking(keen):
        said = keen.say(batch["image"], with_confidence=True)
        rows = ask(keen, data.val_set, data.collator, positions)
        keen.validation_step(batch, 0)
    assert [row.caption for row in rows] == list(said.captions)
    assert said.confidence is not None
    np.testing.assert_allclose([row.confidence for row in rows], said.confidence)
    off = np.stack([each.pose.xy for each in said.parsed]) - batch["xy_input"].numpy()
    epe = np.linalg.norm(off, axis=-1)[batch["valid"].numpy()].mean()
    assert float(keen.validation.free.compute()["epe"]) == pytest.approx(epe, rel=1e-5)


def test_predictor_mirrors_images_as_the_model_sees_them() -> None:
    image = render_frame(seed=7, video=59, frame=0).image
    predictor = PosePredictor.from_pretrained("tiny").decode_by(Constrained(flip_test=True))
    one, other = predictor([image, np.ascontiguousarray(image[:, ::-1])])
    size = predictor.frame.input_size
    np.testing.assert_allclose(mirrored_xy(one.pose_input.xy, size), other.pose_input.xy)
    np.testing.assert_allclose(mirrored_xy(one.pose.xy, image.shape[1]), other.pose.xy, atol=1e-9)
    np.testing.assert_allclose(one.confidence[list(MIRROR)], other.confidence, atol=1e-5)
