"""Running averages of the weights: their formula, and who gets to see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from blippose import checkpoint_files, training
from blippose.averaging import AveragedWeights
from blippose.errors import UserError
from blippose.fit_options import FitOptions
from blippose.model import PoseCaptioner
from blippose.runs import BEST, LAST, Run, RunFailedError

Make = Callable[..., Any]
Weights = dict[str, Tensor]
DECAY = 0.6  # reached after the sixth step


def copied(captioner: PoseCaptioner) -> Weights:
    return {name: weight.detach().clone() for name, weight in captioner.named_parameters()}


class Seen(Callback):
    """The weights after each step, in each validation, and after it."""

    def __init__(self, fail_in_validation: bool = False) -> None:
        self.fails = fail_in_validation
        self.steps: list[Weights] = []
        self.validated: list[Weights] = []
        self.at_epoch_end: list[Weights] = []
        self.num_steps = 0
        self.captioner: PoseCaptioner | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.captioner = pl_module
        self.steps.append(copied(pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step > self.num_steps:
            self.num_steps = trainer.global_step
            self.steps.append(copied(pl_module))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.validated.append(copied(pl_module))
        if self.fails:
            raise RuntimeError("cut off")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.at_epoch_end.append(copied(pl_module))

    def averages(self) -> Weights:
        """By the formula, from the weights after each step, in float64."""
        means = {name: weight.double() for name, weight in self.steps[0].items()}
        for t, weights in enumerate(self.steps[1:]):
            decay = min(DECAY, (1 + t) / (10 + t))
            for name, weight in weights.items():
                means[name] = decay * means[name] + (1 - decay) * weight.double()
        return means


@pytest.fixture
def fit(make_data: Make, make_captioner: Make, tmp_path: Path) -> Make:
    """Fit with averages."""

    def start(*extra: Callback, captioner: dict[str, Any] | None = None, **settings: Any) -> None:
        training.seed(0)
        fitted = make_captioner(
            optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2), **(captioner or {})
        )
        settings = {
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_model_summary": False,
        } | settings
        run = Run.open(tmp_path / "run", {})
        with run.started():
            training.fit(
                fitted,
                make_data(batch_size=2, eval_batch_size=64),
                lambda callbacks, **rest: Trainer(
                    callbacks=[*extra, *callbacks], num_sanity_val_steps=0, **settings, **rest
                ),
                run,
                options=FitOptions(keep_last=True, ema_decay=DECAY),
            )

    return start


def assert_close(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight.double(), expected[name].double(), rtol=1e-5, atol=1e-7)


def differ(some: Weights, others: Weights) -> bool:
    return any(not weight.equal(others[name]) for name, weight in some.items())


def test_averages_follow_their_formula_and_a_validation_sees_them(fit: Make) -> None:
    seen = Seen()
    fit(seen)
    assert len(seen.steps) > 7  # the decay has come to its end
    [validated] = seen.validated
    assert_close(validated, seen.averages())
    assert differ(validated, seen.steps[-1])


def test_training_goes_on_with_the_weights_themselves(fit: Make) -> None:
    seen = Seen()
    fit(seen)
    assert not differ(seen.at_epoch_end[0], seen.steps[-1])


def test_the_best_checkpoint_holds_averages_and_the_last_one_both(
    fit: Make, tmp_path: Path
) -> None:
    seen = Seen()
    fit(seen)
    best, last = (checkpoint_files.read(tmp_path / "run" / name) for name in (BEST, LAST))
    trained = seen.steps[-1].keys()
    assert_close({name: best["state_dict"][name] for name in trained}, seen.averages())
    assert not differ({name: last["state_dict"][name] for name in trained}, seen.steps[-1])
    assert_close(last["callbacks"]["AveragedWeights"]["averages"], seen.averages())


def test_the_head_that_shares_the_embeddings_weights_shares_their_average(
    fit: Make, tmp_path: Path
) -> None:
    fit()
    weights = checkpoint_files.read(tmp_path / "run" / BEST)["state_dict"]
    decoder = "blip.text_decoder"
    embeddings = weights[f"{decoder}.bert.embeddings.word_embeddings.weight"]
    assert embeddings.equal(weights[f"{decoder}.cls.predictions.decoder.weight"])


def test_a_step_of_several_batches_counts_once(fit: Make, tmp_path: Path) -> None:
    seen = Seen()
    fit(seen, accumulate_grad_batches=3)
    last = checkpoint_files.read(tmp_path / "run" / LAST)
    state = last["callbacks"]["AveragedWeights"]
    assert state["num_updates"] == last["global_step"] == len(seen.steps) - 1
    assert_close(state["averages"], seen.averages())


def test_what_is_not_trained_has_no_average(fit: Make, tmp_path: Path) -> None:
    fit(captioner={"freeze_vision": True})
    last = checkpoint_files.read(tmp_path / "run" / LAST)
    names = last["callbacks"]["AveragedWeights"]["averages"].keys()
    assert names
    assert all(name.startswith("blip.text_decoder.") for name in names)


def test_a_validation_that_fails_leaves_the_weights_themselves(fit: Make) -> None:
    seen = Seen(fail_in_validation=True)
    with pytest.raises(RunFailedError, match="cut off"):
        fit(seen)
    assert seen.captioner is not None
    assert differ(seen.validated[0], seen.steps[-1])
    assert not differ(copied(seen.captioner), seen.steps[-1])


def test_weights_that_small_steps_would_not_move_are_not_averaged(make_captioner: Make) -> None:
    with pytest.raises(UserError, match=r"weights in bfloat16 cannot be averaged; set tr"):
        AveragedWeights(DECAY).on_train_start(
            Trainer(accelerator="cpu", logger=False), make_captioner().bfloat16()
        )


def test_averages_of_other_weights_are_refused(make_captioner: Make) -> None:
    averages = AveragedWeights(DECAY)
    averages.load_state_dict({"averages": {"other": torch.zeros(1)}, "num_updates": 1})
    with pytest.raises(UserError, match="averages are of other weights than are trained here"):
        averages.on_train_start(Trainer(accelerator="cpu", logger=False), make_captioner())


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_a_decay_that_averages_nothing_is_refused_in_one_line(decay: float) -> None:
    with pytest.raises(UserError, match=f"ema_decay={decay}: expected above 0 and below 1, or nu"):
        AveragedWeights(decay)
