"""A way of decoding that recites: a model that learnt to say a text would take minutes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from blippose.decoding import Decoded, Writer, number_log_probability


class Reciting:
    """Says the captions one after the other, whatever the image; is as sure as the model is."""

    expectation, test_views, close_up, name = False, 1, False, "reciting"

    def __init__(self, captions: Sequence[str]) -> None:
        self._captions = iter(captions)

    def __call__(self, writer: Writer, image: Tensor, *, with_probability: bool) -> Decoded:
        said = [next(self._captions) for _ in image]
        ids = writer.tokenizer(said).input_ids  # padded here: the model's own may learn to
        tokens = torch.full((len(ids), max(map(len, ids))), writer.grammar.pad)
        for row, of_row in enumerate(ids):
            tokens[row, : len(of_row)] = torch.tensor(of_row)
        tokens[:, 0] = writer.grammar.fixed[0][0]
        if not with_probability:
            return Decoded(tokens, None)
        return Decoded(tokens, number_log_probability(writer, image, tokens))
