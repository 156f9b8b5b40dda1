"""What a trust report says beside its table, as lines of text for terminal and Markdown.

Every part may be missing from a report, as a model without training data or captions has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from blippose.counted import counted
from blippose.evaluation.quantities import BY_NAME, NOTHING, Quantity, decimals, is_number

_REASONS = {
    "absent": "absent",
    "no_number": "without a number",
    "twice": "named twice",
    "out_of_range": "out of range",
}
_CONFIDENCE = {
    "calibrated": "calibrated on training persons",
    "raw": "raw",
}
_SHORT_HASH = 12


def about_lines(report: Mapping[str, Any]) -> list[str]:
    """Where the numbers come from, and what the intervals are of."""
    about, frame = report["about"], report["about"]["frame"]
    people = "synthetic people" if about["synthetic"] else "real images"
    epoch = "" if about["epoch"] is None else f"; best epoch {about['epoch'] + 1}"
    size = frame["input_size"]
    return [
        f"{about['num_images']:,} {_SUBSETS[about['subset']]} ({people}, split={about['split']}; "
        f"{about['num_train']:,} to train){epoch}",
        f"px: of the {size} x {size} input ({frame['resize']}, crop={frame['crop']}); "
        "PCKh (14 joints), OKS: in image pixels",
        interval_line(about),
    ]


_SUBSETS = {
    "val": "validation images",
    "test": "test images",
    "train": "training images",
}


def protocol_lines(scores: Mapping[str, Any]) -> list[str]:
    """What a file of predictions was scored on, and by which of the usual variants."""
    variant = scores["variant"]
    mean = "by the joints' counts" if variant["weighted"] else "of the joints alike"
    sign = "<" if variant["strict"] else "<="
    missing = f", {scores['num_missing']:,} of them missing" if scores["num_missing"] else ""
    interval, offset = scores["interval"], scores["median_offset_px"]
    shift = f"x {offset['x']:+.2f} px, y {offset['y']:+.2f} px" if offset else "not known"
    return [
        f"percent; {scores['num_persons']:,} persons, {scores['num_joints']:,} annotated joints"
        f"{missing}, without pelvis and thorax",
        f"mean {mean}, hit at distance {sign} threshold",
        f"median of predictions less truth: {shift}",
        f"{100 * interval['level']:g}% intervals by bootstrap: {interval['samples']:,} resamples "
        f"of the persons, seed {interval['seed']}",
    ]


def interval_line(about: Mapping[str, Any]) -> str:
    """What was resampled, how often."""
    interval, units = about["interval"], _units(about)
    if num_resampled(about) == 1:
        return f"no intervals: {_counted(units)} cannot be resampled"
    return (
        f"{100 * interval['level']:g}% intervals by bootstrap: {interval['samples']:,} resamples "
        f"of the {_counted(units)}, seed {interval['seed']}; none is shown where all agree"
    )


def num_resampled(about: Mapping[str, Any]) -> int:
    """Videos, and images of no known one, that intervals come from; of one there are none."""
    return sum(_units(about).values())


def decoding_line(about: Mapping[str, Any]) -> str:
    """How a study asks the model, and how it is validated where that is another way."""
    decoding, own = about["decoding"], about["own_decoding"]
    return f"decoding: {decoding}" + ("" if own == decoding else f"; the model's own is {own}")


def _units(about: Mapping[str, Any]) -> dict[str, int]:
    """How many of each kind are drawn."""
    if about["num_videos"] is None:
        return {"image": about.get("num_different", about["num_images"])}
    alone = about.get("num_without_video", 0)
    return {"video": about["num_videos"]} | ({"image": alone} if alone else {})


def _counted(units: Mapping[str, int]) -> str:
    of_none = " of no known video" if len(units) > 1 else ""
    return " and ".join(counted(num, name) for name, num in units.items()) + of_none


def facts(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Titles with their lines; parts that the report has not are left out."""
    diagnostics = report.get("diagnostics") or {}
    parts = {
        "captions": _captions(report.get("captions"), report["about"]["decoding"]),
        "tokens": _tokens(report.get("tokens")),
        "confidence": _confidence(report.get("confidence")),
        "errors": _errors(diagnostics),
        "ceilings": _ceilings(diagnostics, report["about"]["frame"]),
        "memory": _train_gap(diagnostics.get("train_gap")),
        "leaks": _leaks(report.get("leaks"), report["about"]["num_images"]),
    }
    lines = {title: list(part) for title, part in parts.items()}
    return {title: part for title, part in lines.items() if part}


def _captions(captions: Mapping[str, Any] | None, decoding: str) -> Iterator[str]:
    if not captions:
        return
    reasons = ", ".join(
        f"{_share(captions[key])} {title}" for key, title in _REASONS.items() if key in captions
    )
    yield f"{_share(captions['parse_rate'])} of the annotated joints parsed ({reasons})"
    yield (
        f"{_share(captions['truncated'])} of {captions['num_captions']:,} captions cut off at "
        f"the longest length; decoding: {decoding}"
    )


def _tokens(tokens: Mapping[str, Any] | None) -> Iterator[str]:
    if not tokens:
        return
    yield (
        f"{_share(tokens['coordinate_accuracy'])} of the coordinates' tokens right, beside "
        f"{_share(tokens['all_accuracy'])} of all tokens (teacher-forced, one look)"
    )


def _confidence(confidence: Mapping[str, Any] | None) -> Iterator[str]:
    if not confidence:
        return
    found = [
        f"{decimals(confidence[name]['ece'])} {title}"
        for name, title in _CONFIDENCE.items()
        if name in confidence
    ]
    yield f"expected calibration error (right: within {confidence['radius_px']:g} px): {found[0]}"
    yield from found[1:]
    shown = next(name for name in _CONFIDENCE if name in confidence)
    if luck := confidence[shown].get("luck"):
        yield (
            f"{decimals(luck)} is what luck alone makes of it, were each joint right as often as "
            "its confidence says and none because of another"
        )


def _errors(diagnostics: Mapping[str, Any]) -> Iterator[str]:
    if "share_1_to_5px" in diagnostics:
        yield (
            f"{_share(diagnostics['share_1_to_5px'])} of the joints are between 1 and 5 px off: "
            "where hardly any are, and the others exact or far off, answers are copied"
        )
    if "swap_rate" in diagnostics:
        share, num = _share(diagnostics["swap_rate"]), diagnostics["num_pairs_found"]
        yield f"{share} of the {num:,} limb pairs that were found have left and right swapped"
    if "truth_gap" in diagnostics:
        near, far = (_cell(BY_NAME[name], gap) for name, gap in diagnostics["truth_gap"].items())
        yield (
            f"the true coordinates before each one add {near} @1 px and {far} @5 px, in the same "
            "looks"
        )


def _ceilings(diagnostics: Mapping[str, Any], frame: Mapping[str, Any]) -> Iterator[str]:
    if "input_pixel" in diagnostics:
        pixel, size = diagnostics["input_pixel"], frame["input_size"]
        bins = frame["num_bins"] or size
        order = f", its joints in {frame['order']} order" if "order" in frame else ""
        yield (
            f"a pixel of the {size} x {size} input is {pixel['width']:.1f} x "
            f"{pixel['height']:.1f} image pixels (median); a caption has {bins} bins a side{order}"
        )
    if "outside_input" in diagnostics:
        yield f"{_share(diagnostics['outside_input'])} of the joints lie outside the input"


def _train_gap(gap: Mapping[str, Any] | None) -> Iterator[str]:
    if not gap:
        return
    for name in ("mae", "acc_5px"):
        quantity = BY_NAME[name]
        train, judged, difference = (
            _cell(quantity, gap[row][name]) for row in ("train", "val", "difference")
        )
        yield (
            f"{quantity.title}: {train} on {gap['num_train_scored']:,} training images, {judged} "
            f"here; difference {difference}"
        )


def _leaks(leaks: Mapping[str, Any] | None, num_images: int) -> Iterator[str]:
    if not leaks:
        return
    if "shared_video" not in leaks:
        yield "not known: what the model was trained on is not there"
        return
    shared, near = leaks["shared_video"], leaks["near_duplicates"]
    unknown = {"": shared.get("num_unknown", 0), "training ": shared.get("num_train_unknown", 0)}
    of_unknown = "".join(
        f"; of {counted(num, f'{whose}image')} the video is not known"
        for whose, num in unknown.items()
        if num
    )
    yield f"split manifest {leaks['manifest'][:_SHORT_HASH]}"
    if seen := leaks.get("training_images", {}).get("num_images"):
        yield f"images that are training images themselves: {seen:,}"
    yield f"images that share a video with a training image: {shared['num_images']:,}{of_unknown}"
    yield (
        f"near-duplicates of a training image: {near['num_images']:,} (perceptual hashes "
        f"{near['threshold']} bits apart or less, and of like colours)"
    )
    for row in leaks["rows"]:
        if row["num_images"] < num_images:
            mae, share = (BY_NAME[name] for name in ("mae", "acc_5px"))
            metrics = row["metrics"]
            yield (
                f"{row['name']}: {mae.title} {_cell(mae, metrics[mae.name])}, {share.title} "
                f"{_cell(share, metrics[share.name])} ({row['num_images']:,} images left)"
            )


def _cell(quantity: Quantity, cell: Mapping[str, Any]) -> str:
    """A figure with its interval: "3.90 (3.67 to 4.17)"."""
    value, low, high = (quantity.text(cell.get(key)) for key in ("value", "low", "high"))
    return value if low == high else f"{value} ({low} to {high})"


def _share(cell: Mapping[str, Any]) -> str:
    """A share with its interval, in percent: "5.0% (4.1 to 6.2)"."""
    if not is_number(cell["value"]):
        return NOTHING
    value = _percent(cell["value"])
    if not is_number(cell["low"]) or cell["low"] == cell["high"]:
        return f"{value}%"
    return f"{value}% ({_percent(cell['low'])} to {_percent(cell['high'])})"


def _percent(share: float) -> str:
    """One digit behind the point, but none of nothing and of all."""
    return f"{100 * share:.0f}" if share in (0, 1) else f"{100 * share:.1f}"
