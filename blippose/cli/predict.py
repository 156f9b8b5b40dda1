"""`blippose predict`: poses of the user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from blippose.cli.checks import check_targets
from blippose.cli.config import UNSTATED, checked, instantiate_key, plain_config
from blippose.counted import counted
from blippose.errors import UserError
from blippose.output_folder import check_out

if TYPE_CHECKING:
    from blippose.predictor import PosePredictor


@dataclass(frozen=True)
class _PredictKeys:
    """Keys of predict.yaml."""

    images: str | list[str]
    out: str
    run: str | None
    ckpt: str | None
    weights: str | None
    format: Literal["json", "coco", "hrnet"]
    joint_names: bool
    batch_size: int
    device: str
    precision: Literal["float32", "bfloat16"]
    debug: bool


def run(config: Any) -> int:
    """Write overlays and files; the exit status, 1 where an image could not be read."""
    plain = plain_config(config)
    keys = checked(_PredictKeys, plain)
    models = {key: getattr(keys, key) for key in ("run", "ckpt", "weights")}
    named = [key for key, value in models.items() if value is not None]
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)}: each names a model; give one of them")
    if keys.batch_size < 1:
        raise UserError(f"batch_size={keys.batch_size}: expected 1 or more")
    check_out(keys.out)
    out = Path(keys.out).expanduser()
    from blippose.images import find_images  # noqa: PLC0415
    from blippose.runs import best_checkpoint, checkpoint_file  # noqa: PLC0415
    from blippose.weights_config import check_model_folder  # noqa: PLC0415

    if keys.run is not None:  # each before seconds of imports
        best_checkpoint(keys.run)
    if keys.ckpt is not None:
        checkpoint_file(Path(keys.ckpt).expanduser(), "ckpt")
    if keys.weights is not None:
        check_model_folder(keys.weights, "weights")
    paths = find_images(keys.images)
    print(f"loading the model for {counted(len(paths), 'image')} ...", flush=True)
    check_targets({"decoding": plain.get("decoding")})
    import torch  # noqa: PLC0415  seconds

    from blippose.prediction_files import predict_files  # noqa: PLC0415  seconds, as training
    from blippose.threads import limit_threads  # noqa: PLC0415

    limit_threads()
    decoding = instantiate_key(config, "decoding")
    predictor = _predictor(keys)
    if decoding is not None:
        predictor.decode_by(decoding)
        if (said := predictor.stated.taught.caution(decoding)) is not None:
            _say(said)
    elif predictor.stated.decoding is None:
        print(UNSTATED)
    predictor.in_precision(getattr(torch, keys.precision))
    _caution(keys.precision, predictor.device)
    counts = predict_files(
        predictor,
        paths,
        out,
        keys.batch_size,
        format=keys.format,
        joint_names=keys.joint_names,
    )
    precision = "" if keys.precision == "float32" else f", {keys.precision}"
    print(f"model {predictor.source}{precision}; decoding: {predictor.decoding}")
    _say(f"confidence: {predictor.confidence_is}")
    if predictor.synthetic:
        print("it has learned from drawn people alone: poses of photos mean nothing")
    _say(_written(counts.done, counts.files, out))
    print(f"{counted(counts.done, 'image')} done, {counts.skipped:,} skipped")
    return 1 if counts.skipped else 0


def _caution(precision: str, device: Any) -> None:
    from blippose import bfloat16  # noqa: PLC0415

    if precision == "bfloat16" and device.type == "cpu":
        said = bfloat16.caution("precision=bfloat16", "precision=float32")
        if said is not None:
            _say(said)


def _say(text: str) -> None:
    print(fill(text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _written(num_done: int, files: Sequence[str], out: Path) -> str:
    if not files:
        return f"no image could be read: what an earlier call left in {out} stays as it is"
    if not num_done:
        return f"no image could be read: {files[0]} in {out} says why"
    return f"overlays, {', '.join(files[:-1])} and {files[-1]} in {out}"


def _predictor(keys: _PredictKeys) -> PosePredictor:
    from blippose.predictor import PosePredictor  # noqa: PLC0415

    if keys.run is not None:
        return PosePredictor.from_run(keys.run, keys.device)
    if keys.ckpt is not None:
        return PosePredictor.from_checkpoint(keys.ckpt, keys.device)
    return PosePredictor.from_pretrained(keys.weights or "tiny", keys.device)
