"""Learning-rate schedules over the whole of training, stepped once a batch."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from blippose.errors import UserError


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.1, final: float = 0.01
) -> LambdaLR:
    """Rises linearly over the first `warmup` share of steps, then falls towards `final` x rate.

    Raises:
        UserError: a share is outside 0 to 1.
    """
    for name, share in (("warmup", warmup), ("final", final)):
        if not 0 <= share <= 1:
            raise UserError(f"scheduler.{name}={share}: expected 0 to 1")
    warmup_steps = max(1, int(warmup * total_steps))

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    return LambdaLR(optimizer, factor)
