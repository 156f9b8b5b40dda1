"""BLIP's text decoder with a cache whose rows may stand at different places.

Hugging Face's own modules, but for the attention in between: keys and values lie in one buffer
for the whole caption, any number of tokens is read in one pass, and each row has its own place.
Knows nothing of captions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own convention
from transformers import BlipForConditionalGeneration

from blippose.sdpa import attend


@dataclass(frozen=True, eq=False)
class _Place:
    """Where tokens of a call stand, and what they may look at."""

    places: Int[Tensor, "row length"]
    num_read: int  # up to the last of them
    rows: Int[Tensor, " row"] | None  # of the batch; None for all
    mask: Tensor | None  # None where all is looked at
    keep: bool  # whether later tokens read these


@final
class CachedDecoder:
    """The text decoder of `blip` for one batch of images.

    Args:
        blip: in evaluation mode.
        image: what the vision tower says of each image.
        max_length: tokens that a row may take.
        per_image: rows of each image, one behind the other; what they look at is kept once.
    """

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        image: Float[Tensor, "batch patch width"],
        max_length: int,
        per_image: int = 1,
    ) -> None:
        decoder: Any = blip.text_decoder
        self._embeddings, self._layers = decoder.bert.embeddings, decoder.bert.encoder.layer
        self._head = decoder.cls.predictions
        self._max_length = max_length
        looks = (layer.crossattention.self for layer in self._layers)
        self._image = [_keys_and_values(attention, image) for attention in looks]
        self._past: list[tuple[Tensor, Tensor] | None] = [None] * len(self._layers)
        self._num_rows, self._per_image = per_image * len(image), per_image

    def read(
        self,
        tokens: Int[Tensor, "row length"],
        start: Int[Tensor, " row"],
        rows: Int[Tensor, " row"] | None = None,
        *,
        keep: bool = True,
        asked: Int[Tensor, "row asked"] | None = None,
    ) -> Float[Tensor, "row length width"]:
        """What the decoder thinks after each of `tokens`.

        Args:
            tokens: to be read on.
            start: place of the first of them in each row; what stood there or later is forgotten.
            rows: which of the batch; None for all. Without `keep` a row may come several times.
            keep: whether later tokens read these; without it nothing is forgotten either.
            asked: which of `tokens` matter, some perhaps twice: the last layer is computed for
                them alone, and is 0 for the others.
        """
        places = start[:, None] + torch.arange(tokens.shape[1], device=tokens.device)  # (R, S)
        num_read = int(places.max()) + 1
        # Rows that begin alike are one until they look at their images.
        begin = keep and rows is None and self._per_image == 1 and num_read == tokens.shape[1]
        num_rows = 1 if begin and bool((tokens == tokens[:1]).all()) else len(tokens)
        hidden: Tensor = self._embeddings(
            input_ids=tokens[:num_rows], position_ids=places[:num_rows]
        )
        read = torch.arange(num_read, device=tokens.device) <= places[..., None]  # (R, S, T)
        mask = None if bool(read.all()) else read[:, None]
        at = _Place(places, num_read, rows, mask, keep)
        for number, layer in enumerate(self._layers):
            is_last = number == len(self._layers) - 1
            if is_last:
                hidden = hidden.expand(len(tokens), -1, -1)
            hidden = self._self_attention(number, hidden, at, asked if is_last else None)
            hidden = self._cross_attention(number, hidden, rows)
            hidden = layer.feed_forward_chunk(hidden)
        if asked is None:
            return hidden
        width = hidden.shape[2]
        every = hidden.new_zeros(*tokens.shape, width)
        return every.scatter(1, _of_width(asked, width), hidden)

    def _self_attention(
        self,
        number: int,
        hidden: Float[Tensor, "row length width"],
        at: _Place,
        asked: Int[Tensor, "row asked"] | None,
    ) -> Float[Tensor, "row part width"]:
        attention = self._layers[number].attention
        new = _keys_and_values(attention.self, hidden)  # each (R, H, S, D)
        every = torch.arange(len(at.places), device=hidden.device)
        chosen = every if at.rows is None else at.rows
        read = []
        for kept, part in zip(self._room(number, new), new, strict=True):
            part = part.transpose(1, 2).to(kept.dtype)  # noqa: PLW2901  (R, S, H, D)
            if at.keep:
                kept[chosen[:, None], :, at.places] = part
                read.append(
                    kept[: len(hidden), :, : at.num_read]
                    if at.rows is None
                    else kept[chosen, :, : at.num_read]
                )
            else:
                copy = kept[chosen, :, : at.num_read]
                copy[every[:, None], :, at.places] = part
                read.append(copy)
        mask = at.mask if at.mask is None else at.mask[: len(hidden)]
        if asked is not None:
            hidden = hidden.gather(1, _of_width(asked, hidden.shape[2]))
            mask = mask if mask is None else mask.gather(2, _of_width(asked, at.num_read)[:, None])
        return _attend(attention, hidden, read[0], read[1], mask)

    def _cross_attention(
        self,
        number: int,
        hidden: Float[Tensor, "asker length width"],  # rows, or one where they are alike
        rows: Int[Tensor, " row"] | None,
    ) -> Float[Tensor, "row length width"]:
        attention, (key, value) = self._layers[number].crossattention, self._image[number]
        if rows is not None:
            of = rows // self._per_image
            return _attend(attention, hidden, key[of], value[of], None)
        length, width = hidden.shape[1:]
        askers = min(len(hidden), len(key))
        together = hidden.reshape(askers, -1, width)  # all rows of an image
        return _attend(attention, together, key, value, None).view(-1, length, width)

    def _room(self, number: int, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Where a layer keeps the keys and values of all rows, each (B, H, L, D)."""
        past = self._past[number]
        if past is None:
            shape = (self._num_rows, new[0].shape[1], self._max_length, new[0].shape[3])
            past = self._past[number] = (new[0].new_zeros(shape), new[1].new_zeros(shape))
        return past

    def drop_all_but(self, rows: Int[Tensor, " row"]) -> None:
        """Forget the other rows; `rows`, of an image each, are 0, 1, ... from here on."""
        for number, (key, value) in enumerate(self._image):  # one layer's copy at a time
            self._image[number] = (key[rows], value[rows])
        for number, past in enumerate(self._past):
            self._past[number] = past and (past[0][rows], past[1][rows])
        self._num_rows = len(rows)

    def logits(
        self, hidden: Float[Tensor, "*any width"], tokens: Int[Tensor, " token"] | None = None
    ) -> Float[Tensor, "*any token"]:
        """The score of each next token; of `tokens` alone cheaper, and never below float32.

        In bfloat16 the scores of neighbouring numbers are often equal, and the first would win.
        """
        head = self._head.decoder
        hidden = self._head.transform(hidden)
        if tokens is None:  # as `generate` has it
            return F.linear(hidden, head.weight, head.bias)
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        weight, bias = head.weight[tokens].to(dtype), head.bias[tokens].to(dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.to(dtype), weight, bias)


def _of_width(places: Int[Tensor, "row place"], width: int) -> Int[Tensor, "row place width"]:
    """For `gather` and `scatter` of whole rows."""
    return places[..., None].expand(-1, -1, width)


def _keys_and_values(attention: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """(B, heads, length, depth) each."""
    return _heads(attention, attention.key(states)), _heads(attention, attention.value(states))


def _heads(attention: Any, states: Tensor) -> Tensor:
    depth = attention.attention_head_size
    return states.view(*states.shape[:-1], -1, depth).transpose(1, 2)


def _attend(
    attention: Any, hidden: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> Tensor:
    query = _heads(attention.self, attention.self.query(hidden))
    query = query.expand(len(key), -1, -1, -1)  # of one row, where images are asked alike
    context = attend(query, key.to(query.dtype), value.to(query.dtype), mask)
    output: Tensor = attention.output(context.transpose(1, 2).flatten(2), hidden)
    return output
