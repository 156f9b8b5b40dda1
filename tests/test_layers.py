"""The house: who may import whom (docs/code.md), and what must do without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import blippose

PACKAGE = Path(blippose.__file__).parent

# A module imports from layers below its own, and within its layer only what does not come back.
LAYERS = (
    {
        "errors",
        "arguments",
        "pose",
        "whole_file",
        "output_folder",
        "heap",
        "machine",
        "child_process",
        "bfloat16",
        "threads",
        "counted",
        "prose",
        "json_text",
        "spelling",
        "progress",
        "waiting",
    },
    {
        "caption",
        "geometry",
        "mpii",
        "readings",
        "release_images",
        "split",
        "audit",
        "metrics",
        "drawing",
        "contact_sheet",
        "joint_names",
        "images",
    },
    {
        "synthetic",
        "release_source",
        "blip",
        "weights_config",
        "decoding",
        "feed_forward",
        "computed_again",
        "own_layers",
        "calibration",
        "attention",
        "data_settings",
        "lineage",
        "location_tokens",
        "loss",
        "lora",
        "muon",
        "param_groups",
        "patch_head",
        "preparation",
        "readback",
        "sdpa",
        "seen",
        "schedules",
        "augmentation",
        "views",
        "occlusion",
    },
    {"data", "model", "validation"},
    {
        "runs",
        "identity",
        "versions",
        "sweep",
        "sweep_file",
        "reuse",
        "report",
        "usage",
        "averaging",
        "checkpoint_files",
        "checkpoints",
        "preemption",
        "random_state",
        "loggers",
        "wandb_logger",
        "wandb_settings",
        "callbacks",
        "validation_pictures",
        "guards",
        "evaluation",
        "summary",
        "training",
        "fit_options",
        "training_check",
        "trained_weights",
        "predictor",
        "frame_file",
        "model_checkpoint",
        "prediction_files",
        "prediction_formats",
        "model_card",
        "export",
    },
    {"cli"},
    {"__main__"},
)
WITHOUT_TORCH = (
    "wandb_settings",
    "pose",
    "whole_file",
    "waiting",
    "output_folder",
    "counted",
    "prose",
    "caption",
    "geometry",
    "mpii",
    "readings",
    "release_images",
    "split",
    "audit",
    "drawing",
    "contact_sheet",
    "joint_names",
    "images",
    "synthetic",
    "occlusion",
    "weights_config",
    "data_settings",
    "release_source",
    "fit_options",
    "runs",
    "identity",
    "versions",
    "usage",
    "report",
    "sweep",
    "sweep_file",
    "preemption",
    "summary",
    "arguments",
    "cli",
)


def modules() -> Iterator[tuple[str, Path]]:
    """Each file with the name of the top-level module that it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name != "__init__":
            yield name, path


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """Top-level modules of blippose that a file imports."""
    known = {name for name, _ in modules()}
    parts = (name.split(".") for name in imports(path))
    return {part[1] for part in parts if part[0] == "blippose" and len(part) > 1} & known


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def first_sentences(path: Path) -> str:
    """The first paragraph of a module's or a package's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def lines_of(names: set[str]) -> Iterator[str]:
    """A line for each module or package, as docs/code.md has them."""
    for name in sorted(names):
        module = PACKAGE / f"{name}.py"
        path = module if module.is_file() else PACKAGE / name / "__init__.py"
        shown = f"{name}.py" if module.is_file() else f"{name}/"
        yield f"- `{shown}`: {first_sentences(path)}"


def test_the_page_of_the_code_has_each_layers_modules_in_their_own_words() -> None:
    page = (PACKAGE.parent / "docs" / "code.md").read_text()
    found = [part.splitlines() for part in page.split("\n## ")[1:]]
    assert [[line for line in part if line.startswith("- `")] for part in found] == [
        list(lines_of(names)) for names in LAYERS
    ]


def test_every_module_has_its_layer() -> None:
    assert {name for name, _ in modules()} <= set.union(*LAYERS)


def test_imports_go_downwards() -> None:
    upwards = [
        (str(path.relative_to(PACKAGE)), other)
        for name, path in modules()
        for other in own_imports(path)
        if layer(other) > layer(name)
    ]
    assert upwards == []


def test_no_two_modules_import_each_other() -> None:
    pairs = {(name, other) for name, path in modules() for other in own_imports(path)}
    assert [pair for pair in pairs if pair[0] < pair[1] and pair[::-1] in pairs] == []


@pytest.mark.parametrize("library", ["hydra", "omegaconf"])
def test_only_the_command_line_sees_configs(library: str) -> None:
    seen = {
        name
        for name, path in modules()
        if any(imported.split(".")[0] == library for imported in imports(path))
    }
    assert seen == {"cli"}


def test_no_torch_where_it_is_not_needed() -> None:
    names = ", ".join(f"blippose.{name}" for name in WITHOUT_TORCH)
    heavy = "{'torch', 'transformers', 'lightning', 'wandb', 'hydra'}"
    code = f"import sys, {names}; print(sorted({heavy} & sys.modules.keys()))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def test_training_imports_no_model_but_blip_and_nothing_that_only_some_runs_use() -> None:
    """What comes with BLIP's classes and its tokenizer is named; a new name costs start-up."""
    code = (
        "import sys, blippose.training, blippose.predictor, blippose.data; "
        "models = {m.split('.')[2] for m in sys.modules if m.startswith('transformers.models.')}; "
        "some = {'wandb', 'torchvision', 'peft', 'hydra', 'pandas'} & sys.modules.keys(); "
        "print(sorted(models), sorted(some))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "['auto', 'bert', 'blip', 'encoder_decoder'] []"
