"""Where the decoder looks in the image while it writes a joint's two numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8

from blippose.attention import STEPS, AttentionReader
from blippose.evaluation.asking import asking
from blippose.model import PoseCaptioner

_WRITTEN = STEPS.index("written")


def captions_with_attention(
    captioner: PoseCaptioner, images: UInt8[np.ndarray, "batch size size 3"], joint: int
) -> tuple[list[str], Float[np.ndarray, "batch rows columns"]]:
    """Free-running captions of inputs, and the cross-attention on each patch for one joint.

    The mean over layers, heads, and the passes that write the joint's number tokens, as shares
    that sum to 1 over the patches. NaN where the joint does not parse.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    reader = AttentionReader(captioner.blip, captioner.tokenizer, captioner.caption_format)
    with asking(captioner):
        found = list(reader(pixels))
    looks = torch.cat([each.cross[:, _WRITTEN, :, :, joint] for each in found])  # (B, L, H, 1 + P)
    shares = looks.mean(dim=(1, 2))[:, 1:].cpu().double().numpy()
    shares /= shares.sum(axis=-1, keepdims=True)
    side = math.isqrt(shares.shape[-1])
    captions = [caption for each in found for caption in each.captions]
    return captions, shares.reshape(-1, side, side)
