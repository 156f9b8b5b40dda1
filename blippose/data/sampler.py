"""The order of persons: which when, in which process.

Both are torch's `DistributedSampler`s, which Lightning takes as they are: any other it would deal
out among the processes once more, unless the Trainer is told not to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """(epoch, position) pairs in an order drawn from (seed, epoch); every rank gets its share.

    A run that is resumed begins in `epoch`, behind the first `num_seen` of its share: Lightning
    names the epoch only when workers have already asked for their first batches.
    """

    def __init__(
        self,
        num_persons: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        num_seen: int = 0,
    ) -> None:
        # Every rank takes as many steps, or the others would wait for ever.
        super().__init__(_positions(num_persons), world_size, rank, seed=seed, drop_last=True)
        self.num_persons = num_persons
        self.epoch = self._first_epoch = epoch
        self._num_seen = num_seen

    def __len__(self) -> int:
        return self.num_samples  # torch's name of a rank's share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_persons)
        share = order[self.rank :: self.num_replicas][: len(self)]
        num_seen = self._num_seen if self.epoch == self._first_epoch else 0
        return ((self.epoch, position) for position in share[num_seen:].tolist())


class OnceSampler(DistributedSampler[int]):
    """Every position once, in their order, by any number of ranks; the last may have fewer."""

    def __init__(self, num_persons: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(_positions(num_persons), world_size, rank, shuffle=False)
        self._share = range(rank, num_persons, world_size)

    def __len__(self) -> int:
        return len(self._share)

    def __iter__(self) -> Iterator[int]:
        return iter(self._share)


def _positions(num_persons: int) -> Any:
    return range(num_persons)  # no Dataset, but torch asks for its length alone
