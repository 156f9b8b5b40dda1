"""What the decoder would say in the place of a number: one number, or how likely each is."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blippose.decoding.cached import CachedDecoder
from blippose.decoding.grammar import TokenGrammar

_NEGLIGIBLE = 1e-4  # of all probability: so little is not worth a look at what it divides into
_AT_ONCE = 64  # pieces read aside, each with a copy of what stands before it


@final
class NumberChoice:
    """The grammar's choices in the place of a number, where `decoder` stands.

    Args:
        grammar: of the captions.
        decoder: that has read what stands before.
        device: of all tensors.
    """

    def __init__(
        self, grammar: TokenGrammar, decoder: CachedDecoder, device: torch.device
    ) -> None:
        self._decoder = decoder
        tree = grammar.tree
        self._num_values, self._paths = len(grammar.numbers), tree.paths
        self.choices = torch.from_numpy(grammar.choices).to(device)  # (C,)
        self.next_node = torch.from_numpy(tree.next_node).to(device)  # (N, C)
        self.value = torch.from_numpy(tree.value).to(device)  # (N,)
        self.may_end = torch.from_numpy(tree.may_end).to(device)  # (N,)
        self.may_go_on = (self.next_node >= 0).any(dim=1)  # (N,)
        last = [path[-1] if path else -1 for path in tree.paths]
        self.last_piece = torch.tensor(last, device=device)  # (N,), of those that lead to a node
        ends = [run[0] for run in grammar.fixed[1:]]
        self.ends = torch.tensor(ends, device=device)  # (32,), the token behind each number

    def step(
        self,
        hidden: Float[Tensor, "place width"],
        node: Int[Tensor, " place"],
        end: Int[Tensor, " place"],
    ) -> tuple[Int[Tensor, " place"], Bool[Tensor, " place"]]:
        """The node that the best piece leads to, and whether the number ends where it stands.

        Args:
            hidden: after the last token before the piece.
            node: of the tree, reached so far.
            end: the token that would end the number.
        """
        scores = self._scores(hidden, node, end)
        best = scores.argmax(dim=-1)
        following = self.next_node[node, best]
        return torch.where(following < 0, node, following), following < 0

    def say_rest(
        self,
        node: Int[Tensor, " place"],
        row: Int[Tensor, " place"],
        start: Int[Tensor, " place"],
        end: Int[Tensor, " place"],
    ) -> Int[Tensor, " place"]:
        """The numbers, begun with the pieces of `node` at the places `start`, greedily."""
        node = node.clone()
        going_on = self.may_go_on[node].nonzero().squeeze(1)
        while len(going_on):
            hidden = self._aside(node[going_on], row[going_on], start[going_on])
            following, is_end = self.step(hidden, node[going_on], end[going_on])
            node[going_on] = following
            going_on = going_on[~is_end & self.may_go_on[following]]
        return self.value[node]

    def log_probability(
        self,
        hidden: Float[Tensor, "place width"],
        row: Int[Tensor, " place"],
        start: Int[Tensor, " place"],
        end: Int[Tensor, " place"],
    ) -> Float[Tensor, "place number"]:
        """Of every number, each by itself, after what was read before the place; sums to 1.

        A first piece that is all but impossible is taken for the number that it is alone.

        Args:
            hidden: after the last token before the number.
            row: of the batch.
            start: place of the number.
            end: the token that would end it.
        """
        log_p = hidden.new_full((len(hidden), self._num_values), -torch.inf, dtype=torch.float32)
        place = torch.arange(len(hidden), device=hidden.device)
        node = torch.zeros_like(place)
        mass = torch.zeros(len(place), device=hidden.device)  # logarithm of a node's probability
        after = hidden
        while len(place):
            scores = self._scores(after, node, end[place]).float().log_softmax(dim=-1)
            share = mass[:, None] + scores  # (P, C)
            following = self.next_node[node]  # (P, C)
            is_end = (following < 0) & scores.isfinite()
            self._add(log_p, place, node, share.masked_fill(~is_end, -torch.inf).amax(dim=-1))
            which, choice = ((following >= 0) & scores.isfinite()).nonzero(as_tuple=True)
            place, node, mass = place[which], following[which, choice], share[which, choice]
            goes_on = self.may_go_on[node] & ((mass > np.log(_NEGLIGIBLE)) | ~self.may_end[node])
            self._add(log_p, place[~goes_on], node[~goes_on], mass[~goes_on])
            place, node, mass = place[goes_on], node[goes_on], mass[goes_on]
            after = self._aside(node, row[place], start[place])
        return log_p

    def _add(
        self,
        log_p: Float[Tensor, "place number"],
        place: Int[Tensor, " some"],
        node: Int[Tensor, " some"],
        mass: Float[Tensor, " some"],
    ) -> None:
        """Each number comes once: that of its node."""
        is_number = self.value[node] >= 0
        log_p[place[is_number], self.value[node[is_number]]] = mass[is_number]

    def _scores(
        self,
        hidden: Float[Tensor, "place width"],
        node: Int[Tensor, " place"],
        end: Int[Tensor, " place"],
    ) -> Float[Tensor, "place choice"]:
        """Of each choice, -inf of what the grammar forbids."""
        allowed = self.next_node[node] >= 0
        allowed |= self.may_end[node, None] & (self.choices == end[:, None])
        return self._decoder.logits(hidden, self.choices).masked_fill(~allowed, -torch.inf)

    def _aside(
        self, node: Int[Tensor, " place"], row: Int[Tensor, " place"], start: Int[Tensor, " place"]
    ) -> Float[Tensor, "place width"]:
        """What the decoder thinks after the pieces of `node`, written at `start`; kept nowhere."""
        if not len(node):
            return torch.empty((0, 0), device=node.device)
        # Nodes of a call stand at one depth of the tree.
        pieces = torch.tensor([self._paths[each] for each in node.tolist()], device=node.device)
        return torch.cat(
            [
                self._decoder.read(
                    pieces[part : part + _AT_ONCE],
                    start[part : part + _AT_ONCE],
                    row[part : part + _AT_ONCE],
                    keep=False,
                )[:, -1]
                for part in range(0, len(node), _AT_ONCE)
            ]
        )
