"""Numbers as tokens of their own: known to tokenizer and model, and wherever both are kept."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import BertTokenizer, BlipForConditionalGeneration, BlipProcessor

from blippose.blip import load_blip, load_tokenizer
from blippose.caption import CaptionFormat, Reason
from blippose.cli import main
from blippose.data.tokens import CaptionTokens
from blippose.decoding import Constrained, Free, TokenGrammar, number_places
from blippose.errors import UserError
from blippose.export import export_checkpoint
from blippose.frame_file import Stated
from blippose.location_tokens import add_location_tokens, grow_vocabulary, with_location_tokens
from blippose.model import PoseCaptioner
from blippose.pose import NUM_JOINTS
from blippose.predictor import PosePredictor
from blippose.synthetic.scene import render_frame

HALF_PIXELS = CaptionFormat(96, 192, location_tokens=True)


def tiny_with(
    caption_format: CaptionFormat,
) -> tuple[BlipForConditionalGeneration, BertTokenizer]:
    blip, tokenizer = load_blip("tiny"), load_tokenizer("tiny")
    add_location_tokens(tokenizer, caption_format)
    grow_vocabulary(blip, tokenizer, caption_format)
    return blip, tokenizer


@pytest.fixture(scope="module")
def grown() -> tuple[BlipForConditionalGeneration, BertTokenizer]:
    """The shipped model with half pixels. Read only."""
    return tiny_with(HALF_PIXELS)


@pytest.fixture(scope="module")
def half_pixels(grown: tuple[BlipForConditionalGeneration, BertTokenizer]) -> BertTokenizer:
    return grown[1]


def test_a_caption_stays_readable_and_parses() -> None:
    xy = np.full((NUM_JOINTS, 2), np.nan)
    xy[:2] = [[60, 10.25], [3, 95]]
    caption = HALF_PIXELS.encode(xy)
    assert caption == "right ankle (<loc_121>,<loc_21>), right knee (<loc_7>,<loc_191>)"
    for said in (caption, caption.replace("(", "( ").replace(",<", ", <").upper()):
        parsed = HALF_PIXELS.decode(said)
        np.testing.assert_allclose(parsed.pose.xy[:2], [[60.25, 10.25], [3.25, 95.25]])
        assert set(parsed.reasons[2:]) == {Reason.ABSENT}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("pelvis (<loc_192>,<loc_0>)", Reason.OUT_OF_RANGE),
        ("pelvis (<loc_1,<loc_0>)", Reason.NO_NUMBER),
        ("pelvis (1>,2)", Reason.NO_NUMBER),
        ("pelvis (<loc_1>)", Reason.NO_NUMBER),
    ],
)
def test_what_is_no_location_is_a_missing_joint(said: str, reason: Reason) -> None:
    assert HALF_PIXELS.decode(said).reasons[6] is reason


def test_numbers_in_the_other_form_are_not_believed() -> None:
    """A model that has yet to learn the tokens says digits: pixels, where bins are half pixels."""
    for said, form in (
        ("pelvis (40,50)", HALF_PIXELS),
        ("pelvis (40,<loc_50>)", HALF_PIXELS),
        ("pelvis (<loc_40>,<loc_50>)", CaptionFormat(96)),
        ("pelvis (<loc_40>,50)", CaptionFormat(96)),
    ):
        assert form.decode(said).reasons[6] is Reason.NO_NUMBER
        assert form.number_spans(said) == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(xy=arrays(np.float64, (NUM_JOINTS, 2), elements=st.floats(-20, 400)))
def test_each_number_is_one_token_and_no_special_one(
    half_pixels: BertTokenizer, xy: np.ndarray
) -> None:
    caption = HALF_PIXELS.encode(xy)
    ids = half_pixels(caption).input_ids
    ids[0] = half_pixels.bos_token_id
    assert len(ids) == 127
    tokens = CaptionTokens.of(half_pixels, HALF_PIXELS)
    assert tokens.encode(xy, np.ones(NUM_JOINTS, dtype=bool)) == tuple(ids)
    text = half_pixels.decode(ids, skip_special_tokens=True)
    assert text.replace(" ", "") == caption.replace(" ", "")
    assert {len(x) + len(y) for x, y in number_places(half_pixels, HALF_PIXELS, ids).values()} == {
        2
    }


def test_the_grammar_has_a_flat_choice_of_all_bins(half_pixels: BertTokenizer) -> None:
    grammar = TokenGrammar.of(half_pixels, HALF_PIXELS)
    assert grammar.tree.depth == 1
    names = half_pixels.convert_ids_to_tokens(list(grammar.values))
    assert names == [f"<loc_{value}>" for value in grammar.values.values()]
    assert list(grammar.values.values()) == list(range(192))


@pytest.mark.parametrize("num_bins", [192, 1000])
def test_any_number_of_bins_takes_berts_shortest_caption(
    bert_tokenizer: BertTokenizer, num_bins: int
) -> None:
    tokenizer, form = copy.deepcopy(bert_tokenizer), CaptionFormat(384, num_bins, "mpii", True)
    assert add_location_tokens(tokenizer, form) == num_bins
    assert tokenizer.convert_tokens_to_ids("<loc_0>") == 30524  # behind [ENC]
    grammar = TokenGrammar.of(tokenizer, form)
    assert (grammar.longest, len(grammar.values)) == (129, num_bins)


def test_adding_twice_adds_nothing_and_digits_need_none(half_pixels: BertTokenizer) -> None:
    size = len(half_pixels)
    assert add_location_tokens(half_pixels, HALF_PIXELS) == 0
    assert add_location_tokens(half_pixels, CaptionFormat(96, 500)) == 0
    assert len(half_pixels) == size == 211 + 192


def test_a_grown_model_is_the_old_one_where_it_was(
    grown: tuple[BlipForConditionalGeneration, BertTokenizer],
) -> None:
    blip, old = grown[0], load_blip("tiny")
    assert blip.text_decoder.config.vocab_size == blip.config.text_config.vocab_size == 403
    new = blip.state_dict()
    for key, weight in old.state_dict().items():
        assert torch.equal(new[key][: len(weight)], weight), key
    head = blip.text_decoder.cls.predictions.decoder
    assert head.weight is blip.text_decoder.bert.embeddings.word_embeddings.weight
    assert len(head.bias) == 403
    assert sum(len(weight) == 403 for weight in new.values() if weight.dim()) >= 2


def test_a_location_starts_between_the_pixels_round_it(
    grown: tuple[BlipForConditionalGeneration, BertTokenizer],
) -> None:
    blip, tokenizer = grown
    head = blip.text_decoder.cls.predictions.decoder
    id_of = tokenizer.convert_tokens_to_ids
    for rows in (head.weight, head.bias):
        at = rows[id_of("<loc_121>")]  # 60.25 px
        expected = 0.75 * rows[id_of("60")] + 0.25 * rows[id_of("61")]
        torch.testing.assert_close(at, expected)
        torch.testing.assert_close(rows[id_of("<loc_0>")], rows[id_of("0")])  # -0.25 px
        torch.testing.assert_close(rows[id_of("<loc_191>")], rows[id_of("95")])


def test_untrained_locations_say_nearly_what_the_digits_said(
    grown: tuple[BlipForConditionalGeneration, BertTokenizer],
) -> None:
    """So that training goes on from a localiser instead of learning bins from nothing."""
    from blippose.decoding import InputFrame  # noqa: PLC0415

    images = [render_frame(7, video, 0).image for video in range(6)]
    frame = InputFrame.of(HALF_PIXELS, "stretch", "full")
    found = PosePredictor(*grown, Stated(frame), "test").decode_by(Constrained())(images)
    expected = PosePredictor.from_pretrained("tiny").decode_by(Constrained())(images)
    distance = np.stack(
        [a.pose_input.xy - b.pose_input.xy for a, b in zip(found, expected, strict=True)]
    )
    spread = np.stack([each.pose_input.xy for each in expected]).std()
    assert np.median(np.abs(distance)) < spread / 2


def test_a_tokenizer_without_the_tokens_is_refused(tokenizer: BertTokenizer) -> None:
    with pytest.raises(UserError, match="no <loc_191>: load the tokenizer that was saved"):
        TokenGrammar.of(tokenizer, HALF_PIXELS)


def test_a_model_that_was_not_grown_is_refused(half_pixels: BertTokenizer) -> None:
    with pytest.raises(UserError, match="vocab_size = 211, its tokenizer and captions need 403"):
        PoseCaptioner(load_blip("tiny"), half_pixels, HALF_PIXELS, torch.optim.AdamW)


def test_soft_numbers_and_masking_work_on_locations(
    grown: tuple[BlipForConditionalGeneration, BertTokenizer],
) -> None:
    captioner = PoseCaptioner(*grown, HALF_PIXELS, torch.optim.AdamW, number_sigma=2.0)
    hidden = captioner.readback.numbers.nonzero().squeeze(1).tolist()
    assert grown[1].convert_ids_to_tokens(hidden) == [f"<loc_{bin}>" for bin in range(192)]
    assert captioner.token_loss.near.shape == (192, 192)


TRAIN = (
    "model.caption.num_bins=64",
    "model.caption.location_tokens=true",
    "model.caption.order=torso",
    "data.random_order=true",
    "optimizer.lr=5e-4",
    "trainer.max_epochs=1",
    "data.synthetic=null",
    "data.batch_size=8",
    "decoding=constrained",
    "logger=csv",
)


@pytest.fixture(scope="module")
def run(release_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, trained a little on locations from the command line."""
    folder = tmp_path_factory.mktemp("located")
    words = [f"data.root={release_root}", f"runs={folder}", "name=a", *TRAIN]
    assert main(["train", *words]) == 0
    return folder / "a"


def test_a_run_keeps_its_tokens_in_checkpoint_and_export(run: Path, tmp_path: Path) -> None:
    record = torch.load(run / "best.ckpt", weights_only=True)["blippose"]
    said = {"input_size": 96, "num_bins": 64, "resize": "stretch", "crop": "full"}
    assert record["frame"] == {**said, "order": "torso", "location_tokens": True}
    export_checkpoint(run / "best.ckpt", tmp_path / "out")
    images = [render_frame(7, video, 0).image for video in range(3)]
    ours = PosePredictor.from_run(run).decode_by(Constrained())(images)
    again = PosePredictor.from_pretrained(tmp_path / "out").decode_by(Constrained())(images)
    assert [each.caption for each in again] == [each.caption for each in ours]
    assert all(each.caption.startswith("pelvis ( <loc_") for each in ours)
    assert all(each.pose.valid.all() and (each.confidence > 0).all() for each in ours)
    card = (tmp_path / "out/README.md").read_text()
    assert r"\( <loc_(\d+)>, <loc_(\d+)> \)" in card  # its code reads them
    assert "name (<loc_x>,<loc_y>)" in card


def test_transformers_alone_says_the_same_locations(run: Path, tmp_path: Path) -> None:
    predictor = export_checkpoint(run / "best.ckpt", tmp_path / "out")
    blip = BlipForConditionalGeneration.from_pretrained(tmp_path / "out")
    processor = BlipProcessor.from_pretrained(tmp_path / "out")
    image = render_frame(7, 0, 0).image
    tokens = blip.generate(**processor(images=image, return_tensors="pt"))
    caption = processor.decode(tokens[0], skip_special_tokens=True)
    assert caption == predictor.decode_by(Free())([image])[0].caption
    assert "<loc_" in caption


def test_training_goes_on_from_an_export_without_growing_again(
    run: Path, release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    export_checkpoint(run / "best.ckpt", out)
    words = [f"data.root={release_root}", f"runs={tmp_path}", "name=b", *TRAIN]
    weights = [f"model.weights={out}", f"model.tokenizer={out}", "optimizer.lr=0"]
    assert main(["train", *words, *weights]) == 0
    was, now = (
        torch.load(folder / "best.ckpt", weights_only=True) for folder in (run, tmp_path / "b")
    )
    key = "blip.text_decoder.bert.embeddings.word_embeddings.weight"
    assert was["state_dict"][key].shape == (211 + 64, 192)
    torch.testing.assert_close(now["state_dict"][key], was["state_dict"][key])
    others = ["name=c", "model.caption.num_bins=48"]
    assert main(["train", *words, *weights, *others]) == 2
    assert "its location tokens are 64 bins of 96 px, and model.caption asks for 48 of 96" in (
        capfd.readouterr().err
    )


def test_weights_with_location_tokens_need_their_own_tokenizer(
    run: Path, release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    export_checkpoint(run / "best.ckpt", out)
    words = [f"data.root={release_root}", f"runs={tmp_path}", "name=c", *TRAIN]
    assert main(["train", *words, f"model.weights={out}"]) == 2
    assert "vocab_size = 275, expected 211" in capfd.readouterr().err


def test_the_architecture_of_a_tokenizer_has_its_locations_on_top(
    half_pixels: BertTokenizer,
) -> None:
    architecture: dict[str, Any] = {"vision": {}, "text": {"vocab_size": 211}}
    assert with_location_tokens(architecture, half_pixels)["text"] == {"vocab_size": 403}
    assert with_location_tokens(architecture, load_tokenizer("tiny")) == architecture
    assert architecture["text"] == {"vocab_size": 211}
