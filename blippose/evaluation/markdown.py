"""The trust report as Markdown: cautions first, then every number with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from blippose.evaluation.facts import about_lines, facts
from blippose.evaluation.quantities import BY_NAME, KINDS, QUANTITIES, Quantity


def markdown(report: Mapping[str, Any], pictures: Mapping[str, str] | None = None) -> str:
    """The report as a page.

    Args:
        report: as `trust_report` returns it.
        pictures: titles and file names, beside the page.
    """
    about = report["about"]
    blocks = [
        f"# Trust report of {about['run'] or about['source']}",
        bullets(about_lines(report)),
        *cautions(warning["text"] for warning in report["warnings"]),
        *rows_tables(report["rows"]),
        *_groups(report.get("groups") or {}),
        *_per_joint(report.get("per_joint") or {}),
        *_comparisons(report),
        *_facts(report),
        *_pictures(pictures or {}),
        *_origin(about),
    ]
    return "\n\n".join(blocks) + "\n"


def cautions(sentences: Iterable[str]) -> Iterator[str]:
    """The section that says why numbers must not be published as they are."""
    if found := list(sentences):
        yield "## Read this first"
        yield bullets(found)


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its first column to the left and numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")


def rows_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One of what stands in input pixels, one of what stands in image pixels."""
    for frame in ("input", "image"):
        yield f"## In {frame} pixels"
        yield _rows_table(_by_kind(rows), frame)


def _rows_table(rows: Iterable[Mapping[str, Any]], frame: str) -> str:
    quantities = [quantity for quantity in QUANTITIES if quantity.frame == frame]
    head = ["", *(quantity.title for quantity in quantities)]
    return table(head, [_row(row, quantities) for row in rows])


def _by_kind(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for kind in KINDS for row in rows if row["kind"] == kind]


def _row(row: Mapping[str, Any], quantities: Sequence[Quantity]) -> list[str]:
    is_model = row.get("kind") == "model"
    name = f"**{row['name']}**" if is_model else row["name"]
    return [name, *(cell(q, row["metrics"].get(q.name, {})) for q in quantities)]


def cell(quantity: Quantity, of: Mapping[str, Any]) -> str:
    """A value and below it its margin."""
    value, margin = quantity.text(of.get("value")), quantity.margin(of)
    return f"{value}<br>{margin}" if margin else value


def _groups(groups: Mapping[str, Any]) -> Iterator[str]:
    if not groups:
        return
    for name in next(iter(groups.values())):
        rows = [[row, *_values(by_name[name])] for row, by_name in groups.items()]
        head = ["", *next(iter(groups.values()))[name]]
        yield f"## {BY_NAME[name].title} by MPII's groups"
        yield table(head, rows)


def _values(cells: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    share = BY_NAME["pckh_0.5"]
    return (cell(share, of) for of in cells.values())


def _per_joint(per_joint: Mapping[str, Any]) -> Iterator[str]:
    for row, joints in list(per_joint.items())[:1]:  # the others are in per_joint.csv
        quantities = [BY_NAME[name] for name in next(iter(joints.values()))]
        yield f"## Joint by joint: {row}"
        yield table(
            ["joint", *(quantity.title for quantity in quantities)],
            ([name, *(cell(q, of[q.name]) for q in quantities)] for name, of in joints.items()),
        )


def _comparisons(report: Mapping[str, Any]) -> Iterator[str]:
    """The free-running model on training images, and on these without what leaks."""
    gap = (report.get("diagnostics") or {}).get("train_gap")
    if gap:
        num = f"{gap['num_train_scored']:,} training images"
        names = {"train": num, "val": "these images", "difference": "difference"}
        yield "## Training images against these, in input pixels"
        rows = [{"name": name, "metrics": gap[key]} for key, name in names.items()]
        yield _rows_table(rows, "input")
    leaks = (report.get("leaks") or {}).get("rows")
    if leaks:
        yield "## Without leaks, in input pixels"
        rows = [{**row, "name": f"{row['name']} ({row['num_images']:,} left)"} for row in leaks]
        yield _rows_table(rows, "input")


def _facts(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## What else there is to know"
    for title, lines in facts(report).items():
        yield f"**{title}**"
        yield bullets(lines)
    pairs = ((report.get("leaks") or {}).get("near_duplicates") or {}).get("pairs")
    if pairs:
        rows = [[pair["val"], pair["train"], str(pair["distance"])] for pair in pairs]
        yield table(["near-duplicate here", "in training", "bits apart"], rows)


def _pictures(pictures: Mapping[str, str]) -> Iterator[str]:
    for title, name in pictures.items():
        yield f"![{title}]({name})"


def _origin(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Where the numbers come from"
    origin = {
        "checkpoint": about["source"],
        "split manifest": about["manifest"],
        "weights before training": about.get("began_from") or "not known",
        "decoding": about["decoding"],
        **{name: version for name, version in about["versions"].items() if version},
    }
    asked_at = about.get("predictions_made_with", {}).get("commit")
    if asked_at:
        origin["commit of the predictions"] = asked_at
    yield table(["", ""], [[f"{name}", f"`{value}`"] for name, value in origin.items()])
