"""Where BLIP's text decoder looks while it writes a pose: at joints before, and at the image."""

from blippose.attention.maps import STEPS, Attention, AttentionReader
from blippose.attention.patches import PatchGrid
from blippose.attention.relations import EARLIER, RELATIONS, related, relation_shares
from blippose.attention.segments import OUTSIDE, Segments

__all__ = [
    "EARLIER",
    "OUTSIDE",
    "RELATIONS",
    "STEPS",
    "Attention",
    "AttentionReader",
    "PatchGrid",
    "Segments",
    "related",
    "relation_shares",
]
