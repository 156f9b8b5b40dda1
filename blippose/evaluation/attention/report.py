"""The attention of every layer and head in numbers: intervals, controls, what they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from blippose.attention import STEPS, PatchGrid
from blippose.evaluation.attention.distances import Distances
from blippose.evaluation.attention.evidence import AttentionEvidence
from blippose.evaluation.attention.sentences import limits, sentences
from blippose.evaluation.intervals import LEVEL, Bootstrap, Estimate
from blippose.evaluation.predictions import other_persons
from blippose.evaluation.targets import Targets
from blippose.pose import JOINTS

WRITTEN = STEPS.index("written")
_STUDY_HEAD = 8  # the decoder head that the study shows, from 1


@dataclass(frozen=True)
class Shown:
    """Which layer and head a picture shows, from 0; None is the mean over all of them."""

    layer: int | None
    head: int | None
    why: str

    def title(self, num_layers: int) -> str:
        """For people: "layer 2, head 1", from 1."""
        if self.layer is None and self.head is None:
            return "mean of all layers and heads"
        head = "mean of all heads" if self.head is None else f"head {self.head + 1}"
        if self.layer is not None:
            return f"layer {self.layer + 1}, {head}"
        return (
            f"{head}, mean of layers 1 to {num_layers}" if num_layers > 1 else f"layer 1, {head}"
        )

    def as_dict(self) -> dict[str, Any]:
        """As the report has it, both ways of counting."""
        return {**_numbers(self.layer, self.head), "why": self.why}


@dataclass(frozen=True, eq=False)
class Truth:
    """Where the joints are, and what was made of it.

    Args:
        targets: the persons of the evidence, in its order.
        distances: of all heads.
    """

    targets: Targets
    distances: Distances

    @staticmethod
    def of(evidence: AttentionEvidence, targets: Targets, seed: int) -> Truth:
        """Peaks held against the truth. `seed` says who stands in as another image."""
        videos = [None if video < 0 else int(video) for video in targets.video]
        other = other_persons(videos, seed)
        target = np.where(targets.valid[..., None], targets.xy_input, np.nan)
        return Truth(targets, Distances.of(evidence.grid.centre(evidence.peak), target, other))


def self_shown(evidence: AttentionEvidence, layer: int | None, head: int | None) -> Shown:
    """The head whose self-attention is shown: the one asked for, the study's, the most focused."""
    if head is not None:
        return Shown(layer, head, "the head that was asked for")
    if not evidence.names_joints:
        return Shown(layer, None, "no head was asked for")
    num_heads = evidence.self_mean.shape[1]
    if num_heads >= _STUDY_HEAD:
        return Shown(layer, _STUDY_HEAD - 1, "the head that the study shows")
    entropy = np.nanmean(evidence.statistics["entropy"], axis=0)  # (L, H)
    if layer is None:  # heads of the same number have nothing in common
        least_layer, least_head = divmod(int(entropy.argmin()), num_heads)
        why = "of all layers' heads the one of the least entropy"
        return Shown(least_layer, least_head, why)
    return Shown(layer, int(entropy[layer].argmin()), "the head of the least entropy")


def cross_shown(truth: Truth | None, layer: int | None, head: int | None) -> Shown:
    """The head whose cross-attention is shown: the one asked for, or the nearest to the joints."""
    if head is not None:
        return Shown(layer, head, "the head that was asked for")
    if truth is None or np.isnan(truth.distances.own[:, WRITTEN]).all():
        return Shown(layer, None, "no head was asked for")
    if layer is None:
        return Shown(
            *truth.distances.best(WRITTEN), "of all heads its peak lies nearest to the joints"
        )
    best = truth.distances.of_layer(layer).best(WRITTEN)[1]
    return Shown(layer, best, "of this layer's heads its peak lies nearest to the joints")


def attention_report(
    about: Mapping[str, Any],
    evidence: AttentionEvidence,
    truth: Truth | None,
    shown: Mapping[str, Shown],
    resampled: tuple[str, Int[np.ndarray, " captions"]],
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Every head's figures with intervals, the best head's, and `sentences` of what they show.

    Args:
        about: where the captions come from.
        evidence: what was measured of them.
        truth: None of photos, for which nobody has said it.
        shown: which head each picture shows, by "self" and "cross".
        resampled: the unit, and to which one each caption belongs, as `intervals.units`.
        samples: draws of the bootstrap.
        seed: of the draws and of the halves that a head is chosen on.
    """
    unit, groups = resampled
    draws = Bootstrap.of(groups, samples, seed)
    interval = {
        "level": LEVEL,
        "unit": unit,
        "num_units": draws.num_units,
        "samples": samples,
        "seed": seed,
    }
    report = {
        "about": {
            **about,
            **_shape(evidence),
            "num_images": len(evidence),
            **_parsed(evidence, truth),
            "interval": interval,
        },
        "uniform": {
            name: _mean(values, draws).interval().as_dict()
            for name, values in evidence.uniform.items()
        },
        "heads": _heads(evidence, truth, draws),
        "shown": {name: which.as_dict() for name, which in shown.items()},
        **(_cross(evidence.grid, truth, draws, groups, seed) if truth else {}),
    }
    return {**report, "sentences": sentences(report), "limits": limits(report)}


def _parsed(evidence: AttentionEvidence, truth: Truth | None) -> dict[str, int]:
    """How many joints were to be said, those annotated where that is known, and how many were."""
    said = np.isfinite(evidence.xy_input).all(axis=-1)
    wanted = np.ones_like(said) if truth is None else truth.targets.valid
    return {"num_joints": int(wanted.sum()), "num_joints_parsed": int((said & wanted).sum())}


def _shape(evidence: AttentionEvidence) -> dict[str, Any]:
    num_layers, num_heads = evidence.self_mean.shape[:2]
    grid = evidence.grid
    return {
        "num_layers": num_layers,
        "num_heads": num_heads,
        "patches": grid.side,
        "patch_size": grid.patch_size,
        "numbering": "index counts from 0, number from 1; layer 1 reads the words first",
    }


def _numbers(layer: int | None, head: int | None) -> dict[str, int | None]:
    return {
        "layer_index": layer,
        "layer_number": None if layer is None else layer + 1,
        "head_index": head,
        "head_number": None if head is None else head + 1,
    }


def _heads(
    evidence: AttentionEvidence, truth: Truth | None, draws: Bootstrap
) -> list[dict[str, Any]]:
    """A record for each layer and head."""
    own = {name: _mean(values, draws) for name, values in evidence.statistics.items()}
    above = {
        name: _mean(values - evidence.uniform[name][:, None, None], draws)
        for name, values in evidence.statistics.items()
    }
    on_class = _mean(evidence.on_class, draws)
    distances = truth.distances.estimates(draws) if truth else {}
    records = []
    for layer, head in np.ndindex(evidence.self_mean.shape[:2]):
        cross = {
            step: {
                "on_class": on_class[i, layer, head].interval().as_dict(),
                **{n: e[i, layer, head].interval().as_dict() for n, e in distances.items()},
            }
            for i, step in enumerate(STEPS)
        }
        self_attention = {
            name: {
                **own[name][layer, head].interval().as_dict(),
                "above_uniform": above[name][layer, head].interval().as_dict(),
            }
            for name in own
        }
        records.append({**_numbers(layer, head), "self": self_attention, "cross": cross})
    return records


def _mean(values: Float[np.ndarray, " captions *shape"], draws: Bootstrap) -> Estimate:
    """Over the captions that have it."""
    return draws.ratio(np.nan_to_num(values), np.isfinite(values))


def _cross(
    grid: PatchGrid, truth: Truth, draws: Bootstrap, groups: Int[np.ndarray, " persons"], seed: int
) -> dict[str, Any]:
    """The best head at both steps, on all images and on those that it was not chosen on."""
    floor = np.linalg.norm(truth.targets.xy_input - grid.nearest(truth.targets.xy_input), axis=-1)
    total = np.where(truth.targets.valid, floor, 0.0).sum(axis=1)
    best = {step: _best(truth.distances, i, draws, groups, seed) for i, step in enumerate(STEPS)}
    return {
        "best": best,
        "nearest_patch": draws.ratio(total, truth.targets.valid.sum(axis=1)).interval().as_dict(),
    }


def _best(
    distances: Distances,
    step: int,
    draws: Bootstrap,
    groups: Int[np.ndarray, " persons"],
    seed: int,
) -> dict[str, Any]:
    layer, head = distances.best(step)
    of_head = distances.head(step, layer, head)
    held_out = distances.held_out(step, groups, seed)
    per_joint = {name: e.named(JOINTS) for name, e in of_head.by_joint(draws).items()}
    record: dict[str, Any] = {
        **_numbers(layer, head),
        **{name: e.interval().as_dict() for name, e in of_head.estimates(draws).items()},
        "per_joint": {
            joint: {name: cells[joint] for name, cells in per_joint.items()} for joint in JOINTS
        },
        "held_out": None,
    }
    if held_out is not None:
        found, chosen = held_out
        record["held_out"] = {
            "chosen": [_numbers(*each) for each in chosen],
            **{name: e.interval().as_dict() for name, e in found.estimates(draws).items()},
        }
    return record
