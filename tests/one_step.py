"""One training step of a captioner: its loss, its gradients, and what it keeps for them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blippose.data import PoseBatch
from blippose.loss import HardTokens, caption_loss
from blippose.model import PoseCaptioner


def forward_loss(captioner: PoseCaptioner, batch: PoseBatch) -> float:
    with torch.no_grad():
        output = captioner.blip(
            pixel_values=captioner.pixel_values(batch["image"]),
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
        )
        return float(caption_loss(HardTokens(), nn.Identity(), output.logits, batch["labels"]))


def step_of(captioner: PoseCaptioner, batch: PoseBatch) -> tuple[float, list[torch.Tensor]]:
    """The loss, and the gradients of what is trained."""
    captioner.log = lambda *args, **settings: None
    captioner.zero_grad()
    loss = captioner.train().training_step(batch, 0)
    loss.backward()
    return loss.item(), [p.grad.clone() for p in captioner.parameters() if p.requires_grad]


def assert_same_step(
    found: tuple[float, list[torch.Tensor]], expected: tuple[float, list[torch.Tensor]]
) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in expected[1])
    for one, other in zip(found[1], expected[1], strict=True):
        assert float((one - other).abs().max()) <= 2e-6 * largest


def kept_bytes(captioner: PoseCaptioner, batch: PoseBatch) -> int:
    """Of what a step keeps for its gradients."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    captioner.log = lambda *args, **settings: None
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        captioner.training_step(batch, 0)
    return sum(kept.values())
