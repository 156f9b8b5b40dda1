"""A mistake is one line that tells the way out, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blippose.cli import main

CSV = "logger=csv"
FEW = "data.synthetic.num_persons=3"

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

WRONG = {
    "no key": (["train", CSV, "=3"], "blippose: =3: expected key=value, got no key"),
    "key without a value": (["train", "seed"], "cannot be read as key=value; expected seed=VALUE"),
    "sweep file of train": (["train", "a.yaml"], "did you mean `blippose sweep a.yaml`?"),
    "project that W&B does not take": (
        ["train", "logger.project=a/b"],
        "blippose: logger.project=a/b: expected 1 to 128 characters, and none of / \\ # ? % :",
    ),
    "project of a grid that W&B does not take": (
        ["train", "-m", "seed=1,2", f"logger.project={'x' * 129}"],
        "xxx: expected 1 to 128 characters",
    ),
    "tag that W&B does not take": (
        ["train", f"logger.tags=[a,{'x' * 65}]"],
        "blippose: logger.tags: expected 1 to 64 characters each, got 65: 'xxx",
    ),
    "empty folder of all runs": (["train", CSV, "runs="], "blippose: runs=: expected the folder"),
    "empty folder of all runs of a grid": (
        ["train", "-m", CSV, "seed=1,2", "runs="],
        "blippose: runs=: expected the folder that holds all runs, such as runs",
    ),
    "run at the root of the disk": (
        ["train", CSV, "name=/elsewhere/x"],
        "blippose: name=/elsewhere/x: its folder is RUNS/NAME; runs= says where",
    ),
    "grid beside the runs": (["train", "-m", CSV, "seed=1,2", "name=.."], "name=..: name the run"),
    "absent tokenizer": (
        ["train", CSV, "model.tokenizer=./nowhere"],
        "blippose: model.tokenizer=./nowhere: no such folder",
    ),
    "tokenizer of chance": (
        ["train", CSV, "model.tokenizer=random"],
        "blippose: model.tokenizer=random: words cannot be random",
    ),
    "group taken out": (["train", CSV, "~optimizer"], "blippose: optimizer: missing; leave ~opt"),
    "flag before the command": (["-m", "train"], "-m: flags stand after a command; commands are"),
    "grid of predict": (
        ["predict", "-m", "images=a,b"],
        "-m: grids are of train alone; several images are images=[A,B]",
    ),
    "grid of eval": (["eval", "run=a,b", "-m"], "several runs are run=[A,B]"),
    "grid of data": (["data", "seed=1,2", "-m"], "other settings are a call each"),
    "grid of reports": (["report", "a", "b", "-m"], "one call, `blippose report A B`"),
    "grid of exports": (["export", "-m", "run=a,b", "out=c"], "a call each with its own out="),
    "grid of studies": (["analyze", "occlusion", "-m", "run=a,b"], "several runs are a call each"),
    "settings of a grid": (["train", "-m", "seed=1,2", "--cfg", "job"], "leave out -m, and give"),
    "settings and where from": (
        ["train", "--cfg", "job", "--info"],
        "--cfg and --info: each prints something else; give one of them",
    ),
    "several values of predict": (
        ["predict", "images=a,b"],
        "blippose: images=a,b: one value is expected here; a list is images=[a,b]",
    ),
    "sweep that is to be shown": (["sweep", "--cfg", "job"], "expected one sweep file, such as"),
    "unknown command": (["trian"], "did you mean train"),
    "unknown flag": (["train", "--fast"], "--fast"),
    "unknown key": (["train", "trainer.max_epoch=3"], "did you mean trainer.max_epochs"),
    "key without its group": (["train", "lr=3"], "did you mean optimizer.lr"),
    "unknown group": (["train", "optimiser=adam"], "did you mean optimizer"),
    "added key that nothing reads": (["train", "+naem=x"], "no such key; did you mean name?"),
    "added choice": (["train", "+experiment=best"], "+experiment: leave out the +"),
    "added key of no choice": (
        ["predict", "images=a.jpg", "+decoding.refine=1"],
        "+decoding.refine: belongs to decoding=best or decoding=parallel",
    ),
    "choice that is added elsewhere": (["train", "+logger@x=csv"], "+logger@x: no such key"),
    "choice of no group": (["train", "+decoding/foo=1"], "+decoding/foo: no such key"),
    "added key that no model has": (["train", CSV, "+model.wieghts=random"], "mean weights"),
    "added key that no checkpoint has": (
        ["train", CSV, "+checkpoint.foo=1"],
        "checkpoint.foo: no such key",
    ),
    "folders twice": (["report", ".", "run=x"], "run=x: '.' stands beside it"),
    "folders added": (["report", ".", "+run=x"], "+run=x: '.' stands beside it"),
    "key of another option": (
        ["predict", "images=a.jpg", "decoding.refine=1"],
        "decoding.refine: belongs to decoding=best or decoding=parallel",
    ),
    "test views as earlier versions had them": (
        ["eval", "run=a", "decoding=best", "decoding.flip_test=true"],
        "decoding.flip_test: no such key; decoding.test_views=2 asks the mirror image too",
    ),
    "a key of other programs": (
        ["train", CSV, "resume=true"],
        "resume: no such key; the same command again goes on from what is there",
    ),
    "a key of Optuna's own": (
        ["train", "-m", CSV, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"],
        "hydra.sweeper.n_trials: no such key; did you mean hydra.sweeper.trials?",
    ),
    "keys of another option": (
        ["train", "data=mpii", "data.synthetic.num_persons=3"],
        "data.synthetic.num_persons: belongs to data=synthetic",
    ),
    "key of another option in a grid": (
        ["train", "-m", CSV, "decoding=free", "decoding.refine=0,1"],
        "decoding.refine: belongs to decoding=best or decoding=parallel",
    ),
    "no batches at once": (
        ["train", CSV, "trainer.accumulate_grad_batches=0"],
        "trainer.accumulate_grad_batches=0: expected 1 or more",
    ),
    "nothing to learn": (
        ["train", CSV, "+trainer.limit_train_batches=0"],
        "trainer.limit_train_batches=0: expected more",
    ),
    "unknown option": (["train", "optimizer=sgd"], "choose one of adam, adamw, muon"),
    "null for an option": (
        ["train", "decoding=null"],
        "decoding=null: no such choice; choose one of best, constrained, free, parallel",
    ),
    "null for data of eval": (["eval", "data=null"], "data=null: no such choice; choose one of"),
    "null for a model": (["train", "model=Null"], "model=Null: no such choice; choose one of"),
    "null for an optimizer": (["train", "optimizer=null"], "choose one of adam, adamw, muon"),
    "null for an added group": (["train", "+logger=null"], "+logger: leave out the +"),
    "null in a grid": (
        ["train", "-m", CSV, "optimizer=adam,null"],
        "optimizer=null: no such choice; choose one of adam, adamw, muon",
    ),
    "null for a launcher": (["train", "hydra/launcher=null"], "hydra/launcher=null: no such"),
    "number for an option": (["train", "trainer=1.5"], "trainer=1.5: no such choice"),
    "truth for an option": (["train", "logger=false"], "logger=false: no such choice"),
    "several options": (
        ["predict", "images=a.jpg", "decoding=[free,parallel]"],
        "decoding=[free,parallel]: no such choice; choose one of best, constrained, free",
    ),
    "key of Lightning's": (
        ["train", "trainer.limit_train_batches=5"],
        "no key of conf/; +trainer.limit_train_batches=VALUE hands it to lightning.Trainer",
    ),
    "key of torch's": (
        ["train", "optimizer.amsgrad=true"],
        "VALUE hands it to torch.optim.Adam or torch.optim.AdamW",
    ),
    "group of another command": (["export", "out=a", "data=null"], "data: no such key"),
    "open value": (["train", "data=mpii"], "add data.root=VALUE"),
    "open value of predict": (["predict"], "add images=VALUE"),
    "broken override": (["train", "data=["], "cannot be read as key=value"),
    "no override": (["train", "data"], "cannot be read as key=value"),
    "several values without -m": (["train", "optimizer.lr=1,2"], "needs -m"),
    "text for a rate": (["train", CSV, "optimizer.lr=abc"], "lr=abc: expected float, got str"),
    "text for what would be another run": (["train", "seed=x"], "seed=x: expected int, got str"),
    "unknown key of a choice": (
        ["predict", "images=a.jpg", "decoding=free", "decoding.test_vews=2"],
        "decoding.test_vews: no such key; did you mean decoding.test_views?",
    ),
    "text for a count": (["train", CSV, "data.batch_size=two"], "expected int, got str"),
    "half an epoch": (["train", CSV, "trainer.max_epochs=1.5"], "expected int or null"),
    "truth for a count": (["train", CSV, "data.batch_size=true"], "expected int, got bool"),
    "text for a top-level key": (["train", CSV, "seed=abc"], "seed=abc: expected int"),
    "negative seed": (["train", CSV, "seed=-1"], "seed=-1"),
    "empty batch": (["train", CSV, "data.batch_size=0"], "data.batch_size=0: expected 1 or more"),
    "negative rate": (["train", CSV, "optimizer.lr=-1"], "optimizer.lr=-1: expected 0 or more"),
    "momentum of no sense": (
        ["train", CSV, "optimizer=muon", "optimizer.momentum=2.0"],
        "optimizer.momentum: Invalid momentum value: 2.0",
    ),
    "no rate": (["train", CSV, "optimizer.lr=null"], "lr=null: expected float, got null"),
    "no validation": (
        ["train", CSV, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=2"],
        "no epoch would be validated of trainer.max_epochs=1; set 1 or fewer",
    ),
    "nothing to validate on": (
        ["train", CSV, "+trainer.limit_val_batches=0"],
        "trainer.limit_val_batches=0: expected more",
    ),
    "rate that falls towards no end": (
        ["train", CSV, "trainer.max_epochs=-1"],
        "trainer.max_epochs or +trainer.max_steps, or keep the rate: scheduler=constant",
    ),
    "share of no end that is hidden": (
        ["train", CSV, "trainer.max_epochs=-1", "scheduler=constant", "ingredient=mask_schedule"],
        "captioner.readback_mask.until=0.5 is a share of the whole training; name it by trainer.m",
    ),
    "no epochs": (["train", CSV, "model.weights=random", "trainer.max_epochs=0"], "max_epochs=0"),
    "absent checkpoint": (
        ["train", CSV, "model.weights=random", "ckpt_path=nowhere.ckpt"],
        "nowhere.ckpt: no such checkpoint",
    ),
    "frames that differ": (
        ["train", CSV, "model.weights=random", "model.caption.input_size=64", FEW],
        "image_size = 96",
    ),
    "absent release": (
        ["train", CSV, "model.weights=random", "data=mpii", "data.root=nowhere"],
        "no such file",
    ),
    "view out of range": (
        ["train", CSV, "data.augmentation.scale=0.5"],
        "augmentation.scale=0.5: expected 1 or more",
    ),
    "warmup out of range": (["train", CSV, "scheduler.warmup=1.5"], "warmup=1.5: expected 0 to 1"),
    "share out of range": (
        ["train", CSV, "captioner.readback_mask.then=-0.5"],
        "readback_mask.then=-0.5: expected 0 to 1",
    ),
    "grid of nothing": (["train", "-m", CSV], "-m: no key has several values"),
    "grid of names": (["train", "-m", CSV, "name=a,b"], "name: names the folder"),
    "root that cannot be": (["data", "data.root=/dev/null/a", FEW], "cannot be written"),
    "manifest that cannot be": (["data", "manifest=/dev/null/a"], "cannot be written"),
    "sweep of nothing": (["sweep"], "expected one sweep file"),
    "absent sweep file": (["sweep", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    "folder that cannot be": (["train", CSV, "runs=/dev/null"], "cannot be written"),
    "absent release for data": (["data", "data=mpii", "data.root=nowhere"], "no such file"),
    "unknown format": (["data", "format=xml"], "format=xml: expected table or json"),
    "unknown split": (
        ["data", "data=mpii", "data.root=.", "data.split=half"],
        "data.split=half: no such split; choose one of random, video",
    ),
    "open value of report": (["report"], "add run=VALUE"),
    "absent runs": (["report", "nowhere"], "nowhere: no such folder"),
    "folder without runs": (["report", "."], "no runs there"),
    "unknown metric": (["report", ".", "metric=mea"], "metric=mea: no such metric"),
    "glob of nothing": (["report", "run='no/*'"], "run=no/*: no folder matches"),
    "absent images": (["predict", "images=nowhere.jpg"], "nowhere.jpg"),
    "two models": (["predict", "images=a.jpg", "run=a", "ckpt=b"], "give one of them"),
    "three models": (
        ["predict", "images=a.jpg", "run=a", "ckpt=b", "weights=c"],
        "run and ckpt and weights: each names a model",
    ),
    "no images": (["predict", "images=[]"], "no images are named"),
    "empty images": (["predict", "images="], "images: empty; give files, folders"),
    "an empty one of images": (["predict", "images=[' ',a.jpg]"], "images: empty; give files"),
    "empty out": (["predict", f"images={__file__}", "out="], "out: empty; name a folder"),
    "empty out of a study": (["analyze", "attention", "run=a", "out="], "out: empty; name a"),
    "empty out of export": (["export", "run=a", "out="], "out: empty; name a folder"),
    "null images": (["predict", "images=null"], "images=null: expected str or list[str]"),
    "number for images": (["predict", "images=5"], "images=5: expected str"),
    "folder without images": (["predict", "images=."], "the folder holds no image"),
    "glob of no images": (["predict", "images=*.jpg"], "matches as a glob"),
    "letter beyond ASCII": (["predict", "images=été.jpg"], "été.jpg: no such"),
    "home of a shell that leaves it": (["predict", "images=~/no.jpg"], "no.jpg: no such"),
    "several such": (["predict", "images=[été.jpg,a.jpg]"], "été.jpg: no such"),
    "absent list": (["predict", "images=list.txt"], "list.txt: no such file"),
    "unknown format of predict": (
        ["predict", f"images={__file__}", "format=yaml"],
        "format=yaml: expected json, coco or hrnet, got 'yaml'",
    ),
    "folder that is no run": (
        ["predict", f"images={__file__}", f"run={Path(__file__).parent}"],
        "holds no best.ckpt and no run.json, so it is no run folder; expected one that",
    ),
    "weights of what is no checkpoint": (
        ["train", CSV, f"init_from={__file__}"],
        f"{__file__}: is no checkpoint, or cut short; expected a file that `blippose train`",
    ),
    "absent checkpoint to start from": (
        ["train", CSV, "init_from=nowhere.ckpt"],
        "blippose: init_from=nowhere.ckpt: no such checkpoint",
    ),
    "release of one": (
        ["train", CSV, "data.synthetic.num_persons=1"],
        "blippose: data.synthetic.num_persons=1: expected 2 or more",
    ),
    "seed below 0": (
        ["train", CSV, "data.synthetic.seed=-1"],
        "blippose: data.synthetic.seed=-1: expected 0 or more",
    ),
    "share that is a percentage": (
        ["train", CSV, "data.train_fraction=80.0"],
        "blippose: data.train_fraction=80.0: expected more than 0 and less than 1, such as 0.8",
    ),
    "shares that leave nothing": (
        ["data", "data.test_fraction=0.2"],
        "data.test_fraction=0.2 beside data.train_fraction=0.8 leaves nothing for validation",
    ),
    "split of another name": (
        ["train", CSV, "data.split=half"],
        "blippose: data.split=half: no such split; choose one of random, video",
    ),
    "reading of another name": (
        ["train", CSV, "data.reading=all"],
        "blippose: data.reading=all: no such reading; choose one of",
    ),
    "captions of no bin": (
        ["train", CSV, "model.caption.num_bins=0"],
        "blippose: model.caption.num_bins=0: expected 1 or more",
    ),
    "captions of another order": (
        ["train", CSV, "model.caption.order=feet"],
        "blippose: model.caption.order='feet': expected one of mpii, torso",
    ),
    "view of a wrong share": (
        ["train", CSV, "data.augmentation.flip=3.5"],
        "blippose: data.augmentation.flip=3.5: expected 0 to 1",
    ),
    "empty name of a run": (["train", "name="], "blippose: name=: name the run: its folder"),
    "name that is the folder of all runs": (
        ["train", "name=."],
        "name=.: name the run: its folder",
    ),
    "name beside the runs": (["train", "name=../x"], "name=../x: name the run: its folder"),
    "name that is a number": (["train", "name=0"], "name=0: expected str, got int"),
    "decay of no average": (
        ["train", "ema_decay=1.5"],
        "blippose: ema_decay=1.5: expected above 0 and below 1, or null",
    ),
    "unknown precision of predict": (
        ["predict", f"images={__file__}", "precision=float16"],
        "precision=float16: expected float32 or bfloat16, got 'float16'",
    ),
    "text for a truth": (
        ["predict", "images=a", "joint_names=yes"],
        "expected true or false, got 'yes'",
    ),
    "fewer than no passes": (
        ["predict", f"images={__file__}", "decoding=parallel", "decoding.refine=-1"],
        "blippose: decoding.refine=-1: expected 0 or more passes, or null",
    ),
    "text for a batch": (["predict", "images=a", "batch_size=all"], "expected int, got str"),
    "batch of none": (["predict", "images=a", "batch_size=0"], "expected 1 or more"),
    "unknown key of predict": (["predict", "image=a.jpg"], "did you mean images"),
    "image without its key": (
        ["predict", "a.jpg"],
        "a.jpg: cannot be read as key=value; did you mean images=a.jpg?",
    ),
    "run without its key": (["export", "runs/a"], "did you mean run=runs/a?"),
    "absent run to predict": (
        ["predict", f"images={__file__}", "run=nowhere"],
        "run=nowhere: no such folder",
    ),
    "run without a checkpoint": (
        ["predict", f"images={__file__}", "run=."],
        "holds no best.ckpt",
    ),
    "absent checkpoint to predict": (
        ["predict", f"images={__file__}", "ckpt=nowhere.ckpt"],
        "nowhere.ckpt: no such checkpoint",
    ),
    "no checkpoint": (["predict", f"images={__file__}", f"ckpt={__file__}"], "cannot be read as"),
    "absent weights": (
        ["predict", f"images={__file__}", "weights=./nowhere"],
        "weights=./nowhere: no such folder",
    ),
    "unknown device": (["predict", f"images={__file__}", "device=toaster"], "device=toaster"),
    "out that is a file": (
        ["predict", f"images={__file__}", f"out={__file__}"],
        "is no folder; name a folder that can be made",
    ),
    "out that cannot be": (["predict", f"images={__file__}", "out=/dev/null/a"], "is no folder"),
    "open value of export": (["export", "run=a"], "add out=VALUE"),
    "export of nothing": (["export", "out=a"], "add run=FOLDER or ckpt=FILE"),
    "export of two": (["export", "out=a", "run=a", "ckpt=b"], "expected one of them"),
    "export of an absent run": (["export", "out=a", "run=nowhere"], "no such folder"),
    "export of an absent checkpoint": (["export", "out=a", "ckpt=nowhere"], "no such checkpoint"),
    "export of no checkpoint": (["export", "out=a", f"ckpt={__file__}"], "cannot be read as"),
    "export over a file": (["export", f"out={__file__}", f"ckpt={__file__}"], "is a file"),
    "export over other files": (
        ["export", f"out={Path(__file__).parent}", f"ckpt={__file__}"],
        "did not write",
    ),
    "unknown key of export": (["export", "out=a", "folder=b"], "folder: no such key"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said_by_all = capfd.readouterr().err.splitlines()
    lines = [line for line in said_by_all if not line.startswith("drawing images")]  # it took long
    assert len(lines) == 1, lines
    assert lines[0].startswith("blippose: ")
    assert said in lines[0]


@pytest.mark.parametrize("key", ["trainr", "optimizr", "decoding.trainer"])
def test_a_key_of_another_command_is_not_suggested(
    key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "images=a.jpg", f"{key}=1"]) == 2
    said = capfd.readouterr().err
    assert f"{key}: no such key" in said
    assert "did you mean" not in said


@pytest.mark.parametrize("model", ["run=nowhere", "ckpt=nowhere.ckpt", "weights=./nowhere"])
def test_nothing_is_loaded_where_there_is_no_model(
    model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", f"images={__file__}", model]) == 2
    assert capfd.readouterr().out == ""


TOLD_AT_ONCE = [
    ["train", "data=mpii", "data.root=nowhere"],
    ["train", "data.batch_size=0"],
    ["train", "data.batch_size=two"],
    ["train", "data.annotations=5"],
    ["train", "data.root=nowhere", "data.synthetic=5"],
    ["train", "data.split=odd"],
    ["train", "data.synthetic.num_persons=1"],
    ["train", "data.single_joint=2"],
    ["train", "data.close_up=2"],
    ["train", "optimizer.lr=fast"],
    ["train", "optimizer.weight_decay=-1"],
    ["train", "-m", "seed=0,1", "optimizer.lr=fast"],
    ["train", "init_from='~/nowhere.ckpt'"],
    ["train", "model.weights=./nowhere"],
    ["predict", f"images={__file__}", "decoding=free", "run=nowhere"],
    ["predict", f"images={__file__}", "decoding=free", "weights=./nowhere"],
    ["eval", "decoding=free", "ckpt=nowhere.ckpt"],
    ["export", "out=a", "ckpt=nowhere.ckpt"],
]


def test_what_is_wrong_of_data_rates_and_files_is_told_before_torch_is_imported() -> None:
    code = f"""if True:
        import sys
        from blippose.cli import main
        for words in {TOLD_AT_ONCE}:
            assert main(words) == 2, words
            assert "torch" not in sys.modules, words
    """
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "loading" not in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == len(TOLD_AT_ONCE), lines
    for line, words in zip(lines, TOLD_AT_ONCE, strict=True):
        key, _, value = words[-1].partition("=")
        assert key in line or "nowhere" in value
        assert value.strip("'~") in line


def test_a_mistake_leaves_no_run_folder(in_an_empty_folder: Path) -> None:
    assert main(["train", CSV, "seed=abc"]) == 2
    assert not list(in_an_empty_folder.glob("runs/*"))


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", CSV, "seed=abc", "debug=true"]) == 2
    assert "Traceback" in capfd.readouterr().err


def test_corrupt_annotations_are_named(
    in_an_empty_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (in_an_empty_folder / "broken.mat").write_text("no Matlab")
    assert main(["data", "data=mpii", "data.root=.", "data.annotations=broken.mat"]) == 2
    assert "broken.mat" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("data.synthetic=null", "data.root: Error trying to access synthetic.num_persons"),
        ("data.root=${oc.env:NOPE}", "data.root: Environment variable 'NOPE' not found; add"),
        ("data.root=${nope}", "data.root: Interpolation key 'nope' not found; add data.root="),
    ],
)
def test_root_made_of_what_is_not_there_is_asked_for(
    word: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", word]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"blippose: {said}")
