"""What discs cost: errors of the hidden joint and of the others, paired over images.

An error is the distance from the true joint in input px. A joint that did not parse is as far off
as the mean training pose, as in `mae_all`, so that a model that falls silent does not gain. Every
figure is a sum over images through a sum of counts, and all of a study come from the same draws of
videos: their differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from blippose.evaluation.intervals import Bootstrap, Estimate
from blippose.evaluation.occlusion.answers import Occluded
from blippose.evaluation.occlusion.plan import PLACES
from blippose.pose import NUM_JOINTS

# What an error is told of: nothing hidden, a disc at each place, and an answer that never looked.
STATES = ("clean", *PLACES, "mean pose")
# Which errors are held against each other.
CONTRASTS = (
    ("hidden", "clean"),
    ("on body", "clean"),
    ("off body", "clean"),
    ("hidden", "on body"),
    ("hidden", "off body"),
    ("mean pose", "hidden"),
)
_RIM = 1.0  # px; a joint lies somewhere in its pixel, and a disc ends with a whole one
_Errors = Float[np.ndarray, "persons 16 16 5"]  # of hidden, measured, state


@dataclass(frozen=True, eq=False)
class Effects:
    """The figures of one study, from one set of draws."""

    answers: Occluded
    bootstrap: Bootstrap

    def own(self, radius: int, pairs: Bool[np.ndarray, "persons 16"]) -> Estimate:
        """Error of each hidden joint, (16, 5): by joint and state."""
        every = np.eye(NUM_JOINTS, dtype=bool)[None]
        return self._means(radius, pairs[..., None] & every)

    def others(self, radius: int, pairs: Bool[np.ndarray, "persons 16"]) -> Estimate:
        """Error of the other joints, (16, 5): by hidden joint and state.

        Those that neither the disc over the joint nor the one elsewhere on the body covers: the
        same ones in every state.
        """
        return self._means(radius, self.clear_others(radius, pairs))

    def clear_others(
        self, radius: int, pairs: Bool[np.ndarray, "persons 16"]
    ) -> Bool[np.ndarray, "persons 16 16"]:
        """Which other joints no disc covers, by hidden and measured joint."""
        valid = self.answers.plan.targets.valid[:, None]
        clear = ~self.is_covered(radius).any(axis=3)
        mask: Bool[np.ndarray, "persons 16 16"]
        mask = pairs[..., None] & valid & clear & ~np.eye(NUM_JOINTS, dtype=bool)
        return mask

    def clear_everywhere(
        self, pairs: Bool[np.ndarray, "persons 16"]
    ) -> Bool[np.ndarray, "persons 16 16"]:
        """Which other joints no disc covers at any radius, by hidden and measured joint."""
        radii = range(len(self.answers.plan.settings.radius))
        return np.asarray(np.all([self.clear_others(radius, pairs) for radius in radii], axis=0))

    def complete(self, radius: int) -> Bool[np.ndarray, "persons 16"]:
        """Where there is a disc over the joint and both of its controls."""
        return np.asarray(self.answers.plan.asked[:, radius].all(axis=-1))

    def everywhere(self) -> Bool[np.ndarray, "persons 16"]:
        """Where that is so at every radius, so that points of the curve are of the same joints."""
        return np.asarray(self.answers.plan.asked.all(axis=(1, 3)))

    def matrix(self) -> Estimate:
        """What the disc over each joint adds to the error of each, (16, 16): hidden, measured."""
        valid = self.answers.plan.targets.valid
        mask = self.answers.plan.asked[:, 0, :, 0, None] & valid[:, None]
        added = self._errors(0)[..., 1] - self._errors(0)[..., 0]
        return self.bootstrap.ratio(np.where(mask, added, 0.0), mask)

    def covered_share(self) -> Float[np.ndarray, "16 16"]:
        """Share of the images in which the disc over a joint covers another, hidden, measured."""
        asked = self.answers.plan.asked[:, 0, :, 0, None]
        covered = (self.is_covered(0)[..., 0] & asked).sum(axis=0)
        share: Float[np.ndarray, "16 16"] = covered / np.maximum(asked.sum(axis=0), 1)
        return share

    def is_covered(self, radius: int) -> Bool[np.ndarray, "persons 16 16 3"]:
        """Whether a disc covers a joint, or passes within a pixel: by hidden, measured, place."""
        plan = self.answers.plan
        off = plan.targets.xy_input[:, None, :, None] - plan.center[:, radius, :, None]
        even = [picture.even(each) for picture, each in zip(plan.pictures, off, strict=True)]
        away = np.linalg.norm(even, axis=-1)  # (N, 16, 16, 3)
        covered: Bool[np.ndarray, "persons 16 16 3"]
        covered = away <= plan.radius_input[:, radius, None, None, None] + _RIM
        return covered

    def parsed(self, radius: int) -> dict[str, float]:
        """Share of the annotated joints that parsed, by state."""
        valid = self.answers.plan.targets.valid
        clean = np.isfinite(self.answers.clean).all(axis=-1)[valid]
        said = np.isfinite(self.answers.hidden[:, radius]).all(axis=-1)  # (N, 16, 3, 16)
        wanted = self.answers.plan.asked[:, radius, ..., None] & valid[:, None, None]
        shares = (said & wanted).sum(axis=(0, 1, 3)) / np.maximum(wanted.sum(axis=(0, 1, 3)), 1)
        return {"clean": float(clean.mean()), **dict(zip(PLACES, shares.tolist(), strict=True))}

    def _means(self, radius: int, mask: Bool[np.ndarray, "persons 16 16"]) -> Estimate:
        """Mean error over the measured joints of a mask, (16, 5)."""
        errors = np.where(mask[..., None], self._errors(radius), 0.0).sum(axis=2)  # (N, 16, 5)
        count = np.broadcast_to(mask.sum(axis=2)[..., None], errors.shape)
        return self.bootstrap.ratio(errors, count)

    def pooled(self, radius: int, mask: Bool[np.ndarray, "persons 16 16"]) -> Estimate:
        """Mean error over all hidden and measured joints of a mask, (5,)."""
        errors = np.where(mask[..., None], self._errors(radius), 0.0).sum(axis=(1, 2))  # (N, 5)
        count = np.broadcast_to(mask.sum(axis=(1, 2))[:, None], errors.shape)
        return self.bootstrap.ratio(errors, count)

    def _errors(self, radius: int) -> _Errors:
        return self._all_errors[radius]

    @cached_property
    def _all_errors(self) -> list[_Errors]:
        return [_errors(self.answers, r) for r in range(self.answers.hidden.shape[1])]


def _errors(answers: Occluded, radius: int) -> _Errors:
    """Distances in input px by hidden joint, measured joint and state."""
    hidden = answers.hidden[:, radius].transpose(0, 1, 3, 2, 4)  # (N, 16, 16, 3, 2)
    clean = np.broadcast_to(answers.clean[:, None, :, None], (*hidden.shape[:3], 1, 2))
    mean = np.broadcast_to(answers.mean_pose[:, None], (*hidden.shape[:3], 1, 2))
    said = np.concatenate([clean, hidden, mean], axis=3)
    said = np.where(np.isfinite(said).all(axis=-1, keepdims=True), said, mean)
    target = answers.plan.targets.xy_input[:, None, :, None]
    errors: _Errors = np.linalg.norm(said - target, axis=-1)
    return errors


def figures(errors: Estimate) -> dict[str, Any]:
    """An error in each state, (5,), and the contrasts, each with its interval."""
    states = {name: errors[i].interval().as_dict() for i, name in enumerate(STATES)}
    contrasts = {
        f"{a} - {b}": (errors[STATES.index(a)] - errors[STATES.index(b)]).interval().as_dict()
        for a, b in CONTRASTS
    }
    return {**states, **contrasts}


def by_joint(errors: Estimate) -> Iterator[dict[str, Any]]:
    """The figures of each hidden joint."""
    return (figures(errors[joint]) for joint in range(NUM_JOINTS))
