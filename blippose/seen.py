"""What a frozen vision tower says of each image, kept: it says the same in every epoch.

Each image is looked at alone, as sums differ in their last bits with what stands beside it: a
resumed run, which sees other batches first, must come to the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from blippose.machine import memory_bytes


@final
class SeenImages:
    """Patches by what their image shows, in the memory of the processor.

    Args:
        most_bytes: that are kept; images beyond are looked at again. None: half of what this
            process may use.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = memory_bytes() // 2 if most_bytes is None else most_bytes
        self._states: dict[bytes, Tensor] = {}
        self._num_bytes = 0

    @property
    def num_images(self) -> int:
        """How many are kept."""
        return len(self._states)

    @torch.no_grad()
    def __call__(
        self,
        look: Callable[[Tensor], Tensor],
        image: UInt8[Tensor, "batch 3 size size"],
    ) -> Float[Tensor, "batch patch width"]:
        """What `look` says of each image, asked for those that are new."""
        keys = [hashlib.sha256(pixels).digest() for pixels in image.cpu().contiguous().numpy()]
        states = [
            self._state(key, look, image[place : place + 1]) for place, key in enumerate(keys)
        ]
        return torch.cat(states).to(image.device, non_blocking=True)

    def _state(self, key: bytes, look: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        if key in self._states:
            return self._states[key]
        state = look(image).cpu()  # (1, P, W)
        if self._num_bytes + state.nbytes <= self.most_bytes:
            self._states[key] = state
            self._num_bytes += state.nbytes
        return state
