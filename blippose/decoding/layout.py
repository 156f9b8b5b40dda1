"""Where the tokens of a caption stand, given its numbers.

[DEC] right ankle (  120  ,  310  ) ...    ->  120 stands at 4, 310 at 6
[DEC] right ankle ( 34 ##2 , 310  ) ...    ->  342 stands at 4 and 5, 310 at 7
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from blippose.decoding.grammar import NUM_NUMBERS, TokenGrammar


@final
class CaptionLayout:
    """Whole captions as tokens, by their numbers.

    Args:
        grammar: of the captions. Its mask stands for the number `unknown`.
        device: of all tensors.
    """

    def __init__(self, grammar: TokenGrammar, device: torch.device) -> None:
        self.unknown = len(grammar.numbers)
        numbers = [*grammar.numbers, (grammar.mask,)]
        self.depth = max(map(len, numbers))
        padded = [[*pieces, *[-1] * (self.depth - len(pieces))] for pieces in numbers]
        self.pieces = torch.tensor(padded, device=device)  # (V + 1, D), -1 behind the last
        self.lengths = (self.pieces >= 0).sum(dim=1)  # (V + 1,)
        self._fixed = torch.tensor(sum(grammar.fixed, ()), device=device)  # (F,)
        runs = [run for run, tokens in enumerate(grammar.fixed) for _ in tokens]
        self._run = torch.tensor(runs, device=device)  # numbers before each fixed token
        self._before = torch.tensor(list(map(len, grammar.fixed)), device=device).cumsum(0)
        self._pad, self._longest = grammar.pad, grammar.longest

    def starts(self, values: Int[Tensor, "row 32"]) -> Int[Tensor, "row 32"]:
        """Place of the first piece of each number."""
        return self._before[:-1] + self._numbers_before(values)[:, :-1]

    def tokens(self, values: Int[Tensor, "row 32"]) -> Int[Tensor, "row length"]:
        """[DEC] ... [SEP] [PAD]..., as long as the longest caption can be."""
        tokens = torch.full(
            (len(values), self._longest + self.depth), self._pad, device=values.device
        )
        starts, pieces = self.starts(values), self.pieces[values]  # (R, 32), (R, 32, D)
        # What stands behind a short number is written over: later pieces first, fixed tokens last.
        for piece in reversed(range(self.depth)):
            tokens.scatter_(1, starts + piece, pieces[..., piece])
        places = torch.arange(len(self._fixed), device=values.device)
        fixed = self._fixed.expand(len(values), -1)
        tokens.scatter_(1, places + self._numbers_before(values)[:, self._run], fixed)
        return tokens[:, : self._longest]

    def _numbers_before(self, values: Int[Tensor, "row 32"]) -> Int[Tensor, "row 33"]:
        """Pieces of the numbers before each of the 33 runs of fixed tokens."""
        shape = (len(values), NUM_NUMBERS + 1)
        before = torch.zeros(shape, dtype=torch.long, device=values.device)
        before[:, 1:] = self.lengths[values].cumsum(dim=1)
        return before
