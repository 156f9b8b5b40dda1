"""The occlusion study as plain data: joint by joint, the matrix, the curve, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from blippose.evaluation.intervals import LEVEL, Bootstrap, units, video_counts
from blippose.evaluation.occlusion.answers import Occluded, looks
from blippose.evaluation.occlusion.effects import Effects, by_joint, figures
from blippose.evaluation.occlusion.findings import findings, limits
from blippose.pose import JOINTS, NUM_JOINTS


def study(answers: Occluded, about: Mapping[str, Any], samples: int, seed: int) -> dict[str, Any]:
    """All figures with their intervals, in input px, and sentences for people.

    Args:
        answers: what the model said.
        about: what was studied, which is passed on.
        samples: resamples of the bootstrap.
        seed: of them.
    """
    plan = answers.plan
    unit, groups = units(plan.targets.video)
    effects = Effects(answers, Bootstrap.of(groups, samples, seed))
    report = {
        "about": {
            **about,
            "num_images": len(plan.targets),
            **video_counts(plan.targets.video),
            "interval": {
                "level": LEVEL,
                "unit": unit,
                "num_units": effects.bootstrap.num_units,
                "samples": samples,
                "seed": seed,
            },
        },
        "settings": _settings(answers),
        "all": _all(effects),
        "joints": _joints(effects),
        "matrix": _matrix(effects),
        "curve": _curve(effects),
        "parsed": effects.parsed(0),
    }
    return {**report, "findings": findings(report), "limits": limits(report)}


def _settings(answers: Occluded) -> dict[str, Any]:
    plan, chosen = answers.plan, answers.plan.settings
    area, asked = plan.area[:, 0], plan.asked[:, 0, :, 0]
    return {
        "fill": chosen.fill,
        "radius_heads": [float(radius) for radius in chosen.radius],
        "radius_input_px": np.median(plan.radius_input, axis=0).tolist(),
        "share_of_input": float(area[asked].mean() / plan.targets.input_size**2),
        "curve_joints": chosen.curve_joints,
        "seed": chosen.seed,
        "input_size": plan.targets.input_size,
        "num_looks": len(looks(plan)),
        "num_discs": int(asked.sum()),
        "num_compared": int(plan.asked[:, 0].all(axis=-1).sum()),
    }


def _all(effects: Effects) -> dict[str, Any]:
    pairs = effects.complete(0)
    return _pooled(effects, 0, pairs, effects.clear_others(0, pairs))


def _pooled(
    effects: Effects,
    radius: int,
    pairs: Bool[np.ndarray, "persons 16"],
    others: Bool[np.ndarray, "persons 16 16"],
) -> dict[str, Any]:
    """Over all hidden joints: the hidden joint's own error, and the others'."""
    own = pairs[..., None] & np.eye(NUM_JOINTS, dtype=bool)
    return {
        "num": int(pairs.sum()),
        "num_others": int(others.sum()),
        "own": figures(effects.pooled(radius, own)),
        "others": figures(effects.pooled(radius, others)),
    }


def _joints(effects: Effects) -> dict[str, Any]:
    pairs = effects.complete(0)
    own, others = by_joint(effects.own(0, pairs)), by_joint(effects.others(0, pairs))
    num_others = effects.clear_others(0, pairs).sum(axis=(0, 2))
    return {
        name: {
            "num": int(pairs[:, joint].sum()),
            "num_others": int(num_others[joint]),
            "own": next(own),
            "others": next(others),
        }
        for joint, name in enumerate(JOINTS)
    }


def _matrix(effects: Effects) -> dict[str, Any]:
    added = effects.matrix()
    return {
        "axes": ["hidden", "measured"],
        "joints": list(JOINTS),
        "added_px": [
            [added[h, m].interval().as_dict() for m in range(NUM_JOINTS)]
            for h in range(NUM_JOINTS)
        ],
        "covered_share": effects.covered_share().tolist(),
        "num_images": effects.answers.plan.asked[:, 0, :, 0].sum(axis=0).tolist(),
    }


def _curve(effects: Effects) -> list[dict[str, Any]]:
    """Every radius, from the least, on the joints that are complete, or clear, at all of them."""
    plan, pairs = effects.answers.plan, effects.everywhere()
    others = effects.clear_everywhere(pairs)
    radius_input = np.median(plan.radius_input, axis=0)
    return [
        {
            "radius_heads": float(plan.settings.radius[radius]),
            "radius_input_px": float(radius_input[radius]),
            **_pooled(effects, radius, pairs, others),
        }
        for radius in np.argsort(plan.settings.radius).tolist()
    ]
