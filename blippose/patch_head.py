"""Which patch holds each joint: an auxiliary task that makes a vision tower look early.

Knows nothing of captions. What it brings stands in docs/recipe.md.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own convention

from blippose.loss import IGNORED
from blippose.pose import NUM_JOINTS


@final
class PatchHead(nn.Linear):
    """From what the vision tower says of each patch to a score for each joint.

    Args:
        width: of what it says.
        input_size: side of the input, px.
    """

    def __init__(self, width: int, input_size: int) -> None:
        super().__init__(width, NUM_JOINTS)
        self.input_size = input_size

    def loss(
        self,
        states: Float[Tensor, "batch patch width"],
        xy_input: Float[Tensor, "batch 16 2"],
        valid: Bool[Tensor, "batch 16"],
    ) -> Float[Tensor, ""]:
        """Mean cross entropy over the patches of the one that holds each joint, or is nearest.

        Args:
            states: of [CLS] and the patches, row by row.
            xy_input: the true joints, pixels of the input.
            valid: which of them are known; NaN comes out where none is.
        """
        logits = self(states[:, 1:]).transpose(1, 2)  # (B, 16, P)
        grid = math.isqrt(logits.shape[-1])
        patch_xy = (xy_input + 0.5) * grid / self.input_size
        column, row = patch_xy.nan_to_num().floor().long().clamp(0, grid - 1).unbind(-1)
        target = torch.where(valid, row * grid + column, IGNORED)  # (B, 16)
        return F.cross_entropy(logits.flatten(0, 1).float(), target.flatten())
