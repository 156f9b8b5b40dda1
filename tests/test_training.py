"""One small model fitted for real: done, resumed, logged, and what is left in its folder."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image
from rich.console import Console

from blippose import training, training_check
from blippose.augmentation import Augmentation
from blippose.cli import main
from blippose.cli import train as train_command
from blippose.data import PoseDataModule
from blippose.errors import DivergedError, UserError
from blippose.fit_options import FitOptions
from blippose.guards import check_finite
from blippose.loggers import CSVLogger
from blippose.metrics import PoseMetrics
from blippose.model import PoseCaptioner
from blippose.muon import NUM_MATRICES, Muon
from blippose.readback import ReadbackMask
from blippose.runs import Run, RunFailedError
from blippose.schedules import warmup_cosine
from blippose.summary import print_summary, results_table
from blippose.trained_weights import load_weights

Make = Callable[..., Any]


class StopAfter(Callback):
    """Stands for a kill: raises as the first step after `epoch` epochs begins."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("killed")


class LostServer(DummyLogger):
    """Stands for a W&B run that cannot be closed."""

    def close(self, exit_code: int) -> None:
        raise ConnectionError("the server is gone")


def trainer_of(num_epochs: int, *extra: Callback) -> Callable[..., Trainer]:
    def make(callbacks: list[Callback], **settings: Any) -> Trainer:
        return Trainer(
            callbacks=[*callbacks, *extra],
            max_epochs=num_epochs,
            accelerator="cpu",
            log_every_n_steps=1,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **settings,
        )

    return make


@pytest.fixture
def fit(
    make_data: Make, architecture: dict[str, Any], tokenizer: Any, caption_format: Any
) -> Make:
    """Fit a fresh model into a folder, with all that is drawn or scheduled; the run."""

    def start(
        folder: Path,
        num_epochs: int = 2,
        *extra: Callback,
        split_seed: int = 0,
        lr: float = 1e-2,
        optimizer: Any = torch.optim.AdamW,
        captioner: Mapping[str, Any] | None = None,
        trainer: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Run:
        from blippose.blip import load_blip  # noqa: PLC0415  one model a call

        training.seed(0)
        model = PoseCaptioner(
            load_blip("random", architecture),
            tokenizer,
            caption_format,
            optimizer=partial(optimizer, lr=lr),
            scheduler=warmup_cosine,
            readback_mask=ReadbackMask(first=0.5, then=0.5, spread=True),
            **(captioner or {}),
        )
        persons: PoseDataModule = make_data(
            augmentation=Augmentation(), split_seed=split_seed, **(data or {})
        )
        run = Run.open(folder, {"num_epochs": num_epochs})
        with run.started():
            make = partial(trainer_of(num_epochs, *extra), **(trainer or {}))
            training.fit(model, persons, make, run, **settings)
        return run

    return start


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(folder / "best.ckpt", weights_only=True)
    return dict(loaded["state_dict"])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_ends_with_results_picture_and_best_weights(fit: Make, tmp_path: Path) -> None:
    fit(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    results = record["results"]
    assert record["state"] == "done"
    assert results["frame"] == "input pixels of 32 x 32"
    assert results["synthetic"] is True
    assert {"free_running", "teacher_forced", "mean_pose"} <= results.keys()
    assert set(results["mean_pose"]) == set(PoseMetrics.NAMES)
    assert 0 < results["mean_pose"]["mae"] < 16
    assert Image.open(tmp_path / results["picture"]).width > 300
    assert (tmp_path / "best.ckpt").is_file()
    assert not (tmp_path / "last.ckpt").exists()


class Judged(Callback):
    """Counts the persons of the last validation."""

    def on_validation_epoch_start(self, *_: Any) -> None:
        self.count = 0

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.count += len(batch["index"])


@pytest.mark.parametrize("limit", [1.0, 1, 2, 0.5, 99])
def test_results_say_how_many_persons_were_judged(limit: float, fit: Make, tmp_path: Path) -> None:
    judged = Judged()
    few = {"limit_val_batches": limit}
    run = fit(tmp_path, 1, judged, trainer=few, data={"eval_batch_size": 3})
    assert run.record["results"]["num_val"] == judged.count > 0


def test_picture_that_cannot_be_written_costs_a_line_and_not_the_run(
    fit: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "samples.png").mkdir()  # stands for a disk without room
    run = fit(tmp_path, 1)
    assert run.is_done
    assert "picture" not in run.record["results"]
    told = capsys.readouterr()
    [line] = [line for line in told.err.splitlines() if line.startswith("blippose: ")]
    assert line.startswith(f"blippose: no {tmp_path}/samples.png (")
    console = Console(width=300)
    print_summary(run, console)
    assert "picture  " not in capsys.readouterr().out
    assert not list(tmp_path.glob(".samples*"))


@pytest.mark.parametrize(
    ("decoding", "is_of_one"), [("free", False), ("parallel, refine 0, 2 test views", True)]
)
def test_the_table_of_a_run_keeps_to_80_columns_and_cuts_nothing(
    decoding: str, is_of_one: bool
) -> None:
    names = ("mae", "epe", "acc_1px", "acc_5px", "acc_25px", "pckh_0.5", "parse_rate")
    row = dict.fromkeys(names, 0.8765) | {"mae": 13.64, "epe": 22.32}
    results = dict.fromkeys(("free_running", "teacher_forced", "mean_pose"), row)
    console = Console(width=80, file=io.StringIO())
    console.print(results_table({**results, "decoding": decoding}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert ("one look" in text) == is_of_one


def test_results_are_those_of_the_best_epoch_as_logged(fit: Make, tmp_path: Path) -> None:
    results = fit(tmp_path, 3).record["results"]
    logged = next(
        row for row in rows(tmp_path) if row["val/loss"] and int(row["epoch"]) == results["epoch"]
    )
    assert float(logged["val/loss"]) == pytest.approx(results["val_loss"])
    assert float(logged["val/mae_all"]) == pytest.approx(results["free_running"]["mae_all"])


def test_stopped_run_goes_on_and_ends_as_one_that_never_stopped(fit: Make, tmp_path: Path) -> None:
    fit(tmp_path / "whole", 3, options=FitOptions(keep_last=True))
    with pytest.raises(RunFailedError, match="killed"):
        fit(tmp_path / "cut", 3, StopAfter(1))
    assert (tmp_path / "cut" / "last.ckpt").is_file()
    fit(tmp_path / "cut", 3, options=FitOptions(keep_last=True))
    steps = [row["step"] for row in rows(tmp_path / "cut") if row["train/loss"]]
    assert steps == [row["step"] for row in rows(tmp_path / "whole") if row["train/loss"]]
    last = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    ]
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[0])


def test_results_are_those_of_best_ckpt_though_its_folder_was_moved(
    fit: Make, tmp_path: Path
) -> None:
    with pytest.raises(RunFailedError, match="killed"):
        fit(tmp_path / "cut", 2, StopAfter(1))
    (tmp_path / "cut").rename(tmp_path / "moved")  # Lightning forgets the best of another folder
    results = fit(tmp_path / "moved").record["results"]
    best = torch.load(tmp_path / "moved" / "best.ckpt", weights_only=True)
    assert results["epoch"] == best["epoch"]
    assert results["val_loss"] == best["blippose"]["metrics"]["val/loss"]


def test_run_whose_logger_cannot_be_closed_is_not_done_and_ends_when_resumed(
    fit: Make, tmp_path: Path
) -> None:
    with pytest.raises(RunFailedError, match="the server is gone"):
        fit(tmp_path, 1, logger=lambda **_: LostServer())
    assert (tmp_path / "last.ckpt").is_file()
    assert fit(tmp_path, 1).is_done


def test_logger_that_cannot_begin_is_gone_without(fit: Make, tmp_path: Path) -> None:
    assert fit(tmp_path, 1, logger=lambda **_: None).is_done
    assert (tmp_path / "metrics.csv").is_file()


def test_cell_that_its_own_command_goes_on_with_is_of_its_grid_in_the_logger(
    fit: Make, tmp_path: Path
) -> None:
    groups = []

    def logger(group: str | None, **_: Any) -> None:
        groups.append(group)

    with pytest.raises(RunFailedError, match="killed"):
        fit(tmp_path, 2, StopAfter(1), logger=logger, group="study")
    fit(tmp_path, 2, logger=logger)
    assert groups == ["study", "study"]


@pytest.mark.parametrize("is_kept", [True, False])
def test_run_that_begins_anew_leaves_of_earlier_wandb_runs_its_own_alone(
    fit: Make, tmp_path: Path, is_kept: bool
) -> None:
    """One that diverged before its first checkpoint leaves no run.json, and so no id."""
    run = Run.open(tmp_path, {"num_epochs": 1})
    if is_kept:
        with pytest.raises(RunFailedError), run.started():
            raise RuntimeError("killed")
        run.note(wandb_id="abcd1234")
    part = tmp_path / "wandb/offline-run-20260101_000000-abcd1234/run-abcd1234.wandb"
    part.parent.mkdir(parents=True)
    part.write_text("rows")
    (tmp_path / "metrics.csv").write_text("step\n1\n")
    fit(tmp_path, 1)
    assert part.exists() == is_kept


def test_checkpoint_that_cannot_go_on_is_refused(fit: Make, tmp_path: Path) -> None:
    fit(tmp_path, 1, options=FitOptions(keep_last=True))

    def check(name: str, num_epochs: int, kind: Any = torch.optim.AdamW, **asked: Any) -> None:
        trainer = partial(Trainer, accelerator="cpu", max_epochs=num_epochs)
        optimizer = partial(kind, **{"lr": 1e-2, **asked})
        training_check.check(optimizer, None, trainer, FitOptions(ckpt_path=tmp_path / name))

    check("last.ckpt", 2)
    for key, other in (("lr", 1e-4), ("weight_decay", 0.5), ("betas", (0.8, 0.9)), ("eps", 1e-3)):
        with pytest.raises(UserError, match=rf"goes on with optimizer\.{key}=.*not .*: set that"):
            check("last.ckpt", 2, **{key: other})
    with pytest.raises(UserError, match="of another optimizer"):
        check("last.ckpt", 2, torch.optim.Adam)
    with pytest.raises(UserError, match=r"has 1 epochs behind it and trainer\.max_epochs=1"):
        check("last.ckpt", 1)
    with pytest.raises(UserError, match="holds weights alone"):
        check("best.ckpt", 2)
    with pytest.raises(UserError, match="of another optimizer; set its own, or start from"):
        check("last.ckpt", 2, Muon)
    of_muon = torch.load(tmp_path / "last.ckpt", weights_only=True)
    of_muon["optimizer_states"][0]["param_groups"][0][NUM_MATRICES] = 0
    torch.save(of_muon, tmp_path / "muon.ckpt")
    check("muon.ckpt", 2, Muon)
    with pytest.raises(UserError, match="of another optimizer"):
        check("muon.ckpt", 2)
    fit(tmp_path / "of_muon", 1, options=FitOptions(keep_last=True), optimizer=Muon)
    check("of_muon/last.ckpt", 2, Muon)
    with pytest.raises(UserError, match="of another optimizer"):
        check("of_muon/last.ckpt", 2)


@pytest.mark.parametrize("setting", [{"layer_decay": 0.5}, {"split_weight_decay": True}])
def test_a_checkpoint_of_other_groups_of_weights_is_refused_in_a_line(
    fit: Make, tmp_path: Path, setting: dict[str, Any]
) -> None:
    fit(tmp_path / "a", 1, options=FitOptions(keep_last=True), captioner=setting)
    options = FitOptions(ckpt_path=tmp_path / "a" / "last.ckpt")
    with pytest.raises(UserError, match="trains other weights, or in other groups"):
        fit(tmp_path / "b", 2, options=options)
    fit(tmp_path / "c", 2, options=options, captioner=setting)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_a_precision_that_rounds_coordinates_is_refused(
    fit: Make, tmp_path: Path, precision: Any
) -> None:
    trainer = partial(Trainer, accelerator="cpu", max_epochs=1, precision=precision)
    line = f"trainer.precision={precision}: expected one of 32-true, bf16-mixed, 16-mixed"
    with pytest.raises(UserError, match=line):
        training_check.check(torch.optim.AdamW, None, trainer, FitOptions())
    with pytest.raises(UserError, match=line):  # a Trainer of one's own
        fit(tmp_path, 1, trainer={"precision": precision})


def test_mps_is_refused() -> None:
    class OnMPS(Trainer):
        """A Trainer that says it has what the real one needs the hardware for."""

        accelerator = property(lambda _: MPSAccelerator())  # type: ignore[assignment]

    with pytest.raises(UserError, match="MPS lacks the float64"):
        training_check.check(
            torch.optim.AdamW,
            None,
            partial(OnMPS, accelerator="cpu", max_epochs=1),
            FitOptions(),
        )


@pytest.mark.parametrize(("precision", "is_told"), [("bf16-mixed", True), ("32-true", False)])
def test_a_processor_without_bfloat16_is_told_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    precision: str,
    is_told: bool,
) -> None:
    monkeypatch.setattr("blippose.bfloat16.caution", lambda key, instead: f"{key} or {instead}")
    trainer = partial(Trainer, accelerator="cpu", max_epochs=1, precision=precision)
    training_check.check(partial(torch.optim.SGD, lr=0.1), None, trainer, FitOptions())
    told = "trainer.precision=bf16-mixed or trainer.precision=32-true\n"
    assert capsys.readouterr().out == (told if is_told else "")


def test_init_from_takes_the_weights_of_a_checkpoint(
    fit: Make, make_captioner: Make, tmp_path: Path
) -> None:
    fit(tmp_path, 1)
    captioner: PoseCaptioner = make_captioner()
    load_weights(captioner, tmp_path / "best.ckpt")
    assert all(
        torch.equal(weight, captioner.state_dict()[key])
        for key, weight in weights(tmp_path).items()
    )


@pytest.mark.parametrize("cells", [1, 4])
def test_init_from_begins_a_head_of_other_cells_anew_and_takes_one_of_the_same(
    make_captioner: Make, tmp_path: Path, cells: int
) -> None:
    own: PoseCaptioner = make_captioner(patch_weight=0.3, patch_cells=4)
    before = own.state_dict()["patch_head.weight"].clone()
    theirs = {
        key: torch.full_like(weight, 0.25)
        for key, weight in make_captioner(patch_weight=0.3, patch_cells=cells).state_dict().items()
    }
    torch.save({"state_dict": theirs}, tmp_path / "other.ckpt")
    load_weights(own, tmp_path / "other.ckpt")
    taken = own.state_dict()
    assert taken["patch_head.weight"].equal(before) == (cells == 1)
    assert (taken["patch_head.weight"] == 0.25).all() == (cells == 4)
    names = [key for key in taken if key.startswith("blip.") and taken[key].is_floating_point()]
    assert all((taken[key] == 0.25).all() for key in names)


def test_a_training_that_diverges_ends_there_and_keeps_nothing_of_it(
    fit: Make, tmp_path: Path
) -> None:
    """Weights that are no numbers say "right ankle (0,0), ...", which has an error like any."""
    with pytest.raises(UserError, match=r"diverged: the training's loss is nan at step \d \(rate"):
        fit(tmp_path, 2, lr=1e30)
    assert not (tmp_path / "best.ckpt").exists()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_not_kept_to_go_on_from(
    fit: Make, tmp_path: Path, value: float
) -> None:
    """A loss that is still a number does not know of them, nor is every loss looked at."""

    class Spoil(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                next(pl_module.blip.text_decoder.parameters()).data[0] = value

    with pytest.raises(UserError, match="diverged: weights are nan or infinite at step 2"):
        fit(tmp_path, 2, Spoil(), options=FitOptions(every_n_steps=1))
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 1
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())


@pytest.mark.parametrize(
    ("spoiled", "is_elsewhere", "is_refused"),
    [("", False, False), ("frozen", False, False), ("learns", False, True), ("", True, True)],
)
def test_weights_that_learn_are_asked_of_every_process(
    spoiled: str, is_elsewhere: bool, is_refused: bool
) -> None:
    module = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in ("frozen", "learns")})
    module["frozen"].requires_grad_(False)
    if spoiled:
        module[spoiled].weight.data[1, 1] = torch.nan
    trainer = Mock(spec=Trainer, lightning_module=module, optimizers=[], global_step=7)
    trainer.strategy.reduce_boolean_decision = lambda mine, all: mine or (is_elsewhere and not all)
    with pytest.raises(DivergedError) if is_refused else nullcontext():
        check_finite(trainer)


def test_a_validation_whose_loss_is_no_number_ends_it_before_its_weights_are_kept(
    fit: Make, tmp_path: Path
) -> None:
    class Spoil(Callback):
        def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
            next(pl_module.blip.text_decoder.parameters()).data.fill_(torch.nan)

    with pytest.raises(UserError, match="diverged: the validation's loss is nan"):
        fit(tmp_path, 2, Spoil())
    assert not (tmp_path / "best.ckpt").exists()


def test_a_model_whose_weights_are_no_numbers_says_no_pose(
    make_captioner: Make, make_data: Make
) -> None:
    captioner = make_captioner().eval()
    next(captioner.blip.vision_model.parameters()).data.fill_(torch.nan)
    with pytest.raises(UserError, match="its weights are no numbers"):
        captioner.say(next(iter(make_data().val_dataloader()))["image"])


def test_rows_of_a_try_that_came_to_no_checkpoint_are_not_in_the_next_ones_table(
    fit: Make, tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("epoch,step,train/loss\n0,0,77.5\n0,1,78.5\n")
    fit(tmp_path, 2)
    assert "77.5" not in metrics.read_text()


def test_init_from_weights_with_more_layers_is_refused(
    fit: Make, architecture: dict[str, Any], make_captioner: Make, tmp_path: Path
) -> None:
    """Half of them taken in would be another model."""
    fit(tmp_path, 1)
    path = tmp_path / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    name = next(key for key in checkpoint["state_dict"] if ".layers.0." in key)
    checkpoint["state_dict"][name.replace(".0.", ".1.")] = checkpoint["state_dict"][name]
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"layers\.1\..* has no place here"):
        load_weights(make_captioner(), path)


def test_a_run_with_a_checkpoint_goes_on_without_what_it_began_from(
    fit: Make, tmp_path: Path
) -> None:
    fit(tmp_path / "first", 1)
    source = tmp_path / "first" / "best.ckpt"
    begun = FitOptions(init_from=source, keep_last=True)
    fit(tmp_path / "whole", 2, options=begun)
    with pytest.raises(RunFailedError, match="killed"):
        fit(tmp_path / "cut", 2, StopAfter(1), options=begun)
    source.unlink()
    fit(tmp_path / "cut", 2, options=begun)
    assert weights(tmp_path / "cut").keys() == weights(tmp_path / "whole").keys()
    assert all(
        torch.equal(weight, weights(tmp_path / "cut")[key])
        for key, weight in weights(tmp_path / "whole").items()
    )


def test_a_file_that_is_no_checkpoint_is_named(make_captioner: Make, tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("text")
    with pytest.raises(UserError, match=r"text\.ckpt: not a checkpoint of this model"):
        load_weights(make_captioner(), tmp_path / "text.ckpt")


def test_checkpoint_says_its_frame_and_that_people_are_drawn(fit: Make, tmp_path: Path) -> None:
    fit(tmp_path, 1)
    said = torch.load(tmp_path / "best.ckpt", weights_only=True)["blippose"]
    assert said["frame"]["input_size"] == 32
    assert said["synthetic"] is True


def test_checkpoint_says_what_its_weights_have_learned_from(
    fit: Make, make_data: Make, tmp_path: Path
) -> None:
    fit(tmp_path / "first", 1, split_seed=1)
    fit(tmp_path / "second", 1, options=FitOptions(init_from=tmp_path / "first" / "best.ckpt"))
    first, second = (
        torch.load(tmp_path / name / "best.ckpt", weights_only=True)["blippose"]
        for name in ("first", "second")
    )
    assert first["manifest"] == make_data(split_seed=1).manifest["hash"]
    assert first["earlier_manifests"] == []
    assert second["manifest"] == make_data().manifest["hash"]
    assert second["earlier_manifests"] == [first["manifest"]]
    assert first["taught"] == second["taught"]
    assert first["taught"] == {
        "hidden_coordinates": True,
        "single_joints": False,
        "close_ups": False,
    }


def test_csv_goes_on_where_a_resumed_run_does(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = CSVLogger(path)
    for step in (0, 1, 2, 3):
        first.log_metrics({"loss": 1.0}, step)
    first.save()
    again = CSVLogger(path)
    again.log_metrics({"loss": 2.0, "late": 1.0}, 2)
    again.save()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [
        ("0", "1.0"),
        ("1", "1.0"),
        ("2", "2.0"),
    ]


TINY = [
    "model.weights=random",
    "model.caption.input_size=32",
    "model.architecture.vision.image_size=32",
    "model.architecture.vision.num_hidden_layers=1",
    "model.architecture.text.num_hidden_layers=1",
    "trainer.max_epochs=1",
    "data.synthetic=null",
    "logger=csv",
]


def test_command_trains_and_answers_at_once_when_it_is_done(
    release_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", f"data.root={release_root}", "name=a", *TINY]
    assert main(command) == 0
    first = capfd.readouterr().out
    assert "free-running" in first
    assert "runs/a/samples.png" in first
    monkeypatch.setattr(training, "fit", None)
    assert main(command) == 0
    again = capfd.readouterr().out
    assert "runs/a is done" in again
    assert "free-running" in again
    assert main([*command, "optimizer.lr=1"]) == 2
    assert "optimizer.lr: 2e-5 -> 1" in capfd.readouterr().err


def records(runs: str) -> list[Path]:
    return sorted(Path(runs).rglob("run.json"))


@pytest.mark.parametrize("grid", [[], ["-m"]], ids=["a run", "a cell"])
def test_a_run_that_another_process_has_ended_meanwhile_is_not_trained_again(
    release_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    grid: list[str],
) -> None:
    """Both looked before either had begun; the second is slower to load."""
    monkeypatch.chdir(tmp_path)
    command = ["train", *grid, f"data.root={release_root}", "name=a", *TINY]
    command += ["optimizer.lr=1e-3,2e-3"] if grid else []
    assert main([*command, "runs=others"]) == 0
    found = {path.relative_to("others"): path.read_text() for path in records("others")}
    inner = train_command._fit

    def slow(*arguments: Any) -> Any:
        shutil.copytree("others", "runs", dirs_exist_ok=True)
        return inner(*arguments)

    monkeypatch.setattr(train_command, "_fit", slow)
    assert main(command) == 0
    assert found
    assert {path.relative_to("runs"): path.read_text() for path in records("runs")} == found
    assert ("runs/a is done" in capfd.readouterr().out) == (not grid)


@pytest.mark.slow
def test_two_processes_with_uneven_validation_say_what_one_says(
    release_root: Path, tmp_path: Path
) -> None:
    """With a rate of 0 both validate the same weights; batches of 1 give them 3 and 2."""
    results = []
    for num in (1, 2):
        words = [f"data.root={release_root}", "data.synthetic=null", "logger=csv"]
        words += [f"runs={tmp_path}", f"name=of{num}", "trainer.max_epochs=1"]
        words += ["optimizer.lr=0.0", "data.eval_batch_size=1"]
        words += ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={num}"]
        words += ["trainer.use_distributed_sampler=true"]  # Lightning's default: none comes twice
        command = [sys.executable, "-m", "blippose", "train", *words, "trainer.precision=32-true"]
        subprocess.run(command, check=True, timeout=300, capture_output=True)
        results.append(Run.read(tmp_path / f"of{num}").record["results"])
    assert results[0]["free_running"] == pytest.approx(results[1]["free_running"], nan_ok=True)
    assert results[0]["val_loss"] == pytest.approx(results[1]["val_loss"], rel=1e-4)
