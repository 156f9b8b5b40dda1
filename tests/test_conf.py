"""Every file in conf/ composes, its keys fit what they are passed to, and each has a comment."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from blippose.arguments import fits
from blippose.blip import load_blip
from blippose.cli.checks import check_targets
from blippose.errors import UserError
from blippose.identity import flatten
from blippose.runs import LAST, Run

CONF = Path(__file__).parents[1] / "conf"
PRIMARY = (
    "data",
    "eval",
    "predict",
    "train",
    "report",
    "export",
    "analyze_attention",
    "analyze_occlusion",
)
OPTIONS = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
FILLED = ["data.root=FOLDER"]


def composed(primary: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = compose(primary, list(overrides))
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def targets(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        yield path, node
    for key, value in node.items():
        yield from targets(value, f"{path}.{key}")


def test_there_are_configs() -> None:
    assert len(OPTIONS) >= 16


@pytest.mark.parametrize("primary", PRIMARY)
def test_primary_composes(primary: str) -> None:
    assert composed(primary)["debug"] is False


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_composes_with_values_that_fit(group: str, option: str) -> None:
    config = composed("train", f"{group}={option}", *FILLED)
    check_targets(config)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_constructor_argument_of_ours_is_a_key(group: str, option: str) -> None:
    """One home for each default: what a target of blippose takes is written in the YAML."""
    passed_in_code = {"tokenizer", "caption_format", "blip", "optimizer", "scheduler"}
    passed_in_code |= {"decoding", "total_steps", "folder", "run_id", "group", "config"}
    for path, node in targets(composed("train", f"{group}={option}", *FILLED)):
        if node["_target_"].startswith("blippose."):
            parameters = set(inspect.signature(get_object(node["_target_"])).parameters)
            passed = passed_in_code | ({"params"} if path == ".optimizer" else set())
            assert parameters - passed == {k for k in node if k[0] != "_"}, path


def test_a_value_that_does_not_fit_is_found() -> None:
    assert not fits("two", int)
    assert not fits(1.5, int | None)
    assert not fits(True, int)
    assert fits(1, float)
    assert fits([0.9, 0.999], tuple[float, float])


@pytest.mark.parametrize("option", ["adam", "adamw", "muon"])
def test_optimizer_and_schedule_instantiate(option: str) -> None:
    config = OmegaConf.create(composed("train", f"optimizer={option}"))
    optimizer = instantiate(config.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    schedule = instantiate(config.scheduler)(optimizer, 100)
    assert 0 < schedule.get_last_lr()[0] < config.optimizer.lr


def test_trainer_instantiates() -> None:
    config = OmegaConf.create(composed("train"))
    trainer = instantiate(config.trainer)(logger=False, enable_checkpointing=False)
    assert trainer.max_epochs == config.trainer.max_epochs


def test_tiny_architecture_is_what_the_tokenizer_needs() -> None:
    blip = load_blip("random", composed("train")["model"]["architecture"])
    assert sum(weight.numel() for weight in blip.parameters()) < 6e6


@pytest.mark.parametrize(("option", "millions"), [("blip_base", 224), ("blip_large", 447)])
def test_full_architecture_has_the_released_size(option: str, millions: int) -> None:
    with torch.device("meta"):
        blip = load_blip("random", composed("train", f"model={option}")["model"]["architecture"])
    assert sum(w.numel() for w in blip.parameters()) / 1e6 == pytest.approx(millions, rel=0.06)


def test_poster_is_the_study() -> None:
    config = dict(flatten(composed("train", "experiment=poster", *FILLED)))
    wanted = {
        "model.weights": "Salesforce/blip-image-captioning-base",
        "model.caption.input_size": 384,
        "model.caption.num_bins": None,
        "model.architecture.text.num_attention_heads": 12,
        "model.architecture.text.num_hidden_layers": 12,
        "model.architecture.vision.num_attention_heads": 12,
        "data.split": "random",
        "data.resize": "stretch",
        "data.crop": "full",
        "data.batch_size": 2,
        "data.augmentation": None,
        "optimizer._target_": "torch.optim.AdamW",
        "optimizer.lr": 2e-5,
        "scheduler": None,
        "captioner.readback_mask": None,
        "captioner.number_sigma": 0.0,
        "captioner.fixed_weight": 1.0,
        "captioner.patch_weight": 0.0,
    }
    assert {key: config[key] for key in wanted} == wanted


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_says_what_it_is(path: Path) -> None:
    words = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert [line for line in words if not line.startswith("# @package")]


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_has_its_comment(path: Path) -> None:
    sets_keys_of_others = path.parent.name in ("experiment", "ingredient")
    if sets_keys_of_others or path.stem == "program":
        return
    own = path.read_text().partition("\nhydra:")[0].partition("\ndefaults:")
    lines = own[0].splitlines() + own[2].partition("\n\n")[2].splitlines()
    known = r"\s*(_target_|_partial_|num_hidden_layers|num_attention_heads|defaults):"
    values = [line for line in lines if re.match(r"\s*\w+: *[^ #]", line)]
    silent = [x for x in values if "#" not in x and not re.match(known, x)]
    assert silent == []


@pytest.mark.parametrize(
    "words",
    [
        ["decoding=free"],
        ["decoding=constrained", "decoding.expectation=true"],
        ["decoding=parallel", "decoding.refine=null", "decoding.test_views=2"],
        ["decoding=parallel", "decoding.expectation=true", "decoding.test_views=2"],
        ["decoding=prompted"],
    ],
    ids=" ".join,
)
def test_the_words_that_reach_a_run_that_was_read_otherwise_do(
    words: list[str], tmp_path: Path
) -> None:
    """What `Run.open` advises is made of the values that choices do not have by themselves."""
    was = composed("train", *words)
    now = composed("train", "decoding=parallel", "decoding.refine=9")
    with Run.open(tmp_path, was).started():
        (tmp_path / LAST).write_text("weights")
    with pytest.raises(UserError, match=rf"add {re.escape(' '.join(words))} for that run"):
        Run.open(tmp_path, now)
