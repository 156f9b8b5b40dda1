"""Greedy captions in few passes: token for token what `generate` and a naive loop say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from talkative import make_talkative
from torch.nn import functional as F  # noqa: N812  torch's own convention
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose import feed_forward
from blippose.blip import load_blip, load_tokenizer
from blippose.caption import CaptionFormat
from blippose.decoding import TokenGrammar, constrained_tokens, free_tokens
from blippose.decoding.cached import CachedDecoder
from blippose.pose import NUM_JOINTS


@pytest.fixture
def pixel_values() -> torch.Tensor:
    return 2 * torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def talkative(blip: BlipForConditionalGeneration) -> BlipForConditionalGeneration:
    return make_talkative(blip)


@torch.no_grad()
def look(blip: BlipForConditionalGeneration, pixel_values: torch.Tensor) -> torch.Tensor:
    return blip.vision_model(pixel_values=pixel_values)[0]


@torch.no_grad()
def generate(
    blip: BlipForConditionalGeneration,
    pixel_values: torch.Tensor,
    max_length: int,
    allowed: Callable[[int, torch.Tensor], list[int]] | None = None,
) -> list[list[int]]:
    """Hugging Face's tokens of each row, up to [SEP]."""
    tokens = blip.generate(
        pixel_values=pixel_values,
        max_new_tokens=max_length - 1,
        do_sample=False,
        num_beams=1,
        prefix_allowed_tokens_fn=allowed,
    )
    return rows(tokens, blip.text_decoder.config.sep_token_id)


def rows(tokens: torch.Tensor, sep: int) -> list[list[int]]:
    return [row[: row.index(sep) + 1] if sep in row else row for row in tokens.tolist()]


@torch.no_grad()
def naive_greedy(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    pixel_values: torch.Tensor,
    max_length: int,
) -> list[list[int]]:
    """The whole prefix is fed for each token: no cache, no `generate`."""
    captions = []
    for image in pixel_values:
        tokens = [tokenizer.bos_token_id]
        while len(tokens) < max_length and tokens[-1] != tokenizer.sep_token_id:
            output = blip(pixel_values=image[None], input_ids=torch.tensor([tokens]))
            tokens.append(int(output.logits[0, -1].argmax()))
        captions.append(tokens)
    return captions


def only(grammar: TokenGrammar) -> Callable[[int, torch.Tensor], list[int]]:
    """What may follow a prefix, by following every way in which the grammar can have made it."""

    def allowed(_: int, prefix: torch.Tensor) -> list[int]:
        places = {(0, 0, ())}  # run of fixed tokens, how many of it, pieces of the number behind
        for token in prefix.tolist():
            places = {after for place in places for said, after in ways(place) if said == token}
        return sorted({said for place in places for said, _ in ways(place)})

    def ways(place: tuple) -> list[tuple]:  # type: ignore[type-arg]
        run, count, pieces = place
        fixed = grammar.fixed[run]
        if count < len(fixed):
            return [(fixed[count], (run, count + 1, ()))]
        if run == len(grammar.fixed) - 1:
            return [(grammar.pad, place)]
        size = len(pieces)
        starts = {number[: size + 1] for number in grammar.numbers if number[:size] == pieces}
        going_on = [(n[-1], (run, count, n)) for n in starts if len(n) == size + 1]
        if pieces in grammar.numbers:
            going_on += ways((run + 1, 0, ()))
        return going_on

    return allowed


def test_number_tokens_of_the_tiny_vocabulary(
    tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    numbers = {tokenizer.convert_tokens_to_ids(str(number)): number for number in range(32)}
    values = TokenGrammar.of(tokenizer, caption_format).values
    assert list(values.items()) == sorted(numbers.items())


def test_numbers_of_bert_that_are_one_token_are_all_up_to_341(
    bert_tokenizer: BertTokenizer,
) -> None:
    values = TokenGrammar.of(bert_tokenizer, CaptionFormat(384)).values
    assert set(range(342)) <= set(values.values())
    assert len(set(values.values())) == len(values) == 384 - 26
    for token_id, value in values.items():
        assert bert_tokenizer.convert_ids_to_tokens(token_id) == str(value)


def test_free_tokens_equal_a_loop_over_whole_prefixes(
    talkative: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    pixel_values: torch.Tensor,
) -> None:
    grammar = TokenGrammar.of(tokenizer, caption_format)
    tokens = free_tokens(talkative, grammar, look(talkative, pixel_values), 60)
    expected = naive_greedy(talkative, tokenizer, pixel_values, 60)
    assert rows(tokens, tokenizer.sep_token_id) == expected
    assert len({tuple(row) for row in expected}) > 1  # the images differ, and are looked at


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
def test_free_tokens_equal_generate_wherever_a_row_leaves_the_grammar(noise: float) -> None:
    """The shipped model, made more and more confused: rows leave in the middle, early, at once."""
    # float64, as the order of sums must not decide between two numbers that are as likely.
    blip, tokenizer = load_blip("tiny").eval().double(), load_tokenizer("tiny")
    generator = torch.Generator().manual_seed(0)
    for weight in blip.text_decoder.parameters():
        weight.data += (
            noise * weight.std().nan_to_num() * 5 * torch.randn(weight.shape, generator=generator)
        )
    grammar = TokenGrammar.of(tokenizer, CaptionFormat(96))
    pixel_values = torch.randn(12, 3, 3, 3, generator=generator, dtype=torch.float64)
    pixel_values = F.interpolate(pixel_values, (96, 96), mode="bicubic")
    tokens = free_tokens(blip, grammar, look(blip, pixel_values), grammar.longest)
    said = rows(tokens, grammar.sep)
    assert said == generate(blip, pixel_values, grammar.longest)
    for row, of_row in zip(tokens.tolist(), said, strict=True):
        assert set(row[len(of_row) :]) <= {grammar.pad}  # nothing of a draft that was left
    whole = rows(constrained_tokens(blip, grammar, look(blip, pixel_values)), grammar.sep)
    num_left = sum(row != other for row, other in zip(said, whole, strict=True))
    assert num_left < len(said) if noise == 0 else num_left > 0


@pytest.mark.parametrize("max_length", [1, 4, 5, 20, 126])
def test_free_tokens_are_cut_at_the_length_asked_for(max_length: int) -> None:
    blip, tokenizer = load_blip("tiny").eval(), load_tokenizer("tiny")
    grammar = TokenGrammar.of(tokenizer, CaptionFormat(96))
    image = look(blip, torch.zeros(1, 3, 96, 96))
    whole = free_tokens(blip, grammar, image, grammar.longest)
    cut = free_tokens(blip, grammar, image, max_length)
    assert cut.tolist() == whole[:, :max_length].tolist()


@pytest.mark.parametrize("num_bins", [None, 4, 100, 300])
def test_constrained_tokens_equal_generate_under_the_grammar(
    talkative: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    pixel_values: torch.Tensor,
    num_bins: int | None,
) -> None:
    """This tokenizer knows 0 to 31 as one piece; larger numbers take a piece a digit."""
    grammar = TokenGrammar.of(tokenizer, CaptionFormat(32, num_bins))
    more = torch.cat([pixel_values, pixel_values.flip(-1), -pixel_values])
    talkative.text_decoder.bert.embeddings.position_embeddings.weight.data *= 3
    tokens = constrained_tokens(talkative, grammar, look(talkative, more))
    said = rows(tokens, grammar.sep)
    assert said == generate(talkative, more, grammar.longest, only(grammar))
    for ahead in (1, 2, 5, 32):
        tokens = constrained_tokens(talkative, grammar, look(talkative, more), ahead)
        assert rows(tokens, grammar.sep) == said
    assert len({tuple(row) for row in said}) > 1
    assert (len(set(map(len, said))) > 1) == ((num_bins or 0) > 32)  # rows differ in length


def test_constrained_captions_are_whole(
    talkative: BlipForConditionalGeneration, tokenizer: BertTokenizer, pixel_values: torch.Tensor
) -> None:
    caption_format = CaptionFormat(32, 300)
    grammar = TokenGrammar.of(tokenizer, caption_format)
    tokens = constrained_tokens(talkative, grammar, look(talkative, pixel_values))
    for caption in tokenizer.batch_decode(tokens, skip_special_tokens=True):
        assert caption_format.decode(caption).reasons == (None,) * NUM_JOINTS


def test_free_tokens_go_on_to_the_last(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    pixel_values: torch.Tensor,
) -> None:
    seven = tokenizer.convert_tokens_to_ids("7")
    with torch.no_grad():  # it says "7" for ever, and never [SEP]
        blip.text_decoder.cls.predictions.bias.fill_(-100.0)
        blip.text_decoder.cls.predictions.bias[seven] = 100.0
    grammar = TokenGrammar.of(tokenizer, caption_format)
    tokens = free_tokens(blip, grammar, look(blip, pixel_values), 129)
    assert tokens.tolist() == [[tokenizer.bos_token_id] + [seven] * 128] * 3


def test_rows_may_leave_the_draft_all_at_once_where_a_number_should_stand() -> None:
    blip, tokenizer = load_blip("tiny").eval().double(), load_tokenizer("tiny")
    grammar = TokenGrammar.of(tokenizer, CaptionFormat(96))
    numbers = [piece for number in grammar.numbers for piece in number]
    with torch.no_grad():
        blip.text_decoder.cls.predictions.decoder.bias[numbers] -= 100
    pixel_values = torch.zeros(2, 3, 96, 96, dtype=torch.float64)
    said = rows(free_tokens(blip, grammar, look(blip, pixel_values), 40), grammar.sep)
    assert said == generate(blip, pixel_values, 40)
    assert all(tuple(row[: len(grammar.fixed[0])]) == grammar.fixed[0] for row in said)


def test_free_tokens_stop_at_sep(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    pixel_values: torch.Tensor,
) -> None:
    with torch.no_grad():
        blip.text_decoder.cls.predictions.bias[tokenizer.sep_token_id] = 100.0
    grammar = TokenGrammar.of(tokenizer, caption_format)
    tokens = free_tokens(blip, grammar, look(blip, pixel_values), 129)
    assert tokens.tolist() == [[tokenizer.bos_token_id, tokenizer.sep_token_id]] * 3


@pytest.mark.parametrize("at_once", [1, 10, 10_000])  # tokens: rows one by one, two, or all
@torch.no_grad()
def test_rows_of_the_cache_stand_at_their_own_places(
    talkative: BlipForConditionalGeneration,
    pixel_values: torch.Tensor,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_forward, "_TOKENS_AT_ONCE", at_once)
    image = look(talkative, pixel_values)
    tokens = torch.randint(5, 30, (3, 12), generator=torch.Generator().manual_seed(3))
    expected = talkative.text_decoder(input_ids=tokens, encoder_hidden_states=image).logits
    decoder = CachedDecoder(talkative, image, 12)
    decoder.read(tokens[:, :5], torch.zeros(3, dtype=torch.long))
    decoder.read(7 + tokens[:, 5:8], torch.tensor([5, 5, 5]))  # wrong ones, to be forgotten
    some = torch.tensor([0, 2])
    decoder.read(tokens[some, 5:8], torch.tensor([5, 5]), some)
    hidden = decoder.read(
        torch.stack([tokens[0, 8:12], tokens[1, 5:9], tokens[2, 8:12]]), torch.tensor([8, 5, 8])
    )
    wanted = torch.stack([expected[0, 8:12], expected[1, 5:9], expected[2, 8:12]])
    torch.testing.assert_close(decoder.logits(hidden), wanted, rtol=1e-4, atol=1e-4)
    few = torch.tensor([3, 11])
    torch.testing.assert_close(decoder.logits(hidden, few), wanted[..., few], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_rows_that_begin_alike_are_one_until_they_look_at_their_images() -> None:
    blip = load_blip("tiny").eval()  # of two layers: the last is of what is asked
    draw = torch.Generator().manual_seed(3)
    image = torch.randn(3, 145, 192, generator=draw)
    tokens = torch.randint(5, 200, (3, 12), generator=draw)
    tokens[:, :8] = tokens[0, :8]
    expected = blip.text_decoder(input_ids=tokens, encoder_hidden_states=image).logits
    layers = blip.text_decoder.bert.encoder.layer
    rows: list[list[int]] = [[], []]
    for layer, seen in zip(layers, rows, strict=True):
        layer.attention.self.key.register_forward_hook(
            lambda _, __, out, seen=seen: seen.append(len(out))
        )
    decoder = CachedDecoder(blip, image, 12)
    start, asked = torch.zeros(3, dtype=torch.long), torch.tensor([[7, 1], [0, 7], [4, 4]])
    hidden = decoder.read(tokens[:, :8], start)
    of_some = decoder.read(tokens[:, :8], start, asked=asked)
    assert rows == [[1, 1], [3, 3]]
    torch.testing.assert_close(decoder.logits(hidden), expected[:, :8], rtol=1e-3, atol=1e-3)
    which = torch.arange(3)[:, None], asked
    torch.testing.assert_close(of_some[which], hidden[which], rtol=1e-3, atol=1e-3)
    # What was read once is there for each row, and rows that differ are read each for itself.
    hidden = decoder.read(tokens[:, 8:], start + 8)
    torch.testing.assert_close(decoder.logits(hidden), expected[:, 8:], rtol=1e-3, atol=1e-3)
    decoder.read(tokens, start)
    aside = decoder.read(tokens[:, :1], start, keep=False)
    torch.testing.assert_close(decoder.logits(aside), expected[:, :1], rtol=1e-3, atol=1e-3)
    assert rows[0] == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("num_bins", [None, 4, 100, 1000])
def test_length_covers_the_longest_caption(tokenizer: BertTokenizer, num_bins: int | None) -> None:
    caption_format = CaptionFormat(32, num_bins)
    length = TokenGrammar.of(tokenizer, caption_format).longest
    lengths = [
        len(tokenizer(caption_format.encode(xy_input)).input_ids)
        for number in range(caption_format.bins)
        for xy_input in [caption_format.dequantize(np.full((NUM_JOINTS, 2), number))]
    ]
    assert length == max(lengths)


def test_length_does_not_depend_on_the_number_of_joints_seen(tokenizer: BertTokenizer) -> None:
    xy_input = np.full((NUM_JOINTS, 2), 5.0)
    some = CaptionFormat(32).encode(xy_input, np.arange(NUM_JOINTS) < 9)
    assert (
        len(tokenizer(some).input_ids)
        < TokenGrammar.of(tokenizer, CaptionFormat(32)).longest
        == 127
    )


@pytest.mark.parametrize("size", [96, 384])
def test_the_grammar_in_tokens_is_the_caption(bert_tokenizer: BertTokenizer, size: int) -> None:
    caption_format = CaptionFormat(size)
    grammar = TokenGrammar.of(bert_tokenizer, caption_format)
    xy_bin = np.random.default_rng(0).integers(0, size, (NUM_JOINTS, 2))
    xy_bin[3] = size - 1  # "383" is 38 ##3
    runs = [grammar.fixed[0]]
    for number, behind in zip(xy_bin.flatten(), grammar.fixed[1:], strict=True):
        runs += [grammar.numbers[number], behind]
    caption = caption_format.encode(caption_format.dequantize(xy_bin))
    tokens = bert_tokenizer(caption).input_ids
    assert sum(runs, ()) == (bert_tokenizer.bos_token_id, *tokens[1:])


@pytest.mark.slow  # Hugging Face's `generate` on the full-size model takes most of a minute
def test_full_size_tokens_equal_generate(bert_tokenizer: BertTokenizer) -> None:
    """BLIP base, random weights: numbers of two pieces, 30,524 tokens to choose from."""
    torch.manual_seed(0)
    architecture = {
        "vision": {"image_size": 384},
        "text": {"vocab_size": 30524, "num_attention_heads": 12, "bos_token_id": 30522},
    }
    blip = load_blip("random", architecture).eval()
    for name, weight in blip.named_parameters():
        if "position_embeddings" in name or "crossattention" in name:
            weight.data *= 4  # what is said changes along the caption, and with the image
    grammar = TokenGrammar.of(bert_tokenizer, CaptionFormat(384))
    pixel_values = torch.randn(2, 3, 384, 384, generator=torch.Generator().manual_seed(1))
    image = look(blip, pixel_values)
    whole = rows(constrained_tokens(blip, grammar, image), grammar.sep)
    assert whole == generate(blip, pixel_values, grammar.longest, only(grammar))
    free = rows(free_tokens(blip, grammar, image, 24), grammar.sep)
    assert free == generate(blip, pixel_values, 24)
