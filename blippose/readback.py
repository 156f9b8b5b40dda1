"""What the decoder reads back of its caption in training: coordinates hidden, or moved a little.

The labels stay as they are. Draws belong to the batch, not to what was drawn before: a resumed run
repeats them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blippose.decoding import Decoding, TokenGrammar, asks_single_joints, reads_hidden
from blippose.errors import UserError

_MASK_STREAM, _NOISE_STREAM = 2, 4  # keep these draws apart from those of blippose.data


@dataclass(frozen=True)
class ReadbackMask:
    """How many of the coordinates that the decoder reads back are hidden from it in training.

    A model that cannot read the coordinates before must look at the image for each. Masking all
    first and a part later learns to look earlier, and can be decoded in parallel.

    Args:
        first: share hidden at the start.
        until: share of the training steps after which `then` holds.
        then: share hidden afterwards. Half of the samples draw it uniformly between 0 and 1
            instead when `spread` is set.
        spread: see `then`.

    Raises:
        UserError: a share outside 0 to 1.
    """

    first: float = 1.0
    until: float = 0.5
    then: float = 0.3
    spread: bool = False

    def __post_init__(self) -> None:
        for name in ("first", "until", "then"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"captioner.readback_mask.{name}={getattr(self, name)}: expected 0 to 1"
                )

    @property
    def hides(self) -> bool:
        """Whether any coordinate is hidden at any time."""
        at_first, later = self.until > 0, self.until < 1
        return (at_first and self.first > 0) or (later and (self.then > 0 or self.spread))

    def share(self, progress: float) -> float:
        """The share to hide at `progress`, the share of training done."""
        return self.first if progress < self.until else self.then


@dataclass(frozen=True)
class ReadbackNoise:
    """Coordinates that the decoder reads back are moved by Gaussian noise in training.

    A model that reads its own mistakes back when it is asked has then seen such before.

    Args:
        sigma: standard deviation of the noise, bins; it is rounded, and a number stays one of the
            caption's bins.
        share: of the coordinates that are moved.

    Raises:
        UserError: a sigma of 0 or less, or a share outside 0 to 1.
    """

    sigma: float = 3.0
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise UserError(
                f"captioner.readback_noise.sigma={self.sigma}: expected more than 0 bins"
            )
        if not 0 <= self.share <= 1:
            raise UserError(f"captioner.readback_noise.share={self.share}: expected 0 to 1")


@final
class Readback(nn.Module):
    """From the tokens of captions to those that the decoder is shown in training.

    Args:
        grammar: of the captions.
        vocabulary_size: number of tokens of the model.
        mask: coordinates to hide; None hides none.
        noise: coordinates to move; None moves none.

    Raises:
        UserError: numbers are to be moved that are not one token each, or a share alone is given.
    """

    numbers: Tensor
    later: Tensor
    value: Tensor
    token: Tensor

    def __init__(
        self,
        grammar: TokenGrammar,
        vocabulary_size: int,
        mask: ReadbackMask | None = None,
        noise: ReadbackNoise | None = None,
    ) -> None:
        super().__init__()
        for given, kind in ((mask, ReadbackMask), (noise, ReadbackNoise)):
            if not isinstance(given, kind | None):
                raise UserError(
                    f"{given!r} for the decoder to read back: expected {kind.__name__}"
                )
        self.mask, self.noise, self.mask_token = mask, noise, grammar.mask
        numbers, later = (torch.zeros(vocabulary_size, dtype=torch.bool) for _ in range(2))
        numbers[[piece for number in grammar.numbers for piece in number]] = True
        later[[piece for number in grammar.numbers for piece in number[1:]]] = True
        self.register_buffer("numbers", numbers, persistent=False)  # (V,), is it of a number?
        self.register_buffer("later", later, persistent=False)  # (V,), and not its first piece?
        if noise is None:
            return
        values = one_token_numbers(grammar, "captioner.readback_noise", "null")
        value = torch.full((vocabulary_size,), -1)
        token = torch.zeros(len(values), dtype=torch.long)
        value[list(values)] = torch.tensor(list(values.values()))
        token[list(values.values())] = torch.tensor(list(values))
        self.register_buffer("value", value, persistent=False)  # (V,), of each token, or -1
        self.register_buffer("token", token, persistent=False)  # (N,), of each value

    @property
    def changes(self) -> bool:
        """Whether anything is hidden or moved."""
        return self.mask is not None or self.noise is not None

    def forward(
        self, input_ids: Int[Tensor, "batch length"], key: tuple[int, ...], progress: float
    ) -> Int[Tensor, "batch length"]:
        """The tokens with coordinates moved, and then hidden, by the draws of `key`.

        Args:
            input_ids: tokens of captions.
            key: seed, epoch, batch and process.
            progress: share of the training done.
        """
        if self.noise is not None:
            draw = np.random.default_rng((*key, _NOISE_STREAM))
            input_ids = self._moved(input_ids, self.noise, draw)
        if self.mask is None:
            return input_ids
        draw = np.random.default_rng((*key, _MASK_STREAM))
        hidden = _hidden(input_ids.shape, self.mask, progress, draw).to(input_ids.device)
        # A number of several pieces is hidden or shown as a whole, by the draw of its first.
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        first = torch.where(self.later[input_ids], 0, place).cummax(dim=1).values
        hidden = hidden.gather(1, first) & self.numbers[input_ids]
        return input_ids.masked_fill(hidden, self.mask_token)

    def _moved(
        self,
        input_ids: Int[Tensor, "batch length"],
        noise: ReadbackNoise,
        draw: np.random.Generator,
    ) -> Int[Tensor, "batch length"]:
        is_moved = torch.from_numpy(draw.random(input_ids.shape) < noise.share)
        steps = torch.from_numpy(draw.normal(0, noise.sigma, input_ids.shape).round())
        value = self.value[input_ids]
        is_moved = is_moved.to(input_ids.device) & (value >= 0)
        moved = (value + steps.to(value)).clamp(0, len(self.token) - 1)
        return torch.where(is_moved, self.token[moved], input_ids)


def _hidden(
    shape: torch.Size, mask: ReadbackMask, progress: float, draw: np.random.Generator
) -> Bool[Tensor, "batch length"]:
    share: Float[np.ndarray, " batch"] = np.full(shape[0], mask.share(progress))
    if mask.spread and progress >= mask.until:
        uniform = draw.random(shape[0]) < 0.5
        share = np.where(uniform, draw.random(shape[0]), share)
    return torch.from_numpy(draw.random(shape) < share[:, None])


def check_decoding(
    decoding: Decoding, mask: ReadbackMask | None, single_joint: float, close_up: float = 0.0
) -> None:
    """Refuse a decoding that asks for what training does not teach.

    Args:
        decoding: how the model will be validated.
        mask: coordinates that training hides.
        single_joint: share of the training captions that name one joint alone.
        close_up: share of the training samples that are close-ups.

    Raises:
        UserError: it reads hidden coordinates, prompts for single joints or asks for whole
            captions or images, of which the model would have seen none.
    """
    remedy = "decoding=constrained, or decoding=free as the study"
    if reads_hidden(decoding) and (mask is None or not mask.hides):
        how = "=null" if mask is None else " hides none at any step"
        raise UserError(
            f"decoding: {decoding.name} reads hidden coordinates, and nothing hides any in "
            f"training (captioner.readback_mask{how}): set captioner=masked, {remedy}"
        )
    if asks_single_joints(decoding) and not single_joint:
        raise UserError(
            "decoding: prompted asks for each joint alone, and no training caption names one "
            f"(data.single_joint=0): set data.single_joint=0.3, {remedy}"
        )
    if not asks_single_joints(decoding) and single_joint == 1:
        raise UserError(
            f"decoding: {decoding.name} asks for whole captions, and every training caption names "
            "one joint (data.single_joint=1): set fewer, or decoding=prompted"
        )
    if close_up == 1 and not decoding.close_up:
        raise UserError(
            f"decoding: {decoding.name} looks at whole images, and every training sample is a "
            "close-up (data.close_up=1): set fewer, or decoding.close_up=true"
        )


def one_token_numbers(grammar: TokenGrammar, setting: str, off: str) -> dict[int, int]:
    """The number of each token that is one of a caption, by token id.

    Args:
        grammar: of the captions.
        setting: `key` or `key=value` that needs them, for the message.
        off: the value that does without.

    Raises:
        UserError: a number is not one token.
    """
    values, num_bins = grammar.values, len(grammar.numbers)
    if not grammar.is_of_one_piece:
        raise UserError(
            f"{setting} needs one token a number, but the tokenizer has only {len(values)} of 0 "
            f"to {num_bins - 1}: set {setting.partition('=')[0]}={off}, fewer num_bins or "
            "model.caption.location_tokens=true"
        )
    return values
