"""Language-modelling loss of a pose caption, and what may be changed in it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own convention
from transformers import BlipTextConfig

from blippose.decoding import TokenGrammar
from blippose.errors import UserError
from blippose.readback import one_token_numbers

IGNORED = -100  # torch's cross entropy and Hugging Face leave such labels out


class HardTokens(torch.nn.Module):
    """Mean cross entropy of tokens, as BLIP has it.

    Args:
        label_smoothing: share of the target that goes to all tokens alike.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def counts(self, token: Int[Tensor, " token"]) -> Bool[Tensor, " token"]:
        """Which tokens have a part in the loss: all."""
        return torch.ones_like(token, dtype=torch.bool)

    def forward(
        self, logits: Float[Tensor, "token vocabulary"], token: Int[Tensor, " token"]
    ) -> Float[Tensor, ""]:
        """Mean over the tokens."""
        return F.cross_entropy(logits, token, label_smoothing=self.label_smoothing)


class SoftNumbers(torch.nn.Module):
    """Caption loss in which a wrong number costs less the nearer it is.

    The target of a number n is a Gaussian over the numbers round n instead of n alone; every
    other token keeps its one-hot target. With sigma towards 0 and `fixed_weight` 1 it is
    `HardTokens`.

    Args:
        values: the integer of each number token, by token id; each integer once.
        sigma: width of the Gaussian, bins.
        vocabulary_size: number of tokens.
        fixed_weight: weight of the tokens that are not numbers, which the grammar fixes.

    Source: SimCC (Li et al. 2022), section 3.2, with Gaussian in place of uniform smoothing.
    """

    ids: Tensor
    near: Tensor
    row: Tensor

    def __init__(
        self,
        values: dict[int, int],
        sigma: float,
        vocabulary_size: int,
        fixed_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.fixed_weight = fixed_weight
        ids = torch.tensor(list(values))
        value = torch.tensor(list(values.values()), dtype=torch.float64)
        far = ((value[:, None] - value[None]) / sigma).square()
        near = torch.softmax(-far / 2, dim=-1).float()
        row = torch.full((vocabulary_size,), -1)
        row[ids] = torch.arange(len(ids))
        self.register_buffer("ids", ids, persistent=False)  # (N,), token of each number
        self.register_buffer("near", near, persistent=False)  # (N, N), target of each number
        self.register_buffer("row", row, persistent=False)  # (V,), number of each token, or -1

    def counts(self, token: Int[Tensor, " token"]) -> Bool[Tensor, " token"]:
        """Which tokens have a part in the loss: without `fixed_weight`, numbers alone."""
        return self.row[token] >= 0 if self.fixed_weight == 0 else torch.ones_like(token).bool()

    def forward(
        self, logits: Float[Tensor, "token vocabulary"], token: Int[Tensor, " token"]
    ) -> Float[Tensor, ""]:
        """Weighted mean over the tokens."""
        logp = F.log_softmax(logits.float(), dim=-1)  # (T, V)
        row = self.row[token]
        soft = -(self.near[row] * logp[:, self.ids]).sum(-1)
        loss = torch.where(row < 0, F.nll_loss(logp, token, reduction="none"), soft)
        weight = torch.where(row < 0, self.fixed_weight, 1.0)
        return (weight * loss).sum() / weight.sum()


def caption_loss(
    of: HardTokens | SoftNumbers,
    head: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "batch length width"],
    labels: Int[Tensor, "batch length"],
) -> Float[Tensor, ""]:
    """The loss of each next token, the head asked only where one counts.

    Args:
        of: what the loss of tokens is.
        head: from what the decoder thinks to logits, which are the largest thing in a step: a row
            of BLIP's has 30,524.
        hidden: what the decoder thinks after each token.
        labels: the tokens, or `IGNORED`.
    """
    following = labels[:, 1:]
    kept = following != IGNORED
    kept = kept & of.counts(following.where(kept, 0).flatten()).view_as(kept)
    loss: Tensor = of(head(hidden[:, :-1][kept]), following[kept])
    return loss


def token_loss(
    grammar: TokenGrammar,
    text_config: BlipTextConfig,
    number_sigma: float,
    fixed_weight: float,
    label_smoothing: float | None,
) -> HardTokens | SoftNumbers:
    """The loss that `PoseCaptioner`'s arguments of these names ask for.

    Args:
        grammar: of the captions.
        text_config: of the decoder, for the size of its vocabulary and its own smoothing.
        number_sigma: width of the Gaussian target on numbers, bins; 0 is the plain loss.
        fixed_weight: of the tokens that the grammar fixes, 0 or more; 1 with the plain loss.
        label_smoothing: share of the plain loss's target for all tokens alike, from 0 to below 1;
            None: the decoder's own.

    Raises:
        UserError: they do not go together, one cannot be, or numbers are more than one token.
    """
    _check_loss(number_sigma, fixed_weight, label_smoothing)
    if number_sigma == 0:
        own: float = text_config.label_smoothing
        return HardTokens(own if label_smoothing is None else label_smoothing)
    values = one_token_numbers(grammar, f"captioner.number_sigma={number_sigma}", "0")
    return SoftNumbers(values, number_sigma, text_config.vocab_size, fixed_weight)


def _check_loss(number_sigma: float, fixed_weight: float, label_smoothing: float | None) -> None:
    for name, value in (("number_sigma", number_sigma), ("fixed_weight", fixed_weight)):
        if not 0 <= value < float("inf"):
            raise UserError(f"captioner.{name}={value}: expected 0 or more")
    smoothing = f"captioner.label_smoothing={label_smoothing}"
    if label_smoothing is not None and not 0 <= label_smoothing < 1:
        raise UserError(f"{smoothing}: expected 0 to below 1, or null")
    if number_sigma == 0 and fixed_weight != 1:
        raise UserError(f"captioner.fixed_weight={fixed_weight} needs captioner.number_sigma > 0")
    if number_sigma and label_smoothing:
        raise UserError(
            f"{smoothing} needs captioner.number_sigma=0, the plain loss: soft numbers have a "
            "smoothing of their own"
        )
