"""Images with captions for a BLIP of any size."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import BlipForConditionalGeneration


def batch(blip: BlipForConditionalGeneration, length: int = 20) -> dict[str, Tensor]:
    """Two images with captions, the second one padded."""
    torch.manual_seed(1)
    size = blip.vision_model.config.image_size
    tokens = torch.randint(1, blip.text_decoder.config.vocab_size, (2, length))
    mask = torch.ones_like(tokens)
    mask[1, -length // 4 :] = 0
    return {
        "pixel_values": torch.randn(2, 3, size, size),
        "input_ids": tokens,
        "attention_mask": mask,
        "labels": tokens.masked_fill(mask == 0, -100),
    }
