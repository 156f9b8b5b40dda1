"""The study's grid of 18 runs, written by the real Run and CSVLogger from made-up learning curves.

Deterministic. Which cell is good follows from the numbers here: 2e-5 suits every batch size, 5e-5
does not suit a batch of 1, AdamW is a little ahead.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from blippose.loggers import CSVLogger
from blippose.runs import BEST, LAST, Run, RunFailedError

CONF = Path(__file__).parents[1] / "conf"
BATCHES, RATES, OPTIMIZERS = (1, 2, 4), (5e-6, 2e-5, 5e-5), ("adam", "adamw")
NUM_EPOCHS, NUM_TRAIN = 8, 240
BEST_CELL = "batch_size=2,lr=2e-05,optimizer=adamw"
MEAN_POSE = {"mae": 61.0, "mae_all": 61.0, "epe": 97.0, "acc_1px": 0.001, "acc_5px": 0.008,
             "acc_25px": 0.16, "pckh_0.5": 0.05, "parse_rate": 1.0}  # fmt: skip


def configs() -> dict[str, dict[str, Any]]:
    """The poster's config for each optimizer."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {
            name: OmegaConf.to_container(
                compose("train", ["experiment=poster", "data.root=FOLDER", f"optimizer={name}"]),
                resolve=True,
            )
            for name in OPTIMIZERS
        }  # type: ignore[return-value]


def cells(seeds: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Folder names as `blippose train -m` gives them, and configs."""
    base = configs()
    for batch, lr, optimizer, seed in itertools.product(BATCHES, RATES, OPTIMIZERS, seeds):
        config = copy.deepcopy(base[optimizer])
        config["data"]["batch_size"], config["optimizer"]["lr"] = batch, lr
        config["trainer"]["max_epochs"] = NUM_EPOCHS
        for part in (config, config["data"], config["captioner"]):
            part["seed"] = seed
        end = f",seed={seed}" if len(seeds) > 1 else ""
        yield f"batch_size={batch},lr={lr:g},optimizer={optimizer}{end}", config


def write_grid(folder: Path, seeds: Sequence[int] = (0,), num_epochs: int = NUM_EPOCHS) -> Path:
    """18 runs a seed, all done."""
    for name, config in cells(seeds):
        write_run(folder / name, config, num_epochs)
    return folder


def write_run(folder: Path, config: dict[str, Any], num_epochs: int, end: str = "done") -> None:
    """One run that is done, or ended otherwise after `num_epochs`: `failed` or `cut off`."""
    run = Run.open(folder, config)
    command = f"blippose train data.batch_size={config['data']['batch_size']} name=grid"
    try:
        with run.started():
            run.note(command=command)
            run.write_config(OmegaConf.to_yaml(OmegaConf.create(config)))
            (folder / (BEST if end == "done" else LAST)).write_text("weights")
            rows = _log(folder, config, num_epochs)
            if end == "failed":
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            if end == "done":
                run.finish(_results(rows), keep_last=False)
    except RunFailedError:
        pass
    run.note(seconds=100.0 + 10 * num_epochs, peak_memory_mb=2048.0)


def _log(folder: Path, config: dict[str, Any], num_epochs: int) -> list[dict[str, float]]:
    """metrics.csv; the validation's rows."""
    batch, lr, seed = config["data"]["batch_size"], config["optimizer"]["lr"], config["seed"]
    is_adamw = config["optimizer"]["_target_"].endswith("AdamW")
    random = np.random.default_rng([batch, round(lr * 1e7), is_adamw, seed])
    speed, floor = _learning(batch, lr, is_adamw)
    steps = NUM_TRAIN // batch
    logger = CSVLogger(folder / "metrics.csv")
    rows = []
    for epoch in range(num_epochs):
        for step in range(epoch * steps + steps // 6, (epoch + 1) * steps, max(steps // 6, 1)):
            loss = floor / 20 + 5 * math.exp(-speed * step / steps) + random.normal(0, 0.06)
            logger.log_metrics({"train/loss": loss, "epoch": float(epoch)}, step)
        mae = floor + 60 * math.exp(-speed * (epoch + 1)) + random.normal(0, 0.25)
        rows.append({f"val/{name}": value for name, value in _metrics(mae).items()})
        logger.log_metrics({**rows[-1], "epoch": float(epoch)}, (epoch + 1) * steps - 1)
    logger.save()
    return rows


def _learning(batch: int, lr: float, is_adamw: bool) -> tuple[float, float]:
    """Speed an epoch and the MAE that training tends to."""
    off = math.log10(lr / 2e-5 * (1.2 if batch == 1 else 1.0))
    speed = 0.55 - 0.25 * max(-off, 0.0) - 0.03 * batch
    floor = 4.5 + 9 * off**2 + 0.6 * abs(math.log2(batch / 2)) - 0.9 * is_adamw
    return speed, floor + (6.0 if batch == 1 and lr > 4e-5 else 0.0)


def _metrics(mae: float) -> dict[str, float]:
    epe = 1.6 * mae
    shares = {f"acc_{px}px": 1 - math.exp(-((px / epe) ** 1.1)) for px in (1, 5, 25)}
    others = {"pckh_0.5": 1 - math.exp(-14 / epe), "parse_rate": 1.0, "loss": 0.3 + mae / 40}
    return {"mae": mae, "mae_all": mae, "epe": epe, **shares, **others}


def _results(rows: list[dict[str, float]]) -> dict[str, Any]:
    best = min(range(len(rows)), key=lambda i: rows[i]["val/mae_all"])
    plain = {name.removeprefix("val/"): value for name, value in rows[best].items()}
    about = {"frame": "input pixels of 384 x 384", "split": "random", "num_train": NUM_TRAIN,
             "num_val": 60, "manifest": "5e1f", "synthetic": True,
             "decoding": "free", "picture": "samples.png"}  # fmt: skip
    return {**about, "epoch": best, "val_loss": plain["loss"], "free_running": plain,
            "teacher_forced": plain, "mean_pose": MEAN_POSE}  # fmt: skip
