"""How likely each number is, and what follows of it: confidence, and places between bins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from teacher_forcing import number_ids, numbers_alone_are_its_own, stock_xy
from tiny_tokenizer import write_tiny_tokenizer
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.blip import load_tokenizer
from blippose.caption import CaptionFormat
from blippose.decoding import (
    CaptionReader,
    Constrained,
    Decoding,
    Free,
    Parallel,
    TokenGrammar,
    Writer,
    constrained_tokens,
    expected_xy,
    mass_within,
    number_log_probability,
    number_places,
)
from blippose.decoding.cached import CachedDecoder
from blippose.pose import JOINTS

NUM_IMAGES = 3


@pytest.fixture
def keen(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    """Weights so large that it has preferences, and looks at the image."""
    torch.manual_seed(1)
    for weight in blip.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return blip


@pytest.fixture
def image(keen: BlipForConditionalGeneration) -> Tensor:
    size = keen.vision_model.config.image_size
    with torch.no_grad():
        states: Tensor = keen.vision_model(torch.randn(NUM_IMAGES, 3, size, size))[0]
    return states


def written(tokenizer: BertTokenizer, *captions: str) -> Tensor:
    tokens: Tensor = tokenizer(list(captions), padding=True, return_tensors="pt").input_ids
    tokens[:, 0] = tokenizer.bos_token_id
    return tokens


def probability(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
    tokens: Tensor,
) -> Tensor:
    """Of every number in every place, NaN of joints that a caption has not."""
    grammar = TokenGrammar.of(tokenizer, caption_format)
    writer = Writer(keen, tokenizer, caption_format, grammar)
    return number_log_probability(writer, image, tokens).exp()


def test_probabilities_are_those_of_hugging_face_among_the_numbers(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
) -> None:
    tokens = constrained_tokens(keen, TokenGrammar.of(tokenizer, caption_format), image)
    found = probability(keen, tokenizer, caption_format, image, tokens)
    with torch.no_grad():
        logits = keen.text_decoder(input_ids=tokens, encoder_hidden_states=image).logits
    allowed = tokenizer.convert_tokens_to_ids(list(map(str, range(caption_format.bins))))
    is_number = torch.isin(tokens, torch.tensor(allowed))
    for row in range(NUM_IMAGES):
        places = is_number[row].nonzero().squeeze(1)
        expected = logits[row, places - 1][:, allowed].softmax(-1).view(16, 2, -1)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_digits", [12, 8], ids=["one piece", "several"])
def test_known_scores_say_what_the_decoder_would_and_rounded_ones_or_parts_are_not_believed(
    keen: BlipForConditionalGeneration,
    image: Tensor,
    tmp_path: Path,
    dtype: torch.dtype,
    num_digits: int,
) -> None:
    write_tiny_tokenizer(tmp_path, num_digits)
    tokenizer, caption_format = load_tokenizer(str(tmp_path)), CaptionFormat(12)
    grammar = TokenGrammar.of(tokenizer, caption_format)
    writer = Writer(keen, tokenizer, caption_format, grammar)
    tokens = written(tokenizer, "right ankle (3,4), right knee (10,2)", "right knee (11,8)")
    asked = number_log_probability(writer, image[:2], tokens)
    with torch.no_grad():
        logits = keen.text_decoder(input_ids=tokens, encoder_hidden_states=image[:2]).logits
    known = number_log_probability(writer, image[:2], tokens, logits.to(dtype))
    torch.testing.assert_close(known, asked, rtol=1e-4, atol=1e-5, equal_nan=True)
    doubled = number_log_probability(writer, image[:2], tokens, 2 * logits.to(dtype))
    is_believed = dtype == torch.float32 and num_digits == 12
    assert torch.equal(doubled.nan_to_num(), asked.nan_to_num()) == (not is_believed)


def test_numbers_of_several_pieces_have_the_probability_of_their_pieces(
    keen: BlipForConditionalGeneration, image: Tensor, tmp_path: Path
) -> None:
    write_tiny_tokenizer(tmp_path, 8)
    tokenizer, caption_format = load_tokenizer(str(tmp_path)), CaptionFormat(12)
    assert tokenizer.tokenize("11") == ["1", "##1"]
    one, more, comma = (tokenizer.convert_tokens_to_ids(piece) for piece in ("1", "##1", ","))
    tokens = written(tokenizer, "right ankle (1,5)")
    states = image[:1]
    found = probability(keen, tokenizer, caption_format, states, tokens)[0, 0, 0]  # of x
    assert float(found.sum()) == pytest.approx(1, abs=1e-3)
    place = tokens[0].tolist().index(one)
    first = [tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(8)]
    first += [tokenizer.convert_tokens_to_ids(piece) for piece in ("8", "9")]
    second = [comma, *(tokenizer.convert_tokens_to_ids(f"##{digit}") for digit in "01")]
    with torch.no_grad():
        logits = keen.text_decoder(input_ids=tokens, encoder_hidden_states=states).logits[0]
    begun = logits[place - 1][first].softmax(-1)[1]
    ends, ten, eleven = logits[place][second].softmax(-1)
    assert second[2] == more
    expected = torch.stack([begun * ends, begun * ten, begun * eleven])
    torch.testing.assert_close(found[[1, 10, 11]], expected, rtol=1e-3, atol=1e-4)


def test_rows_and_axes_of_long_numbers_have_their_own_probabilities(
    keen: BlipForConditionalGeneration, image: Tensor, tmp_path: Path
) -> None:
    """Two images, x and y, numbers of two pieces: each as if it were alone, by Hugging Face."""
    write_tiny_tokenizer(tmp_path, 4)
    tokenizer, caption_format = load_tokenizer(str(tmp_path)), CaptionFormat(16)
    tokens = written(tokenizer, "right ankle (12,3), right knee (1,11)", "right knee (15,2)")
    found = probability(keen, tokenizer, caption_format, image[:2], tokens)
    pieces = TokenGrammar.of(tokenizer, caption_format).numbers
    behind = [tokenizer.convert_tokens_to_ids(piece) for piece in (",", ")")]
    for row, joint in ((0, 0), (0, 1), (1, 1)):
        at = number_places(tokenizer, caption_format, tokens[row].tolist())[joint]
        for axis in (0, 1):
            prefix = tokens[row, : at[axis][0]].tolist()
            expected = [
                _spelled(keen, image[row], prefix, [*number, behind[axis]], pieces)
                for number in pieces
            ]
            np.testing.assert_allclose(found[row, joint, axis], expected, rtol=5e-3, atol=2e-4)


def _spelled(
    keen: BlipForConditionalGeneration,
    image: Tensor,
    prefix: list[int],
    number: list[int],
    numbers: tuple[tuple[int, ...], ...],
) -> float:
    """Probability of a number's pieces and its end, each among what may follow."""
    total = 1.0
    for place, piece in enumerate(number):
        begun = tuple(number[:place])
        allowed = {n[place] for n in numbers if n[:place] == begun and len(n) > place}
        allowed |= {number[-1]} if begun in numbers else set()
        if allowed == {piece}:
            continue
        ids = torch.tensor([prefix + list(begun)])
        with torch.no_grad():
            logits = keen.text_decoder(input_ids=ids, encoder_hidden_states=image[None]).logits
        some = sorted(allowed)
        total *= float(logits[0, -1, some].softmax(-1)[some.index(piece)])
    return total


def test_what_is_missing_has_no_probabilities_and_what_is_odd_has_those_of_its_place(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
) -> None:
    captions = (
        "right ankle (3,4), right knee (99,4), pelvis (1,2), pelvis (1,2)",
        "right ankle (007,4), right knee (5,6)",
        "hello",
    )
    assert caption_format.decode(captions[1]).pose.xy[0].tolist() == [7, 4]
    tokens = written(tokenizer, *captions)
    known = ~probability(keen, tokenizer, caption_format, image, tokens).isnan().any(dim=(2, 3))
    assert known.nonzero().tolist() == [[0, 0], [1, 0], [1, 1]]


def test_it_takes_one_pass_of_the_decoder_for_a_batch(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = constrained_tokens(keen, TokenGrammar.of(tokenizer, caption_format), image)
    passes: list[int] = []
    read = CachedDecoder.read

    def counted(self: CachedDecoder, tokens: Tensor, *args: Tensor, **options: bool) -> Tensor:
        passes.append(len(tokens))
        return read(self, tokens, *args, **options)

    monkeypatch.setattr(CachedDecoder, "read", counted)
    probability(keen, tokenizer, caption_format, image, tokens)
    assert passes == [NUM_IMAGES]


def test_mass_within_a_radius_by_hand() -> None:
    """x is 3 or 4, y is 1 (.5), 2 (.3) or 9 (.2): a disc of 1 px about (3, 1)."""
    log_p = torch.full((2, 10), -torch.inf)
    log_p[0, 3], log_p[0, 4] = np.log(0.75), np.log(0.25)
    log_p[1, 1], log_p[1, 2], log_p[1, 9] = np.log(0.5), np.log(0.3), np.log(0.2)
    xy, ten = torch.tensor([3.0, 1.0]), CaptionFormat(10)
    inside = 0.75 * 0.5 + 0.75 * 0.3 + 0.25 * 0.5  # (4, 2) is 1.41 px off
    assert float(mass_within(log_p, xy, ten, 1.0)) == pytest.approx(inside)
    assert float(mass_within(log_p, xy, ten, 1.5)) == pytest.approx(0.8)
    assert float(mass_within(log_p, xy, ten, 100.0)) == pytest.approx(1)
    assert float(mass_within(log_p, torch.tensor([torch.nan, 1.0]), ten)) == 0
    # Five bins of two pixels, each with half of its mass at either: of bins 3 and 4 at 6, 7, 8 and
    # 9 px, of bins 1 and 2 at 2, 3, 4 and 5 px.
    halves, at = CaptionFormat(10, 5), torch.tensor([6.5, 2.5])
    inside = 0.75 * 0.5 + 0.75 * 0.15 + 0.125 * 0.5  # (8, 4) is 2.12 px off
    assert float(mass_within(log_p[:, :5], at, halves, 2.0)) == pytest.approx(inside)
    assert float(mass_within(log_p[:, :5], at, halves, 1.5)) == pytest.approx(0.75 * 0.5)


def test_mass_at_the_border_is_counted_once_and_the_edge_belongs_to_the_disc() -> None:
    log_p = torch.full((2, 10), -torch.inf)
    log_p[:, 0], log_p[:, 5], log_p[:, 6] = np.log(0.5), np.log(0.3), np.log(0.2)
    corner, ten = torch.tensor([0.0, 0.0]), CaptionFormat(10)
    # (0, 5), (5, 0) are just within 5 px; (5, 5) and all of 6 are not.
    inside = 0.5 * 0.5 + 2 * 0.5 * 0.3
    assert float(mass_within(log_p, corner, ten)) == pytest.approx(inside)
    between = torch.tensor([0.4, 0.0])  # a joint between bins: (5, 0) is 4.6, (6, 0) 5.6 px off
    assert float(mass_within(log_p, between, ten)) == pytest.approx(0.5 * 0.5 + 0.3 * 0.5)
    between = torch.tensor([1.0, 0.0])  # now (6, 0) is on the edge, and (0, 5) beyond
    assert float(mass_within(log_p, between, ten)) == pytest.approx(0.5 * 0.5 + 0.5 * 0.5)


def test_expectation_is_the_mean_round_the_peak_by_hand() -> None:
    log_p = torch.full((2, 10), -torch.inf)
    log_p[0, 3], log_p[0, 4] = np.log(0.75), np.log(0.25)
    log_p[1, 1], log_p[1, 2], log_p[1, 9] = np.log(0.45), np.log(0.15), np.log(0.4)
    xy = expected_xy(log_p, torch.tensor([3.0, 1.0]), CaptionFormat(10))
    assert xy.tolist() == pytest.approx([3.25, 1.25])  # 9 is another opinion
    xy = expected_xy(log_p[:, :5], torch.tensor([6.5, 2.5]), CaptionFormat(10, 5))
    assert xy.tolist() == pytest.approx([7.0, 3.0])
    far = expected_xy(log_p, torch.tensor([5.0, 5.0]), CaptionFormat(10))
    assert far.tolist() == pytest.approx([3.25, 2.0])  # three bins away still count
    nowhere = expected_xy(log_p, torch.tensor([9.0, 5.0]), CaptionFormat(10))
    assert nowhere[0] == 9  # nothing near what was written has a probability
    assert expected_xy(log_p, torch.full((2,), torch.nan), CaptionFormat(10)).isnan().all()


@pytest.mark.parametrize("decoding", [Free(), Constrained(), Parallel(1), Parallel(None)])
def test_every_decoding_says_how_sure_it_is(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
    decoding: Decoding,
) -> None:
    reader = CaptionReader(keen, tokenizer, caption_format, decoding)
    said = reader.read(lambda _: image, with_confidence=True)
    assert said.confidence is not None
    known = np.array([parsed.pose.valid for parsed in said.parsed])
    assert ((said.confidence > 0) == known).all()
    assert (said.confidence <= 1).all()
    assert reader.read(lambda _: image).confidence is None


def test_decodings_to_the_end_are_as_sure_as_the_constrained_one(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
) -> None:
    def sure(decoding: Decoding) -> np.ndarray:
        reader = CaptionReader(keen, tokenizer, caption_format, decoding)
        confidence = reader.read(lambda _: image, with_confidence=True).confidence
        assert confidence is not None
        return confidence

    np.testing.assert_allclose(sure(Parallel(None)), sure(Constrained()), rtol=1e-3)


def test_by_expectation_joints_lie_between_bins_and_captions_stay(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
) -> None:
    whole = CaptionReader(keen, tokenizer, caption_format, Constrained()).read(lambda _: image)
    mean = CaptionReader(keen, tokenizer, caption_format, Constrained(expectation=True)).read(
        lambda _: image
    )
    assert mean.captions == whole.captions
    moved = np.stack(
        [a.pose.xy - b.pose.xy for a, b in zip(mean.parsed, whole.parsed, strict=True)]
    )
    assert 0 < np.abs(moved).max() <= 3
    assert [parsed.reasons for parsed in mean.parsed] == [
        parsed.reasons for parsed in whole.parsed
    ]


@pytest.mark.parametrize("expectation", [False, True])
def test_teacher_forced_poses_are_by_expectation_as_those_that_the_model_reads_itself(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Tensor,
    expectation: bool,
) -> None:
    """Shown its own captions and choosing them again: the same poses."""
    reader = CaptionReader(keen, tokenizer, caption_format, Constrained(expectation=expectation))
    said = reader.read(lambda _: image)
    with torch.no_grad():
        own = keen.text_decoder(input_ids=said.tokens, encoder_hidden_states=image).logits
    numbers = number_ids(tokenizer, caption_format.bins)
    logits = numbers_alone_are_its_own(own, said.tokens, numbers, tokenizer.pad_token_id)
    captions, parsed = reader.teacher_forced(image, said.tokens, logits)
    assert captions == said.captions
    forced, read = (np.stack([each.pose.xy for each in way]) for way in (parsed, said.parsed))
    assert np.isfinite(read).all()
    assert bool((read % 1 > 0).any()) == expectation
    np.testing.assert_allclose(forced, read, atol=1e-4)


@pytest.mark.parametrize("expectation", [False, True])
def test_teacher_forced_poses_are_those_of_hugging_face_shown_the_true_captions(
    keen: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    expectation: bool,
) -> None:
    """Captions of unequal lengths, each with an image of its own, against each by itself."""
    captions = (
        "right ankle (3,4), right knee (30,1), right hip (17,2)",
        caption_format.encode(np.arange(32.0).reshape(16, 2)),
        "right ankle (21,8)",
    )
    input_ids, numbers = written(tokenizer, *captions), number_ids(tokenizer, caption_format.bins)
    size, pad = keen.vision_model.config.image_size, tokenizer.pad_token_id
    kept = input_ids != pad
    pixels = torch.randn(len(captions), 3, size, size)
    with torch.no_grad():
        states = keen.vision_model(pixels)[0]
        logits = keen(pixels, input_ids, attention_mask=kept.long()).logits
    reader = CaptionReader(keen, tokenizer, caption_format, Constrained(expectation=expectation))
    said, parsed = reader.teacher_forced(
        states, input_ids, numbers_alone_are_its_own(logits, input_ids, numbers, pad)
    )
    for row, joints in enumerate((3, 16, 1)):
        alone = input_ids[row, kept[row]].tolist()
        expected = stock_xy(keen, pixels[row], alone, numbers, expectation=expectation)
        assert parsed[row].pose.valid.sum() == len(expected) == joints
        np.testing.assert_allclose(parsed[row].pose.xy[:joints], expected, atol=1e-3)
        assert len(tokenizer(said[row]).input_ids) == len(alone)  # nothing behind the end
        assert np.abs(expected - caption_format.decode(captions[row]).pose.xy[:joints]).max() > 1


def test_the_name_of_a_decoding_tells_it_from_all_others() -> None:
    every = [
        way
        for expectation in (False, True)
        for way in (
            Free(expectation=expectation),
            Constrained(expectation=expectation),
            Parallel(0, expectation=expectation),
            Parallel(1, expectation=expectation),
            Parallel(None, expectation=expectation),
        )
    ]
    assert len({way.name for way in every}) == len(every)


WORDS = st.sampled_from(
    [
        *JOINTS,
        "(",
        ")",
        ",",
        "(3,4)",
        "( 31 , 0 )",
        "(32,1)",
        "007",
        "right",
        "##7",
        "a",
        "'s",
        "?",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(words=st.lists(WORDS, max_size=40), glue=st.sampled_from(["", " "]))
def test_the_numbers_of_a_joint_are_found_exactly_where_the_caption_has_one(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, words: list[str], glue: str
) -> None:
    ids = tokenizer(glue.join(words)).input_ids
    caption = tokenizer.decode(ids, skip_special_tokens=True)
    parsed = caption_format.decode(caption).pose
    places = number_places(tokenizer, caption_format, ids)
    assert sorted(places) == np.flatnonzero(parsed.valid).tolist()
    for joint, numbers in places.items():
        for number, value in zip(numbers, parsed.xy[joint], strict=True):
            pieces = tokenizer.convert_ids_to_tokens([ids[place] for place in number])
            assert int("".join(piece.removeprefix("##") for piece in pieces)) == value


def test_confidence_of_coarse_bins_is_of_the_part_of_them_that_lies_in_the_disc() -> None:
    """By their middles alone it would be 0 where the mean of two bins lies between them."""
    coarse = CaptionFormat(384, 48)  # 8 px a bin
    log_p = torch.full((2, 48), -torch.inf)
    log_p[:, 20:22] = np.log(0.5)  # equally sure of two bins: 160 to 176 px, both ways
    middle = torch.full((2,), 167.5)
    assert float(mass_within(log_p, middle, coarse)) == pytest.approx(np.pi * 25 / 16**2, abs=0.02)
    far = CaptionFormat(384, 24)  # 16 px a bin
    single = torch.full((2, 24), -torch.inf)
    single[:, 10] = 0.0
    within = float(mass_within(single, torch.full((2,), 167.5), far))
    assert within == pytest.approx(np.pi * 25 / 16**2, abs=0.02)


def test_confidence_of_a_joint_without_numbers_is_none() -> None:
    log_p, nowhere = torch.full((2, 96), torch.nan), torch.full((2,), torch.nan)
    assert float(mass_within(log_p, nowhere, CaptionFormat(96))) == 0


def test_bins_finer_than_a_pixel_count_over_the_whole_disc() -> None:
    fine = CaptionFormat(96, 192)
    log_p = torch.full((2, 192), -torch.inf)
    log_p[0, 100] = log_p[0, 109] = np.log(0.5)  # 4.5 px apart
    log_p[1, 100] = 0.0
    assert float(mass_within(log_p, torch.full((2,), 49.75), fine)) == pytest.approx(1)
