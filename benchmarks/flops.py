"""What a training step multiplies, against what this machine can: the least seconds that it takes.

    python benchmarks/flops.py                     the tiny model and BLIP base
    python benchmarks/flops.py --device cuda       of a GPU

Products are counted by torch in BLIP's own modules, without weights or images, as transformers
computes them: captions of sixteen joints, one sample, a multiplication and an addition as two. The
rate is that of square matrices, on one thread of a processor, the best of several. What is left to
gain of a measured step (benchmarks/train.py) is what it takes above these seconds.
"""

from __future__ import annotations

import argparse
import time

import torch
from process import check_device
from torch.utils.flop_counter import FlopCounterMode
from train import architecture, random_blip, synchronize

NUM_TOKENS = {"tiny": 127, "base": 129, "large": 129}  # of a caption, as docs/speed.md has it
SIDE, ROUNDS = 2048, 5


def products(model: str) -> dict[str, float]:
    """GF of one sample: the parts of a pass forward, and a step with its pass back."""
    _, shape, size = architecture(model)
    with torch.device("meta"):
        blip = random_blip(shape)
        pixels = torch.zeros(1, 3, size, size)
        tokens = torch.zeros(1, NUM_TOKENS[model], dtype=torch.long)
        with FlopCounterMode(display=False, depth=9) as forward:
            patches = blip.vision_model(pixels).last_hidden_state
            said = blip.text_decoder(
                tokens, attention_mask=torch.ones_like(tokens), encoder_hidden_states=patches
            )
        with FlopCounterMode(display=False) as back:
            torch.autograd.backward(said.logits.sum())
    of = {name: sum(ops.values()) / 1e9 for name, ops in forward.get_flop_counts().items()}
    patches_read = sum(
        flops
        for name, flops in of.items()
        if name.endswith(("crossattention.self.key", "crossattention.self.value"))
    )
    head = of["BlipTextLMHeadModel.cls"]
    parts = {
        "vision tower": of["BlipVisionModel"],
        "keys and values of the patches": patches_read,
        "head": head,
        "text decoder beside them": of["BlipTextLMHeadModel"] - patches_read - head,
    }
    return {**parts, "a step": sum(parts.values()) + back.get_total_flops() / 1e9}


def rate(dtype: torch.dtype, device: str) -> float:
    """GF a second of square matrices."""
    matrix = torch.rand(SIDE, SIDE, device=device).to(dtype)
    seconds = []
    for _ in range(ROUNDS):
        synchronize(device)
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / 1e9 / min(seconds)


def main(models: list[str], device: str) -> None:
    torch.set_num_threads(1)
    rates = {name: rate(getattr(torch, name), device) for name in ("float32", "bfloat16")}
    for name, found in rates.items():
        print(f"{name} matrices of {SIDE:,}: {found:,.0f} GF/s")
    for model in models:
        print(f"\n{model}, one sample")
        for part, flops in products(model).items():
            print(f"  {part:<31}{flops:9.3f} GF")
        for name, found in rates.items():
            print(f"  least in {name:<22}{flops / found:9.4f} s a step")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", nargs="+", choices=("tiny", "base", "large"), default=["tiny", "base"]
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    check_device(parser, given.device)
    main(given.model, given.device)
