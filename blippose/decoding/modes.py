"""How captions are decoded, each way greedy and exact in what it promises.

| way | promise | passes, 16 joints |
|---|---|---|
| `Free` | token for token Hugging Face's `generate` | 33, more off the grammar |
| `Constrained` | the same, where only what the grammar allows may be said | 1 to 32 |
| `Parallel(refine=None)` | the same as `Constrained`, for any model | 2 to 32 of a whole caption |
| `Parallel(refine=K)` | what K readings of a first guess give | 1 + K of a whole caption |
| `Prompted` | each joint's as `Constrained` after its own prompt | 2 of 16 short captions |

For each view that is asked; a second look, close up, asks once more.
Exact up to the order of sums: in bfloat16 numbers that are nearly as likely change places often.
`Parallel(refine=0)` is as good as reading only for a model that was trained with hidden
coordinates (`readback.ReadbackMask`), `Prompted` for one that was trained with single joints
(`data.single_joint`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat
from blippose.decoding.cached import CachedDecoder
from blippose.decoding.grammar import NUM_NUMBERS, TokenGrammar
from blippose.decoding.greedy import free_tokens
from blippose.decoding.numbers import NumberChoice
from blippose.decoding.parallel import (
    ParallelCaptions,
    constrained_captions,
    parallel_tokens,
)
from blippose.decoding.places import number_places
from blippose.decoding.prompted import JointPrompt, prompted_numbers
from blippose.decoding.views import check_test_views
from blippose.decoding.written import written
from blippose.errors import UserError
from blippose.pose import NUM_JOINTS


@dataclass(frozen=True, eq=False)
class Writer:
    """A model that writes captions, and their grammar.

    Args:
        blip: in evaluation mode while it writes.
        tokenizer: the model's.
        caption_format: of the captions.
        grammar: the same in tokens.
    """

    blip: BlipForConditionalGeneration
    tokenizer: BertTokenizer
    caption_format: CaptionFormat
    grammar: TokenGrammar


@dataclass(frozen=True, eq=False)
class Decoded:
    """Captions, and how likely each number was in each place.

    Args:
        tokens: [DEC] ... [SEP] [PAD]...
        log_probability: per joint, x before y, of every number in the place where the caption has
            one, after what stands before it; NaN for joints that the caption has not. None unless
            asked for.
    """

    tokens: Int[Tensor, "batch length"]
    log_probability: Float[Tensor, "batch 16 2 number"] | None


@runtime_checkable
class Decoding(Protocol):
    """A way to decode captions.

    Args of a call:
        writer: the model.
        image: what the vision tower says of each image.
        with_probability: also say how likely each number was.
    """

    @property
    def expectation(self) -> bool:
        """Whether a joint is the mean of what is likely round the number written."""

    @property
    def test_views(self) -> int:
        """How often an image is asked; the reader does that (`decoding.views`)."""

    @property
    def close_up(self) -> bool:
        """Whether it is looked at again, close up; the reader does that (`decoding.close_up`)."""

    @property
    def name(self) -> str:
        """All that decides what comes out, for records and people."""

    def __call__(
        self,
        writer: Writer,
        image: Float[Tensor, "batch patch width"],
        *,
        with_probability: bool,
    ) -> Decoded:
        """The captions of images."""


@dataclass(frozen=True, kw_only=True)
class _ReadOut:
    """What of a model's answers becomes a pose, whatever the way to ask.

    Args:
        expectation: whether a joint is the mean of what is likely round the number written.
        test_views: how often an image is asked, 1, 2 or 4 times; the answers are averaged.
        close_up: whether one view of the image says where the person is alone, and the part round
            that is asked so many times instead, cut from the image itself.

    Raises:
        UserError: another number of views.
    """

    expectation: bool = False
    test_views: int = 1
    close_up: bool = False

    def __post_init__(self) -> None:
        check_test_views(self.test_views)

    @property
    def name(self) -> str:
        """All that decides what comes out."""
        views = [f"{self.test_views} test views"] * (self.test_views > 1)
        close_up = ["close-up"] * self.close_up
        return ", ".join([self._way, *["expectation"] * self.expectation, *views, *close_up])

    @property
    def _way(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Free(_ReadOut):
    """Nothing constrained, as Hugging Face's greedy `generate`."""

    def __call__(
        self,
        writer: Writer,
        image: Float[Tensor, "batch patch width"],
        *,
        with_probability: bool = False,
    ) -> Decoded:
        """The captions of images."""
        grammar = writer.grammar
        tokens = free_tokens(writer.blip, grammar, image, grammar.longest)
        if not with_probability:
            return Decoded(tokens, None)
        return Decoded(tokens, number_log_probability(writer, image, tokens))


@dataclass(frozen=True)
class Constrained(_ReadOut):
    """A number in every place, the best that the grammar allows."""

    def __call__(
        self,
        writer: Writer,
        image: Float[Tensor, "batch patch width"],
        *,
        with_probability: bool = False,
    ) -> Decoded:
        """The captions of images."""
        found = constrained_captions(
            writer.blip, writer.grammar, image, with_probability=with_probability
        )
        return _of_numbers(writer, found)


@dataclass(frozen=True)
class Parallel(_ReadOut):
    """All numbers at once, from hidden ones on.

    Args:
        refine: passes that read the last guess; None: until nothing is left to change.

    Raises:
        UserError: fewer than no passes.
    """

    refine: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refine is not None and self.refine < 0:
            raise UserError(f"decoding.refine={self.refine}: expected 0 or more passes, or null")

    @property
    def _way(self) -> str:
        return f"parallel, refine {'to the end' if self.refine is None else self.refine}"

    def __call__(
        self,
        writer: Writer,
        image: Float[Tensor, "batch patch width"],
        *,
        with_probability: bool = False,
    ) -> Decoded:
        """The captions of images."""
        found = parallel_tokens(
            writer.blip, writer.grammar, image, self.refine, with_probability=with_probability
        )
        return _of_numbers(writer, found)


@dataclass(frozen=True)
class Prompted(_ReadOut):
    """Each joint asked by itself, without what was said of the others."""

    def __call__(
        self,
        writer: Writer,
        image: Float[Tensor, "batch patch width"],
        *,
        with_probability: bool = False,
    ) -> Decoded:
        """The captions of images."""
        tokenizer, form, grammar = writer.tokenizer, writer.caption_format, writer.grammar
        prompts = [
            JointPrompt.of(tokenizer, form, grammar.numbers[0], joint)
            for joint in range(NUM_JOINTS)
        ]
        numbers, log_p = prompted_numbers(
            writer.blip, grammar, prompts, image, with_probability=with_probability
        )
        every = torch.ones(numbers.shape[:2], dtype=torch.bool, device=numbers.device)
        return Decoded(written(tokenizer, form, numbers, every), log_p)


def _of_numbers(writer: Writer, found: ParallelCaptions) -> Decoded:
    log_p = found.log_probability
    if log_p is None:
        return Decoded(found.tokens, None)
    place = np.argsort(writer.caption_format.joint_order)  # of each joint in the caption
    by_place = log_p.view(len(found.tokens), NUM_JOINTS, 2, -1)
    return Decoded(found.tokens, by_place[:, place])


@torch.no_grad()
def number_log_probability(
    writer: Writer,
    image: Float[Tensor, "batch patch width"],
    tokens: Int[Tensor, "batch length"],
    logits: Float[Tensor, "batch length vocabulary"] | None = None,
) -> Float[Tensor, "batch 16 2 number"]:
    """How likely each number was in the places of finished captions.

    NaN for joints that a caption has not.

    Args:
        writer: the model.
        image: what its vision tower says of the images.
        tokens: the captions.
        logits: of each next token after `tokens`, where they are known: with numbers of one piece
            they say it, and spare the pass of the decoder. Rounded ones do not.
    """
    num_values = len(writer.grammar.numbers)
    log_p = image.new_full(
        (len(tokens), NUM_JOINTS, 2, num_values), torch.nan, dtype=torch.float32
    )
    found = [
        (row, joint, axis, places[0])
        for row, ids in enumerate(tokens.tolist())
        for joint, numbers in number_places(writer.tokenizer, writer.caption_format, ids).items()
        for axis, places in enumerate(numbers)
    ]
    if not found:
        return log_p
    row, joint, axis, place = torch.tensor(found, device=tokens.device).unbind(dim=1)
    if logits is not None and logits.dtype == torch.float32 and writer.grammar.is_of_one_piece:
        ids = torch.tensor(writer.grammar.numbers, device=tokens.device)[:, 0]
        log_p[row, joint, axis] = logits[row, place - 1][:, ids].log_softmax(dim=-1)
        return log_p
    decoder = CachedDecoder(writer.blip, image, tokens.shape[1] + NUM_NUMBERS)
    choice = NumberChoice(writer.grammar, decoder, tokens.device)
    start = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    hidden = decoder.read(tokens, start)
    end = choice.ends[axis]  # the same behind every x, and behind every y
    log_p[row, joint, axis] = choice.log_probability(hidden[row, place - 1], row, place, end)
    return log_p
