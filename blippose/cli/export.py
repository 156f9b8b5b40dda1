"""`blippose export`: a run as a plain Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blippose.cli.config import checked, plain_config
from blippose.errors import UserError
from blippose.output_folder import check_named


@dataclass(frozen=True)
class _ExportKeys:
    """Keys of export.yaml."""

    out: str
    run: str | None
    ckpt: str | None
    debug: bool


def run(config: Any) -> int:
    """Write the folder and say how it is used; the exit status."""
    keys = checked(_ExportKeys, plain_config(config))
    if (keys.run is None) == (keys.ckpt is None):
        raise UserError("run, ckpt: expected one of them; add run=FOLDER or ckpt=FILE")
    check_named(keys.out)
    from blippose.runs import best_checkpoint, checkpoint_file  # noqa: PLC0415

    if keys.run is not None:
        path = best_checkpoint(keys.run)
    else:
        path = checkpoint_file(Path(keys.ckpt or "").expanduser(), "ckpt")
    out = Path(keys.out).expanduser()
    print("loading ...", flush=True)
    from blippose.export import export_checkpoint  # noqa: PLC0415  seconds: transformers

    predictor = export_checkpoint(path, out)
    print(f"model {predictor.source}, its processor and its card in {out}")
    print(f"next:\n  blippose predict weights={out} images=FOLDER")
    return 0
