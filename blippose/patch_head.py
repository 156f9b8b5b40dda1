"""Where each joint is, to a patch or a part of one: a second task, for a tower to learn to look.

Knows nothing of captions. What it brings, of patches and of pixels, stands in docs/recipe.md.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own convention

from blippose.errors import UserError
from blippose.pose import NUM_JOINTS

SIGMA_PX = 1.0  # width of the target where a patch is divided, pixels of the input


def check_cells(cells: int) -> None:
    """Refuse cells that a patch cannot have, also where no head is made.

    Raises:
        UserError: fewer than one.
    """
    if cells < 1:
        raise UserError(f"captioner.patch_cells={cells}: expected 1 or more")


@final
class PatchHead(nn.Linear):
    """From what the vision tower says of a patch to a score of each of its cells, for each joint.

    Args:
        width: of what it says.
        input_size: side of the input, px.
        cells: that a side of a patch is divided into, one or more; of one the target is the
            patch that holds a joint, of more a Gaussian of `SIGMA_PX` round the joint.

    Raises:
        UserError: no cells.

    Source: for the Gaussian, the heat maps of Simple Baselines (Xiao et al. 2018), section 2, here
        as a distribution over the cells of the whole input.
    """

    def __init__(self, width: int, input_size: int, cells: int = 1) -> None:
        check_cells(cells)
        super().__init__(width, NUM_JOINTS * cells**2)
        self.input_size, self.cells = input_size, cells

    def heat(
        self, states: Float[Tensor, "batch patch width"]
    ) -> Float[Tensor, "batch 16 row column"]:
        """The scores, each where its cell lies in the input.

        Args:
            states: of [CLS] and the patches, row by row.
        """
        scores: Tensor = self(states[:, 1:]).float()
        grid = math.isqrt(scores.shape[1])
        each = scores.reshape(-1, grid, grid, NUM_JOINTS, self.cells, self.cells)
        # of patch and cell to (B, 16, row, row within, column, column within)
        lying = each.permute(0, 3, 1, 4, 2, 5)
        return lying.reshape(-1, NUM_JOINTS, grid * self.cells, grid * self.cells)

    def loss(
        self,
        states: Float[Tensor, "batch patch width"],
        xy_input: Float[Tensor, "batch 16 2"],
        valid: Bool[Tensor, "batch 16"],
    ) -> Float[Tensor, ""]:
        """Mean cross entropy over the cells of where each joint is, or of what is nearest to it.

        Args:
            states: of [CLS] and the patches, row by row.
            xy_input: the true joints, pixels of the input.
            valid: which of them are known; NaN comes out where none is.
        """
        heat = self.heat(states)
        side = heat.shape[-1]
        known = torch.where(valid[..., None], xy_input.float(), 0.0)
        x, y = ((known + 0.5) * side / self.input_size).unbind(-1)  # cells
        near = self._near(y, side), self._near(x, side)
        with torch.autocast(heat.device.type, enabled=False):  # scores of 20 to a tenth, or worse
            expected = torch.einsum("bjrc,bjr,bjc->bj", heat, *near)
        entropy: Tensor = heat.flatten(2).logsumexp(-1) - expected
        return entropy[valid].mean()

    def _near(self, at: Float[Tensor, "batch 16"], side: int) -> Float[Tensor, "batch 16 cell"]:
        """The target along one axis: which of `side` cells holds `at`."""
        if self.cells == 1:
            return F.one_hot(at.floor().long().clamp(0, side - 1), side).float()
        centre = torch.arange(side, device=at.device, dtype=at.dtype) + 0.5
        far = (centre - at[..., None]) * (self.input_size / side / SIGMA_PX)
        return (-far.square() / 2).softmax(-1)
