"""Several runs of one recipe: the mean of their reports and how far they scatter."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from blippose.counted import counted
from blippose.evaluation.markdown import bullets, cautions, rows_tables
from blippose.evaluation.quantities import is_number
from blippose.identity import config_hash, difference

_SAME = {  # what must be equal for a mean to mean something: key of `about`, how to say it
    "subset": "on different subsets",
    "manifest": "on different splits, so on other images",
    "frame": "in different input frames, so in other pixels",
    "decoding": "by different ways of decoding",
}
_SEEDS = ("seed", "split_seed")  # last parts of keys in which runs of one recipe may differ


def across_runs(
    reports: Sequence[Mapping[str, Any]], configs: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Mean and sample standard deviation (n - 1) of every figure that all reports have.

    Rows come in the first report's order, their metrics as `summary` returns them.
    A figure that one run lacks has no mean: a run that failed at it must not be left out.

    Args:
        reports: as `trust_report` returns them.
        configs: of the runs, in the same order, where they are known.
    """
    first = reports[0]
    by_name = [{row["name"]: row for row in report["rows"]} for report in reports]
    rows = [
        {"name": row["name"], "kind": row["kind"], "metrics": _over(row["name"], by_name)}
        for row in first["rows"]
        if all(row["name"] in rows for rows in by_name)
    ]
    about = {key: first["about"][key] for key in (*_SAME, "split", "synthetic", "num_images")}
    names = [report["about"]["run"] for report in reports]
    warnings = [*_differences(reports, configs), *_merged_warnings(reports)]
    return {"about": {**about, "runs": names}, "rows": rows, "warnings": warnings}


def _over(name: str, by_name: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    metrics = [rows[name]["metrics"] for rows in by_name]
    shared = [key for key in metrics[0] if all(key in each for each in metrics)]
    return {key: summary([each[key]["value"] for each in metrics]) for key in shared}


def summary(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and deviation of one figure over runs.

    >>> summary([1.0, 2.0, 3.0])
    {'value': 2.0, 'deviation': 1.0, 'values': [1.0, 2.0, 3.0]}
    """
    known = [value for value in values if value is not None and is_number(value)]
    if len(known) < len(values):
        return {"value": None, "deviation": None, "values": list(values)}
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return {"value": statistics.fmean(known), "deviation": deviation, "values": list(values)}


def _differences(
    reports: Sequence[Mapping[str, Any]], configs: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Why a mean over these runs may mean nothing."""
    first = reports[0]["about"]
    found = [
        f"The runs were judged {what}: their mean says nothing of one recipe."
        for key, what in _SAME.items()
        if any(report["about"][key] != first[key] for report in reports)
    ]
    if num := _num_repeats(configs):
        found.append(
            f"{counted(num, 'run')} of these had the settings and the seed of another one, which "
            "counts twice so: the deviation across runs is too small."
        )
    if keys := _changed(configs):
        what = ", ".join(keys)
        found.append(f"The runs differ in {what}: their mean says nothing of one recipe.")
    return [{"kind": "different runs", "text": text} for text in found]


def _num_repeats(configs: Sequence[Mapping[str, Any]]) -> int:
    """Runs beyond the first of each config."""
    return len(configs) - len({config_hash(config) for config in configs})


def _changed(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys in which configs differ, apart from the seeds."""
    changes = {
        change.partition(": ")[0]
        for config in configs[1:]
        for change in difference(configs[0], config)
    }
    return sorted(key for key in changes if key.rpartition(".")[2] not in _SEEDS)


def _merged_warnings(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One of each kind: what most runs say, or the first of them with how many say the like."""
    kinds: dict[str, list[str]] = {}
    for report in reports:
        for warning in report["warnings"]:
            kinds.setdefault(warning["kind"], []).append(warning["text"])
    return [
        {"kind": kind, "text": _of_several(texts, len(reports))} for kind, texts in kinds.items()
    ]


def _of_several(texts: Sequence[str], num_runs: int) -> str:
    if len(texts) == num_runs and len(set(texts)) == 1:
        return texts[0]
    which = "all" if len(texts) == num_runs else f"{len(texts)} of {num_runs}"
    others = "" if len(set(texts)) == 1 else ", each with its own figures; the first"
    return f"({which} runs{others}) {texts[0]}"


def about_runs(summary: Mapping[str, Any]) -> list[str]:
    """Where the numbers come from."""
    about = summary["about"]
    people = "synthetic people" if about["synthetic"] else "real images"
    return [
        f"{len(about['runs'])} runs, {about['num_images']:,} {about['subset']} images ({people}, "
        f"split={about['split']}): mean, and below it the standard deviation across runs",
        f"decoding: {about['decoding']}",
        *about["runs"],
    ]


def markdown_of_runs(summary: Mapping[str, Any]) -> str:
    """The same as a page."""
    blocks = [
        f"# Trust report of {len(summary['about']['runs'])} runs",
        bullets(about_runs(summary)),
        *cautions(warning["text"] for warning in summary["warnings"]),
        *rows_tables(summary["rows"]),
    ]
    return "\n\n".join(blocks) + "\n"
