"""The order of training: which person when, in which process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, position) pairs in an order drawn from (seed, epoch); every rank gets its share.

    A run that is resumed begins in `epoch`, behind the first `num_seen` of its share: Lightning
    names the epoch only when workers have already asked for their first batches.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        num_seen: int = 0,
    ) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = self._first_epoch = epoch
        self._num_seen = num_seen

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_samples)
        # Every rank takes as many steps, or the others would wait for ever.
        share = order[self.rank :: self.world_size][: len(self)]
        num_seen = self._num_seen if self.epoch == self._first_epoch else 0
        return ((self.epoch, position) for position in share[num_seen:].tolist())
