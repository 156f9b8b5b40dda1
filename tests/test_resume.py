"""Runs that are killed, asked to end, or left with a broken checkpoint end as if never touched."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from same_run import assert_same
from tiny_training import Trainings, tiny, trainings_in

from blippose import checkpoint_files, training
from blippose.augmentation import Augmentation
from blippose.blip import load_blip
from blippose.checkpoints import usable
from blippose.errors import UserError
from blippose.fit_options import FitOptions
from blippose.model import PoseCaptioner
from blippose.preemption import CAN_BE_RESUMED, TOLD, Preempted, StopSignals
from blippose.random_state import random_state, restore_random_state
from blippose.readback import ReadbackMask, ReadbackNoise
from blippose.runs import BEST, LAST, PREVIOUS, Run
from blippose.schedules import warmup_cosine

Make = Callable[..., Any]
MARKER = Path("code_ran")
SPLIT_SEED = 0


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, release_root: Path) -> Iterator[Trainings]:
    with trainings_in(tmp_path_factory.mktemp("trainings"), tiny(release_root)) as begun:
        yield begun


class Untouched:
    """Runs that nobody killed, one for each way of training, and how long they took."""

    def __init__(self, trainings: Trainings, folder: Path) -> None:
        self._trainings, self._folder, self._made = (
            trainings,
            folder,
            dict[str, tuple[Path, float]](),
        )

    def __call__(self, words: str) -> tuple[Path, float]:
        if words not in self._made:
            started = time.monotonic()
            name = f"untouched{len(self._made)}"
            assert (
                self._trainings.train(*words.split(), f"runs={self._folder}", f"name={name}") == 0
            )
            self._made[words] = self._folder / name, time.monotonic() - started
        return self._made[words]


@pytest.fixture(scope="module")
def untouched(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    return Untouched(trainings, tmp_path_factory.mktemp("untouched"))


def test_run_killed_while_it_writes_checkpoints_ends_as_one_never_touched(
    trainings: Trainings, untouched: Untouched, tmp_path: Path
) -> None:
    """Before any, as one is opened, and between writing and renaming."""
    words = ["checkpoint.every_n_steps=3", f"runs={tmp_path}", "name=killed"]
    deaths = [trainings.train(*words, die_at=number) for number in (1, 5, 6)]
    assert deaths == [-signal.SIGKILL] * 3
    assert trainings.train(*words) == 0
    assert_same(tmp_path / "killed", untouched("")[0])


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_run_killed_at_five_random_moments_ends_as_one_never_touched(
    trainings: Trainings, untouched: Untouched, tmp_path: Path, num_workers: int, accumulated: int
) -> None:
    """20 kills in all; slow for the processes that it takes."""
    draw = random.Random(10 * num_workers + accumulated)
    training_words = f"trainer.accumulate_grad_batches={accumulated}"
    whole, seconds = untouched(training_words)
    num_runs = num_kills = 0
    while num_kills < 5:
        num_runs += 1
        words = [training_words, f"data.num_workers={num_workers}", "checkpoint.every_n_steps=1"]
        words += [f"runs={tmp_path}", f"name=killed{num_runs}"]
        while num_kills < 5:
            status = trainings.train(*words, kill_after=draw.uniform(0, seconds))
            num_kills += status != 0
            if status == 0:
                seconds *= 0.7  # other work on the machine had made the untouched run slower
                break
            assert status == -signal.SIGKILL
        assert trainings.train(*words) == 0
        assert_same(tmp_path / f"killed{num_runs}", whole)


def test_process_that_is_asked_to_end_says_by_its_status_that_it_can_be_resumed(
    trainings: Trainings, untouched: Untouched, tmp_path: Path
) -> None:
    words = [f"runs={tmp_path}", "name=asked"]
    assert trainings.train(*words, ask_at=3) == CAN_BE_RESUMED
    assert "SIGTERM: stopped at step" in trainings.log
    assert trainings.train(*words) == 0
    assert_same(tmp_path / "asked", untouched("")[0])


class SignalAt(Callback):
    """Sends a signal to this process at the n-th call of one hook."""

    def __init__(self, hook: str, number: int, name: signal.Signals = signal.SIGTERM) -> None:
        self._remaining, self._name = number, name
        setattr(self, hook, self._count)

    def _count(self, *_: Any, **__: Any) -> None:
        self._remaining -= 1
        if self._remaining == 0:
            os.kill(os.getpid(), self._name)


class LimitFiles(Callback):
    """Stands for a disk that fills up: in one epoch files can only be so large."""

    def __init__(self, epoch: int, num_bytes: int) -> None:
        self.epoch, self.num_bytes = epoch, num_bytes

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        num_bytes = self.num_bytes if trainer.current_epoch == self.epoch else -1
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, -1))


@pytest.fixture
def fit(
    make_data: Make, architecture: dict[str, Any], tokenizer: Any, caption_format: Any
) -> Iterator[Make]:
    """Fit a fresh model that draws (dropout, masks, augmentation) into a folder; the run."""

    def trainer(*extra: Callback, **settings: Any) -> Callable[..., Trainer]:
        settings = {"max_epochs": 2, "log_every_n_steps": 1, "num_sanity_val_steps": 0, **settings}
        settings |= {"accelerator": "cpu", "enable_model_summary": False}
        return lambda callbacks, **rest: Trainer(
            callbacks=[*extra, *callbacks], **settings, **rest
        )

    def start(
        folder: Path,
        *extra: Callback,
        every_n_steps: int | None = None,
        batch_size: int = 4,
        options: FitOptions | None = None,
        **settings: Any,
    ) -> Run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))  # room has been made
        training.seed(0)
        text = {**architecture["text"], "hidden_dropout_prob": 0.1}
        captioner = PoseCaptioner(
            load_blip("random", {**architecture, "text": text}),
            tokenizer,
            caption_format,
            optimizer=partial(torch.optim.AdamW, lr=1e-2),
            scheduler=warmup_cosine,
            readback_mask=ReadbackMask(first=0.5, then=0.5, spread=True),
            readback_noise=ReadbackNoise(),
            layer_decay=0.8,
            split_weight_decay=True,
        )
        run = Run.open(folder, {"settings": settings})
        data = make_data(
            augmentation=Augmentation(),
            batch_size=batch_size,
            eval_batch_size=2,
            split_seed=SPLIT_SEED,
        )
        own = FitOptions(keep_last=True, every_n_steps=every_n_steps, ema_decay=0.9)
        with run.started():
            training.fit(captioner, data, trainer(*extra, **settings), run, options=options or own)
        return run

    yield start
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def whole(fit: Make, whole_folder: Path) -> Path:
    """The folder of a run of `fit` that nobody touched."""
    if not (whole_folder / "run.json").exists():
        fit(whole_folder)
    return whole_folder


@pytest.mark.parametrize(
    ("hook", "number", "step"),
    [
        ("on_train_batch_end", 2, 2),
        ("on_train_batch_start", 5, 4),
        ("on_validation_batch_end", 2, 5),
        ("on_train_epoch_end", 1, 5),
        ("on_train_end", 1, 10),
    ],
)
def test_run_asked_to_end_writes_a_checkpoint_and_goes_on_exactly_there(
    fit: Make, whole: Path, tmp_path: Path, hook: str, number: int, step: int
) -> None:
    with pytest.raises(Preempted):
        fit(tmp_path, SignalAt(hook, number))
    assert checkpoint_files.read(tmp_path / LAST)["global_step"] == step
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "stopped"
    fit(tmp_path)
    assert_same(tmp_path, whole)


@pytest.mark.parametrize(
    "how",
    [
        {"max_epochs": 1, "val_check_interval": 3},
        {"max_epochs": 1},
        {"max_epochs": -1, "max_steps": 7},
        {"max_epochs": -1, "max_steps": 5},
        {"max_epochs": -1, "max_steps": 4, "val_check_interval": 4},
    ],
)
def test_run_cut_off_in_its_first_validation_goes_on_though_no_other_would_come(
    fit: Make, tmp_path: Path, how: dict[str, int]
) -> None:
    fit(tmp_path / "whole", **how)
    with pytest.raises(Preempted):
        fit(tmp_path / "cut", SignalAt("on_validation_batch_end", 1), **how)
    fit(tmp_path / "cut", **how)
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_a_checkpoint_from_mid_epoch_is_refused_with_another_number_of_persons_a_step(
    fit: Make, tmp_path: Path
) -> None:
    """Counted in batches, some persons would come twice or never."""
    with pytest.raises(Preempted):
        fit(tmp_path / "four", SignalAt("on_train_batch_end", 2))
    start = FitOptions(ckpt_path=tmp_path / "four" / LAST)
    with pytest.raises(UserError, match="with 4 persons a step, and now there are 2"):
        fit(tmp_path / "two", batch_size=2, options=start)


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_every_signal_of_pre_emption_ends_with_a_line_and_a_status(
    fit: Make,
    tmp_path: Path,
    name: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(name)
    with pytest.raises(Preempted) as raised:
        fit(tmp_path, SignalAt("on_train_batch_end", 1, name))
    assert raised.value.code == CAN_BE_RESUMED
    assert signal.getsignal(name) == before
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"blippose: {name.name}: stopped at step 1; the same command goes on")
    assert line.endswith(str(tmp_path / LAST))


def test_sigterm_as_training_begins_ends_it_before_a_step(
    fit: Make, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning listens a moment before us, and would end it a step later with a status of 0."""
    for hook in ("on_train_start", "on_train_batch_end", "on_train_start"):
        with pytest.raises(Preempted):
            fit(tmp_path, SignalAt(hook, 1))
    goes_on = f"1; the same command goes on from {tmp_path / LAST}"
    assert [line.partition("at step ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "0; the same command begins again: there is no checkpoint",
        goes_on,
        goes_on,
    ]
    fit(tmp_path)
    assert_same(tmp_path, whole)


def test_sigterm_in_a_sanity_check_can_be_resumed(fit: Make, tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with pytest.raises(Preempted) as raised:
            fit(tmp_path, SignalAt("on_validation_batch_end", 1), num_sanity_val_steps=2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised.value.code == CAN_BE_RESUMED
    assert heard[-1] == signal.SIGTERM  # a launcher that puts jobs back
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "stopped"


def test_who_listened_before_hears_the_signal_after_the_checkpoint(
    fit: Make, tmp_path: Path
) -> None:
    heard = []

    def requeue(number: int, frame: Any) -> None:
        heard.append((number, (tmp_path / LAST).is_file()))

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(Preempted):
            fit(tmp_path, SignalAt("on_train_batch_end", 1, signal.SIGUSR2))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [(signal.SIGUSR2, True)]


def test_a_launcher_that_ends_its_job_is_no_interrupt(fit: Make, tmp_path: Path) -> None:
    """As submitit does: after the checkpoint, or at once while nobody else listens."""

    def leave(number: int, frame: Any) -> None:
        sys.exit(-1)

    before = signal.signal(signal.SIGUSR2, leave)
    try:
        for hook in ("on_train_batch_end", "on_fit_start"):
            with pytest.raises(SystemExit) as raised:
                fit(tmp_path / hook, SignalAt(hook, 1, signal.SIGUSR2))
            assert raised.value.code == -1
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """As in a terminal: what a shell starts behind its back ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_ends_after_the_step_with_a_checkpoint_to_go_on_from(
    fit: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as raised:
        fit(tmp_path / "cut", SignalAt("on_train_batch_end", 1, signal.SIGINT))
    assert TOLD in raised.value.args, "the program has no more to say"
    assert signal.getsignal(signal.SIGINT) == before
    told = capfd.readouterr().err
    assert "Ctrl-C: ends after this step, with a checkpoint; once more ends at once" in told
    assert f"goes on from {tmp_path / 'cut' / LAST}" in told
    fit(tmp_path / "cut")
    assert_same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_second_ctrl_c_ends_at_once(fit: Make, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    twice = [SignalAt("on_train_batch_end", 1, signal.SIGINT) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, *twice)
    assert signal.getsignal(signal.SIGINT) == before
    assert not (tmp_path / LAST).exists()


def test_where_a_parent_hears_ctrl_c_a_run_does_not() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signals.listen()
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.heard is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_are_left_alone_until_training_begins() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with StopSignals() as signals:
        assert signal.getsignal(signal.SIGUSR1) == before
        signals.listen()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.heard is signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) == before


def test_validation_in_mid_epoch_is_neither_lost_nor_counted_twice(
    fit: Make, tmp_path: Path
) -> None:
    fit(tmp_path / "whole", val_check_interval=2)
    moments = (("on_validation_batch_end", 2), ("on_train_batch_start", 3))
    for hook, number in moments:
        with pytest.raises(Preempted):
            fit(tmp_path / hook, SignalAt(hook, number), val_check_interval=2)
        fit(tmp_path / hook, val_check_interval=2)
        assert_same(tmp_path / hook, tmp_path / "whole")


@pytest.mark.parametrize("hook", ["on_validation_start", "on_validation_end"])
def test_run_cut_off_in_the_validation_after_its_last_step_has_it_once(
    fit: Make, tmp_path: Path, hook: str
) -> None:
    how = {"max_epochs": -1, "max_steps": 10}
    fit(tmp_path / "whole", **how)
    with pytest.raises(Preempted):
        fit(tmp_path / "cut", SignalAt(hook, 2), **how)
    fit(tmp_path / "cut", **how)
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_a_run_does_not_go_on_with_data_that_have_changed(
    fit: Make, cut: Path, make_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (cut / LAST).read_bytes()
    other = make_data(split_seed=1).manifest["hash"]
    monkeypatch.setattr(sys.modules[__name__], "SPLIT_SEED", 1)
    with pytest.raises(UserError, match=rf"was trained on other data .* {other[:8]} now"):
        fit(cut)
    assert (cut / LAST).read_bytes() == before
    monkeypatch.undo()
    fit(cut)


def test_gradients_that_wait_for_their_step_are_not_lost(fit: Make, tmp_path: Path) -> None:
    """Asked after the first of two batches: it ends after the second."""
    fit(tmp_path / "whole", accumulate_grad_batches=2)
    with pytest.raises(Preempted):
        fit(tmp_path / "a", SignalAt("on_train_batch_end", 1), accumulate_grad_batches=2)
    last = checkpoint_files.read(tmp_path / "a" / LAST)
    counts = last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    assert (last["global_step"], counts["ready"]) == (1, 2)
    fit(tmp_path / "a", accumulate_grad_batches=2)
    assert_same(tmp_path / "a", tmp_path / "whole")


@pytest.fixture(scope="module")
def cut_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut") / "run"


@pytest.fixture
def cut(fit: Make, cut_folder: Path, tmp_path: Path) -> Path:
    """A run that was cut off with two checkpoints, of steps 6 and 5; a copy for each test."""
    if not cut_folder.exists():
        with pytest.raises(Preempted):
            fit(cut_folder, SignalAt("on_train_batch_end", 6), every_n_steps=4)
    return Path(shutil.copytree(cut_folder, tmp_path / "cut"))


def step_of(path: Path) -> int:
    return int(checkpoint_files.read(path)["global_step"])


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def text(path: Path) -> None:
    path.write_text("text")


def weights_alone(path: Path) -> None:
    shutil.copy(path.with_name(BEST), path)


def of_another_config(path: Path) -> None:
    loaded = checkpoint_files.read(path)
    loaded["resume"]["config_hash"] = "0"
    checkpoint_files.write_whole(loaded, path)


class Malicious:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> Any:
        return Path.touch, (MARKER,)


def pickled_code(path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious()))


def code_in_an_archive(path: Path) -> None:
    torch.save({"state_dict": Malicious(), "optimizer_states": []}, path)


BREAKS = (truncated, flipped, text, weights_alone, of_another_config)
BREAKS += (pickled_code, code_in_an_archive)


@pytest.mark.parametrize("spoil", BREAKS)
def test_broken_or_foreign_checkpoint_is_named_and_the_one_before_it_used(
    cut: Path,
    spoil: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(cut)
    run = Run.read(cut)
    assert usable(run, lambda _: None) == cut / LAST
    spoil(cut / LAST)
    assert usable(run, lambda _: None) == cut / PREVIOUS
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"blippose: {cut / LAST}: ")
    assert line.endswith("last-1.ckpt is used instead")
    assert not MARKER.exists()


def test_malicious_file_would_run_its_code_if_it_were_let(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code_in_an_archive(tmp_path / LAST)
    torch.load(tmp_path / LAST, weights_only=False)
    assert MARKER.exists()


def test_torch_itself_would_take_a_damaged_file(cut: Path) -> None:
    flipped(cut / LAST)
    checkpoint_files.read(cut / LAST)
    assert "damaged in" in str(checkpoint_files.damage(cut / LAST))


def test_weights_of_another_model_are_refused(cut: Path) -> None:
    with pytest.raises(UserError, match=r"last-1\.ckpt: of another model; nothing is left"):
        usable(Run.read(cut), lambda _: "of another model")


def test_run_without_a_checkpoint_that_can_be_used_says_so(cut: Path) -> None:
    truncated(cut / LAST)
    (cut / PREVIOUS).unlink()
    with pytest.raises(UserError, match=r"last\.ckpt: cut short.*nothing is left to go on from"):
        usable(Run.read(cut), lambda _: None)


def test_run_goes_on_from_the_one_before_and_keeps_it_until_there_is_another(
    fit: Make, cut: Path, whole: Path
) -> None:
    truncated(cut / LAST)
    with pytest.raises(Preempted):
        fit(cut, SignalAt("on_train_batch_end", 1))
    assert (step_of(cut / LAST), step_of(cut / PREVIOUS)) == (6, 5)
    fit(cut)
    assert_same(cut, whole)


def test_run_killed_between_two_renames_goes_on_from_the_one_before(
    fit: Make, cut: Path, whole: Path
) -> None:
    (cut / LAST).unlink()
    fit(cut)
    assert_same(cut, whole)


def test_lost_table_of_metrics_comes_back_with_the_checkpoint(
    fit: Make, cut: Path, whole: Path
) -> None:
    (cut / "metrics.csv").unlink()
    fit(cut)
    assert_same(cut, whole)


def test_best_of_a_run_that_moved_stays_the_best(fit: Make, cut: Path, tmp_path: Path) -> None:
    best = checkpoint_files.read(cut / BEST)
    best["blippose"]["metrics"]["val/mae_all"] = -1.0  # cannot be beaten
    checkpoint_files.write_whole(best, cut / BEST)
    content = (cut / BEST).read_bytes()
    moved = cut.rename(tmp_path / "moved")
    run = fit(moved)
    assert (moved / BEST).read_bytes() == content
    assert run.record["results"]["free_running"]["mae_all"] == -1.0


def test_full_disk_leaves_the_last_good_checkpoint_and_says_so(
    fit: Make, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = (whole / LAST).stat().st_size
    assert (whole / BEST).stat().st_size < size / 2
    full = LimitFiles(1, size // 2)
    with pytest.raises(Preempted):
        fit(tmp_path, full, SignalAt("on_train_batch_end", 8), every_n_steps=5)
    first, second = capsys.readouterr().err.splitlines()
    assert "last.ckpt: cannot be written (File too large); last.ckpt stays as it was" in first
    assert f"goes on from {tmp_path / LAST}" in second
    assert step_of(tmp_path / LAST) == 5
    assert not list(tmp_path.glob("*.partial"))
    fit(tmp_path)
    assert_same(tmp_path, whole)


def test_full_disk_does_not_cost_the_best_weights(fit: Make, cut: Path, whole: Path) -> None:
    best = checkpoint_files.read(cut / BEST)
    best["blippose"]["metrics"]["val/mae_all"] = 1e9  # is beaten
    checkpoint_files.write_whole(best, cut / BEST)
    with pytest.raises(UserError, match=r"best\.ckpt: cannot be written .*give the same command"):
        fit(cut, LimitFiles(1, (cut / BEST).stat().st_size // 2))
    assert checkpoint_files.damage(cut / BEST) is None
    fit(cut)
    assert (cut / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_best_checkpoint_is_weights_alone(whole: Path) -> None:
    best = checkpoint_files.read(whole / BEST)
    assert not {"optimizer_states", "loops", "resume"} & best.keys()


def test_random_state_brings_back_every_generator() -> None:
    def draws() -> tuple[float, float, float]:
        import numpy as np  # noqa: PLC0415

        legacy = float(np.random.rand())  # noqa: NPY002  the global one is what is meant
        return random.random(), legacy, float(torch.rand(()))

    state = plain_copy(random_state())
    first = draws()
    assert draws() != first
    restore_random_state(state)
    assert draws() == first


def plain_copy(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint brings it back."""
    import io  # noqa: PLC0415

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return dict(torch.load(buffer, weights_only=True))


@pytest.mark.parametrize(
    ("model", "row"), [("blip_base", "BLIP base"), ("blip_large", "BLIP large")]
)
def test_gigabytes_in_the_docs_are_those_of_the_architecture(model: str, row: str) -> None:
    conf = Path(__file__).parents[1] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        config: Any = compose("train", [f"model={model}"])
    architecture: Any = OmegaConf.to_container(config.model.architecture, resolve=True)
    with torch.device("meta"):
        blip = load_blip("random", architecture)
    num = sum(weight.numel() for weight in blip.parameters())
    best, last = 4 * num / 1e9, 3 * 4 * num / 1e9
    peak = best + 3 * last
    sizes = f"{best:.2f} | {last:.2f} | {peak:.2f} | {best:.2f} | {18 * best:.1f}"
    grid = f"{17 * best + peak:.1f} | {18 * peak:.1f}"
    docs = (conf.parent / "docs" / "checkpoints.md").read_text()
    assert f"| {row} | {num / 1e6:.0f} M | {sizes} | {grid} |" in docs


def test_files_are_as_large_as_their_weights(cut: Path) -> None:
    """What the docs calculate with: four bytes a weight, twice that for Adam, and averages."""
    weights = checkpoint_files.read(cut / BEST)["state_dict"]
    distinct = {weight.data_ptr(): weight for weight in weights.values()}
    num_bytes = sum(4 * weight.numel() for weight in distinct.values())
    extra = 60_000  # the tokenizer, the config, random states and the archive's own
    assert num_bytes < (cut / BEST).stat().st_size < num_bytes + extra
    assert num_bytes * 3 < (cut / LAST).stat().st_size < 4 * num_bytes + 2 * extra
