"""What an occlusion study shows, in plain sentences, and what it does not.

A difference is one where its interval excludes 0; else the sentence says that none is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from blippose.evaluation.cautions import PARSED_LEAST, few_units
from blippose.evaluation.facts import decoding_line
from blippose.evaluation.intervals import sign
from blippose.evaluation.quantities import is_number, number


def findings(report: Mapping[str, Any]) -> list[str]:
    """What it shows."""
    own = report["all"]["own"]
    parsed = report["parsed"]["clean"]
    if not parsed:
        return [
            "With nothing hidden no joint parsed: each counts as the mean training pose, so that "
            f"nothing can be said of what discs do ({decoding_line(report['about'])})."
        ]
    return [
        *_unparsed(parsed, report["about"]),
        *_own(report),
        _looks_there(own),
        _others(report["all"]["others"]),
        _rest_of_body(own),
        *_extremes(report["joints"]),
        *_matrix(report["matrix"]),
        *_curve(report["curve"]),
    ]


def _unparsed(parsed: float, about: Mapping[str, Any]) -> Iterator[str]:
    """First of all, that much of what follows is not the model's."""
    if parsed < PARSED_LEAST:
        yield (
            f"With nothing hidden only {parsed:.1%} of the joints parsed: the others count as the "
            "mean training pose, which no disc changes, so that effects come out too small "
            f"({decoding_line(about)})."
        )


def _own(report: Mapping[str, Any]) -> Iterator[str]:
    own, settings = report["all"]["own"], report["settings"]
    yield (
        f"A disc of radius {radius_text(settings['radius_heads'][0])} over a joint (median "
        f"{settings['radius_input_px'][0]:.1f} px, {settings['share_of_input']:.1%} of the input) "
        f"takes its error from {own['clean']['value']:.2f} to {own['hidden']['value']:.2f} px: "
        f"{signed(own['hidden - clean'])}."
    )
    yield (
        "A disc of the same area elsewhere on the body changes the joint's error by "
        f"{signed(own['on body - clean'])} px, one off the body by "
        f"{signed(own['off body - clean'])} px."
    )


def _looks_there(own: Mapping[str, Any]) -> str:
    difference = own["hidden - on body"]
    if _is_hidden(own):
        return (
            f"Hiding the joint costs {signed(difference)} px more than hiding as much of the body "
            "elsewhere: the model uses what is to be seen at the joint."
        )
    if sign(difference) > 0:  # the disc elsewhere mends what the one at the joint leaves as it is
        return (
            f"The disc at the joint costs {signed(difference)} px more than the one elsewhere on "
            "the body, but that it costs anything is not shown."
        )
    return (
        "That hiding the joint costs more than hiding as much of the body elsewhere is not "
        f"shown: {signed(difference)} px."
    )


def _is_hidden(own: Mapping[str, Any]) -> bool:
    """Whether the disc takes something away that a disc elsewhere on the body does not."""
    return sign(own["hidden - clean"]) > 0 and sign(own["hidden - on body"]) > 0


def _others(others: Mapping[str, Any]) -> str:
    added, against = others["hidden - clean"], others["hidden - on body"]
    if not is_number(added["value"]):
        return "There is no other joint that no disc covers."
    shown = "changes by" if sign(added) else "shows no change:"
    return (
        f"Where no disc covers them, the other joints' error {shown} {signed(added)} px; against "
        f"the disc elsewhere on the body by {signed(against)} px."
    )


def _rest_of_body(own: Mapping[str, Any]) -> str:
    """Whether a hidden joint is inferred from the rest of the person."""
    better = own["mean pose - hidden"]
    if not _is_hidden(own):
        return (
            "Whether a hidden joint is inferred from the rest of the person cannot be said: that "
            "the disc hides the joint from the model is not shown."
        )
    if sign(better) > 0:
        return (
            f"Hidden, a joint is still {signed(better, plus='')} px nearer than the mean training "
            f"pose ({own['mean pose']['value']:.2f} px): the model infers it from the rest."
        )
    return (
        "That a hidden joint is still nearer than the mean training pose is not shown: "
        f"{signed(better)} px."
    )


def _extremes(joints: Mapping[str, Any]) -> Iterator[str]:
    """The joints that suffer most and least."""
    known = {
        name: joint["own"]["hidden - clean"]
        for name, joint in joints.items()
        if is_number(joint["own"]["hidden - clean"]["value"])
    }
    ranked = sorted(known, key=lambda name: -known[name]["value"])
    if len(ranked) < 6 or known[ranked[0]]["value"] == known[ranked[-1]]["value"]:
        return
    most, least = (_named(known, names) for names in (ranked[:3], ranked[-3:]))
    yield f"Most is lost of {most}; least of {least}.{_counted(known)}"


def _counted(known: Mapping[str, Mapping[str, float]]) -> str:
    """For how many joints an effect is shown; nothing where there are no intervals."""
    if not any(is_number(cell["low"]) for cell in known.values()):
        return ""
    num = sum(sign(cell) != 0 for cell in known.values())
    return f" The interval excludes 0 for {num} of {len(known)} joints."


def _named(cells: Mapping[str, Mapping[str, float]], names: list[str]) -> str:
    return ", ".join(f"{name} {signed(cells[name])}" for name in names)


def _matrix(matrix: Mapping[str, Any]) -> Iterator[str]:
    cells = [
        cell
        for hidden, row in enumerate(matrix["added_px"])
        for measured, cell in enumerate(row)
        if hidden != measured and is_number(cell["low"])
    ]
    if not cells:
        return
    num = sum(sign(cell) != 0 for cell in cells)
    yield (
        f"Off the diagonal {num} of {len(cells)} cells of the matrix have an interval that "
        f"excludes 0, where chance alone would give about {0.05 * len(cells):.0f}; cells are not "
        "corrected for their number."
    )


def _curve(curve: list[Mapping[str, Any]]) -> Iterator[str]:
    if len(curve) < 2 or not curve[0]["num"]:
        return
    points = ", ".join(
        f"{point['radius_heads']:g}: {signed(point['own']['hidden - clean'])}" for point in curve
    )
    yield (
        f"By radius, in head sizes, the hidden joint's error changes by {points} px, on the "
        f"{curve[0]['num']} joints that have both controls at every radius."
    )


def limits(report: Mapping[str, Any]) -> list[str]:
    """What it does not show, and what to keep in mind."""
    about, settings = report["about"], report["settings"]
    interval, left_out = about["interval"], settings["num_discs"] - settings["num_compared"]
    lines = [
        f"A disc of {_FILLS[settings['fill']]} is nothing that stands before people in photos: a "
        "change is of what is hidden and of an input that the model was not trained on. The "
        "controls hold the second against the first.",
        "Captions are free-running: the model reads its own numbers, so that an error at one "
        "joint can bring others after it in the caption.",
        "A disc hides what lies round the joint too: near joints, covered by the same disc, are "
        "in the matrix (marked), and not among the other joints of the tables.",
        f"{left_out:,} of {settings['num_discs']:,} discs had no room for one of their controls "
        "and are left out of all comparisons; they are in the matrix.",
    ]
    if about["synthetic"]:
        lines.append("The people are drawn: nothing here is said of photos.")
    if about["state"] not in (None, "done"):
        lines.append(f"The run is {about['state']}: its model may still change.")
    if about["subset"] == "val":
        lines.append("The checkpoint was chosen by its score on the validation images.")
    if few := few_units(interval["unit"], interval["num_units"]):
        lines.append(f"{few} images=N takes more.")
    return lines


_FILLS = {"mean": "the image's mean colour", "noise": "noise", "black": "black"}


def radius_text(heads: float) -> str:
    """A radius with its unit."""
    return f"{heads:g} head size{'' if heads == 1 else 's'}"


def signed(cell: Mapping[str, float], plus: str = "+") -> str:
    """A difference with its interval: "+4.21 (3.06 to 5.32)"; without one where it has none."""
    if not is_number(cell["value"]):
        return "unknown"
    before = plus if cell["value"] >= 0 else ""
    return f"{before}{cell['value']:z.2f}{margin(cell, 2)}"


def margin(cell: Mapping[str, float], digits: int) -> str:
    """The interval behind a value, " (3.06 to 5.32)"; empty where it has no width."""
    if not cell["low"] < cell["high"]:
        return ""
    return f" ({number(cell['low'], digits)} to {number(cell['high'], digits)})"
