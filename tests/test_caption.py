"""The caption grammar: inverse to half a bin, and readable whatever the text is."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import BertTokenizer

from blippose.caption import CaptionFormat, ParsedCaption, Reason
from blippose.decoding import TokenGrammar
from blippose.pose import JOINTS, NUM_JOINTS

formats = st.builds(CaptionFormat, st.integers(1, 1024), st.none() | st.integers(1, 2048))
shares = arrays(np.float64, (NUM_JOINTS, 2), elements=st.floats(0, 1))
masks = arrays(np.bool_, NUM_JOINTS)
FORMAT = CaptionFormat(384)


def inside(share: np.ndarray, caption_format: CaptionFormat) -> np.ndarray:
    """Shares of the input's side as coordinates in [-0.5, input_size - 0.5]."""
    return share * caption_format.input_size - 0.5


def reason_of(caption: str, joint: str = "right ankle") -> Reason | None:
    return FORMAT.decode(caption).reasons[JOINTS.index(joint)]


@given(formats, shares, masks)
def test_decode_gives_back_any_pose_to_half_a_bin(
    caption_format: CaptionFormat, share: np.ndarray, valid: np.ndarray
) -> None:
    xy_input = inside(share, caption_format)
    parsed = caption_format.decode(caption_format.encode(xy_input, valid))
    half_a_bin = caption_format.input_size / caption_format.bins / 2
    assert (parsed.pose.valid == valid).all()
    assert np.abs(parsed.pose.xy - xy_input)[valid].max(initial=0) <= half_a_bin + 1e-9
    assert np.isnan(parsed.pose.xy[~valid]).all()
    assert parsed.reasons == tuple(None if seen else Reason.ABSENT for seen in valid)


@given(formats, st.data())
def test_every_bin_comes_back_as_itself(
    caption_format: CaptionFormat, data: st.DataObject
) -> None:
    xy_bin = data.draw(
        arrays(np.int64, (NUM_JOINTS, 2), elements=st.integers(0, caption_format.bins - 1))
    )
    assert (caption_format.quantize(caption_format.dequantize(xy_bin)) == xy_bin).all()


@given(formats, arrays(np.float64, (NUM_JOINTS, 2), elements=st.floats(-1e6, 1e6)))
def test_coordinates_outside_the_input_go_to_the_border(
    caption_format: CaptionFormat, xy_input: np.ndarray
) -> None:
    xy_bin = caption_format.quantize(xy_input)
    assert (xy_bin[xy_input < -0.5] == 0).all()
    assert (xy_bin[xy_input > caption_format.input_size - 0.5] == caption_format.bins - 1).all()


def test_pixel_bins_are_the_nearest_pixels() -> None:
    xy_input = np.tile([[-0.5, 0.49], [119.6, 383.49]], (8, 1))
    assert FORMAT.quantize(xy_input)[:2].tolist() == [[0, 0], [120, 383]]
    assert FORMAT.encode(xy_input).startswith("right ankle (0,0), right knee (120,383), right hip")


def test_a_pose_with_missing_joints_needs_no_mask() -> None:
    xy_input = np.full((NUM_JOINTS, 2), np.nan)
    xy_input[6] = 7
    assert FORMAT.encode(xy_input) == "pelvis (7,7)"


def check_decoded(parsed: ParsedCaption) -> None:
    """Every joint is in the input, or there is a reason why it is nowhere."""
    missing = [reason is not None for reason in parsed.reasons]
    assert (parsed.pose.valid == ~np.array(missing)).all()
    xy = parsed.pose.xy[parsed.pose.valid]
    assert ((xy >= 0) & (xy <= 383)).all()


@given(st.text())
def test_any_text_decodes(caption: str) -> None:
    check_decoded(FORMAT.decode(caption))


pieces = st.sampled_from(
    [*JOINTS, *"(),-. 0", "12", "383", "384", "9" * 5000, "٣", "²", "r\u0131ght ankle", "\n"]
)


@given(st.lists(pieces, max_size=60).map(" ".join) | st.lists(pieces, max_size=60).map("".join))
def test_any_text_of_the_grammars_pieces_decodes(caption: str) -> None:
    check_decoded(FORMAT.decode(caption))


@given(shares, st.data())
def test_mutated_captions_decode(share: np.ndarray, data: st.DataObject) -> None:
    caption = FORMAT.encode(inside(share, FORMAT))
    start = data.draw(st.integers(0, len(caption)))
    stop = data.draw(st.integers(start, len(caption)))
    text = data.draw(st.text(max_size=5))
    check_decoded(FORMAT.decode(caption[:start] + text + caption[stop:]))


@pytest.mark.parametrize("caption", ["r\u0131ght ankle (1,2)", "left \u017fhoulder (1,2)"])
def test_letters_that_only_look_alike_are_no_joint(caption: str) -> None:
    assert set(FORMAT.decode(caption).reasons) == {Reason.ABSENT}


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("right ankle (1,2)", None),
        ("Right Ankle ( 1 ,\n2 )", None),
        ("right ankle (0001,2)", None),
        ("", Reason.ABSENT),
        ("left ankle (1,2)", Reason.ABSENT),
        ("bright ankle (1,2)", Reason.ABSENT),
        ("right ankles (1,2)", Reason.ABSENT),
        ("right ankle", Reason.NO_NUMBER),
        ("right ankle (12", Reason.NO_NUMBER),
        ("right ankle (12,3", Reason.NO_NUMBER),
        ("right ankle (1.5,2)", Reason.NO_NUMBER),
        ("right ankle 1,2", Reason.NO_NUMBER),
        ("right ankle, right knee (1,2)", Reason.NO_NUMBER),
        ("right ankle (٣,2)", Reason.NO_NUMBER),
        ("right ankle (1,2) right ankle (1,2)", Reason.TWICE),
        ("right ankle right ankle (1,2)", Reason.TWICE),
        ("right ankle (384,2)", Reason.OUT_OF_RANGE),
        ("right ankle (1,-1)", Reason.OUT_OF_RANGE),
        (f"right ankle (1,{'9' * 10_000})", Reason.OUT_OF_RANGE),
        (f"right ankle (1,-{'9' * 10_000})", Reason.OUT_OF_RANGE),
    ],
)
def test_each_reason(caption: str, reason: Reason | None) -> None:
    assert reason_of(caption) == reason


def test_thousands_of_leading_zeros_are_read() -> None:
    parsed = FORMAT.decode(f"right ankle ({'0' * 10_000}7,2)")
    assert parsed.pose.xy[0].tolist() == [7, 2]


def test_a_broken_joint_leaves_the_others_alone() -> None:
    parsed = FORMAT.decode("right ankle (999,1), right knee (5,6), right hip (7")
    assert parsed.reasons[:3] == (Reason.OUT_OF_RANGE, None, Reason.NO_NUMBER)
    assert parsed.pose.xy[1].tolist() == [5, 6]


@given(shares, st.integers(0, 400))
def test_truncated_caption_keeps_earlier_joints(share: np.ndarray, length: int) -> None:
    caption = FORMAT.encode(inside(share, FORMAT))[:length]
    parsed = FORMAT.decode(caption)
    num_whole = caption.count(")")
    assert parsed.pose.valid.tolist() == [joint < num_whole for joint in range(NUM_JOINTS)]
    assert set(parsed.reasons[num_whole + 1 :]) <= {Reason.ABSENT}


@given(shares)
def test_blips_spaced_text_decodes_as_the_tight_one(share: np.ndarray) -> None:
    tight = FORMAT.encode(inside(share, FORMAT))
    spaced = tight.replace("(", "( ").replace(")", " )").replace(",", ", ")
    np.testing.assert_array_equal(FORMAT.decode(spaced).pose.xy, FORMAT.decode(tight).pose.xy)


def test_half_a_bin_is_refused() -> None:
    """Users have no check of annotations, which would be before it here."""
    with pytest.raises(ValueError, match=r"num_bins=2\.5: expected 1 or more, whole"):
        inspect.unwrap(CaptionFormat.__init__)(object.__new__(CaptionFormat), 384, 2.5)


@pytest.mark.parametrize(("input_size", "num_bins"), [(0, None), (384, 0), (-1, 5)])
def test_a_format_without_pixels_or_bins_is_refused(input_size: int, num_bins: int | None) -> None:
    with pytest.raises(ValueError, match="at least one pixel and one bin"):
        CaptionFormat(input_size, num_bins)


@given(share=shares, valid=masks)
def test_tiny_tokenizer_gives_the_caption_back(
    tokenizer: BertTokenizer, share: np.ndarray, valid: np.ndarray
) -> None:
    tiny = CaptionFormat(32)
    caption = tiny.encode(inside(share, tiny), valid)
    text = tokenizer.decode(tokenizer(caption).input_ids, skip_special_tokens=True)
    np.testing.assert_array_equal(tiny.decode(text).pose.xy, tiny.decode(caption).pose.xy)


@given(number=st.integers(0, 383))
def test_bert_tokenizer_gives_every_number_back(
    bert_tokenizer: BertTokenizer, number: int
) -> None:
    xy_input = np.full((NUM_JOINTS, 2), float(number))
    ids = bert_tokenizer(FORMAT.encode(xy_input)).input_ids
    text = bert_tokenizer.decode(ids, skip_special_tokens=True)
    np.testing.assert_array_equal(FORMAT.decode(text).pose.xy, xy_input)


def test_bert_caption_has_129_tokens_and_two_more_for_a_number_in_two_pieces(
    bert_tokenizer: BertTokenizer,
) -> None:
    xy_input = np.full((NUM_JOINTS, 2), 120.0)
    assert len(bert_tokenizer(FORMAT.encode(xy_input)).input_ids) == 129
    xy_input[0] = 342
    assert bert_tokenizer.tokenize("342") == ["34", "##2"]
    assert len(bert_tokenizer(FORMAT.encode(xy_input)).input_ids) == 131
    assert TokenGrammar.of(bert_tokenizer, FORMAT).longest == 129 + 2 * NUM_JOINTS
