"""How far the peak of cross-attention lies from the true joint, and from what it should not mean.

Two controls, as two doubts are possible. *Other image*: the same peak against the same joint of a
person in another image, of another video where that is possible; a head that looks where such
joints mostly are is no nearer to its own. *Other joint*: the same peak against the other joints of
the same person; a head that looks at the person anywhere is no nearer to the one being written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from blippose.evaluation.intervals import Bootstrap, Estimate
from blippose.pose import NUM_JOINTS

CONTROLS = ("other_image", "other_joint")


@dataclass(frozen=True, eq=False)
class Distances:
    """In input px; NaN where a joint is not in the caption or not annotated.

    The axes `*heads` are step, layer and head, or none where one was chosen for each person.

    Args:
        own: from the peak to the joint that is being written.
        other_image: from the same peak to that joint of another person.
        other_joint: mean of the distances to the other joints of the same person.
    """

    own: Float[np.ndarray, "persons *heads 16"]
    other_image: Float[np.ndarray, "persons *heads 16"]
    other_joint: Float[np.ndarray, "persons *heads 16"]

    @staticmethod
    def of(
        peak: Float[np.ndarray, "persons step layer head 16 2"],
        target: Float[np.ndarray, "persons 16 2"],
        other: Int[np.ndarray, " persons"],
    ) -> Distances:
        """Of peaks, held against the truth and both controls.

        Args:
            peak: input px.
            target: true joints, input px, NaN where one is not annotated.
            other: who stands in for each person as "another image".
        """
        own = _distance(peak, target)
        total, count = np.zeros_like(own), np.zeros(own.shape, dtype=np.int64)
        for shift in range(1, NUM_JOINTS):
            to_another = _distance(peak, np.roll(target, shift, axis=1))
            total += np.nan_to_num(to_another)
            count += np.isfinite(to_another)
        other_joint = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        other_joint = np.where(np.isnan(own), np.nan, other_joint)
        other_image = np.where(np.isnan(own), np.nan, _distance(peak, target[other]))
        return Distances(own, other_image, other_joint)

    def head(self, step: int, layer: int, head: int) -> Distances:
        """Of one head at one step."""
        return Distances(
            self.own[:, step, layer, head],
            self.other_image[:, step, layer, head],
            self.other_joint[:, step, layer, head],
        )

    def of_layer(self, layer: int) -> Distances:
        """Of the heads of one layer."""
        return Distances(
            self.own[:, :, [layer]],
            self.other_image[:, :, [layer]],
            self.other_joint[:, :, [layer]],
        )

    def estimates(self, draws: Bootstrap) -> dict[str, Estimate]:
        """Mean distance, mean of each control, and by how much each control is farther.

        Over all joints of all persons. The differences are paired.
        """
        return self._estimates(draws, by_joint=False)

    def by_joint(self, draws: Bootstrap) -> dict[str, Estimate]:
        """The same for each joint."""
        return self._estimates(draws, by_joint=True)

    def _estimates(self, draws: Bootstrap, by_joint: bool) -> dict[str, Estimate]:
        found = {"distance": _mean(self.own, draws, by_joint)}
        for name in CONTROLS:
            control = getattr(self, name)
            found[name] = _mean(control, draws, by_joint)
            found[f"{name}_farther"] = _mean(control - self.own, draws, by_joint)
        return found

    def best(
        self, step: int, persons: Bool[np.ndarray, " persons"] | None = None
    ) -> tuple[int, int]:
        """Layer and head, from 0, whose peak lies nearest to the true joint on average."""
        own = self.own[:, step] if persons is None else self.own[persons, step]
        known = np.isfinite(own)
        mean = np.nansum(own, axis=(0, -1)) / np.maximum(known.sum(axis=(0, -1)), 1)
        mean = np.where(known.any(axis=(0, -1)), mean, np.inf)
        layer, head = np.unravel_index(int(mean.argmin()), mean.shape)
        return int(layer), int(head)

    def held_out(
        self, step: int, groups: Int[np.ndarray, " persons"], seed: int
    ) -> tuple[Distances, list[tuple[int, int]]] | None:
        """Of the best head, chosen for either half of the groups on the other half.

        The nearest of many heads is partly the luckiest on the images that it was chosen on. None
        where there is one group only.

        Args:
            step: of `STEPS`.
            groups: videos, or images.
            seed: of the halves.
        """
        every = np.random.default_rng(seed).permutation(np.unique(groups))
        if len(every) < 2:
            return None
        is_first = np.isin(groups, every[: len(every) // 2])
        chosen = [self.best(step, ~is_first), self.best(step, is_first)]
        halves = [self.head(step, *head) for head in chosen]
        where = is_first[:, None]
        one, two = halves
        return (
            Distances(
                np.where(where, one.own, two.own),
                np.where(where, one.other_image, two.other_image),
                np.where(where, one.other_joint, two.other_joint),
            ),
            chosen,
        )


def _distance(
    peak: Float[np.ndarray, "persons step layer head 16 2"],
    target: Float[np.ndarray, "persons 16 2"],
) -> Float[np.ndarray, "persons step layer head 16"]:
    step = peak - target[:, None, None, None].astype(peak.dtype)
    distance: Float[np.ndarray, "persons step layer head 16"] = np.hypot(
        step[..., 0], step[..., 1]
    )
    return distance


def _mean(
    values: Float[np.ndarray, "persons *heads 16"], draws: Bootstrap, by_joint: bool
) -> Estimate:
    """Over what is known, joints too unless they are told apart."""
    total, count = np.nan_to_num(values), np.isfinite(values)
    if by_joint:
        return draws.ratio(total, count)
    return draws.ratio(total.sum(axis=-1), count.sum(axis=-1))
