"""What a model says of images, read: captions, poses in its input, how sure it is of joints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat, ParsedCaption
from blippose.decoding.confidence import expected_xy, mass_within
from blippose.decoding.grammar import TokenGrammar
from blippose.decoding.modes import Decoding, Free, Writer
from blippose.pose import Pose


@dataclass(frozen=True, eq=False)
class Reading:
    """What was said of a batch of images.

    Args:
        tokens: [DEC] ... [SEP] [PAD]...
        captions: the same as text.
        parsed: the pose of each in input pixels, and why joints are missing. With a decoding by
            expectation its joints lie between the bins that are written.
        confidence: of each joint, raw, 0 to 1 (`decoding.confidence`); None unless asked for.
        truncated: whose caption reached the longest length before its end.
    """

    tokens: Int[Tensor, "batch length"]
    captions: tuple[str, ...]
    parsed: tuple[ParsedCaption, ...]
    confidence: Float[np.ndarray, "batch 16"] | None
    truncated: Bool[np.ndarray, "batch"]


@final
class CaptionReader:
    """Lets a model say what it sees, and reads it.

    Args:
        blip: the model; in evaluation mode while it is asked.
        tokenizer: the model's.
        caption_format: of its captions.
        decoding: how captions are decoded.
    """

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        tokenizer: BertTokenizer,
        caption_format: CaptionFormat,
        decoding: Decoding | None = None,
    ) -> None:
        grammar = TokenGrammar.of(tokenizer, caption_format)
        self.writer = Writer(blip, tokenizer, caption_format, grammar)
        self.decoding = Free() if decoding is None else decoding

    @torch.no_grad()
    def read(
        self, states: Float[Tensor, "batch patch width"], *, with_confidence: bool = False
    ) -> Reading:
        """What the model says of images, given what its vision tower says of them."""
        writer, by_mean = self.writer, self.decoding.expectation
        decoded = self.decoding(writer, states, with_probability=with_confidence or by_mean)
        captions = writer.tokenizer.batch_decode(decoded.tokens, skip_special_tokens=True)
        parsed = tuple(map(writer.caption_format.decode, captions))
        log_p, confidence = decoded.log_probability, None
        if log_p is not None:
            xy = torch.from_numpy(np.stack([each.pose.xy for each in parsed]))
            xy, log_p = xy.to(log_p), log_p.nan_to_num(neginf=-torch.inf)
            if by_mean:
                xy = expected_xy(log_p, xy, writer.caption_format)
                parsed = tuple(map(_moved, parsed, xy.double().cpu().numpy()))
            confidence = mass_within(log_p, xy, writer.caption_format).double().cpu().numpy()
        ends = (decoded.tokens == writer.grammar.sep).any(dim=1)
        return Reading(
            decoded.tokens,
            tuple(captions),
            parsed,
            confidence if with_confidence else None,
            (~ends).cpu().numpy(),
        )


def _moved(parsed: ParsedCaption, xy_input: Float[np.ndarray, "16 2"]) -> ParsedCaption:
    return replace(parsed, pose=Pose.of(xy_input))
