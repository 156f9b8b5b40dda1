"""All numbers of a caption at once: a pass guesses every one, the next reads the guess.

A pass feeds whole captions with a guess in the place of each number, and takes what the model says
there. With [MASK] in every place, a model that was trained with hidden coordinates
(`readback.ReadbackMask`) says each number without having read the others: one pass is a caption.

What a pass says of a number is final once all numbers before it were read as they are. So after 32
passes at most, whatever was guessed first, the caption is that of `constrained_tokens`, up to the
order of sums; on the way final numbers stay in the cache, and a batch is read on from the first
number that is open in any row.

Source: Jacobi decoding, Santilli et al. 2023, "Accelerating Transformer Inference for Translation
via Parallel Decoding", section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import BlipForConditionalGeneration

from blippose.decoding.cached import CachedDecoder
from blippose.decoding.grammar import NUM_NUMBERS, TokenGrammar
from blippose.decoding.layout import CaptionLayout
from blippose.decoding.numbers import NumberChoice


@dataclass(frozen=True, eq=False)
class ParallelCaptions:
    """Captions whose numbers were said at once.

    Args:
        tokens: [DEC] ... [SEP] [PAD]...
        numbers: those in the captions, x before y.
        is_final: whether a row is what `constrained_tokens` says.
        num_passes: of the decoder.
        log_probability: of each number that could stand in each place, as the last pass that read
            that row has it; None unless asked for.
    """

    tokens: Int[Tensor, "batch length"]
    numbers: Int[Tensor, "batch 32"]
    is_final: Bool[Tensor, "batch"]
    num_passes: int
    log_probability: Float[Tensor, "batch 32 number"] | None


@torch.no_grad()
def parallel_tokens(
    blip: BlipForConditionalGeneration,
    grammar: TokenGrammar,
    image: Float[Tensor, "batch patch width"],
    refine: int | None = 0,
    start: Int[Tensor, "32"] | None = None,
    *,
    with_probability: bool = False,
) -> ParallelCaptions:
    """Captions with a number in every place, in one pass of the decoder and `refine` more.

    Args:
        blip: in evaluation mode.
        grammar: of the captions.
        image: what the vision tower says of each image.
        refine: passes that read the last guess; fewer where nothing is left to change. None goes
            on to the end, which is what `constrained_tokens` says.
        start: the guess to begin with; None hides every number.
        with_probability: also say how likely each number was.
    """
    rounds = _Rounds(blip, grammar, image, start)
    most = NUM_NUMBERS if refine is None else refine + 1
    while rounds.num_passes < most and not bool(rounds.is_final().all()):
        rounds.read(with_probability=with_probability)
    return rounds.result()


@final
class _Rounds:
    """The guesses of one batch, pass by pass."""

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        grammar: TokenGrammar,
        image: Float[Tensor, "batch patch width"],
        start: Int[Tensor, "32"] | None,
    ) -> None:
        device, num_rows = image.device, len(image)
        self._layout = CaptionLayout(grammar, device)
        self._decoder = CachedDecoder(blip, image, grammar.longest)
        self._choice = NumberChoice(grammar, self._decoder, device)
        guess = torch.full((NUM_NUMBERS,), self._layout.unknown) if start is None else start
        self._numbers = guess.to(device).repeat(num_rows, 1)  # (B, 32), the guess to be read
        # How many numbers at the front were read as they are.
        self._num_read = torch.zeros(num_rows, dtype=torch.long, device=device)
        self._log_probability: Tensor | None = None
        self._order = torch.arange(NUM_NUMBERS, device=device)
        self._pad = grammar.pad
        self.num_passes = 0

    def is_final(self) -> Bool[Tensor, "batch"]:
        """Rows whose last number was said after all others were read as they are."""
        return self._num_read >= NUM_NUMBERS - 1

    def read(self, *, with_probability: bool) -> None:
        """Read the guesses of the rows that are not final, and guess anew."""
        rows = (~self.is_final()).nonzero().squeeze(1)
        fed = self._numbers[rows]
        starts = self._layout.starts(fed)  # (R, 32)
        hidden, begin = self._pass(rows, fed, starts)
        said = self._said(rows, fed, starts, hidden, begin)
        is_kept = self._order < self._num_read[rows, None]  # known, and not read again
        said = torch.where(is_kept, fed, said)
        if with_probability:
            self._keep_probability(rows, starts, hidden, begin, ~is_kept)
        self._numbers[rows] = said
        self._num_read[rows] = (said == fed).int().cumprod(dim=1).sum(dim=1)
        self.num_passes += 1

    def _pass(
        self,
        rows: Int[Tensor, "row"],
        fed: Int[Tensor, "row 32"],
        starts: Int[Tensor, "row 32"],
    ) -> tuple[Float[Tensor, "row length width"], Int[Tensor, "row"]]:
        """What the decoder thinks from the token before the first open number on; its place."""
        first = starts.gather(1, self._num_read[rows, None]).squeeze(1) - 1  # (R,)
        first = torch.where(self._num_read[rows] == 0, 0, first)
        is_flat = self._layout.depth == 1
        end = starts[:, -1] + (0 if is_flat else self._layout.lengths[fed[:, -1]])
        length = int((end - first).max())
        begin = (end - length).clamp(min=0)
        places = begin[:, None] + torch.arange(length, device=rows.device)
        chunk = self._layout.tokens(fed).gather(1, places)
        every = len(rows) == len(self._numbers)
        return self._decoder.read(chunk, begin, None if every else rows), begin

    def _said(
        self,
        rows: Int[Tensor, "row"],
        fed: Int[Tensor, "row 32"],
        starts: Int[Tensor, "row 32"],
        hidden: Float[Tensor, "row length width"],
        begin: Int[Tensor, "row"],
    ) -> Int[Tensor, "row 32"]:
        """The best number in each place after what was fed before it."""
        node = torch.zeros_like(starts).flatten()
        number = torch.zeros_like(node)
        pieces = self._layout.pieces[fed].flatten(0, 1)  # (R x 32, D)
        end = self._choice.ends.repeat(len(rows))
        row, start = rows.repeat_interleave(NUM_NUMBERS), starts.flatten()
        follows = torch.arange(len(node), device=rows.device)  # that go on as what was fed
        for depth in range(self._layout.depth):
            places = (starts - 1 + depth - begin[:, None]).clamp(0, hidden.shape[1] - 1)
            after = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[2]))
            following, is_end = self._choice.step(
                after.flatten(0, 1)[follows], node[follows], end[follows]
            )
            node[follows] = following
            number[follows] = self._choice.value[following]
            follows = follows[~is_end & self._choice.may_go_on[following]]
            if not len(follows):
                break
            as_fed = self._choice.last_piece[node[follows]] == pieces[follows, depth]
            other, follows = follows[~as_fed], follows[as_fed]
            number[other] = self._choice.say_rest(
                node[other], row[other], start[other], end[other]
            )
        return number.view_as(starts)

    def _keep_probability(
        self,
        rows: Int[Tensor, "row"],
        starts: Int[Tensor, "row 32"],
        hidden: Float[Tensor, "row length width"],
        begin: Int[Tensor, "row"],
        is_new: Bool[Tensor, "row 32"],
    ) -> None:
        which, number = is_new.nonzero(as_tuple=True)
        place = starts[which, number]
        log_probability = self._choice.log_probability(
            hidden[which, place - 1 - begin[which]],
            rows[which],
            place,
            self._choice.ends[number],
        )
        if self._log_probability is None:
            shape = (*self._numbers.shape, log_probability.shape[1])
            self._log_probability = log_probability.new_zeros(shape)
        self._log_probability[rows[which], number] = log_probability

    def result(self) -> ParallelCaptions:
        """What was guessed last."""
        tokens = self._layout.tokens(self._numbers)
        length = int((tokens != self._pad).sum(dim=1).max())
        return ParallelCaptions(
            tokens[:, :length],
            self._numbers,
            self.is_final(),
            self.num_passes,
            self._log_probability,
        )
