"""Numbers of a caption said several at a time: a pass guesses them, the next reads the guess.

A pass feeds a caption with a guess in the place of each number, and takes what the model says
there. With [MASK] in every place, a model that was trained with hidden coordinates
(`readback.ReadbackMask`) says each number without having read the others: one pass is a caption.

What a pass says of a number is final once all numbers before it were read as they are: always the
first open one, and each behind it as far as the guesses were right. Final numbers stay in the
cache, which a final row leaves, and each row is read on from its last one. So whatever was
guessed, and however many numbers a pass looks ahead, the caption at the end is the same, up to the
order of sums: the greedy one.

- `parallel_tokens` guesses all numbers in every pass, for as many passes as are asked for.
- `constrained_tokens` goes on to the end, a few numbers ahead: as many as cost a pass nothing.

    a pass, 2 ahead:  final 120; reads "120 , [MASK] ) , right knee ("      says 310, 117
    the next:         final 310; reads "310 ) , right knee ( 117 ,"         says 118, 251
    the next:         117 was wrong; final 118; reads "118 , 251 ) , right hip ("  says 251, 90
    the next:         251 was right; final 251, 90; ...

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

_AHEAD = 6  # numbers, of four tokens on average; measured in docs/decoding.md


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
    is_final: Bool[Tensor, " batch"]
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
    while rounds.num_passes < most and rounds.num_open():
        is_last = rounds.num_passes == most - 1
        rounds.read(NUM_NUMBERS, is_last=is_last, with_probability=with_probability)
    return rounds.result()


@torch.no_grad()
def constrained_captions(
    blip: BlipForConditionalGeneration,
    grammar: TokenGrammar,
    image: Float[Tensor, "batch patch width"],
    ahead: int | None = None,
    *,
    with_probability: bool = False,
) -> ParallelCaptions:
    """Captions with the best number that the grammar allows in every place.

    Args:
        blip: in evaluation mode.
        grammar: of the captions.
        image: what the vision tower says of each image.
        ahead: numbers that a pass says in each row, 1 to 32: it costs or saves time, and changes
            no caption. None: `numbers_ahead` of the rows that are open.
        with_probability: also say how likely each number was.
    """
    rounds = _Rounds(blip, grammar, image, None)
    while num_open := rounds.num_open():
        rounds.read(ahead or numbers_ahead(num_open), with_probability=with_probability)
    return rounds.result()


def constrained_tokens(
    blip: BlipForConditionalGeneration,
    grammar: TokenGrammar,
    image: Float[Tensor, "batch patch width"],
    ahead: int | None = None,
) -> Int[Tensor, "batch length"]:
    """The tokens of `constrained_captions`: [DEC] ... [SEP] [PAD]...

    Token for token what `generate` says, greedily, under a `prefix_allowed_tokens_fn` that allows
    the grammar alone.
    """
    return constrained_captions(blip, grammar, image, ahead).tokens


def numbers_ahead(num_rows: int) -> int:
    """How many numbers a pass should say in each row, 1 to 6.

    A pass of few tokens takes the time to read the weights, and a few guesses more cost little;
    with many rows each costs what it costs, and wrong ones are lost.

    >>> [numbers_ahead(num_rows) for num_rows in (1, 2, 4, 64)]
    [6, 3, 1, 1]
    """
    return max(1, _AHEAD // num_rows)


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
        # How many numbers at the front are final; all but the last of them were read.
        self._num_final = torch.zeros(num_rows, dtype=torch.long, device=device)
        self._rows = torch.arange(num_rows, device=device)  # (R,), those that the decoder holds
        self._log_probability: Tensor | None = None
        self._pad = grammar.pad
        self.num_passes = 0

    def num_open(self) -> int:
        """Rows in which a number is not final."""
        return int((self._num_final < NUM_NUMBERS).sum())

    def read(self, ahead: int, *, is_last: bool = False, with_probability: bool = False) -> None:
        """Read the rows that are open, and say `ahead` numbers anew in each.

        With `is_last` also those numbers that are not final get their probability.
        """
        rows = self._drop_final()
        fed, first = self._numbers[rows], self._num_final[rows, None]  # (R, 32), (R, 1)
        asked = first + torch.arange(ahead, device=rows.device)  # (R, A)
        order = asked.clamp(max=NUM_NUMBERS - 1)
        starts = self._layout.starts(fed)  # (R, 32)
        hidden, begin = self._pass(fed, starts, order)
        places = _Places(rows, order, starts.gather(1, order), begin)
        guess = fed.gather(1, order)
        said = self._said(places, guess, hidden)
        self._numbers[rows] = fed.scatter(1, order, said)
        num_right = (said == guess).int().cumprod(dim=1).sum(dim=1, keepdim=True)
        num_final = (first + num_right + 1).clamp(max=NUM_NUMBERS).minimum(first + ahead)
        self._num_final[rows] = num_final.squeeze(1)
        if with_probability:
            known = NUM_NUMBERS if is_last else num_final
            self._keep_probability(places, hidden, asked < known)
        self.num_passes += 1

    def _drop_final(self) -> Int[Tensor, " row"]:
        """The rows that are open: the decoder holds no others from here on."""
        is_open = self._num_final[self._rows] < NUM_NUMBERS
        if not bool(is_open.all()):
            self._decoder.drop_all_but(is_open.nonzero().squeeze(1))
            self._rows = self._rows[is_open]
        return self._rows

    def _pass(
        self,
        fed: Int[Tensor, "row 32"],
        starts: Int[Tensor, "row 32"],
        order: Int[Tensor, "row ahead"],
    ) -> tuple[Float[Tensor, "row length width"], Int[Tensor, " row"]]:
        """What the decoder thinks before the numbers in `order`; the place of the first token."""
        before = order[:, :1] - 1
        first = starts.gather(1, before.clamp(min=0)).masked_fill(before < 0, 0).squeeze(1)
        ends = starts if self._layout.depth == 1 else starts + self._layout.lengths[fed]
        end = ends.gather(1, order[:, -1:]).squeeze(1)
        length = int((end - first).max())
        begin = torch.minimum(first, ends[:, -1] - length).clamp(min=0)
        places = begin[:, None] + torch.arange(length, device=fed.device)
        pieces = torch.arange(self._layout.depth, device=fed.device)
        asked = (starts.gather(1, order) - 1 - begin[:, None])[..., None] + pieces
        hidden = self._decoder.read(
            self._layout.tokens(fed).gather(1, places),
            begin,
            asked=asked.flatten(1).clamp(0, length - 1),
        )
        return hidden, begin

    def _said(
        self,
        at: _Places,
        guess: Int[Tensor, "row ahead"],
        hidden: Float[Tensor, "row length width"],
    ) -> Int[Tensor, "row ahead"]:
        """The best number in each place after what was fed before it."""
        node = torch.zeros_like(guess).flatten()
        number = torch.zeros_like(node)
        pieces = self._layout.pieces[guess].flatten(0, 1)  # (R x A, D)
        end = self._choice.ends[at.order].flatten()
        row, start = at.held.repeat_interleave(guess.shape[1]), at.starts.flatten()
        follows = torch.arange(len(node), device=node.device)  # that go on as what was fed
        for depth in range(self._layout.depth):
            places = (at.starts - 1 + depth - at.begin[:, None]).clamp(0, hidden.shape[1] - 1)
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
        return number.view_as(guess)

    def _keep_probability(
        self,
        at: _Places,
        hidden: Float[Tensor, "row length width"],
        is_kept: Bool[Tensor, "row ahead"],
    ) -> None:
        which, column = is_kept.nonzero(as_tuple=True)
        number, place = at.order[which, column], at.starts[which, column]
        log_probability = self._choice.log_probability(
            hidden[which, place - 1 - at.begin[which]],
            which,
            place,
            self._choice.ends[number],
        )
        if self._log_probability is None:
            shape = (*self._numbers.shape, log_probability.shape[1])
            self._log_probability = log_probability.new_zeros(shape)
        self._log_probability[at.rows[which], number] = log_probability

    def result(self) -> ParallelCaptions:
        """What was guessed last."""
        tokens = self._layout.tokens(self._numbers)
        length = int((tokens != self._pad).sum(dim=1).max())
        return ParallelCaptions(
            tokens[:, :length],
            self._numbers,
            self._num_final == NUM_NUMBERS,
            self.num_passes,
            self._log_probability,
        )


@dataclass(frozen=True, eq=False)
class _Places:
    """Where a pass says numbers.

    Args:
        rows: of the batch.
        order: which of the 32 numbers.
        starts: the place of their first piece.
        begin: the place of the first token that was read.
    """

    rows: Int[Tensor, " row"]
    order: Int[Tensor, "row ahead"]
    starts: Int[Tensor, "row ahead"]
    begin: Int[Tensor, " row"]

    @property
    def held(self) -> Int[Tensor, " row"]:
        """The rows as the decoder counts them."""
        return torch.arange(len(self.rows), device=self.rows.device)
