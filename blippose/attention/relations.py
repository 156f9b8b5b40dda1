"""What a joint may be to the one that is being written, and how much attention goes to such.

Attention is causal: of two joints the later in the caption can look at the earlier, and never the
other way round. A relation therefore holds between a joint and those before it, and is measured
over the joints that have one: thirteen have a skeleton neighbour before them, six their mirror.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blippose.pose import MIRROR, NUM_JOINTS, SKELETON


def _pairs(pairs: list[tuple[int, int]]) -> Bool[np.ndarray, "16 16"]:
    table = np.zeros((NUM_JOINTS, NUM_JOINTS), dtype=bool)
    for joint, other in pairs:
        table[joint, other] = True
    return table


_NEXT = [(joint, joint - 1) for joint in range(1, NUM_JOINTS)]
_NEIGHBOURS = [(max(bone), min(bone)) for bone in SKELETON]
_MIRRORED = [(joint, other) for joint, other in enumerate(MIRROR) if other < joint]

# In MPII's order most joints follow a neighbour, and some their mirror: those that do not tell
# the body from the order of the words.
RELATIONS: dict[str, Bool[np.ndarray, "16 16"]] = {
    "own": _pairs([(joint, joint) for joint in range(NUM_JOINTS)]),
    "previous": _pairs(_NEXT),
    "neighbour": _pairs(_NEIGHBOURS),
    "mirrored": _pairs(_MIRRORED),
    "neighbour_not_previous": _pairs([pair for pair in _NEIGHBOURS if pair not in _NEXT]),
    "mirrored_not_previous": _pairs([pair for pair in _MIRRORED if pair not in _NEXT]),
}
EARLIER = tuple(name for name in RELATIONS if name != "own")


def relation_shares(
    self_joint: Float[Tensor, "*shape 16 17"],
) -> Float[Tensor, "*shape relation"]:
    """Share of a joint's attention that goes to joints of each relation, in `RELATIONS`' order.

    The mean over the joints that have one in the caption; NaN where none has.

    Args:
        self_joint: as `Attention` has it.
    """
    table = torch.from_numpy(np.stack(list(RELATIONS.values()))).to(self_joint.device)
    share = torch.einsum(
        "...jk,rjk->...rj", self_joint[..., 1:].nan_to_num(), table.to(self_joint)
    )
    counted = table.any(dim=-1) & ~self_joint[..., None, :, 0].isnan()  # (..., R, 16)
    return (share * counted).sum(dim=-1) / counted.sum(dim=-1)
