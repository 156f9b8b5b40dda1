"""The caption grammar in word pieces: what is fixed, and where there is a choice.

    [DEC] right ankle (  120  ,  310  ) , right knee (  118  , ...  201 , 160  ) [SEP]

Sixteen joints are 32 numbers with fixed tokens between them. A number may take several pieces
("342" is 34 ##2 in BERT's vocabulary), so the choices form a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool, Int
from transformers import BertTokenizer

from blippose.caption import CaptionFormat
from blippose.errors import UserError
from blippose.pose import NUM_JOINTS

NUM_NUMBERS = 2 * NUM_JOINTS


@final
@dataclass(frozen=True, eq=False)
class TokenGrammar:
    """The captions of sixteen joints as tokens.

    Args:
        fixed: tokens before the first number, from [DEC] on, between the numbers, and after the
            last, to [SEP]: `NUM_NUMBERS` + 1 runs.
        numbers: pieces of each number that may be written, by its value.
        sep: id of [SEP].
        pad: id of [PAD].
        mask: id of [MASK], which stands for a number that is hidden.
    """

    fixed: tuple[tuple[int, ...], ...]
    numbers: tuple[tuple[int, ...], ...]
    sep: int
    pad: int
    mask: int

    @staticmethod
    def of(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> TokenGrammar:
        """The grammar of a format's captions as a tokenizer writes them.

        Raises:
            UserError: the format has location tokens, and the tokenizer does not know them.
        """
        numbers = tuple(
            tuple(tokenizer(caption_format.number(value), add_special_tokens=False).input_ids)
            for value in range(caption_format.bins)
        )
        if caption_format.location_tokens and max(map(len, numbers)) > 1:
            raise UserError(
                f"captions have location tokens, but the tokenizer has no "
                f"{caption_format.number(caption_format.bins - 1)}: load the tokenizer that was "
                "saved with the model, or call add_location_tokens"
            )
        xy_input = caption_format.dequantize(np.zeros((NUM_JOINTS, 2), dtype=np.int64))
        tokens = tokenizer(caption_format.encode(xy_input)).input_ids
        tokens[0] = tokenizer.bos_token_id  # `generate` starts from [DEC], not [CLS]
        runs = split_runs(tokens, numbers[0])
        special = tokenizer.sep_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id
        return TokenGrammar(runs, numbers, *special)

    @cached_property
    def choices(self) -> Int[np.ndarray, " choice"]:
        """Ids of the tokens between which there is a choice: numbers' pieces and their ends."""
        ends = {run[0] for run in self.fixed[1:]}
        pieces = {piece for number in self.numbers for piece in number}
        return np.array(sorted(pieces | ends))

    @cached_property
    def tree(self) -> NumberTree:
        """The numbers' pieces as a tree, over `choices`."""
        return NumberTree.of(self.numbers, self.choices)

    @cached_property
    def values(self) -> dict[int, int]:
        """The number that each token is by itself, by token id.

        In the order of the ids, as a sum over the numbers depends on their order.
        """
        alone = {ids[0]: value for value, ids in enumerate(self.numbers) if len(ids) == 1}
        return dict(sorted(alone.items()))

    @property
    def is_of_one_piece(self) -> bool:
        """Whether each number is a token by itself."""
        return len(self.values) == len(self.numbers)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest caption, with [DEC] and [SEP]."""
        return sum(map(len, self.fixed)) + NUM_NUMBERS * max(map(len, self.numbers))


def split_runs(tokens: Sequence[int], number: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The runs round every occurrence of `number`.

    >>> split_runs([9, 5, 1, 5, 1, 2], [5])
    ((9,), (1,), (1, 2))
    """
    runs: list[tuple[int, ...]] = [()]
    place = 0
    while place < len(tokens):
        if list(tokens[place : place + len(number)]) == list(number):
            runs.append(())
            place += len(number)
        else:
            runs[-1] += (tokens[place],)
            place += 1
    return tuple(runs)


@final
@dataclass(frozen=True, eq=False)
class NumberTree:
    """The numbers' pieces as a tree, by tables: node 0 is the root, before the first piece.

    Args:
        next_node: the node that a choice leads to from a node, or -1 where it leads nowhere.
        may_end: whether the pieces so far are a number; always so of a node without successors.
        value: the number that the pieces so far are, or -1.
        paths: the pieces that lead to each node.
    """

    next_node: Int[np.ndarray, "node choice"]
    may_end: Bool[np.ndarray, " node"]
    value: Int[np.ndarray, " node"]
    paths: tuple[tuple[int, ...], ...]

    @property
    def depth(self) -> int:
        """Pieces of the longest number."""
        return max(map(len, self.paths))

    @staticmethod
    def of(numbers: Sequence[tuple[int, ...]], choices: Int[np.ndarray, " choice"]) -> NumberTree:
        """The tree of these numbers.

        Args:
            numbers: pieces of each.
            choices: ids of all pieces, in their order, and maybe of more.

        >>> tree = NumberTree.of([(3,), (4,), (3, 7)], np.array([3, 4, 7]))
        >>> tree.next_node[0]  # 3 leads to node 1, 4 to node 2
        array([ 1,  2, -1])
        >>> tree.next_node[1], tree.may_end  # after 3 a 7 may come, or the end
        (array([-1, -1,  3]), array([False,  True,  True,  True]))
        >>> tree.value, tree.paths[3]  # 3 is the first number, 4 the second, 3 7 the third
        (array([-1,  0,  1,  2]), (3, 7))
        """
        nodes: dict[tuple[int, ...], int] = {(): 0}
        for pieces in numbers:
            for length in range(1, len(pieces) + 1):
                nodes.setdefault(pieces[:length], len(nodes))
        place = {piece: number for number, piece in enumerate(choices.tolist())}
        next_node = np.full((len(nodes), len(choices)), -1)
        for path, node in nodes.items():
            if path:
                next_node[nodes[path[:-1]], place[path[-1]]] = node
        values = {pieces: value for value, pieces in enumerate(numbers)}
        value = np.array([values.get(path, -1) for path in nodes])
        return NumberTree(next_node, value >= 0, value, tuple(nodes))
