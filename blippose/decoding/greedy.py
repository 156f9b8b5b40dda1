"""Greedy captions of all tokens, a pass of the decoder only where there is a choice.

A caption of sixteen joints has 127 tokens or more, of which the grammar fixes 95. A number is read
together with the fixed tokens behind it in one pass, 33 passes in all. The fixed tokens are only a
draft; where the model would have said another, its row goes on token by token from there.

It starts from `image`, what the vision tower says of each image: `blip.vision_model(pixels)[0]`.

Source of the draft's verification: speculative decoding, Leviathan et al. 2023, section 2.3, with
the grammar as the draft model.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BlipForConditionalGeneration

from blippose.decoding.cached import CachedDecoder
from blippose.decoding.grammar import TokenGrammar


@torch.no_grad()
def free_tokens(
    blip: BlipForConditionalGeneration,
    grammar: TokenGrammar,
    image: Float[Tensor, "batch patch width"],
    max_length: int,
) -> Int[Tensor, "batch length"]:
    """Captions with nothing constrained: [DEC] ... [SEP] [PAD]..., cut at `max_length` tokens.

    Token for token what `generate(do_sample=False, num_beams=1)` says. A row without [SEP] was
    cut.
    """
    return _Drafting(blip, grammar, image, max_length).run()


@final
class _Drafting:
    """One batch on its way. A row leaves the draft where the model does."""

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        grammar: TokenGrammar,
        image: Float[Tensor, "batch patch width"],
        max_length: int,
    ) -> None:
        text, num_rows, device = blip.text_decoder.config, len(image), image.device
        # A draft may run past the end that the caller allows; what does is cut off.
        room = max(max_length, grammar.longest)
        self.decoder = CachedDecoder(blip, image, room)
        self.grammar, self.max_length = grammar, max_length
        self.tokens = torch.full((num_rows, room), grammar.pad, device=device)  # (B, L)
        self.length = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.is_drafted = torch.ones(num_rows, dtype=torch.bool, device=device)
        self.last = image.new_zeros(num_rows, text.hidden_size)  # (B, W), after the last token
        tree = grammar.tree
        choices = torch.from_numpy(grammar.choices).to(device)  # (C,)
        # One choice more, that leads nowhere: all tokens that are none.
        led = np.pad(tree.next_node, ((0, 0), (0, 1)), constant_values=-1)
        self.next_node = torch.from_numpy(led).to(device)  # (N, C + 1)
        self.choice_of = torch.full((text.vocab_size,), len(choices), device=device)  # (V,)
        self.choice_of[choices] = torch.arange(len(choices), device=device)
        self.is_flat = not bool((self.next_node[1:] >= 0).any())  # every number is one piece

    def run(self) -> Int[Tensor, "batch length"]:
        """The tokens, padded to the longest row."""
        before, *runs = self.grammar.fixed
        everyone = torch.arange(len(self.tokens), device=self.tokens.device)
        self._check(everyone, *self._read(everyone, self._repeat(before, everyone)))
        for behind in runs:
            self._write_number(behind)
        self._go_on_freely()
        length = min(int(self.length.max()), self.max_length)
        places = torch.arange(length, device=self.tokens.device)
        is_beyond = places >= self.length[:, None]
        return self.tokens[:, :length].masked_fill(is_beyond, self.grammar.pad)

    def _write_number(self, behind: tuple[int, ...]) -> None:
        """One number in every drafted row, and the fixed tokens behind it."""
        rows = self.is_drafted.nonzero().squeeze(1)
        node = torch.zeros_like(rows)
        token = self._said(self.last[rows])
        while len(rows):
            rows, node, token = self._step(rows, node, token)
            if not len(rows):
                return  # all of them have left the draft
            chunk = torch.cat([token[:, None], self._repeat(behind, rows)], dim=1)
            chunk, hidden = self._read(rows, chunk)
            if self.is_flat:
                self._check(rows, chunk, hidden)
                return
            token = self._said(hidden[:, 0])
            goes_on = self._led(node, token) >= 0
            self._check(rows[~goes_on], chunk[~goes_on], hidden[~goes_on])
            rows, node, token = rows[goes_on], node[goes_on], token[goes_on]
            self.length[rows] -= len(behind)

    def _step(
        self, rows: Int[Tensor, " row"], node: Int[Tensor, " row"], token: Int[Tensor, " row"]
    ) -> tuple[Int[Tensor, " kept"], Int[Tensor, " kept"], Int[Tensor, " kept"]]:
        """Take each row's token; rows in which it is of no number leave the draft with it."""
        following = self._led(node, token)
        leaves = following < 0
        self._leave(rows[leaves], self.length[rows[leaves]], token[leaves])
        return rows[~leaves], following[~leaves], token[~leaves]

    def _led(self, node: Int[Tensor, " row"], token: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        """The node that a token leads to, -1 where it is of no number."""
        return self.next_node[node, self.choice_of[token]]

    def _said(self, hidden: Float[Tensor, "*any width"]) -> Int[Tensor, "*any"]:
        """The best token after each."""
        return self.decoder.logits(hidden).argmax(dim=-1)

    def _read(
        self, rows: Int[Tensor, " row"], chunk: Int[Tensor, "row length"]
    ) -> tuple[Int[Tensor, "row length"], Float[Tensor, "row length width"]]:
        """Append `chunk` and read it: the chunk, and what the decoder thinks after each token."""
        start = self.length[rows]
        hidden = self.decoder.read(chunk, start, None if len(rows) == len(self.last) else rows)
        self._append(rows, chunk)
        self.last[rows] = hidden[:, -1].to(self.last.dtype)
        return chunk, hidden

    def _append(self, rows: Int[Tensor, " row"], chunk: Int[Tensor, "row length"]) -> None:
        places = self.length[rows, None] + torch.arange(chunk.shape[1], device=chunk.device)
        self.tokens[rows[:, None], places] = chunk
        self.length[rows] += chunk.shape[1]

    def _check(
        self,
        rows: Int[Tensor, " row"],
        chunk: Int[Tensor, "row length"],
        hidden: Float[Tensor, "row length width"],
    ) -> None:
        """Rows in which the model would not have said the rest of `chunk` leave there."""
        if not len(rows):
            return
        said = self._said(hidden[:, :-1])  # (R, S - 1)
        is_wrong = said != chunk[:, 1:]
        leaves, first = is_wrong.any(dim=1), is_wrong.int().argmax(dim=1)
        place = self.length[rows] - chunk.shape[1] + 1 + first
        token = said.gather(1, first[:, None]).squeeze(1)
        self._leave(rows[leaves], place[leaves], token[leaves])

    def _leave(
        self, rows: Int[Tensor, " row"], place: Int[Tensor, " row"], token: Int[Tensor, " row"]
    ) -> None:
        """From `place` on, a row says `token` and what follows of it."""
        self.tokens[rows, place] = token
        self.length[rows] = place + 1
        self.is_drafted[rows] = False

    def _go_on_freely(self) -> None:
        """Finish the rows that left the draft, token by token; the last one is yet to be read."""
        while len(rows := self._unfinished()):
            place = self.length[rows] - 1
            hidden = self.decoder.read(self.tokens[rows, place][:, None], place, rows)
            self._append(rows, self._said(hidden))

    def _unfinished(self) -> Int[Tensor, " row"]:
        is_open = self.tokens.gather(1, self.length[:, None] - 1).squeeze(1) != self.grammar.sep
        goes_on = ~self.is_drafted & is_open & (self.length < self.max_length)
        return goes_on.nonzero().squeeze(1)

    def _repeat(
        self, run: tuple[int, ...], rows: Int[Tensor, " row"]
    ) -> Int[Tensor, "row length"]:
        return torch.tensor(run, device=rows.device).expand(len(rows), -1)
