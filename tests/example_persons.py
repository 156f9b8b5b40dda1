"""Persons to be judged on and answers about them, drawn from a seed: no files, no model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blippose.evaluation.targets import Answers, Targets

SIZE = 96  # px, of the input
IMAGE = (640.0, 360.0)  # px: input pixels are 6.7 image pixels wide and 3.75 high


def make_targets(num: int = 40, seed: int = 0, **replaced: Any) -> Targets:
    """`num` persons of one pose that is moved and shaken, four a video, all joints annotated."""
    rng = np.random.default_rng((seed, 1))
    one = np.random.default_rng(7).uniform(-20, 20, (16, 2))
    xy_input = one + rng.uniform(25, 70, (num, 1, 2)) + rng.normal(0, 3, (num, 16, 2))
    fields = {
        "index": np.arange(num),
        "image_names": tuple(f"{i:04}.jpg" for i in range(num)),
        "video": np.arange(num) // 4,
        "xy_input": xy_input,
        "xy_img": xy_input,
        "valid": np.ones((num, 16), dtype=bool),
        "crop": np.tile([0.0, 0.0, *IMAGE], (num, 1)),
        "head_size": rng.uniform(20, 40, num),
        "scale": np.ones(num),
        "input_size": SIZE,
        **replaced,
    }
    targets = Targets(**fields)
    return Targets(**{**fields, "xy_img": targets.to_img(targets.xy_input)})


def with_gaps(targets: Targets, share: float = 0.15, seed: int = 0) -> Targets:
    """Some joints not annotated, some persons without a head box."""
    rng = np.random.default_rng((seed, 2))
    valid = rng.random(targets.valid.shape) >= share
    gone = ~valid[..., None]
    return Targets(
        **{
            **vars(targets),
            "valid": valid,
            "xy_input": np.where(gone, np.nan, targets.xy_input),
            "xy_img": np.where(gone, np.nan, targets.xy_img),
            "head_size": np.where(rng.random(len(targets)) < 0.1, 0.0, targets.head_size),
        }
    )


def answers(
    targets: Targets, sigma: float = 2.0, missing: float = 0.0, seed: int = 0, name: str = "model"
) -> Answers:
    """The truth with normal errors of `sigma` input pixels, and some joints left out."""
    rng = np.random.default_rng((seed, 3))
    xy = targets.xy_input + rng.normal(0, sigma, targets.xy_input.shape)
    left_out = rng.random(targets.valid.shape) < missing
    return Answers(name, "model", np.where(left_out[..., None], np.nan, xy))


def copies(
    targets: Targets, right: float, seed: int = 0, name: str = "model", far: float = 30.0
) -> Answers:
    """A share of the joints exactly right and the others `far` off in a random direction."""
    rng = np.random.default_rng((seed, 4))
    angle = rng.uniform(0, 2 * np.pi, targets.valid.shape)
    away = rng.uniform(0.5, 1.5, targets.valid.shape) * far
    shift: NDArray[Any] = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * away[..., None]
    exact = rng.random(targets.valid.shape) < right
    return Answers(name, "model", targets.xy_input + np.where(exact[..., None], 0.0, shift))
