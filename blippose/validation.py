"""What a validation measures of a model: its own captions, and those that it goes on with.

Knows nothing of models: poses come read, in the input frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from blippose.caption import ParsedCaption, xy_said
from blippose.data import PoseBatch
from blippose.geometry import to_img
from blippose.metrics import PoseMetrics
from blippose.metrics.modular import Mean


@final
class Validation(nn.Module):
    """Every metric of an epoch's batches, in both ways of reading, and the loss.

    Args:
        input_size: side of the input, px.
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.free, self.forced = PoseMetrics(), PoseMetrics()
        # Sums and counts: Lightning's own mean was wrong with uneven processes.
        self.loss = Mean()

    def set_mean_pose(self, mean_pose: Float[Tensor, "16 2"]) -> None:
        """Say what `mae_all` takes for a missing joint: the mean training pose, input pixels."""
        self.free.mean_pose = self.forced.mean_pose = torch.as_tensor(mean_pose)

    def update(
        self,
        batch: PoseBatch,
        loss: Float[Tensor, ""],
        free: Sequence[ParsedCaption],
        forced: Sequence[ParsedCaption],
    ) -> None:
        """Add a batch: what was said freely, and what beside the true captions."""
        self.loss.update(loss, len(batch["index"]))
        for metrics, said in ((self.free, free), (self.forced, forced)):
            preds_input = torch.from_numpy(xy_said(said)).to(batch["xy_input"])
            metrics.mean_pose = metrics.mean_pose.to(preds_input.device)
            measure(metrics, preds_input, batch, self.input_size)

    def results(self, name: str) -> dict[str, Tensor]:
        """Of what came since the last call: NAME/loss, NAME/... freely, NAME_tf/... beside it."""
        found = {f"{name}/loss": self.loss.compute().float()}
        self.loss.reset()
        for prefix, metrics in ((name, self.free), (f"{name}_tf", self.forced)):
            values = metrics.compute().items()
            found |= {f"{prefix}/{key}": value.float() for key, value in values}
            metrics.reset()
        return found


def measure(
    metrics: PoseMetrics,
    preds_input: Float[Tensor, "batch 16 2"],
    batch: PoseBatch,
    input_size: int,
) -> None:
    """Add to `metrics` what is said of a batch's persons."""
    corner, extent = batch["crop"][:, None, :2], batch["crop"][:, None, 2:]
    metrics.update(
        preds_input=preds_input,
        target_input=batch["xy_input"],
        valid=batch["valid"],
        preds_img=to_img(preds_input, corner, extent, input_size),
        target_img=batch["xy_img"],
        head_size=batch["head_size"],
    )
