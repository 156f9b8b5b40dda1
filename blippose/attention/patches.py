"""The vision tower's patches as places in the input frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor


@final
@dataclass(frozen=True)
class PatchGrid:
    """A square of `side` x `side` patches, row by row, that fills an input of `input_size` px."""

    side: int
    input_size: int

    @property
    def patch_size(self) -> float:
        """Side of a patch, input px."""
        return self.input_size / self.side

    def peak(self, cross: Float[Tensor, "*shape patch"]) -> Int[Tensor, "*shape"]:
        """The patch that is looked at most, [CLS] apart; -1 where nothing looks."""
        is_unknown = cross[..., 0].isnan()
        return cross[..., 1:].nan_to_num().argmax(dim=-1).masked_fill(is_unknown, -1)

    def centre(self, patch: Int[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
        """The middle of patches, input px; NaN for -1.

        >>> PatchGrid(3, 12).centre(np.array([0, 5, -1]))
        array([[1.5, 1.5],
               [9.5, 5.5],
               [nan, nan]])
        """
        column_row = np.stack([patch % self.side, patch // self.side], axis=-1)
        xy_input = (column_row + 0.5) * self.patch_size - 0.5
        return np.asarray(np.where(patch[..., None] < 0, np.nan, xy_input))

    def nearest(self, xy_input: Float[np.ndarray, "*shape 2"]) -> Float[np.ndarray, "*shape 2"]:
        """The middle of the patch that holds each place, or of the nearest: no peak is nearer."""
        cell = np.clip(np.floor((xy_input + 0.5) / self.patch_size), 0, self.side - 1)
        nearest: Float[np.ndarray, "*shape 2"] = (cell + 0.5) * self.patch_size - 0.5
        return nearest
