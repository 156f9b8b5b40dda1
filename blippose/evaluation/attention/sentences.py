"""What the numbers of an attention report show, and what they do not, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from blippose.attention import EARLIER
from blippose.evaluation.cautions import PARSED_LEAST, few_units
from blippose.evaluation.intervals import sign
from blippose.evaluation.quantities import is_number, number

Cell = Mapping[str, Any]

# Six units without any effect all lie on one side of 0 in one case of 32, five in one of 16: more
# than the one of 20 that a 95 % interval allows.
_LEAST_UNITS = 6

_CONTROLS = {
    "other_image": "the same joint of a person in another image",
    "other_joint": "the other joints of the same person",
}
_WHEN = {
    "written": "When a number is being chosen",
    "read": "At the number tokens themselves, after they are chosen,",
}


def sentences(report: Mapping[str, Any]) -> list[str]:
    """What the numbers show, the image first."""
    found: list[str] = []
    for step, best in (report.get("best") or {}).items():
        found += _of_best(step, best, report)
    return [*found, *_of_self(report)]


def _of_best(step: str, best: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    if not is_number(best["distance"]["value"]):
        yield f"{_WHEN[step]} nothing can be said: no caption has an annotated joint's numbers."
        return
    head = f"layer {best['layer_number']}, head {best['head_number']}"
    yield (
        f"{_WHEN[step]} the head whose attention peaks nearest to the true joint is {head}: "
        f"{_px(best['distance'])}. {_against_controls(best)}"
    )
    held_out = best["held_out"]
    if step == "written" and held_out:
        yield (
            f"Chosen on one half of the {report['about']['interval']['unit']}s and measured on "
            f"the other, so that luck in the choice does not count: {_px(held_out['distance'])}. "
            f"{_against_controls(held_out)}"
        )
    if step == "written":
        about, floor = report["about"], report["nearest_patch"]
        yield (
            f"A peak is the middle of a patch of {about['patch_size']:g} px: none could lie "
            f"nearer than {_px(floor)}."
        )


def _against_controls(found: Mapping[str, Any]) -> str:
    return f"That is {' and '.join(_against(found, *each) for each in _CONTROLS.items())}."


def _against(found: Mapping[str, Any], name: str, words: str) -> str:
    """Nearer, farther, or not known, by whether the interval excludes equality."""
    control, farther = found[name], found[f"{name}_farther"]
    verdict = {1: "nearer than", -1: "farther than", 0: "not shown to be nearer than"}[
        sign(farther)
    ]
    by = f"farther by {number(farther['value'], 2)}"
    if is_number(farther["low"]):
        by += f", {number(farther['low'], 2)} to {number(farther['high'], 2)}"
    return f"{verdict} {words} ({number(control['value'], 2)} px, {by})"


def _px(cell: Cell) -> str:
    return f"{number(cell['value'], 2)} px{_range(cell)}"


def _range(cell: Cell) -> str:
    if not (is_number(cell["low"]) and is_number(cell["high"])):
        return ""
    return f" ({number(cell['low'], 2)} to {number(cell['high'], 2)})"


_RELATIONS = {
    "own": "the joint's own words",
    "previous": "the joint before",
    "neighbour": "a neighbour in the skeleton",
    "mirrored": "the mirrored joint",
    "neighbour_not_previous": "a neighbour that is not also the joint before",
    "mirrored_not_previous": "a mirrored joint that is not also the joint before",
}


def _of_self(report: Mapping[str, Any]) -> Iterator[str]:
    heads, uniform = report["heads"], report["uniform"]
    if not is_number(uniform["own"]["value"]):
        yield "No caption names a joint: there is no self-attention from joint to joint to show."
        return
    for name in ("own", *EARLIER):
        most = max(heads, key=lambda head: _or_low(head["self"][name]["value"]))
        if not is_number(most["self"][name]["value"]):
            continue
        control = number(uniform[name]["value"], 3)
        where = (
            f"most in layer {most['layer_number']}, head {most['head_number']} "
            f"({number(most['self'][name]['value'], 3)})"
        )
        if not are_told_apart(report["about"]):
            yield f"Self-attention to {_RELATIONS[name]}: {where}; uniform decoder {control}."
            continue
        above = [sign(head["self"][name]["above_uniform"]) for head in heads]
        yield (
            f"Self-attention to {_RELATIONS[name]}: more than the uniform decoder's {control} in "
            f"{above.count(1)} of {len(heads)} heads, less in {above.count(-1)}; {where}."
        )


def are_told_apart(about: Mapping[str, Any]) -> bool:
    """Whether an interval can say that a head is above or below the uniform decoder.

    With one image, nothing; with two, it would say so of half of all heads that are neither.
    """
    return bool(about["interval"]["num_units"] >= _LEAST_UNITS)


def _or_low(value: float) -> float:
    return value if is_number(value) else float("-inf")


def limits(report: Mapping[str, Any]) -> list[str]:
    """What must not be read into the numbers."""
    about = report["about"]
    found = [
        "Attention says where a head looks, not whether the answer depends on it.",
        "A joint can look only at what stands before it in the caption, so that each share is "
        "over the joints that have such a joint before them; most joints follow a skeleton "
        "neighbour, which is why both are also told apart from the joint before.",
    ]
    if not report.get("best"):
        found.append(
            "Nothing is said of how near the attention is to the joints: nobody has said where "
            "the joints of these photos are."
        )
    num_units = about["interval"]["num_units"]
    if few := few_units(about["interval"]["unit"], num_units):
        found.append(few)
    if about["num_joints_parsed"] < PARSED_LEAST * about["num_joints"]:
        found.append(
            f"Only {about['num_joints_parsed']:,} of {about['num_joints']:,} joints parsed: of "
            "how the decoder looks where it says no joint, the figures say nothing."
        )
    if about["synthetic"]:
        found.append("The model was trained on drawn people: this says nothing of BLIP on photos.")
    if num_units > 1 and about["num_heads"] * about["num_layers"] > 1:
        found.append(
            "The intervals hold for each head alone; of many heads, some exceed a control by "
            "chance."
        )
    return found
