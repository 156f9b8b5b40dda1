"""The recipe that is the default, its ingredients, and the sweep that says what each is worth."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny_tokenizer import SPECIAL, tiny_vocabulary
from transformers import BertTokenizer

from blippose.augmentation import Augmentation
from blippose.blip import load_blip
from blippose.cli import main
from blippose.identity import flatten
from blippose.model import PoseCaptioner
from blippose.readback import ReadbackMask, ReadbackNoise
from blippose.sweep_file import SweepFile

ROOT = Path(__file__).parents[1]
INGREDIENTS = sorted(path.stem for path in (ROOT / "conf" / "ingredient").glob("*.yaml"))


# What each changes in the recipe, and nothing else. Parts that are null take their keys with them.
CHANGES: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer.lr": 5e-4},
    "close_up": {"data.close_up": 0.5, "decoding.close_up": True},
    "crop_person": {"captioner.crop": "person", "data.crop": "person"},
    "decode_constrained": {"decoding._target_": "blippose.decoding.Constrained"},
    "decode_expectation": {"decoding.expectation": True},
    "decode_parallel": {"decoding._target_": "blippose.decoding.Parallel", "decoding.refine": 0},
    "dropout": {"captioner.dropout": 0.1},
    "ema": {"ema_decay": 0.98},
    "erase": {"data.augmentation.erase": 0.5},
    "fixed_free": {"captioner.fixed_weight": 0.0},
    "fixed_full": {"captioner.fixed_weight": 1.0},
    "grid": {"model.caption.num_bins": 86},
    "labels_hard": {"captioner.fixed_weight": 1.0, "captioner.number_sigma": 0.0},
    "labels_smooth": {
        "captioner.fixed_weight": 1.0,
        "captioner.number_sigma": 0.0,
        "captioner.label_smoothing": 0.1,
    },
    "labels_wide": {"captioner.number_sigma": 2.0},
    "layer_decay": {"captioner.layer_decay": 0.75},
    "letterbox": {"captioner.resize": "letterbox", "data.resize": "letterbox"},
    "location_tokens": {
        "decoding._target_": "blippose.decoding.Constrained",
        "model.caption.location_tokens": True,
        "model.caption.num_bins": 192,
    },
    "longer": {"trainer.check_val_every_n_epoch": 4, "trainer.max_epochs": 4},
    "mask_all": {"captioner.readback_mask.spread": False, "captioner.readback_mask.until": 1.0},
    "mask_none": {"captioner.readback_mask": None},
    "mask_schedule": {
        "captioner.readback_mask.spread": False,
        "captioner.readback_mask.then": 0.3,
        "captioner.readback_mask.until": 0.5,
    },
    "noise": {
        "captioner.readback_noise._target_": "blippose.readback.ReadbackNoise",
        "captioner.readback_noise.share": 0.5,
        "captioner.readback_noise.sigma": 3.0,
    },
    "none": {},
    "order_random": {
        "data.random_order": True,
        "decoding._target_": "blippose.decoding.Constrained",
    },
    "order_torso": {"model.caption.order": "torso"},
    "patch_cells": {"captioner.patch_cells": 8, "captioner.patch_weight": 0.3},
    "patch_loss": {"captioner.patch_weight": 0.3},
    "patch_none": {"captioner.patch_weight": 0.0},
    "pixels": {"model.caption.num_bins": None},
    "prompted": {"data.single_joint": 0.5, "decoding._target_": "blippose.decoding.Prompted"},
    "rate_constant": {"scheduler": None},
    "rate_high": {"optimizer.lr": 2e-4},
    "single_joint": {"data.single_joint": 0.25},
    "study": {
        "captioner.fixed_weight": 1.0,
        "captioner.number_sigma": 0.0,
        "captioner.patch_weight": 0.0,
        "captioner.readback_mask": None,
        "data.augmentation": None,
        "scheduler": None,
    },
    "test_views": {"decoding.test_views": 2},
    "views_color": {
        "data.augmentation.flip": 0.0,
        "data.augmentation.rotate": 0.0,
        "data.augmentation.scale": 1.0,
        "data.augmentation.shift": 0.0,
    },
    "views_geometry": {"data.augmentation.color": 0.0},
    "views_none": {"data.augmentation": None},
    "views_strong": {
        "data.augmentation.color": 0.2,
        "data.augmentation.rotate": 15.0,
        "data.augmentation.scale": 1.25,
        "data.augmentation.shift": 0.15,
    },
    "weight_decay_split": {"captioner.split_weight_decay": True},
}
OF_BASE = {"pixels"}  # the tiny model's captions are of pixels
SWEEP = SweepFile.read(ROOT / "sweeps" / "recipe.yaml")
RANDOM = SweepFile.read(ROOT / "sweeps" / "recipe_random.yaml")


def settings(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config: Any = compose("train", list(overrides))
    return dict(flatten(OmegaConf.to_container(config, resolve=True)))


BY_FREE = {
    "decoding._target_": "blippose.decoding.Free",
    "decoding.expectation": False,
    "decoding.test_views": 1,
    "decoding.close_up": False,
}
OF_ONE_LOOK = {
    "decode_constrained",
    "decode_parallel",
    "location_tokens",
    "mask_none",
    "order_random",
    "prompted",
    "study",
}


def changed(base: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The keys of `made` that `base` has otherwise or not; what is gone was of another part."""
    different = {k: value for k, value in made.items() if k not in base or base[k] != value}
    parts = tuple(
        key.removesuffix("_target_") if key.endswith("._target_") else f"{key}."
        for key in different
    )
    gone = base.keys() - made.keys()
    assert all(key.startswith(parts) or base[key] is None for key in gone)
    return different


def test_the_recipe_is_the_default() -> None:
    assert settings("experiment=best", "name=demo") == settings()


def test_every_ingredient_is_in_a_sweep_and_only_those() -> None:
    swept = {*SWEEP.axes["ingredient"], *RANDOM.axes["ingredient"]}
    assert swept | OF_BASE == set(INGREDIENTS) == set(CHANGES)
    assert min(len(SWEEP.axes["seed"]), len(RANDOM.axes["seed"])) >= 3


def of_model(name: str) -> list[str]:
    return ["model=blip_base"] if name in OF_BASE else []


@pytest.mark.parametrize("name", INGREDIENTS)
def test_an_ingredient_changes_what_it_says_and_no_more(name: str) -> None:
    words = ["experiment=recipe", *of_model(name)]
    assert changed(settings(*words), settings(*words, f"ingredient={name}")) == CHANGES[name]


OF_ANOTHER_RATE = {"adamw", "study"}  # also from random weights, where 608 steps are Muon's


@pytest.mark.parametrize("name", RANDOM.axes["ingredient"])
def test_from_random_weights_an_ingredient_changes_the_same(name: str) -> None:
    words = ["experiment=recipe_random"]
    made = changed(settings(*words), settings(*words, f"ingredient={name}"))
    adamw = {"optimizer._target_": "torch.optim.AdamW"} if name in OF_ANOTHER_RATE else {}
    assert made == CHANGES[name] | adamw | ({"optimizer.lr": 2e-5} if name == "study" else {})


@pytest.mark.parametrize("name", INGREDIENTS)
def test_an_ingredient_that_brings_a_decoding_to_the_default_brings_one_of_one_look(
    name: str,
) -> None:
    made = settings(f"ingredient={name}")
    if name in OF_ONE_LOOK:
        assert (made["decoding.close_up"], made["decoding.test_views"]) == (False, 1)
    else:
        way = [
            {k: v for k, v in of.items() if k.startswith("decoding.")} for of in (made, settings())
        ]
        assert way[0] == way[1]


@pytest.mark.parametrize("name", INGREDIENTS)
def test_every_ingredient_is_judged_once_at_its_end(name: str) -> None:
    changed = settings("experiment=recipe", f"ingredient={name}")
    assert changed["trainer.max_epochs"] == changed["trainer.check_val_every_n_epoch"]


def test_the_sweep_from_random_weights_is_of_the_recipe_on_the_default_people() -> None:
    common = [f"{key}={value}" for key, value in RANDOM.settings.items()]
    assert changed(settings("experiment=best"), settings(*common)) == {
        "name": "recipe_random",
        "logger": None,  # csv
        "model.weights": "random",
        "data.batch_size": 32,
        "optimizer._target_": "blippose.muon.Muon",
        "optimizer.betas": [0.9, 0.999],
        "optimizer.eps": 1e-8,
        "optimizer.lr": 1.5e-3,
        "optimizer.momentum": 0.95,
        "trainer.max_epochs": 16,
        "trainer.check_val_every_n_epoch": 16,
        **BY_FREE,
    }


def test_the_sweep_from_shipped_weights_is_of_the_default_but_for_its_length() -> None:
    common = [f"{key}={value}" for key, value in SWEEP.settings.items()]
    assert changed(settings("experiment=best"), settings(*common)) == {
        "name": "recipe",
        "logger": None,  # csv
        "trainer.max_epochs": 2,
        "trainer.check_val_every_n_epoch": 2,
        **BY_FREE,
    }


def test_the_studys_ingredient_is_its_training() -> None:
    made = settings("experiment=recipe", "ingredient=study")
    study = settings("experiment=poster", "data.root=mpii")
    parts = ("captioner", "optimizer", "scheduler", "data.augmentation", "decoding")
    for key, value in study.items():
        if key.startswith(parts):
            assert made[key] == value, key


@pytest.mark.parametrize("experiment", ["recipe", "recipe_random", "poster"])
def test_parts_are_compared_and_the_study_is_read_as_generate_reads(experiment: str) -> None:
    changed = settings(f"experiment={experiment}", "data.root=mpii")
    assert changed["decoding._target_"] == "blippose.decoding.Free"


@pytest.mark.parametrize("words", [["captioner=plain"], ["captioner.readback_mask=null"]])
def test_a_model_that_never_saw_a_hidden_coordinate_is_not_read_by_hidden_ones(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "logger=csv", f"runs={tmp_path}", *words]) == 2
    assert "set captioner=masked, decoding=constrained, or decoding=free" in capfd.readouterr().err


def test_a_run_that_was_begun_goes_on_as_it_is_read(
    release_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a version that did not look whether its training teaches that."""
    words = [*one_step(release_root, tmp_path), "trainer.max_epochs=1"]
    words += ["captioner.readback_mask=null"]
    assert main(words) == 2
    with monkeypatch.context() as earlier:
        earlier.setattr("blippose.readback.check_decoding", lambda *_: None)
        assert main(words) == 0
    record = tmp_path / "demo" / "run.json"
    record.write_text(record.read_text().replace('"state": "done"', '"state": "failed"'))
    assert main(words) == 0


@pytest.mark.parametrize("name", INGREDIENTS)
def test_every_ingredient_may_be_added_to_the_default(name: str) -> None:
    made = settings(f"ingredient={name}")
    hides = "captioner.readback_mask._target_" in made
    way = made["decoding._target_"].removeprefix("blippose.decoding.")
    assert hides or way in ("Free", "Constrained")


@pytest.mark.parametrize("name", INGREDIENTS)
def test_what_an_ingredient_makes_of_a_part_that_the_study_lacks_is_written_out(name: str) -> None:
    """Else it is of defaults that no run's config says; without a _target_ it is refused."""
    made = settings("experiment=poster", "data.root=mpii", f"ingredient={name}")
    parts: dict[str, Any] = {
        "data.augmentation": Augmentation,
        "captioner.readback_mask": ReadbackMask,
        "captioner.readback_noise": ReadbackNoise,
    }
    for part, kind in parts.items():
        if f"{part}._target_" in made:
            written = {key.rpartition(".")[2] for key in made if key.startswith(f"{part}.")}
            assert written == {"_target_", *(field.name for field in fields(kind))}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("erase", "data.augmentation={'erase': 0.5}: expected Augmentation or null, got dict"),
        ("fixed_free", "fixed_weight=0.0 needs captioner.number_sigma > 0"),
        ("decode_parallel", "reads hidden coordinates, and nothing hides any in training"),
    ],
)
def test_what_the_study_lacks_an_ingredient_for_is_refused(
    release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    words = ["train", "experiment=poster", "model=blip_tiny", f"data.root={release_root}"]
    assert main([*words, f"runs={tmp_path}", "logger=csv", f"ingredient={name}"]) == 2
    assert line in capfd.readouterr().err


def test_no_two_ingredients_are_the_same() -> None:
    made = {
        name: settings("experiment=recipe", *of_model(name), f"ingredient={name}")
        for name in INGREDIENTS
    }
    assert len({json.dumps(each, sort_keys=True) for each in made.values()}) == len(INGREDIENTS)


def test_a_sweep_of_so_many_ingredients_is_listed(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Their names together are longer than a file's may be."""
    words = ["sweep", str(ROOT / "sweeps" / "recipe.yaml"), "dry_run=true", f"runs={tmp_path}"]
    assert main([*words, f"ingredient={','.join(SWEEP.axes['ingredient'])}"]) == 0
    num_cells = 3 * len(SWEEP.axes["ingredient"])
    assert f"{num_cells} cells: {num_cells} missing" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("start", "is_told"),
    [
        (["model.weights=random"], True),
        ([], False),
        (["model.weights=random", "captioner.patch_weight=0.0"], False),
        (["model.weights=random", "init_from={checkpoint}"], False),
        (["model.weights=random", "captioner.freeze_vision=true"], False),
    ],
    ids=["random", "tiny", "random, switched off", "of a checkpoint", "frozen"],
)
def test_weights_that_know_no_poses_are_told_which_patch_holds_each_joint(
    release_root: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    start: list[str],
    is_told: bool,
) -> None:
    checkpoint = tmp_path / "weights.ckpt"
    torch.save({"state_dict": tiny_weights()}, checkpoint)
    start = [word.format(checkpoint=checkpoint) for word in start]
    assert main([*one_step(release_root, tmp_path), "trainer.max_epochs=1", *start]) == 0
    assert has_patch_loss(tmp_path / "demo") == is_told
    assert ("weights that know no poses" in capfd.readouterr().out) == is_told


def one_step(release: Path, runs: Path) -> list[str]:
    words = ["train", f"data.root={release}", "data.synthetic=null", f"runs={runs}", "logger=csv"]
    words += ["trainer.log_every_n_steps=1", "decoding=parallel", "keep_last=true"]
    return [*words, "+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1"]


@pytest.mark.parametrize("name", sorted({*INGREDIENTS} - OF_BASE))
def test_every_ingredient_trains_and_is_validated(
    release_root: Path, tmp_path: Path, name: str
) -> None:
    words = ["train", "experiment=recipe", f"ingredient={name}", "name=demo", "logger=csv"]
    words += [f"data.root={release_root}", "data.synthetic=null", f"runs={tmp_path}"]
    words += ["data.batch_size=2", "+trainer.limit_train_batches=2", "trainer.log_every_n_steps=1"]
    words += ["optimizer.weight_decay=0.0"]  # which moves weights that learn nothing
    assert main([*words, "+trainer.limit_val_batches=1"]) == 0
    run = json.loads((tmp_path / "demo" / "run.json").read_text())
    assert run["state"] == "done"
    assert 0 <= run["results"]["free_running"]["acc_25px"] <= 1
    losses = train_losses(tmp_path / "demo")
    assert len(losses) == 2 * run["config"]["trainer"]["max_epochs"]
    assert all(0 < loss < 20 for loss in losses)
    begun, trained = tiny_weights(), torch.load(tmp_path / "demo" / "best.ckpt")["state_dict"]
    for tower in ("blip.vision_model.encoder.layers.0", "blip.text_decoder.bert.encoder.layer.0"):
        of_tower = [key for key in begun if key.startswith(tower)]
        assert any(not torch.equal(begun[key], trained[key]) for key in of_tower), tower


def train_losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def has_patch_loss(run: Path) -> bool:
    columns = (run / "metrics.csv").read_text().partition("\n")[0].split(",")
    weight = json.loads((run / "run.json").read_text())["patch_weight"]
    assert (weight > 0) == ("train/patch_loss" in columns)
    return "train/patch_loss" in columns


def test_a_checkpoint_goes_on_with_the_patches_or_without_as_it_was_trained(
    release_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = one_step(release_root, tmp_path)
    assert main([*words, "name=a", "model.weights=random", "trainer.max_epochs=1"]) == 0
    words += [f"ckpt_path={tmp_path / 'a' / 'last.ckpt'}", "trainer.max_epochs=2"]
    assert main([*words, "name=b"]) == 0
    assert has_patch_loss(tmp_path / "b")
    capfd.readouterr()
    assert main([*words, "name=c", "captioner.patch_weight=0.0"]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert "last.ckpt: of another model (patch_head.bias differs)" in line


def test_cells_of_patches_that_nobody_is_told_of_are_refused_before_data_and_weights(
    release_root: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [*one_step(release_root, tmp_path), "trainer.max_epochs=1", "captioner.patch_cells=4"]
    with monkeypatch.context() as no_data:
        no_data.setattr("blippose.cli.train._captioner_and_data", None)
        for more in ([], ["model.weights=random", "captioner.freeze_vision=true"]):
            assert main([*words, *more]) == 2
            assert (
                "leave patch_cells 1, or set captioner.patch_weight=0.3" in capfd.readouterr().err
            )
    with monkeypatch.context() as earlier:  # a version that did not look
        earlier.setattr("blippose.cli.train._check_cells_are_told", lambda _: None)
        assert main(words) == 0
    record = tmp_path / "demo" / "run.json"
    record.write_text(record.read_text().replace('"state": "done"', '"state": "failed"'))
    assert main(words) == 0


def test_a_run_that_goes_on_keeps_the_patches_though_its_weights_folder_knows_poses_by_now(
    release_root: Path, tmp_path: Path
) -> None:
    source = tmp_path / "weights"
    load_blip("tiny").save_pretrained(source)
    words = [*one_step(release_root, tmp_path), f"model.weights={source}", "trainer.max_epochs=1"]
    assert main([*words, "name=a"]) == 0
    record = tmp_path / "a" / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "running"}))
    frame = {"input_size": 96, "num_bins": 96, "resize": "stretch", "crop": "full"}
    (source / "blippose.json").write_text(json.dumps(frame))
    assert main([*words, "name=a"]) == 0
    assert has_patch_loss(tmp_path / "a")


def tiny_weights() -> dict[str, torch.Tensor]:
    return {f"blip.{name}": weight for name, weight in load_blip("tiny").state_dict().items()}


def write_tokenizer_of_berts_size(folder: Path) -> None:
    """30,522 pieces, of which most are unused; special ones and the grid's numbers as BERT's."""
    unused = (f"[unused{number}]" for number in count())
    tiny = tiny_vocabulary(342)
    pieces = [SPECIAL[0], *islice(unused, 99), *SPECIAL[1:], *tiny[len(SPECIAL) :]]
    pieces += islice(unused, 30_522 - len(pieces))
    BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}).save_pretrained(
        folder
    )


@pytest.mark.slow
def test_the_recipe_takes_a_step_of_blip_base_and_a_validation_batch(
    release_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """224 M random weights at 384 px, batches of 1: 4.5 GB, one to two minutes of one core."""
    watched = (
        "blip.vision_model.encoder.layers.0.self_attn.qkv.weight",
        "blip.text_decoder.bert.encoder.layer.11.crossattention.self.query.weight",
    )
    moved: list[str] = []
    step = PoseCaptioner.optimizer_step

    def seen(self: PoseCaptioner, *args: Any, **options: Any) -> None:
        before = {name: self.get_parameter(name).detach().clone() for name in watched}
        step(self, *args, **options)
        moved.extend(n for n in watched if not torch.equal(before[n], self.get_parameter(n)))

    monkeypatch.setattr(PoseCaptioner, "optimizer_step", seen)
    write_tokenizer_of_berts_size(tmp_path / "tokenizer")
    words = ["experiment=best", "data=mpii", "model=blip_base", "model.weights=random"]
    words += [f"model.tokenizer={tmp_path / 'tokenizer'}", f"data.root={release_root}"]
    words += [f"runs={tmp_path}", "optimizer.weight_decay=0.0"]  # what moves has learned
    words += ["data.batch_size=1", "data.eval_batch_size=1", "trainer.max_epochs=1"]
    words += ["+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1"]
    assert main(["train", *words, "logger=csv", "trainer.log_every_n_steps=1"]) == 0
    results = json.loads((tmp_path / "best" / "run.json").read_text())["results"]
    assert moved == list(watched)
    assert results["frame"] == "input pixels of 384 x 384"
    assert results["decoding"] == "parallel, refine 0, expectation, 2 test views, close-up"
    assert results["free_running"]["parse_rate"] == 1  # under the grammar also noise says poses
    assert results["teacher_forced"]["parse_rate"] == 0
    [loss] = train_losses(tmp_path / "best")
    assert 5 < loss < 15  # of 30,524 tokens alike it would be 10.3
    checkpoint = torch.load(tmp_path / "best" / "best.ckpt", weights_only=True)
    weights = checkpoint["state_dict"].values()
    assert sum(weight.numel() for weight in weights) > 224e6
