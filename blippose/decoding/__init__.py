"""Captions out of BLIP: greedy, the model reading its own tokens, in a quarter of the passes.

And how sure it is of them.
"""

from blippose.decoding.confidence import joint_confidence, number_places
from blippose.decoding.grammar import TokenGrammar, caption_length
from blippose.decoding.greedy import constrained_tokens, free_tokens
from blippose.decoding.inputs import ClipNormalization, InputFrame

__all__ = [
    "ClipNormalization",
    "InputFrame",
    "TokenGrammar",
    "caption_length",
    "constrained_tokens",
    "free_tokens",
    "joint_confidence",
    "number_places",
]
