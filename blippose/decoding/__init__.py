"""Captions out of BLIP: greedy, the model reading its own tokens, in a quarter of the passes."""

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
]
