"""The order of persons: which when, in which process.

Both are torch's `DistributedSampler`s, which Lightning takes as they are: any other it would deal
out among the processes once more, unless the Trainer is told not to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed as dist
from torch.utils.data import DistributedSampler


class _DealtSampler(DistributedSampler[Any]):
    """Deals for the rank that it is told, or else for torch's, once there is one."""

    def __init__(
        self, num_persons: int, rank: int | None = None, world_size: int | None = None
    ) -> None:
        positions: Any = range(num_persons)  # no Dataset, but torch asks for its length alone
        super().__init__(positions, world_size or 1, rank or 0)
        self.num_persons, self._is_told = num_persons, rank is not None

    def _place(self) -> tuple[int, int]:
        """Rank and world size; of a loader that was made before its Trainer asked late."""
        if self._is_told or not (dist.is_available() and dist.is_initialized()):
            return self.rank, self.num_replicas
        return dist.get_rank(), dist.get_world_size()


class EpochSampler(_DealtSampler):
    """(epoch, position) pairs in an order drawn from (seed, epoch); every rank gets its share.

    A run that is resumed begins in `epoch`, behind the first `num_seen` of its share: Lightning
    names the epoch only when workers have already asked for their first batches.
    """

    def __init__(
        self,
        num_persons: int,
        seed: int,
        rank: int | None = None,
        world_size: int | None = None,
        epoch: int = 0,
        num_seen: int = 0,
    ) -> None:
        super().__init__(num_persons, rank, world_size)
        self.seed = seed
        self.epoch = self._first_epoch = epoch
        self._num_seen = num_seen

    def __len__(self) -> int:
        # Every rank takes as many steps, or the others would wait for ever.
        return self.num_persons // self._place()[1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rank, world_size = self._place()
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_persons)
        share = order[rank::world_size][: len(self)]
        num_seen = self._num_seen if self.epoch == self._first_epoch else 0
        return ((self.epoch, position) for position in share[num_seen:].tolist())


class OnceSampler(_DealtSampler):
    """Every position once, in their order, by any number of ranks; the last may have fewer."""

    def __len__(self) -> int:
        return len(self._share())

    def __iter__(self) -> Iterator[int]:
        return iter(self._share())

    def _share(self) -> range:
        rank, world_size = self._place()
        return range(rank, self.num_persons, world_size)
