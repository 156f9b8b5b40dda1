"""Attention from tokens to joints: hand-built maps with known answers, and invariances."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

import blippose.attention.maps as maps_module
from blippose.attention import (
    EARLIER,
    OUTSIDE,
    RELATIONS,
    Attention,
    AttentionReader,
    PatchGrid,
    Segments,
    related,
    relation_shares,
)
from blippose.attention.maps import joint_attention
from blippose.blip import load_blip
from blippose.caption import CaptionFormat
from blippose.pose import JOINTS

READ, WRITTEN = 1, 0


def tokens_of(tokenizer: BertTokenizer, *captions: str) -> Tensor:
    tokens: Tensor = tokenizer(list(captions), padding=True, return_tensors="pt").input_ids
    tokens[:, 0] = tokenizer.bos_token_id
    return tokens


def whole_caption(number: int = 7) -> str:
    return ", ".join(f"{name} ({number},{number})" for name in JOINTS)


def seen_in_order() -> Tensor:
    """Of a caption of all joints in MPII's order: each sees itself, and those before it."""
    return torch.cat([torch.ones(16, 1), torch.ones(16, 16).tril()], dim=1)


def attention_of(
    segments: Segments, self_map: Tensor, cross_map: Tensor | None = None
) -> Attention:
    """One layer; by default nothing looks at the image."""
    batch, heads, length, _ = self_map.shape
    cross = torch.ones(batch, heads, length, 5) / 5 if cross_map is None else cross_map
    return joint_attention(segments, (self_map,), (cross,), [], [])


@pytest.fixture
def segments(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> Segments:
    """Of one whole caption."""
    return Segments.of(tokens_of(tokenizer, whole_caption()), tokenizer, caption_format)


def random_maps(segments: Segments, heads: int = 3) -> Tensor:
    """Causal, rows that sum to 1."""
    length = segments.joint.shape[1]
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(len(segments.joint), heads, length, length, generator=draw) * 3
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)


def test_a_joint_runs_from_its_name_to_the_next(
    tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    tokens = tokens_of(tokenizer, "right ankle (3,4), pelvis (5,6)", "pelvis (1,2)")
    joint = Segments.of(tokens, tokenizer, caption_format).joint.tolist()
    pelvis = JOINTS.index("pelvis")
    assert joint[0] == [OUTSIDE, *[0] * 8, *[pelvis] * 6, OUTSIDE]
    assert joint[1][:8] == [OUTSIDE, *[pelvis] * 6, OUTSIDE]
    assert set(joint[1][8:]) == {OUTSIDE}  # padding


def test_numbers_are_told_from_words(
    tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    tokens = tokens_of(tokenizer, "right ankle (3,4), pelvis (5,6)")
    marked = tokens[Segments.of(tokens, tokenizer, caption_format).is_number]
    assert tokenizer.convert_ids_to_tokens(marked.tolist()) == ["3", "4", "5", "6"]


def test_every_piece_of_a_number_counts(bert_tokenizer: BertTokenizer) -> None:
    caption_format = CaptionFormat(384)
    tokens = tokens_of(bert_tokenizer, "right ankle (342,17), right knee (1,383)")
    marked = tokens[Segments.of(tokens, bert_tokenizer, caption_format).is_number]
    pieces = bert_tokenizer.convert_ids_to_tokens(marked.tolist())
    assert pieces == ["34", "##2", "17", "1", "38", "##3"]


def test_a_joint_that_is_named_twice_has_no_tokens(
    tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    tokens = tokens_of(tokenizer, "pelvis (1,2), thorax (3,4), pelvis (5,6)")
    found = Segments.of(tokens, tokenizer, caption_format)
    assert set(found.joint.unique().tolist()) == {OUTSIDE, JOINTS.index("thorax")}
    assert found.is_number.sum() == 2


def test_a_caption_that_names_no_joint_has_no_tokens_of_any_and_the_others_keep_theirs(
    tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    tokens = tokens_of(tokenizer, "pelvis (1,2)", "(1,2), (3,4)", "")
    found = Segments.of(tokens, tokenizer, caption_format)
    assert JOINTS.index("pelvis") in found.joint[0].tolist()
    assert found.joint[1:].unique().tolist() == [OUTSIDE]
    assert not found.is_number[1:].any()


@pytest.mark.parametrize(
    "caption",
    [
        "left hip (1,2)",
        "left hip (1,2), right hip (3,4)",
        "right hip (1,2), left hip (3,4), right hip (5,6)",
    ],
    ids=["absent", "later", "twice"],
)
def test_a_partner_without_words_before_the_joint_does_not_count(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, caption: str
) -> None:
    one = Segments.of(tokens_of(tokenizer, caption), tokenizer, caption_format)
    found = attention_of(one, random_maps(one))
    uniform = found.uniform_joint
    for self_joint, seen in ((found.self_joint, uniform[:, None, None]), (uniform, uniform)):
        shares = relation_shares(self_joint, seen)
        assert shares[..., RELATIONS.index("mirrored")].isnan().all()
        assert shares[..., RELATIONS.index("own")].isfinite().all()


def test_rows_of_joints_sum_to_one(segments: Segments) -> None:
    maps = random_maps(segments)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    found = attention_of(segments, maps)
    for rows in (found.self_joint, found.uniform_joint):
        torch.testing.assert_close(rows.sum(dim=-1), torch.ones(rows.shape[:-1]))
    later = found.self_joint[..., 1:].triu(1)
    assert float(later.abs().max()) == 0  # what is not written yet cannot be looked at


def test_a_head_that_looks_at_its_own_token_gives_all_to_its_joint(segments: Segments) -> None:
    itself = torch.eye(segments.joint.shape[1])[None, None]
    found = attention_of(segments, itself)
    torch.testing.assert_close(found.self_joint[0, 0, 0, :, 1:], torch.eye(16))
    assert float(found.self_entropy.abs().max()) == 0
    shares = relation_shares(found.self_joint[0, 0, 0], found.uniform_joint[0])
    assert shares.tolist() == [1.0, *[0.0] * len(EARLIER)]


def test_a_head_that_looks_at_the_start_gives_nothing_to_joints(segments: Segments) -> None:
    start = torch.zeros(1, 1, *[segments.joint.shape[1]] * 2)
    start[..., 0] = 1
    found = attention_of(segments, start)
    assert found.self_joint[..., 0].unique().tolist() == [1.0]
    assert float(found.self_joint[..., 1:].sum()) == 0


def test_the_uniform_control_is_what_a_hand_computes(
    tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    """[DEC], six tokens of the pelvis and its comma, six of the thorax."""
    tokens = tokens_of(tokenizer, "pelvis (1,2), thorax (3,4)")
    one = Segments.of(tokens, tokenizer, caption_format)
    found = attention_of(one, random_maps(one))
    pelvis, thorax = JOINTS.index("pelvis"), JOINTS.index("thorax")
    to_pelvis = np.mean([7 / t for t in range(9, 15)])  # the t-th token looks at t of them
    assert found.uniform_joint[0, thorax, 1 + pelvis] == pytest.approx(to_pelvis)
    assert found.uniform_joint[0, thorax, 0] == pytest.approx(
        np.mean([1 / t for t in range(9, 15)])
    )
    bits = np.mean(np.log2(np.arange(2, 9)))
    assert found.uniform_entropy[0, pelvis] == pytest.approx(bits)
    assert found.uniform_joint[0, JOINTS.index("head top")].isnan().all()  # not in the caption


def test_no_head_has_more_entropy_than_the_uniform_one(segments: Segments) -> None:
    found = attention_of(segments, random_maps(segments))
    assert bool((found.self_entropy < found.uniform_entropy[:, None, None]).all())


def test_looking_at_the_joint_before_is_looking_at_eleven_neighbours_and_two_mirrors() -> None:
    matrix = torch.zeros(16, 17)
    matrix[torch.arange(1, 16), torch.arange(1, 16)] = 1  # entry j is joint j - 1
    matrix[0, 0] = 1
    shares = dict(zip(RELATIONS, relation_shares(matrix, seen_in_order()).tolist(), strict=True))
    expected = {"own": 0, "previous": 1, "neighbour": 11 / 13, "mirrored": 2 / 6}
    expected |= {"neighbour_not_previous": 0, "mirrored_not_previous": 0}
    assert shares == pytest.approx(expected)


def test_joints_that_are_not_in_the_caption_do_not_count() -> None:
    missing = [joint for joint in range(16) if joint not in (2, 3)]
    matrix, seen = torch.zeros(16, 17), seen_in_order()
    matrix[3, 1 + 2] = 1.0  # the left hip looks at the right one, which is also the one before
    seen[:, [1 + joint for joint in missing]] = 0
    matrix[missing] = seen[missing] = torch.nan
    shares = dict(zip(RELATIONS, relation_shares(matrix, seen).tolist(), strict=True))
    assert (shares["own"], shares["previous"], shares["mirrored"]) == (0, 1, 1)
    assert np.isnan(shares["neighbour"])


def test_relations_hold_with_earlier_joints_only() -> None:
    tables = dict(zip(RELATIONS, related(), strict=True))
    for name in EARLIER:
        assert not np.triu(tables[name]).any(), name
    counts = {name: int(table.any(axis=1).sum()) for name, table in tables.items()}
    assert (counts["own"], counts["previous"]) == (16, 15)
    assert (counts["neighbour"], counts["mirrored"]) == (13, 6)


def test_the_joint_before_is_the_one_that_the_caption_names_before() -> None:
    order = CaptionFormat(384, order="torso").joint_order
    tables = dict(zip(RELATIONS, related(order), strict=True))
    assert [tables["previous"][later, earlier] for earlier, later in pairwise(order)] == [
        True
    ] * 15
    assert tables["previous"].sum() == 15
    place = np.argsort(order)
    for name in EARLIER:
        joints, others = tables[name].nonzero()
        assert (place[others] < place[joints]).all(), name
    # A bone that joins two joints is one, whichever of them is named first.
    assert (
        tables["neighbour"].sum()
        == dict(zip(RELATIONS, related(), strict=True))["neighbour"].sum()
    )


def test_numbers_look_from_their_own_place_and_from_one_before(segments: Segments) -> None:
    """The token at place t looks at patch t alone."""
    length = segments.joint.shape[1]
    found = attention_of(segments, random_maps(segments, 1), torch.eye(length)[None, None])
    for joint in range(16):
        places = ((segments.joint[0] == joint) & segments.is_number[0]).nonzero().squeeze(1)
        for step, shift in ((READ, 0), (WRITTEN, -1)):
            looked_at = found.cross[0, step, 0, 0, joint]
            assert looked_at.nonzero().squeeze(1).tolist() == (places + shift).tolist()
            assert looked_at.sum() == pytest.approx(1)


def test_the_class_token_is_no_peak() -> None:
    cross = torch.tensor([0.9, 0.0, 0.01, 0.06, 0.03])
    grid = PatchGrid(2, 32)
    assert grid.peak(cross).tolist() == 2
    assert grid.peak(cross * float("nan")).tolist() == -1
    assert grid.centre(np.array(2)).tolist() == [7.5, 23.5]


@given(st.integers(1, 24), st.floats(-0.5, 383.4), st.floats(-0.5, 383.4))
def test_no_patch_is_nearer_than_the_nearest(side: int, x: float, y: float) -> None:
    grid, place = PatchGrid(side, 384), np.array([x, y])
    all_of_them = grid.centre(np.arange(side * side))
    expected = np.linalg.norm(all_of_them - place, axis=-1).min()
    assert np.linalg.norm(grid.nearest(place) - place) == pytest.approx(expected, abs=1e-9)


@pytest.fixture
def larger(architecture: dict[str, dict[str, Any]]) -> BlipForConditionalGeneration:
    """Three text layers of four heads, and sixty-four patches."""
    larger = copy.deepcopy(architecture)
    larger["text"] |= {"num_hidden_layers": 3, "num_attention_heads": 4}
    larger["vision"] |= {"patch_size": 4}
    torch.manual_seed(0)
    return load_blip("random", larger).eval()


@pytest.fixture
def inputs() -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=draw)


def test_every_layer_head_and_patch_of_another_model_is_read(
    larger: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    inputs: Tensor,
) -> None:
    [found] = AttentionReader(larger, tokenizer, caption_format)(inputs)
    assert found.self_joint.shape == (3, 3, 4, 16, 17)
    assert found.self_entropy.shape == (3, 3, 4, 16)
    assert found.cross.shape == (3, 2, 3, 4, 16, 65)
    assert len(found.captions) == len(found.parsed) == 3


def test_little_memory_changes_nothing(
    larger: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    inputs: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = AttentionReader(larger, tokenizer, caption_format)
    tokens = tokens_of(tokenizer, whole_caption(), "pelvis (1,2), thorax (3,4)", whole_caption(9))
    monkeypatch.setattr(maps_module, "free_tokens", lambda *_: tokens)  # noise names no joint
    [together] = reader(inputs)
    assert together.self_joint[[0, 2]].isfinite().all()
    monkeypatch.setattr(maps_module, "_BYTES", 1)
    alone = list(reader(inputs))
    assert [len(each.captions) for each in alone] == [1, 1, 1]
    for name in ("self_joint", "self_entropy", "cross"):
        parts = torch.cat([getattr(each, name) for each in alone])
        torch.testing.assert_close(parts, getattr(together, name), equal_nan=True)


@torch.no_grad()
def test_rows_are_those_of_the_moment_when_the_word_was_written(
    larger: BlipForConditionalGeneration, tokenizer: BertTokenizer, inputs: Tensor
) -> None:
    """Reading a finished caption changes no row: what comes later is not seen."""
    states = larger.vision_model(pixel_values=inputs / 255)[0]
    tokens = tokens_of(tokenizer, whole_caption(), whole_caption(9), whole_caption(11))

    def maps(length: int) -> tuple[Tensor, Tensor]:
        output: Any = larger.text_decoder(
            input_ids=tokens[:, :length],
            encoder_hidden_states=states,
            output_attentions=True,
            use_cache=False,
        )
        return torch.stack(output.attentions), torch.stack(output.cross_attentions)

    whole_self, whole_cross = maps(tokens.shape[1])
    for length in (1, 30, 90):
        part_self, part_cross = maps(length)
        torch.testing.assert_close(part_self[..., -1, :], whole_self[..., length - 1, :length])
        torch.testing.assert_close(part_cross[..., -1, :], whole_cross[..., length - 1, :])
