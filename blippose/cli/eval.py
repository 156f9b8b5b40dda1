"""`blippose eval`: the trust report of a run, of a checkpoint, of several runs, of a file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blippose.cli.checks import (
    check_counts,
    check_data_files,
    check_data_values,
    check_subset,
    check_targets,
)
from blippose.cli.config import (
    UNSTATED,
    checked,
    instantiate_key,
    job_words,
    kept_or_used,
    out_folder,
    plain_config,
    say_loading,
    short,
)
from blippose.cli.folders import run_folders
from blippose.errors import UserError
from blippose.json_text import json_text
from blippose.output_folder import check_out, writable

if TYPE_CHECKING:
    from rich.console import Console

    from blippose.decoding import Decoding
    from blippose.evaluation.subject import Subject

# What may be said of a run's data: where they are. Anything else would make another split.
_PLACES = ("data.root", "data.annotations")
_OF_THE_MODEL = ("data.resize", "data.crop")


@dataclass(frozen=True)
class _EvalKeys:
    """Top-level keys of eval.yaml."""

    run: str | list[str] | None
    ckpt: str | None
    preds: str | None
    gt: str | None
    subset: str
    out: str | None
    samples: int
    seed: int
    batch_size: int
    device: str
    weighted: bool
    strict: bool
    tenth: float | int  # beartype, which checks in the tests, takes no int for a float
    debug: bool


def run(config: Any) -> int:
    """Judge what is named, print the report and write its files; the exit status."""
    given = _given_data_keys()
    _check_data_keys(config, given)  # before an open data.root= is asked for
    plain = plain_config(config)
    keys = checked(_EvalKeys, plain)
    _check_named(keys)
    _check_numbers(keys)
    check_out(keys.out)
    if keys.preds is not None and keys.gt is not None:
        return _score_file(keys, Path(keys.preds).expanduser(), Path(keys.gt).expanduser())
    from blippose.runs import best_checkpoint, checkpoint_file  # noqa: PLC0415

    folders = [] if keys.run is None else run_folders(keys.run)
    for folder in folders:  # before the first is judged: a run that fails is not left out
        best_checkpoint(folder)
    ckpt = None if keys.ckpt is None else Path(keys.ckpt).expanduser()
    if ckpt is not None:
        checkpoint_file(ckpt, "ckpt")
        data = {**plain["data"], "synthetic": None}  # nothing is drawn to be judged on
        check_data_values(data)
        check_data_files(data)
    check_targets({"decoding": plain.get("decoding")})  # seconds: torch
    decoding = instantiate_key(config, "decoding")
    if ckpt is not None:
        return _judge_checkpoint(decoding, plain, keys, ckpt)
    places = {key.removeprefix("data."): plain["data"][key.removeprefix("data.")] for key in given}
    if len(folders) == 1:
        out = out_folder(keys.out, folders[0])
        _judge_run(decoding, keys, folders[0], places, out, is_alone=True)
        return 0
    return _judge_runs(decoding, keys, folders, places)


def _given_data_keys() -> list[str]:
    """Keys of the data group, and the group itself, that stand on the command line."""
    keys = [item.partition("=")[0].lstrip("+~") for item in job_words()]
    return [key for key in keys if key == "data" or key.startswith("data.")]


def _check_named(keys: _EvalKeys) -> None:
    """Exactly one thing is to be judged."""
    named = [key for key in ("run", "ckpt", "preds") if getattr(keys, key) is not None]
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)}: each names what to judge; give one of them")
    if keys.gt is not None and keys.preds is None:
        raise UserError(f"gt={keys.gt}: the truth of which predictions? add preds=FILE.mat")
    if keys.preds is not None and keys.gt is None:
        raise UserError(f"preds={keys.preds}: held against what? add gt=FILE.mat")
    if not named:
        raise UserError(
            "nothing to judge: give run=FOLDER, ckpt=FILE data.root=FOLDER, or "
            "preds=FILE.mat gt=FILE.mat"
        )


def _check_numbers(keys: _EvalKeys) -> None:
    check_subset(keys.subset)
    check_counts(keys.samples, keys.batch_size, keys.seed)
    if not 0 < keys.tenth <= 1:
        raise UserError(f"tenth={keys.tenth}: expected more than 0 and up to 1, such as 0.11")


def _check_data_keys(keys: Any, given: Sequence[str]) -> None:
    """A run is judged on its own data, a model in its own frame, a file on its own truth."""
    if keys.run is not None and set(given) - set(_PLACES):
        wrong = next(key for key in given if key not in _PLACES)
        raise UserError(
            f"{wrong}: a run is judged on its own data, of which only the place may be said "
            f"({', '.join(_PLACES)}); other data take ckpt=RUN/best.ckpt"
        )
    if keys.ckpt is not None and set(given) & set(_OF_THE_MODEL):
        wrong = next(key for key in given if key in _OF_THE_MODEL)
        raise UserError(f"{wrong}: the checkpoint says how images fill its input; leave it out")
    if keys.preds is not None and given:
        raise UserError(f"{given[0]}: has no meaning beside preds=; leave it out")


def _judge_checkpoint(
    decoding: Decoding | None, plain: dict[str, Any], keys: _EvalKeys, path: Path
) -> int:
    check_targets({"data": plain["data"]})
    say_loading(path)
    from blippose.evaluation.subject import Subject  # noqa: PLC0415  seconds, as training

    subject = Subject.of_checkpoint(path, plain["data"], keys.device, decoding)
    _say_unstated(decoding, subject)
    _judge(keys, subject, out_folder(keys.out, path.with_name(f"{path.stem}_eval")), is_alone=True)
    return 0


def _judge_run(
    decoding: Decoding | None,
    keys: _EvalKeys,
    folder: Path,
    places: dict[str, Any],
    out: Path,
    *,
    is_alone: bool,
) -> dict[str, Any] | None:
    say_loading(folder)
    from blippose.evaluation.subject import Subject  # noqa: PLC0415  seconds, as training

    subject = Subject.of_run(folder, places, keys.device, decoding)
    _say_unstated(decoding, subject)
    return _judge(keys, subject, out, is_alone=is_alone)


def _say_unstated(decoding: Decoding | None, subject: Subject) -> None:
    from blippose.runs import is_first_process  # noqa: PLC0415

    if decoding is None and subject.stated.decoding is None and is_first_process():
        print(UNSTATED)


def _judge(
    keys: _EvalKeys, subject: Subject, out: Path, *, is_alone: bool
) -> dict[str, Any] | None:
    """The report, written into `out`, and printed where it is the only one.

    What the model said is kept there too, and its calibrations, one a decoding, unless one is seen
    to harm. None in a process that has only helped the first.
    """
    from rich.console import Console  # noqa: PLC0415

    from blippose.calibration import forget_calibration  # noqa: PLC0415
    from blippose.evaluation.evidence import Settings, gather  # noqa: PLC0415
    from blippose.evaluation.reliability import is_helped  # noqa: PLC0415
    from blippose.evaluation.report_files import write_files  # noqa: PLC0415
    from blippose.evaluation.trust_report import trust_report  # noqa: PLC0415
    from blippose.runs import is_first_process  # noqa: PLC0415

    started = time.monotonic()
    settings = Settings(keys.subset, keys.seed, keys.batch_size, is_first_process())
    with writable(out):
        evidence, was_stored = gather(subject, out, settings)
        if evidence is None:
            return None
        report = trust_report(evidence, keys.samples, keys.seed)
        folder = out if is_alone and keys.out is not None else out / _below(subject)
        paths = write_files(folder, report, evidence, subject.images)
        if evidence.calibration is not None:
            if is_helped(report["confidence"]):
                evidence.calibration.save(out)
            else:
                forget_calibration(out, subject.decoding.name)
    seconds = time.monotonic() - started
    if is_alone:
        _print(report, paths, out, was_stored, seconds, Console())
    else:
        print(f"  {out}: {'stored predictions, ' if was_stored else ''}{seconds:.0f} s")
    return report


def _below(subject: Subject) -> str:
    """Where in a run's folder a report goes: one of another decoding does not replace its own."""
    from blippose.evaluation.evidence import as_file_name  # noqa: PLC0415

    is_own = subject.decoding == subject.stated.own_decoding
    return "." if is_own else f"eval_{as_file_name(subject.decoding.name)}"


def _print(
    report: dict[str, Any],
    paths: list[Path],
    out: Path,
    was_stored: bool,
    seconds: float,
    console: Console,
) -> None:
    from blippose.calibration import CALIBRATION_FILE  # noqa: PLC0415
    from blippose.evaluation.evidence import PREDICTIONS  # noqa: PLC0415
    from blippose.evaluation.reliability import is_helped  # noqa: PLC0415
    from blippose.evaluation.terminal import print_lines, print_report  # noqa: PLC0415

    print_report(report, console)
    names = " ".join(path.name for path in paths)
    again = kept_or_used(was_stored)
    lines = [
        f"in {short(paths[0].parent)}: {names}",
        f"what the model said is {again}: {short(out) / PREDICTIONS} ({seconds:.0f} s)",
    ]
    if is_helped(report["confidence"]):
        lines.append(f"what calibrates its confidence: {short(out) / CALIBRATION_FILE}")
    print_lines(console, "", *lines)


def _judge_runs(
    decoding: Decoding | None, keys: _EvalKeys, folders: list[Path], places: dict[str, Any]
) -> int:
    """Each run's own report, then mean and deviation in their common parent."""
    from rich.console import Console  # noqa: PLC0415

    from blippose.evaluation.across_runs import across_runs, markdown_of_runs  # noqa: PLC0415
    from blippose.evaluation.report_files import (  # noqa: PLC0415
        JSON_FILE,
        MARKDOWN_FILE,
        write_texts,
    )
    from blippose.evaluation.terminal import print_lines, print_runs  # noqa: PLC0415
    from blippose.runs import Run  # noqa: PLC0415

    configs = [Run.read(folder).record["config"] for folder in folders]
    judged = [_judge_run(decoding, keys, each, places, each, is_alone=False) for each in folders]
    reports = [report for report in judged if report is not None]
    if len(reports) < len(judged):
        return 0
    summary = across_runs(reports, configs)
    out = out_folder(
        keys.out, Path(os.path.commonpath([folder.parent.absolute() for folder in folders]))
    )
    with writable(out):
        write_texts(out, {JSON_FILE: json_text(summary), MARKDOWN_FILE: markdown_of_runs(summary)})
    console = Console()
    print_runs(summary, console)
    print_lines(console, "", f"in {short(out)}: {JSON_FILE} {MARKDOWN_FILE}")
    return 0


def _score_file(keys: _EvalKeys, preds: Path, gt: Path) -> int:
    """What the usual evaluation gives for a file of predictions."""
    from rich.console import Console  # noqa: PLC0415

    from blippose.evaluation.protocol import Variant, score_file  # noqa: PLC0415
    from blippose.evaluation.terminal import print_lines, print_protocol  # noqa: PLC0415

    variant = Variant(keys.weighted, keys.strict, float(keys.tenth))
    scores = score_file(preds, gt, variant, keys.samples, keys.seed)
    console = Console()
    print_protocol(scores, console)
    if keys.out is not None:
        from blippose.evaluation.report_files import JSON_FILE, write_texts  # noqa: PLC0415

        out = Path(keys.out).expanduser()
        said = {"preds": str(preds), "gt": str(gt), **scores}
        with writable(out):
            write_texts(out, {JSON_FILE: json_text(said)})
        print_lines(console, f"in {short(out)}: {JSON_FILE}")
    return 0
