"""The attention report as Markdown: what it shows, what not, then every number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from blippose.attention import STEPS
from blippose.evaluation.attention.about import about_lines
from blippose.evaluation.attention.tables import (
    CROSS_COLUMNS,
    CROSS_TITLES,
    SELF_COLUMNS,
    STEP_TITLES,
    Row,
    cross_rows,
    head_name,
    joint_rows,
    self_rows,
)
from blippose.evaluation.markdown import bullets, cell, table
from blippose.evaluation.quantities import Quantity


def attention_markdown(report: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The report as a page.

    Args:
        report: of `attention_report`.
        pictures: titles and file names, beside the page.
    """
    about = report["about"]
    blocks = [
        f"# Attention of {about['run']}",
        bullets(about_lines(report)),
        "## What it shows",
        bullets(report["sentences"]),
        "## What it does not",
        bullets(report["limits"]),
        *(f"![{title}]({name})" for title, name in pictures.items()),
        *_self(report),
        *_cross(report),
        "## Where the numbers come from",
        table(["", ""], _origin(report)),
    ]
    return "\n\n".join(blocks) + "\n"


def _self(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## Self-attention, from joint to joint"
    yield (
        "Share of a joint's attention (its name, brackets, numbers and comma, on average) on all "
        "words of another joint, over the joints that have such a joint before them; entropy in "
        "bits over all tokens so far; with 95 % intervals. The uniform control looks at all "
        f"tokens so far alike.{_bold(report['shown']['self'])}"
    )
    yield _table(self_rows(report), SELF_COLUMNS)


def _bold(shown: Mapping[str, Any]) -> str:
    """Which row is bold; none where the picture is a mean of layers."""
    if None in (shown["layer_number"], shown["head_number"]):
        return ""
    return f" Bold is the head of `self_head.png`: {shown['why']}."


def _cross(report: Mapping[str, Any]) -> Iterator[str]:
    """Distances, or no more than what goes to [CLS] where the truth is not known."""
    columns = CROSS_COLUMNS if report.get("best") else CROSS_COLUMNS[-1:]
    yield "## Cross-attention, from a joint's numbers to the image"
    if report.get("best"):
        yield (
            "Mean distance from the middle of the patch that is looked at most to the true joint, "
            "to the same joint of a person in another image, and to the other joints of the same "
            "person; `farther` is the control minus the distance, paired. `held out`: the head is "
            "chosen on one half and measured on the other."
        )
    for step in STEPS:
        yield f"### {STEP_TITLES[step].capitalize()}"
        yield _table(cross_rows(report, step), columns)
    if report.get("best"):
        best = report["best"]["written"]
        yield f"### Joint by joint: {head_name(best)}, {STEP_TITLES['written']}"
        yield _table(joint_rows(report, "written"), CROSS_COLUMNS[:-1])


def _table(rows: Iterable[Row], columns: Sequence[Quantity]) -> str:
    head = ["", *(CROSS_TITLES.get(quantity.name, quantity.title) for quantity in columns)]
    return table(head, (_line(row, columns) for row in rows))


def _line(row: Row, columns: Sequence[Quantity]) -> list[str]:
    name = f"**{row.name}**" if row.is_best else row.name
    return [name, *(cell(quantity, row.cells.get(quantity.name, {})) for quantity in columns)]


def _origin(report: Mapping[str, Any]) -> list[list[str]]:
    about = report["about"]
    origin = {"checkpoint": about["source"], **about["versions"]}
    return [[name, f"`{value}`"] for name, value in origin.items() if value]
