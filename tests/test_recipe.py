"""The recipe that is the default, its ingredients, and the sweep that says what each is worth."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHARED
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from blippose.augmentation import Augmentation
from blippose.blip import load_blip
from blippose.cli import main
from blippose.identity import flatten
from blippose.readback import ReadbackMask, ReadbackNoise
from blippose.sweep_file import SweepFile

ROOT = Path(__file__).parents[1]
BERT = SHARED / "reference" / "bert_tokenizer"
INGREDIENTS = sorted(path.stem for path in (ROOT / "conf" / "ingredient").glob("*.yaml"))


SWEEP = SweepFile.read(ROOT / "sweeps" / "recipe.yaml")
RANDOM = SweepFile.read(ROOT / "sweeps" / "recipe_random.yaml")


def settings(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config: Any = compose("train", list(overrides))
    return dict(flatten(OmegaConf.to_container(config, resolve=True)))


def test_the_recipe_is_the_default() -> None:
    assert settings("experiment=best", "name=demo") == settings()


def test_every_ingredient_is_in_a_sweep_and_only_those() -> None:
    assert {*SWEEP.axes["ingredient"], *RANDOM.axes["ingredient"]} == set(INGREDIENTS)
    assert len(SWEEP.axes["seed"]) >= 3


@pytest.mark.parametrize("name", INGREDIENTS)
def test_an_ingredient_changes_the_recipe_alone(name: str) -> None:
    common = [f"{key}={value}" for key, value in SWEEP.settings.items()]
    changed = settings(*common, f"ingredient={name}")
    base = settings(*common)
    different = {key for key in changed.keys() | base.keys() if changed.get(key) != base.get(key)}
    assert bool(different) == (name != "none")
    # Nothing of what makes results comparable: the people and the split.
    untouched = ("data.root", "data.synthetic", "data.split", "data.reading", "seed", "name")
    assert not [key for key in different if key.startswith(untouched)]


@pytest.mark.parametrize("name", INGREDIENTS)
def test_every_ingredient_is_judged_once_at_its_end(name: str) -> None:
    changed = settings("experiment=recipe", f"ingredient={name}")
    assert changed["trainer.max_epochs"] == changed["trainer.check_val_every_n_epoch"]


def test_the_sweep_from_random_weights_is_of_the_recipe_on_the_default_people() -> None:
    common = [f"{key}={value}" for key, value in RANDOM.settings.items()]
    changed, best = settings(*common), settings("experiment=best")
    different = {key for key in changed.keys() | best.keys() if changed.get(key) != best.get(key)}
    assert changed["model.weights"] == "random"
    assert not [key for key in different if key.startswith(("captioner", "data.synthetic"))]


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
    made = {name: settings("experiment=recipe", f"ingredient={name}") for name in INGREDIENTS}
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


@pytest.mark.slow
@pytest.mark.skipif(not BERT.is_dir(), reason="BERT's tokenizer is not beside the project")
def test_the_recipe_takes_a_step_of_blip_base_and_a_validation_batch(
    release_root: Path, tmp_path: Path
) -> None:
    """224 M random weights at 384 px, batches of 1: 4.5 GB, one to two minutes of one core."""
    words = ["experiment=best", "data=mpii", "model=blip_base", "model.weights=random"]
    words += [f"model.tokenizer={BERT}", f"data.root={release_root}", f"runs={tmp_path}"]
    words += ["data.batch_size=1", "data.eval_batch_size=1", "trainer.max_epochs=1"]
    words += ["+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1"]
    assert main(["train", *words, "logger=csv", "trainer.log_every_n_steps=1"]) == 0
    results = json.loads((tmp_path / "best" / "run.json").read_text())["results"]
    assert results["frame"] == "input pixels of 384 x 384"
    assert results["decoding"] == "parallel, refine 0, expectation, 2 test views, close-up"
    assert results["free_running"]["parse_rate"] == 1  # under the grammar also noise says poses
    assert results["teacher_forced"]["parse_rate"] == 0
    with (tmp_path / "best" / "metrics.csv").open(newline="") as file:
        [loss] = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert 5 < loss < 15  # of 30,524 tokens alike it would be 10.3
    checkpoint = torch.load(tmp_path / "best" / "best.ckpt", weights_only=True)
    weights = checkpoint["state_dict"].values()
    assert sum(weight.numel() for weight in weights) > 224e6
