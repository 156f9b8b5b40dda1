"""Captions out of BLIP, greedy, in few passes: free, constrained, all at once, or prompted.

And how sure it is of them.
"""

from blippose.decoding.close_up import Closer, CloseUps, Look, LookAgain, SeePixels
from blippose.decoding.confidence import CONFIDENCE_PX, expected_xy, mass_within
from blippose.decoding.grammar import TokenGrammar
from blippose.decoding.greedy import free_tokens
from blippose.decoding.inputs import ClipNormalization, InputFrame
from blippose.decoding.modes import (
    Constrained,
    Decoded,
    Decoding,
    Free,
    Parallel,
    Prompted,
    Writer,
    number_log_probability,
)
from blippose.decoding.parallel import constrained_tokens, parallel_tokens
from blippose.decoding.places import number_places
from blippose.decoding.reader import CaptionReader, Reading
from blippose.decoding.record import from_config, from_record, to_record
from blippose.decoding.taught import UNKNOWN, Taught, asks_single_joints, reads_hidden
from blippose.decoding.views import AskedView

__all__ = [
    "CONFIDENCE_PX",
    "UNKNOWN",
    "AskedView",
    "CaptionReader",
    "ClipNormalization",
    "CloseUps",
    "Closer",
    "Constrained",
    "Decoded",
    "Decoding",
    "Free",
    "InputFrame",
    "Look",
    "LookAgain",
    "Parallel",
    "Prompted",
    "Reading",
    "SeePixels",
    "Taught",
    "TokenGrammar",
    "Writer",
    "asks_single_joints",
    "constrained_tokens",
    "expected_xy",
    "free_tokens",
    "from_config",
    "from_record",
    "mass_within",
    "number_log_probability",
    "number_places",
    "parallel_tokens",
    "reads_hidden",
    "to_record",
]
