"""Language-modelling loss of a pose caption, and what may be changed in it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own convention

IGNORED = -100  # torch's cross entropy and Hugging Face leave such labels out


def caption_loss(
    logits: Float[Tensor, "batch length vocabulary"], labels: Int[Tensor, "batch length"]
) -> Float[Tensor, ""]:
    """Mean cross entropy of each next token: BLIP's own loss, without label smoothing."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


class SoftNumbers(torch.nn.Module):
    """Caption loss in which a wrong number costs less the nearer it is.

    The target of a number n is a Gaussian over the numbers round n instead of n alone; every
    other token keeps its one-hot target. With sigma towards 0 and `fixed_weight` 1 it is
    `caption_loss`.

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
        value = torch.tensor(list(values.values()), dtype=torch.float32)
        near = torch.softmax(-((value[:, None] - value[None]) ** 2) / (2 * sigma**2), dim=-1)
        row = torch.full((vocabulary_size,), -1)
        row[ids] = torch.arange(len(ids))
        self.register_buffer("ids", ids, persistent=False)  # (N,), token of each number
        self.register_buffer("near", near, persistent=False)  # (N, N), target of each number
        self.register_buffer("row", row, persistent=False)  # (V,), number of each token, or -1

    def forward(
        self,
        logits: Float[Tensor, "batch length vocabulary"],
        labels: Int[Tensor, "batch length"],
    ) -> Float[Tensor, ""]:
        """Weighted mean over the tokens that have a label."""
        following = labels[:, 1:].flatten()
        kept = following != IGNORED
        token = following[kept]  # (T,)
        logp = F.log_softmax(logits[:, :-1].flatten(0, 1)[kept].float(), dim=-1)  # (T, V)
        row = self.row[token]
        soft = -(self.near[row] * logp[:, self.ids]).sum(-1)
        loss = torch.where(row < 0, F.nll_loss(logp, token, reduction="none"), soft)
        weight = torch.where(row < 0, self.fixed_weight, 1.0)
        return (weight * loss).sum() / weight.sum()
