"""`blippose data`: what the filter keeps step by step, the split, the leak audit."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from blippose.cli.checks import OWN_PEOPLE, drawn_people
from blippose.cli.config import checked, plain_config
from blippose.errors import UserError


@dataclass(frozen=True)
class _DataKeys:
    """Top-level keys of data.yaml."""

    format: Literal["table", "json"]
    manifest: str | None
    seed: int
    debug: bool


@dataclass(frozen=True)
class _ReleaseKeys:
    """Keys of the data group that `blippose data` reads: no model, no batches."""

    root: str | None  # None beside annotations alone
    annotations: str | None
    synthetic: dict[str, Any] | None
    reading: str
    split: str
    train_fraction: float
    test_fraction: float
    split_seed: int


def run(config: Any) -> int:
    """Print the counts; the exit status."""
    from rich.console import Console  # noqa: PLC0415

    from blippose import audit, readings, split  # noqa: PLC0415
    from blippose.audit import print_audit  # noqa: PLC0415
    from blippose.release_source import ReleaseSource  # noqa: PLC0415

    if config.data.annotations is not None and _root_is_open(config.data):
        config.data.root = None  # the counts need no images
    plain = plain_config(config)
    keys, source = checked(_DataKeys, plain), checked(_ReleaseKeys, plain["data"], "data")
    manifest = None if keys.manifest is None else Path(keys.manifest).expanduser()
    if manifest is not None:
        split.check_manifest_path(manifest)
    readings.reading_of(source.reading)
    split.check_kind(source.split)
    split.check_fractions(source.train_fraction, source.test_fraction)
    path, images = _release_paths(source)
    with contextlib.redirect_stdout(sys.stderr):  # bars; stdout is for the counts alone
        if source.synthetic is not None and source.annotations is None:
            _write_synthetic(path.parent, source.synthetic)
        release = ReleaseSource(str(path.parent), annotations=str(path)).read()
    counts = audit.audit(
        release,
        source.reading,
        kind=source.split,
        fraction=source.train_fraction,
        test_fraction=source.test_fraction,
        seed=source.split_seed,
        images=images,
    )
    if keys.format == "json":
        print(json.dumps(counts, indent=1))
    else:
        print_audit(counts, Console())
    if manifest is not None:
        persons = readings.select(release, source.reading)
        sides = split.split_persons(
            persons, source.split, source.train_fraction, source.split_seed, source.test_fraction
        )
        record = split.manifest(persons, sides, release, source.reading)
        split.write_manifest(manifest, record)
        print(f"wrote {manifest}", file=sys.stderr)
    return 0


def _root_is_open(data: Any) -> bool:
    """Whether nothing says where the images lie: no root, or one made of persons to draw."""
    from omegaconf import OmegaConf  # noqa: PLC0415

    raw: Any = OmegaConf.to_container(data, resolve=False)
    is_of_drawn = "${.synthetic." in str(raw["root"])
    return OmegaConf.is_missing(data, "root") or (data.synthetic is None and is_of_drawn)


def _release_paths(source: _ReleaseKeys) -> tuple[Path, Path | None]:
    """The .mat, and the folder of its images where one is meant."""
    from blippose.mpii import ANNOTATIONS  # noqa: PLC0415

    root = None if source.root is None else Path(source.root).expanduser()
    if source.annotations is None:
        if root is None:
            raise UserError("data.root=null: expected a folder, or data.annotations=FILE")
        return root / ANNOTATIONS, root / "images"
    path = Path(source.annotations).expanduser()
    if root is None or source.synthetic is not None:  # drawn images are not those of the file
        return path, None
    return path, root / "images"


def _write_synthetic(root: Path, settings: Mapping[str, Any]) -> None:
    from blippose.release_source import ReleaseSource  # noqa: PLC0415

    if settings.get("_target_", OWN_PEOPLE) != OWN_PEOPLE:
        raise UserError(
            f"data.synthetic._target_={settings['_target_']}: blippose's own people alone are "
            "drawn here; name what your class has drawn with data.root=FOLDER data.synthetic=null"
        )
    ReleaseSource(str(root), synthetic=drawn_people(settings)).prepare()
