"""`blippose predict`: poses of the user's own images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose.cli.config import checked, plain_config
from blippose.errors import UserError


@dataclass(frozen=True)
class _PredictKeys:
    """Keys of predict.yaml."""

    images: str | list[str]
    out: str
    run: str | None
    ckpt: str | None
    batch_size: int
    device: str
    debug: bool


def run(config: Any) -> int:
    """Write overlays, JSON and CSV; the exit status, 1 where an image could not be read."""
    keys = checked(_PredictKeys, plain_config(config))
    if keys.run is not None and keys.ckpt is not None:
        raise UserError("run and ckpt: both name a model; give one of them")
    if keys.batch_size < 1:
        raise UserError(f"batch_size={keys.batch_size}: expected 1 or more")
    from blippose.images import find_images  # noqa: PLC0415

    paths = find_images(keys.images)
    print(f"loading the model for {len(paths)} images ...", flush=True)
    from blippose.prediction_files import predict_files  # noqa: PLC0415  seconds, as training
    from blippose.predictor import PosePredictor  # noqa: PLC0415

    if keys.run is not None:
        predictor = PosePredictor.from_run(keys.run, keys.device)
    elif keys.ckpt is not None:
        predictor = PosePredictor.from_checkpoint(keys.ckpt, keys.device)
    else:
        predictor = PosePredictor.from_pretrained("tiny", keys.device)
    out = Path(keys.out).expanduser()
    status = predict_files(predictor, paths, out, keys.batch_size, sys.stderr.isatty())
    print(f"model {predictor.source}; overlays, JSON and CSV in {out}")
    return status
