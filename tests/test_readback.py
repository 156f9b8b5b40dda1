"""Coordinates moved in what the decoder reads back; those hidden are tested with the captioner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import SIZE
from tiny_tokenizer import write_tiny_tokenizer
from transformers import BertTokenizer

from blippose.blip import load_tokenizer
from blippose.caption import CaptionFormat
from blippose.decoding import Constrained, Decoding, Free, Parallel, Prompted, TokenGrammar
from blippose.errors import UserError
from blippose.readback import Readback, ReadbackMask, ReadbackNoise, check_decoding

KEY = (0, 1, 2, 0)
NUM_ROWS = 400


@pytest.fixture
def ids(tokenizer: BertTokenizer) -> torch.Tensor:
    """Captions whose four numbers are 12, 31 (the greatest), 0 (the least) and 16."""
    captions = ["right ankle (12,31), pelvis (0,16)"] * NUM_ROWS
    return tokenizer(captions, return_tensors="pt").input_ids


def readback(
    tokenizer: BertTokenizer, noise: ReadbackNoise | None, mask: ReadbackMask | None = None
) -> Readback:
    grammar = TokenGrammar.of(tokenizer, CaptionFormat(SIZE))
    return Readback(grammar, len(tokenizer), mask, noise)


def numbers(ids: torch.Tensor, tokenizer: BertTokenizer) -> torch.Tensor:
    rows = [tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
    return torch.tensor([[int(piece) for piece in row if piece.isdigit()] for row in rows])


def test_numbers_are_moved_by_rounded_noise_and_nothing_else_is(
    tokenizer: BertTokenizer, ids: torch.Tensor
) -> None:
    moved = readback(tokenizer, ReadbackNoise(sigma=2.0, share=1.0))(ids, KEY, 0.0)
    every = (numbers(moved, tokenizer) - numbers(ids, tokenizer)).double()
    steps = every[:, 3]  # of 16
    assert torch.corrcoef(every[:, [0, 3]].T)[0, 1].abs() < 0.2  # each by a draw of its own
    assert steps.mean() == pytest.approx(0, abs=0.3)
    assert steps.std() == pytest.approx((4 + 1 / 12) ** 0.5, rel=0.15)  # rounding adds 1/12
    is_number = torch.tensor(
        [p.isdigit() for p in tokenizer.convert_ids_to_tokens(ids[0].tolist())]
    )
    assert torch.equal(moved[:, ~is_number], ids[:, ~is_number])


def test_moved_numbers_stay_among_the_captions_bins(
    tokenizer: BertTokenizer, ids: torch.Tensor
) -> None:
    moved = readback(tokenizer, ReadbackNoise(sigma=500.0, share=1.0))(ids, KEY, 0.0)
    found = numbers(moved, tokenizer)
    assert found.aminmax() == (0, SIZE - 1)
    at_an_end = (found == 0) | (found == SIZE - 1)
    assert at_an_end.double().mean() > 0.9  # what went beyond stays at that end


def test_the_share_that_is_asked_for_is_moved(tokenizer: BertTokenizer, ids: torch.Tensor) -> None:
    moved = readback(tokenizer, ReadbackNoise(sigma=500.0, share=0.25))(ids, KEY, 0.0)
    is_other = (numbers(moved, tokenizer) != numbers(ids, tokenizer)).double()
    assert is_other[:, [0, 3]].mean() == pytest.approx(0.25, abs=0.04)
    both = is_other[:, 0] * is_other[:, 3]
    assert both.mean() == pytest.approx(0.25**2, abs=0.04)  # not whole captions


@pytest.mark.parametrize(
    ("noise", "mask"), [(ReadbackNoise(), None), (None, ReadbackMask(first=0.5))]
)
def test_what_is_moved_or_hidden_belongs_to_seed_epoch_batch_and_process(
    tokenizer: BertTokenizer,
    ids: torch.Tensor,
    noise: ReadbackNoise | None,
    mask: ReadbackMask | None,
) -> None:
    shown = readback(tokenizer, noise, mask)
    first = shown(ids, KEY, 0.0)
    assert torch.equal(shown(ids, KEY, 0.0), first)
    for place in range(len(KEY)):
        other = (*KEY[:place], KEY[place] + 1, *KEY[place + 1 :])
        assert not torch.equal(shown(ids, other, 0.0), first)


def test_which_are_moved_has_nothing_to_do_with_which_are_hidden(
    tokenizer: BertTokenizer, ids: torch.Tensor
) -> None:
    mask, noise = ReadbackMask(first=0.5), ReadbackNoise(sigma=500.0, share=0.5)
    shown = readback(tokenizer, noise, mask)(ids, KEY, 0.0)
    # 12 and 16: what lies at an end may be moved to where it is.
    inner = torch.isin(ids, torch.tensor(tokenizer.convert_tokens_to_ids(["12", "16"])))
    seen = shown[inner & (shown != tokenizer.mask_token_id)]
    ends = torch.tensor(tokenizer.convert_tokens_to_ids(["0", str(SIZE - 1)]))
    assert torch.isin(seen, ends).double().mean() == pytest.approx(0.5, abs=0.08)


def test_a_number_of_several_pieces_is_hidden_or_shown_as_a_whole(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path, 10)  # 10 to 31 are two pieces each
    tokenizer = load_tokenizer(str(tmp_path))
    ids = tokenizer(["pelvis (27,5), pelvis (6,31)"] * NUM_ROWS, return_tensors="pt").input_ids
    is_hidden = readback(tokenizer, None, ReadbackMask(first=0.3))(ids, KEY, 0.0) == (
        tokenizer.mask_token_id
    )
    pieces = tokenizer.convert_ids_to_tokens(ids[0].tolist())
    digits = [place for place, piece in enumerate(pieces) if piece.strip("#").isdigit()]
    assert [pieces[place] for place in digits] == ["2", "##7", "5", "6", "3", "##1"]
    assert torch.equal(is_hidden[:, digits[0]], is_hidden[:, digits[1]])
    assert torch.equal(is_hidden[:, digits[4]], is_hidden[:, digits[5]])
    assert not torch.equal(is_hidden[:, digits[0]], is_hidden[:, digits[4]])
    assert is_hidden[:, digits].double().mean(dim=0) == pytest.approx([0.3] * 6, abs=0.08)
    assert is_hidden.any(dim=0).sum() == 6  # nothing else ever


def test_shares_are_spread_only_once_the_first_one_has_ended(
    tokenizer: BertTokenizer, ids: torch.Tensor
) -> None:
    shown = readback(tokenizer, None, ReadbackMask(1.0, until=0.5, then=0.0, spread=True))
    hidden = [(shown(ids, KEY, at) == tokenizer.mask_token_id).sum(dim=1) for at in (0.4, 0.5)]
    assert (hidden[0] == 4).all()
    assert set(hidden[1].tolist()) == {0, 1, 2, 3, 4}


def test_noise_leaves_what_is_hidden_as_it_was(
    tokenizer: BertTokenizer, ids: torch.Tensor
) -> None:
    mask = ReadbackMask(first=0.5)
    alone = readback(tokenizer, None, mask)(ids, KEY, 0.0) == tokenizer.mask_token_id
    both = readback(tokenizer, ReadbackNoise(share=1.0), mask)(ids, KEY, 0.0)
    assert torch.equal(both == tokenizer.mask_token_id, alone)
    assert (both != ids)[~alone].any()


def test_noise_needs_one_token_a_number(tokenizer: BertTokenizer) -> None:
    grammar = TokenGrammar.of(tokenizer, CaptionFormat(64))
    with pytest.raises(
        UserError, match=r"readback_noise needs one token a number.*only 32 of 0 to 63.*=null"
    ):
        Readback(grammar, len(tokenizer), noise=ReadbackNoise())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, r"readback_noise\.sigma=0\.0: expected more than 0 bins"),
        ({"sigma": float("nan")}, r"readback_noise\.sigma=nan"),
        ({"share": 1.5}, r"readback_noise\.share=1\.5: expected 0 to 1"),
    ],
)
def test_noise_of_no_sense_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ReadbackNoise(**settings)


SOME = ReadbackMask()
NO_SHARE = ReadbackMask(first=0.0, then=0.0)


@pytest.mark.parametrize(
    ("mask", "hides"),
    [
        (ReadbackMask(), True),
        (NO_SHARE, False),
        (ReadbackMask(first=0.0, then=0.0, spread=True), True),
        (ReadbackMask(first=0.0, then=0.3), True),
        (ReadbackMask(first=0.0, until=1.0, then=0.3), False),
        (ReadbackMask(first=1.0, until=0.0, then=0.0), False),
        (ReadbackMask(first=1.0, until=0.5, then=0.0), True),
        (ReadbackMask(first=0.0, until=1.0, then=0.0, spread=True), False),
    ],
    ids=str,
)
def test_a_mask_hides_where_one_of_its_shares_comes_to_pass(
    mask: ReadbackMask, hides: bool
) -> None:
    assert mask.hides == hides
    ever = [mask.share(p / 10) > 0 or (mask.spread and p / 10 >= mask.until) for p in range(10)]
    assert any(ever) == hides


@pytest.mark.parametrize("mask", [None, NO_SHARE, SOME], ids=["none", "of no share", "some"])
@pytest.mark.parametrize("refine", [0, 2, None])
def test_hidden_coordinates_are_read_of_a_model_alone_that_saw_some(
    mask: ReadbackMask | None, refine: int | None
) -> None:
    if mask is SOME or refine is None:  # to the end it is `constrained`, of any model
        check_decoding(Parallel(refine), mask, 0.0)
        return
    with pytest.raises(UserError, match=r"^decoding: parallel.*captioner\.readback_mask.*: set"):
        check_decoding(Parallel(refine), mask, 0.0)


@pytest.mark.parametrize("decoding", [Free(), Constrained(expectation=True, test_views=2)])
def test_what_reads_captions_one_by_one_suits_any_model(decoding: Decoding) -> None:
    check_decoding(decoding, None, 0.0)


def test_single_joints_are_asked_of_a_model_alone_that_was_trained_with_some() -> None:
    check_decoding(Prompted(), None, 0.25)
    with pytest.raises(UserError, match=r"data\.single_joint=0\): set data\.single_joint=0\.3"):
        check_decoding(Prompted(), SOME, 0.0)


def test_whole_captions_are_asked_of_a_model_alone_that_was_trained_with_some() -> None:
    check_decoding(Prompted(), None, 1.0)
    with pytest.raises(UserError, match=r"every training caption names one joint \(data\.sing"):
        check_decoding(Constrained(), None, 1.0)
