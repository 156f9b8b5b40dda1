"""Where the decoder looks in the image while it writes a joint's two numbers."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from blippose.decoding import free_tokens
from blippose.evaluation.asking import asking
from blippose.model import PoseCaptioner
from blippose.pose import NUM_JOINTS


def captions_with_attention(
    captioner: PoseCaptioner, images: UInt8[np.ndarray, "batch size size 3"], joint: int
) -> tuple[list[str], Float[np.ndarray, "batch rows columns"]]:
    """Free-running captions of inputs, and the cross-attention on each patch for one joint.

    The mean over layers, heads, and the passes that write the joint's number tokens, as shares
    that sum to 1 over the patches. NaN where a caption does not have its 32 numbers.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(captioner.device)
    blip, grammar = captioner.blip, captioner.grammar
    with asking(captioner):
        states = captioner.look(pixels)
        tokens = free_tokens(blip, grammar, states, grammar.longest)  # (B, T)
        output = blip.text_decoder(
            input_ids=tokens,
            attention_mask=(tokens != grammar.pad).long(),
            encoder_hidden_states=states,
            output_attentions=True,
        )
    looks = torch.stack(output.cross_attentions).mean(dim=(0, 2))  # (B, T, 1 + P)
    patches = looks[..., 1:].double().cpu().numpy()
    is_number = captioner.numbers[tokens].cpu().numpy()
    side = math.isqrt(patches.shape[-1])
    maps = [_map(*row, joint) for row in zip(patches, is_number, strict=True)]
    captions = captioner.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return captions, np.stack(maps).reshape(-1, side, side)


def _map(
    looks: Float[np.ndarray, "length patches"], is_number: Bool[np.ndarray, "length"], joint: int
) -> Float[np.ndarray, "patches"]:
    places = number_places(is_number, joint)
    if places is None:
        return np.full(looks.shape[1], np.nan)
    # A token is written by the pass that reads the one before it.
    mean = looks[np.array(places) - 1].mean(axis=0)
    return np.asarray(mean / mean.sum())


def number_places(is_number: Bool[np.ndarray, "length"], joint: int) -> list[int] | None:
    """Places of the tokens of a joint's two numbers; None without 32 numbers in all.

    >>> tokens = np.array([False, False, True, True, False, True, False] + [True, False] * 30)
    >>> number_places(tokens, 0)  # a first number of two pieces
    [2, 3, 5]
    """
    runs = groupby(range(len(is_number)), key=lambda place: bool(is_number[place]))
    numbers = [list(places) for is_run, places in runs if is_run]
    if len(numbers) != 2 * NUM_JOINTS:
        return None
    return [*numbers[2 * joint], *numbers[2 * joint + 1]]
