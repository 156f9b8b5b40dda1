"""How sure the model is of each joint that it wrote, from one more look at its finished caption.

The confidence of a joint is sqrt(p(x) p(y)), where p of a number is the probability that the model
gives to it among all numbers that the grammar allows in its place. It is 0 for a joint that is
missing, and for a number that the grammar writes otherwise ("007"); else above 0, at most 1. With
bins of a pixel even a good model spreads over neighbours, so that 0.3 is much: it ranks joints,
and is no probability of being right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat
from blippose.decoding.cached import CachedDecoder
from blippose.decoding.grammar import NumberTree, TokenGrammar
from blippose.pose import NUM_JOINTS

Places = tuple[int, ...]  # of the pieces of one number in a caption's tokens


@dataclass(frozen=True)
class _Choice:
    """One token that the model chose while it wrote a number: a piece of it, or the end."""

    row: int
    joint: int
    place: int
    node: int  # of the numbers' tree, where the model stood; -1 off the tree
    end: int  # the token that may end the number


@torch.no_grad()
def joint_confidence(
    blip: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    image: Float[Tensor, "batch patch width"],
    tokens: Int[Tensor, "batch length"],
) -> Float[np.ndarray, "batch 16"]:
    """The confidence of each joint in finished captions, from 0 to 1; one pass of the decoder.

    Args:
        blip: in evaluation mode.
        tokenizer: the model's.
        caption_format: of the captions.
        image: what the vision tower says of each image.
        tokens: the captions, from [DEC] on, padded.
    """
    grammar = TokenGrammar.of(tokenizer, caption_format)
    tree = NumberTree.of(grammar.numbers, blip.text_decoder.config.vocab_size)
    choices = [
        choice
        for row, ids in enumerate(tokens.tolist())
        for joint, numbers in number_places(tokenizer, caption_format, ids).items()
        for choice in _choices(row, joint, numbers, ids, grammar, tree)
    ]
    total, found = np.zeros((2, len(tokens), NUM_JOINTS))
    if choices:
        at = [choice.row for choice in choices], [choice.joint for choice in choices]
        np.add.at(total, at, _log_probabilities(blip, grammar, tree, image, tokens, choices))
        found[at] = 1
    confidence: Float[np.ndarray, "batch 16"] = found * np.exp(total / 2)
    return confidence


def number_places(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, ids: Sequence[int]
) -> dict[int, tuple[Places, Places]]:
    """Where the pieces of x and y of each joint stand among a caption's tokens, by joint id."""
    text, spans = _spelled(tokenizer, ids)
    return {
        joint: (_covered(spans, x), _covered(spans, y))
        for joint, (x, y) in caption_format.number_spans(text).items()
    }


def _spelled(tokenizer: BertTokenizer, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """The caption as its pieces spell it, and the characters of each token."""
    special, text, spans = set(tokenizer.all_special_ids), "", []
    for token, piece in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        shown = "" if token in special else piece.removeprefix("##")
        if shown and text and not piece.startswith("##"):
            text += " "
        spans.append((len(text), len(text) + len(shown)))
        text += shown
    return text, spans


def _covered(spans: Sequence[tuple[int, int]], wanted: tuple[int, int]) -> Places:
    return tuple(
        place
        for place, (first, last) in enumerate(spans)
        if first < last and first < wanted[1] and last > wanted[0]
    )


def _choices(
    row: int,
    joint: int,
    numbers: tuple[Places, Places],
    ids: Sequence[int],
    grammar: TokenGrammar,
    tree: NumberTree,
) -> Iterator[_Choice]:
    """What was chosen in both numbers of a joint; where nothing else may follow, nothing was."""
    for axis, places in enumerate(numbers):
        node, end = 0, grammar.fixed[1 + 2 * joint + axis][0]
        for place in places:
            yield _Choice(row, joint, place, node, end)
            node = int(tree.next_node[node, ids[place]]) if node >= 0 else -1
        if node < 0 or (tree.next_node[node] >= 0).any():
            yield _Choice(row, joint, places[-1] + 1, node, end)


def _log_probabilities(
    blip: BlipForConditionalGeneration,
    grammar: TokenGrammar,
    tree: NumberTree,
    image: Float[Tensor, "batch patch width"],
    tokens: Int[Tensor, "batch length"],
    choices: Sequence[_Choice],
) -> Float[np.ndarray, "choice"]:
    """Of each choice among those that the grammar allows; -inf of one that it does not."""
    device = tokens.device
    row, place, node, end = (
        torch.tensor([getattr(choice, name) for choice in choices], device=device)
        for name in ("row", "place", "node", "end")
    )
    decoder = CachedDecoder(blip, image, tokens.shape[1])
    hidden = decoder.read(tokens, torch.zeros(len(tokens), dtype=torch.long, device=device))
    known = torch.from_numpy(grammar.choices).to(device)  # (C,)
    logits = decoder.logits(hidden[row, place - 1], known).float()  # (N, C)
    leads = torch.from_numpy(tree.next_node[:, grammar.choices] >= 0).to(device)  # (nodes, C)
    may_end = torch.from_numpy(tree.may_end).to(device)  # (nodes,)
    allowed = leads[node] | (may_end[node, None] & (known == end[:, None]))
    logits = logits.masked_fill(~allowed, -torch.inf).log_softmax(dim=-1)
    chosen = tokens[row, place, None] == known  # (N, C)
    log_probability = logits.masked_fill(~chosen, -torch.inf).amax(dim=-1)
    off_the_tree = node < 0
    return log_probability.masked_fill(off_the_tree, -torch.inf).double().cpu().numpy()
