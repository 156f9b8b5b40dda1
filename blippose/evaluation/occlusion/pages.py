"""An occlusion study for people: a table on the terminal, and a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blippose.evaluation.facts import decoding_line, interval_line
from blippose.evaluation.figures import people_of, reading_order
from blippose.evaluation.intervals import sign
from blippose.evaluation.markdown import bullets
from blippose.evaluation.markdown import table as markdown_table
from blippose.evaluation.occlusion.effects import CONTRASTS, STATES
from blippose.evaluation.occlusion.findings import margin, radius_text, signed
from blippose.evaluation.quantities import number
from blippose.evaluation.terminal import print_lines
from blippose.pose import JOINTS

_SHOWN = STATES[:4]  # the mean pose is in the files


def print_study(report: Mapping[str, Any], console: Console) -> None:
    """Print the joints, what it shows and what it does not; fits 80 columns."""
    console.print(_table(report))
    print_lines(console, "", *about_lines(report), style="dim")
    for title, style in (("findings", "bold"), ("limits", "dim")):
        console.print("")
        grid = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        for sentence in report[title]:
            grid.add_row(Text("-"), Text(sentence, style="" if style == "bold" else style))
        console.print(grid)


def _table(report: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("EPE px of the\nhidden joint", no_wrap=True)
    for title in ("clean", "hidden", "on\nbody", "off\nbody"):
        table.add_column(title, justify="right", no_wrap=True, min_width=6)
    table.add_column("hidden - on body\nwith its interval", justify="right", no_wrap=True)
    table.add_column("others:\nadded", justify="right", no_wrap=True, min_width=7)
    rows = {JOINTS[joint]: report["joints"][JOINTS[joint]] for joint in reading_order()}
    for name, row in rows.items():
        table.add_row(name, *_cells(row))
    table.add_section()
    table.add_row(Text("all joints", style="bold"), *_cells(report["all"]))
    return table


def _cells(row: Mapping[str, Any]) -> Iterator[Text]:
    own = row["own"]
    yield from (Text(number(own[state]["value"], 2)) for state in _SHOWN)
    cost, added = own["hidden - on body"], row["others"]["hidden - clean"]
    yield Text(_change(cost) + margin(cost, 1), style=_style(cost))
    yield Text(_change(added), style=_style(added))


def _change(cell: Mapping[str, float]) -> str:
    return ("+" if cell["value"] >= 0 else "") + number(cell["value"], 2)


def _style(cell: Mapping[str, float]) -> str:
    """A difference whose interval excludes 0 stands out."""
    return "bold" if sign(cell) else "dim"


def about_lines(report: Mapping[str, Any]) -> list[str]:
    """What was looked at, how often, and where the intervals come from."""
    about, settings = report["about"], report["settings"]
    radii = settings["radius_heads"]
    lines = [
        people_of(about),
        f"{settings['num_looks']:,} inputs were asked for: each image clean, with a disc of "
        f"{radius_text(radii[0])} over each joint, and with as large ones elsewhere on the body "
        f"and off it ({settings['num_compared']:,} joints of {settings['num_discs']:,} have both)",
        f"a disc is filled by {settings['fill']}; differences are paired",
        interval_line(about),
        f"pixels are those of the {settings['input_size']} px input; a joint that did not parse "
        f"counts as the mean training pose ({_parsed(report['parsed'])} parsed); "
        f"{decoding_line(about)}",
    ]
    if len(radii) > 1:
        lines.insert(
            2,
            f"the other radii hide {settings['curve_joints']} joints of each image, in turn",
        )
    return lines


def _parsed(parsed: Mapping[str, float]) -> str:
    """The shares in words, or one where all are the same."""
    shares = {name: number(value, 3) for name, value in parsed.items()}
    if len(set(shares.values())) == 1:
        return f"{shares['clean']} of all"
    return ", ".join(f"{name} {share}" for name, share in shares.items())


def markdown(report: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The study as a page.

    Args:
        report: as `study` returns it.
        pictures: titles and file names, beside the page.
    """
    about = report["about"]
    blocks = [
        f"# Occlusion study of {about['run'] or about['source']}",
        bullets(about_lines(report)),
        "## What it shows",
        bullets(report["findings"]),
        "## What it does not show",
        bullets(report["limits"]),
        "## The hidden joint's own error, EPE in input px",
        _joints_table(report, "own"),
        "## The other joints' error, where no disc covers them",
        "Joints are counted once for each disc.",
        _joints_table(report, "others"),
        *_curve(report["curve"]),
        "## What a disc over a joint adds to the error of each joint, px",
        "Rows are hidden, columns measured; bold where the interval excludes 0, (in brackets) "
        "where the disc covers that joint too in more than half of the images.",
        _matrix_table(report["matrix"]),
        *(f"![{title}]({name})" for title, name in pictures.items()),
        f"Example: {report['example']}.",
        f"Checkpoint `{about['source']}`, sha256 `{about['checkpoint_sha256']}`; split manifest "
        f"`{about['manifest']}`.",
    ]
    return "\n\n".join(blocks) + "\n"


def _joints_table(report: Mapping[str, Any], key: str) -> str:
    contrasts = [f"{a} - {b}" for a, b in CONTRASTS]
    count = {"own": ("images", "num"), "others": ("joints", "num_others")}
    title, num = count[key]
    head = ["hidden", title, *STATES, *contrasts]
    rows = {JOINTS[joint]: report["joints"][JOINTS[joint]] for joint in reading_order()}
    every = {**rows, "**all joints**": report["all"]}
    lines = ([name, str(row[num]), *_line(row[key])] for name, row in every.items())
    return markdown_table(head, lines)


def _line(cells: Mapping[str, Any]) -> Iterator[str]:
    for name, cell in cells.items():
        text = signed(cell) if " - " in name else signed(cell, plus="")
        yield text.replace(" (", "<br>(")


def _curve(curve: list[Mapping[str, Any]]) -> Iterator[str]:
    if len(curve) < 2:
        return
    yield "## By the radius"
    names = [*STATES[:4], "hidden - clean", "hidden - on body"]
    head = [
        "radius, head sizes",
        "median px",
        "joints",
        *names,
        "others",
        "others: hidden - clean",
    ]
    yield markdown_table(head, ([*_point(point, names)] for point in curve))


def _point(point: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    yield from (f"{point['radius_heads']:g}", f"{point['radius_input_px']:.1f}", str(point["num"]))
    yield from (signed(point["own"][name], "+" if " - " in name else "") for name in names)
    yield from (str(point["num_others"]), signed(point["others"]["hidden - clean"]))


def _matrix_table(matrix: Mapping[str, Any]) -> str:
    order = reading_order()
    head = ["hidden", *(JOINTS[joint] for joint in order)]
    return markdown_table(
        head, ([JOINTS[h], *(_matrix_cell(matrix, h, m) for m in order)] for h in order)
    )


def _matrix_cell(matrix: Mapping[str, Any], hidden: int, measured: int) -> str:
    cell = matrix["added_px"][hidden][measured]
    text = number(cell["value"], 1)
    text = f"**{text}**" if sign(cell) else text
    is_covered = hidden != measured and matrix["covered_share"][hidden][measured] > 0.5
    return f"({text})" if is_covered else text
