"""Where the captions of an attention report come from, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blippose.counted import counted
from blippose.evaluation.facts import decoding_line, interval_line
from blippose.evaluation.figures import asked_by

_SUBSETS = {"val": "validation image", "test": "test image"}


def people_line(about: Mapping[str, Any]) -> str:
    """Which model, and how many of which images; for pictures that are shown alone."""
    asked = asked_by(about)
    if about["subset"] == "photos":
        num, different = about["num_images"], about["num_different"]
        copies = "" if different == num else f" ({different:,} apart from copies)"
        return f"{about['run']}: {counted(num, 'photo')} of yours{copies}{asked}"
    images = f"{about['run']}: {counted(about['num_images'], _SUBSETS[about['subset']])}"
    people = "synthetic people" if about["synthetic"] else "real images"
    return f"{images} ({people}, split={about['split']}){asked}"


def about_lines(report: Mapping[str, Any]) -> list[str]:
    """The same, with the model's shape and the intervals."""
    about, frame = report["about"], report["about"]["frame"]
    size = frame["input_size"]
    return [
        people_line(about),
        f"text decoder of {about['num_layers']} layers and {about['num_heads']} heads, counted "
        f"from 1; {about['patches']} x {about['patches']} patches",
        f"px: of the {size} x {size} input ({frame['resize']}, crop={frame['crop']})",
        _captions_line(about, is_measured=bool(report.get("best"))),
        interval_line(about),
    ]


def _captions_line(about: Mapping[str, Any], *, is_measured: bool) -> str:
    """How captions come about, and of how many joints anything is said."""
    joints = "annotated joints" if is_measured else "joints"
    of_those = "; distances are over those" if is_measured else ""
    return (
        f"{decoding_line(about)}; {about['num_joints_parsed']:,} of {about['num_joints']:,} "
        f"{joints} parsed{of_those}"
    )
