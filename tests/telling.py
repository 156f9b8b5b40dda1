"""Models whose answers are known: one says what it is told, one has preferences of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blippose.decoding import AskedView, Decoded, Writer
from blippose.decoding.written import written
from blippose.model import PoseCaptioner
from blippose.pose import MIRROR


@dataclass(frozen=True)
class Told:
    """Takes what it is to say of an image from the image: no model errs as exactly as asked."""

    expectation: bool = False
    test_views: int = 1
    close_up: bool = False
    name: str = "told"
    cut: tuple[int, ...] = ()  # rows whose captions have no end

    def __call__(self, writer: Writer, image: Tensor, *, with_probability: bool) -> Decoded:
        log_p = image.view(len(image), 16, 2, -1)
        valid = ~log_p.isnan().any(-1).any(-1)
        numbers = log_p.nan_to_num(neginf=-1e9).argmax(-1)
        tokens = written(writer.tokenizer, writer.caption_format, numbers, valid)
        is_cut = torch.isin(torch.arange(len(image)), torch.tensor(self.cut))[:, None]
        return Decoded(
            tokens.masked_fill((tokens == writer.grammar.sep) & is_cut, writer.grammar.pad), log_p
        )


def around(xy_bin: Tensor, bins: int = 32, deviation: float = 2.0) -> Tensor:
    """A bell round each number."""
    away = torch.arange(bins) - xy_bin[..., None]
    return (-0.5 * (away / deviation) ** 2).log_softmax(-1)


def in_view(xy: Tensor, view: AskedView, size: int = 32) -> Tensor:
    """Where joints of an image lie in a view of it."""
    xy = xy + torch.tensor([view.right, view.down])
    if not view.is_mirrored:
        return xy
    x, y = xy[:, list(MIRROR)].unbind(-1)
    return torch.stack([size - 1 - x, y], dim=-1)


def as_states(log_p: Tensor) -> Tensor:
    return log_p.flatten(1, 2)


def made_keen(captioner: PoseCaptioner) -> PoseCaptioner:
    """Weights so large that it has preferences, and looks at the image."""
    captioner.eval()
    torch.manual_seed(1)
    for weight in captioner.blip.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return captioner
