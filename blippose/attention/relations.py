"""What a joint may be to the one that is being written, and how much attention goes to such.

Attention is causal: of two joints the later in the caption can look at the earlier, and never the
other way round. A relation therefore holds between a joint and those before it, and is measured
over the joints that have one: in MPII's order thirteen have a skeleton neighbour before them, six
their mirror.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blippose.pose import MIRROR, NUM_JOINTS, SKELETON

# To a joint before it. In MPII's order most joints follow a neighbour, and some their mirror:
# those do not tell the body from the order of the words.
EARLIER = (
    "previous",
    "neighbour",
    "mirrored",
    "neighbour_not_previous",
    "mirrored_not_previous",
)
RELATIONS = ("own", *EARLIER)
_MPII_ORDER = range(NUM_JOINTS)


def related(order: Sequence[int] = _MPII_ORDER) -> Bool[np.ndarray, "relation 16 16"]:
    """Which joints are what to each joint, in `RELATIONS`' order: entry r, j, k of k to j.

    Args:
        order: joint ids as captions name them; all of them, each once.
    """
    place = np.argsort(order)  # of each joint in the caption
    before = place[:, None] > place
    previous = place[:, None] == place + 1
    neighbour = _table(SKELETON) & before
    mirrored = _table(list(enumerate(MIRROR))) & before
    own = np.eye(NUM_JOINTS, dtype=bool)
    apart = (neighbour & ~previous, mirrored & ~previous)
    return np.stack([own, previous, neighbour, mirrored, *apart])


def _table(pairs: Sequence[tuple[int, int]]) -> Bool[np.ndarray, "16 16"]:
    """Whether two joints are one of the pairs, in either order."""
    table = np.zeros((NUM_JOINTS, NUM_JOINTS), dtype=bool)
    first, second = np.array(pairs).T
    table[first, second] = table[second, first] = True
    return table


def relation_shares(
    self_joint: Float[Tensor, "*shape 16 17"],
    uniform_joint: Float[Tensor, "*#shape 16 17"],
    order: Sequence[int] = _MPII_ORDER,
) -> Float[Tensor, "*shape relation"]:
    """Share of a joint's attention that goes to joints of each relation, in `RELATIONS`' order.

    The mean over the joints that have one before them in the caption; NaN where none has.

    Args:
        self_joint: as `Attention` has it.
        uniform_joint: likewise, of the same captions. It is above 0 for what can be looked at: a
            joint that is not in the caption, or is named later, has no words to look at.
        order: joint ids as captions are to name them.
    """
    table = torch.from_numpy(related(order)).to(self_joint.device)
    visible = uniform_joint[..., 1:].nan_to_num() > 0
    table = table & visible[..., None, :, :]  # (..., R, 16, 16)
    share = torch.einsum(
        "...jk,...rjk->...rj", self_joint[..., 1:].nan_to_num(), table.to(self_joint)
    )
    counted = table.any(dim=-1)  # (..., R, 16)
    return (share * counted).sum(dim=-1) / counted.sum(dim=-1)
