"""`blippose train`: fit one model into its run folder, or say what came out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blippose.cli.config import check_targets, checked, instantiate_key, plain_config, short

if TYPE_CHECKING:
    from blippose.runs import Run


@dataclass(frozen=True)
class _TrainKeys:
    """Top-level keys of train.yaml."""

    name: str
    runs: str
    seed: int
    ckpt_path: str | None
    init_from: str | None
    keep_last: bool
    debug: bool


def run(config: Any) -> int:
    """Fit one model, or go on with it, or say what came out; the exit status."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415
    from hydra.types import RunMode  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from blippose.runs import Run, is_first_process  # noqa: PLC0415
    from blippose.summary import print_next, print_summary  # noqa: PLC0415

    folder = short(Path(HydraConfig.get().runtime.output_dir))
    is_multirun = HydraConfig.get().mode is RunMode.MULTIRUN
    try:
        plain = plain_config(config)
        run = Run.open(folder, plain)
        if run.is_done:
            print(f"{folder} is done; this is what came out:")
        else:
            _fit(config, plain, run, plain["name"] if is_multirun else None)
        if not is_first_process():
            return 0
    finally:
        with contextlib.suppress(OSError):  # Hydra made it before anything was checked
            folder.rmdir()
    print_summary(run, Console())
    if not is_multirun:
        print_next(run, Console())
    return 0


def _fit(config: Any, plain: dict[str, Any], run: Run, group: str | None) -> None:
    keys = checked(_TrainKeys, plain)
    print("loading ...", flush=True)
    from omegaconf import OmegaConf  # noqa: PLC0415

    from blippose import training  # noqa: PLC0415  seconds: torch, lightning, transformers

    check_targets(plain)
    training.seed(keys.seed)
    parts = {key: instantiate_key(config, key) for key in ("optimizer", "scheduler")}
    captioner_of = partial(instantiate_key(config, "captioner"), **parts)
    trainer = instantiate_key(config, "trainer")
    training.check(**parts, trainer=trainer, ckpt_path=keys.ckpt_path, init_from=keys.init_from)
    captioner, data = _captioner_and_data(config, plain["model"], captioner_of)
    start = run.resume_from
    with run.started():
        run.write_config(OmegaConf.to_yaml(config, resolve=True))
        print(f"going on in {run.folder} from {start.name}" if start else f"into {run.folder}")
        training.fit(
            captioner,
            data,
            instantiate_key(config, "trainer"),
            run,
            logger=instantiate_key(config, "logger"),
            group=group,
            ckpt_path=keys.ckpt_path,
            init_from=keys.init_from,
            keep_last=keys.keep_last,
        )


def _captioner_and_data(
    config: Any, model: dict[str, Any], captioner_of: Callable[..., Any]
) -> tuple[Any, Any]:
    from blippose.blip import load_blip, load_tokenizer  # noqa: PLC0415

    fit_together = {
        "caption_format": instantiate_key(config, "model.caption"),
        "tokenizer": load_tokenizer(model["tokenizer"]),
    }
    data = instantiate_key(config, "data")(**fit_together)
    data.prepare_data()
    data.setup()  # before the weights, which may be a gigabyte to fetch
    blip = load_blip(model["weights"], model["architecture"])
    return captioner_of(blip=blip, **fit_together), data
