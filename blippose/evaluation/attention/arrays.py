"""The arrays of an attention report as one .npz, in which every axis has its name.

Of an array `x` the names of its axes stand in `x__axes`; the entries of an axis `joint` stand in
`axis__joint`. Layers and heads have both: `axis__layer_index` from 0, `axis__layer_number` from 1.

    arrays = np.load("attention.npz")
    arrays["self_joint"].shape, arrays["self_joint__axes"]

They are the evidence, which is read from them again. Knows nothing of who measured it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from blippose.attention import STEPS, PatchGrid
from blippose.evaluation.attention.evidence import STATISTICS, AttentionEvidence
from blippose.pose import JOINTS


def attention_arrays(
    evidence: AttentionEvidence,
    true_xy_input: Float[np.ndarray, "images 16 2"] | None,
    names: Sequence[str],
) -> dict[str, Any]:
    """What the numbers are made of, ready for `np.savez`.

    Args:
        evidence: of the captions.
        true_xy_input: the joints that were annotated; None where nobody has said it.
        names: of the images.
    """
    by_head = ("image", "layer", "head")
    arrays: dict[str, tuple[Any, tuple[str, ...]]] = {
        "self_joint": (evidence.self_mean, ("layer", "head", "joint", "looked_at")),
        "self_joint_uniform": (evidence.uniform_mean, ("joint", "looked_at")),
        "peak_patch": (evidence.peak, ("image", "step", "layer", "head", "joint")),
        "peak_xy_input": (
            evidence.grid.centre(evidence.peak).astype(np.float32),
            ("image", "step", "layer", "head", "joint", "xy"),
        ),
        "on_class": (evidence.on_class, ("image", "step", "layer", "head")),
        "pred_xy_input": (evidence.xy_input, ("image", "joint", "xy")),
        "caption": (np.array(evidence.captions), ("image",)),
    }
    for name in STATISTICS:
        arrays[f"self_{name}"] = (evidence.statistics[name], by_head)
        arrays[f"self_{name}_uniform"] = (evidence.uniform[name], ("image",))
    if true_xy_input is not None:
        arrays["true_xy_input"] = (true_xy_input, ("image", "joint", "xy"))
    stored = {name: values for name, (values, _) in arrays.items()}
    axes = {f"{name}__axes": np.array(axes) for name, (_, axes) in arrays.items()}
    grid = {"patches": np.array(evidence.grid.side), "input_size": evidence.grid.input_size}
    return {**stored, **axes, **grid, **_entries(evidence, names)}


def evidence_of(arrays: Mapping[str, Any]) -> AttentionEvidence:
    """The evidence that `attention_arrays` were made of."""
    return AttentionEvidence(
        PatchGrid(int(arrays["patches"]), int(arrays["input_size"])),
        arrays["self_joint"],
        arrays["self_joint_uniform"],
        statistics={name: arrays[f"self_{name}"] for name in STATISTICS},
        uniform={name: arrays[f"self_{name}_uniform"] for name in STATISTICS},
        peak=arrays["peak_patch"],
        on_class=arrays["on_class"],
        xy_input=arrays["pred_xy_input"],
        captions=tuple(arrays["caption"].tolist()),
    )


def _entries(evidence: AttentionEvidence, names: Sequence[str]) -> Mapping[str, Any]:
    num_layers, num_heads = evidence.self_mean.shape[:2]
    return {
        "axis__image": np.array(names),
        "axis__layer_index": np.arange(num_layers),
        "axis__layer_number": np.arange(num_layers) + 1,
        "axis__head_index": np.arange(num_heads),
        "axis__head_number": np.arange(num_heads) + 1,
        "axis__joint": np.array(JOINTS),
        "axis__looked_at": np.array(["no joint", *JOINTS]),
        "axis__step": np.array(STEPS),
        "axis__xy": np.array(["x", "y"]),
    }
