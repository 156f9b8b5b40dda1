"""The captioner: what it hides, what it learns from, what it logs, what a checkpoint holds."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import lightning as L  # noqa: N812  the field's own convention
import numpy as np
import pytest
import torch
from conftest import SIZE
from hypothesis import given, settings
from hypothesis import strategies as st
from one_step import forward_loss, step_of
from PIL import Image
from quiet_trainer import trainer
from teacher_forcing import number_ids, stock_xy, sure_of_words
from tokenizers import Tokenizer
from torch.nn import functional as F  # noqa: N812  torch's own convention
from torch.utils.data import DataLoader
from transformers import BertTokenizer, BlipForConditionalGeneration
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blippose.augmentation import Augmentation
from blippose.blip import load_blip
from blippose.caption import CaptionFormat
from blippose.data import EpochSampler, PoseBatch, PoseDataModule
from blippose.decoding import CaptionReader, ClipNormalization, Constrained, Parallel
from blippose.decoding.grammar import TokenGrammar
from blippose.errors import UserError
from blippose.geometry import Crop, Resize
from blippose.metrics import PoseMetrics
from blippose.model import PoseCaptioner
from blippose.pose import NUM_JOINTS
from blippose.readback import Readback, ReadbackMask
from blippose.schedules import warmup_cosine

MakeCaptioner = Callable[..., PoseCaptioner]
MakeData = Callable[..., PoseDataModule]
CONF = Path(__file__).parents[1] / "conf"


class TrainerAt:
    """A trainer at a step: `_hide` asks for nothing else of it."""

    global_rank = 0
    estimated_stepping_batches: float = 100

    def __init__(self, global_step: int, current_epoch: int) -> None:
        self.global_step, self.current_epoch = global_step, current_epoch


def fit_once(captioner: PoseCaptioner, batch: PoseBatch, root: Path) -> L.Trainer:
    """One step on one batch."""
    training = trainer(root, max_steps=1, limit_val_batches=0)
    training.fit(captioner, DataLoader([batch], batch_size=None))
    return training


def hide(
    captioner: PoseCaptioner, ids: torch.Tensor, step: int = 0, batch_idx: int = 0, epoch: int = 0
) -> torch.Tensor:
    at = TrainerAt(step, epoch)  # Lightning keeps a weak reference
    captioner.trainer = at
    return captioner._hide(ids, batch_idx)


def is_number(ids: torch.Tensor, tokenizer: BertTokenizer) -> torch.Tensor:
    pieces = tokenizer.convert_ids_to_tokens(ids.flatten().tolist())
    return torch.tensor([piece.isdigit() for piece in pieces]).view(ids.shape)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_training_loss_is_blips_own_to_the_last_digits(
    architecture: dict[str, dict[str, Any]],
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    batch: PoseBatch,
    smoothing: float,
) -> None:
    text = {**architecture["text"], "label_smoothing": smoothing}
    blip = load_blip("random", {**architecture, "text": text})
    captioner = PoseCaptioner(blip, tokenizer, caption_format, torch.optim.AdamW)
    captioner.log = lambda *args, **settings: None
    stock = blip(
        pixel_values=captioner.pixel_values(batch["image"]),
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=batch["labels"],
    ).loss
    torch.testing.assert_close(captioner.training_step(batch, 0), stock, rtol=1e-6, atol=0)


def test_a_step_keeps_no_map_of_tokens_by_tokens(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    captioner = make_captioner()
    captioner.log = lambda *args, **settings: None
    num_rows, length = batch["input_ids"].shape
    shapes: set[tuple[int, ...]] = set()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (shapes.add(tuple(t.shape)), t)[1], lambda t: t
    ):
        captioner.training_step(batch, 0)
    assert (num_rows, 2, length, 16) in shapes  # queries: two heads of width 16
    assert not {shape for shape in shapes if shape[-2:] in {(length, length), (length, 17)}} - {
        (num_rows, 1, length, length)  # the causal mask
    }


def test_a_frozen_vision_tower_is_asked_once_an_image_and_does_not_learn(
    make_captioner: MakeCaptioner, batch: PoseBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = step_of(make_captioner(), batch)[0]
    captioner = make_captioner(freeze_vision=True)
    asked: list[int] = []
    look = captioner.look
    monkeypatch.setattr(
        captioner, "look", lambda image: (asked.append(len(image)), look(image))[1]
    )
    losses = [step_of(captioner, batch)[0] for _ in range(2)]
    assert asked == [1] * len(batch["index"])
    assert losses == [pytest.approx(expected, rel=1e-5)] * 2
    trained = [name for name, weight in captioner.named_parameters() if weight.requires_grad]
    assert trained
    assert not any("vision_model" in name for name in trained)
    assert not captioner.blip.vision_model.training


def test_a_frozen_vision_tower_is_asked_once_a_mirror_image(
    make_captioner: MakeCaptioner, batch: PoseBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = Parallel(test_views=2)
    image = batch["image"]
    expected = make_captioner(decoding=decoding).say(image)
    captioner = make_captioner(decoding=decoding, freeze_vision=True)
    asked: list[int] = []
    look = captioner.look
    monkeypatch.setattr(
        captioner, "look", lambda image: (asked.append(len(image)), look(image))[1]
    )
    for _ in range(2):
        assert captioner.say(image, come_again=True).captions == expected.captions
        captioner.see(image)
    assert asked == [1] * 2 * len(image)


def test_prediction_keeps_nothing_and_other_weights_forget(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    captioner, data = make_captioner(freeze_vision=True), make_data()
    own = trainer(tmp_path)
    own.predict(captioner, data.val_dataloader())
    assert captioner.seen is not None
    assert captioner.seen.num_images == 0
    own.validate(captioner, data, verbose=False)
    assert captioner.seen.num_images == len(data.val_set)
    own.save_checkpoint(tmp_path / "mine.ckpt")
    own.predict(captioner, data.val_dataloader(), ckpt_path=str(tmp_path / "mine.ckpt"))
    assert captioner.seen.num_images == 0


def test_augmented_images_are_looked_at_anew(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    captioner = make_captioner(freeze_vision=True)
    data = make_data(augmentation=Augmentation())
    training = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    training.fit(captioner, datamodule=data)
    assert captioner.seen is not None
    assert captioner.seen.num_images == 0


def test_bfloat16_takes_a_step_near_that_of_float32(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    expected = step_of(make_captioner(), batch)[0]
    captioner = make_captioner()
    with torch.autocast("cpu", torch.bfloat16):
        loss, gradients = step_of(captioner, batch)
    assert loss == pytest.approx(expected, rel=1e-2)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_share_one_hides_all_numbers_and_nothing_else(
    make_captioner: MakeCaptioner, tokenizer: BertTokenizer, batch: PoseBatch
) -> None:
    ids = batch["input_ids"]
    hidden = hide(make_captioner(readback_mask=ReadbackMask(first=1.0)), ids)
    number = is_number(ids, tokenizer)
    assert number.sum() == len(ids) * NUM_JOINTS * 2
    assert (hidden[number] == tokenizer.mask_token_id).all()
    assert torch.equal(hidden[~number], ids[~number])


def test_share_zero_hides_nothing(make_captioner: MakeCaptioner, batch: PoseBatch) -> None:
    ids = batch["input_ids"]
    assert torch.equal(hide(make_captioner(readback_mask=ReadbackMask(first=0.0)), ids), ids)
    assert torch.equal(make_captioner()._hide(ids, 0), ids)


@settings(max_examples=20)  # each builds a model
@given(share=st.floats(0, 1), step=st.integers(0, 1000), spread=st.booleans())
def test_only_numbers_are_ever_hidden(
    tokenizer: BertTokenizer,
    architecture: dict[str, dict[str, Any]],
    share: float,
    step: int,
    spread: bool,
) -> None:
    mask = ReadbackMask(first=share, then=share, spread=spread)
    blip = load_blip("random", architecture)
    captioner = PoseCaptioner(
        blip, tokenizer, CaptionFormat(SIZE), torch.optim.AdamW, readback_mask=mask
    )
    ids = tokenizer(["right ankle (12,31), pelvis (0,7)"] * 3, return_tensors="pt").input_ids
    hidden = hide(captioner, ids, step)
    changed = hidden != ids
    assert (hidden[changed] == tokenizer.mask_token_id).all()
    assert is_number(ids, tokenizer)[changed].all()


def test_the_share_that_is_asked_for_is_hidden(
    make_captioner: MakeCaptioner, tokenizer: BertTokenizer, batch: PoseBatch
) -> None:
    ids = batch["input_ids"].repeat(20, 1)
    captioner = make_captioner(readback_mask=ReadbackMask(first=1.0, until=0.5, then=0.3))
    number = is_number(ids, tokenizer)
    for step, share in ((49, 1.0), (50, 0.3), (99, 0.3)):
        hidden = hide(captioner, ids, step) != ids
        assert hidden[number].float().mean() == pytest.approx(share, abs=0.03)


def test_what_is_hidden_is_by_the_captioners_seed_and_by_process(
    make_captioner: MakeCaptioner, batch: PoseBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, mask = batch["input_ids"].repeat(20, 1), ReadbackMask(first=0.5)
    first = hide(make_captioner(readback_mask=mask), ids)
    assert torch.equal(hide(make_captioner(readback_mask=mask), ids), first)
    assert not torch.equal(hide(make_captioner(readback_mask=mask, seed=1), ids), first)
    monkeypatch.setattr(TrainerAt, "global_rank", 1)
    assert not torch.equal(hide(make_captioner(readback_mask=mask), ids), first)


def test_a_training_without_an_end_hides_as_at_its_beginning(
    make_captioner: MakeCaptioner, tokenizer: BertTokenizer, batch: PoseBatch
) -> None:
    captioner = make_captioner(readback_mask=ReadbackMask(first=1.0, until=0.5, then=0.0))
    endless = TrainerAt(10_000, 0)
    endless.estimated_stepping_batches = math.inf
    captioner.trainer = endless
    hidden = captioner._hide(batch["input_ids"], 0)
    assert (hidden[is_number(batch["input_ids"], tokenizer)] == tokenizer.mask_token_id).all()


def test_spread_draws_half_of_the_samples_between_none_and_all(
    make_captioner: MakeCaptioner, tokenizer: BertTokenizer, batch: PoseBatch
) -> None:
    ids = batch["input_ids"].repeat(40, 1)
    mask = ReadbackMask(first=1.0, until=0.5, then=0.0, spread=True)
    hidden = hide(make_captioner(readback_mask=mask), ids, step=60) != ids
    shares = hidden.sum(1) / (2 * NUM_JOINTS)
    assert (shares < 0.01).float().mean() == pytest.approx(0.5, abs=0.1)
    assert shares.mean() == pytest.approx(0.25, abs=0.05)
    assert shares.max() > 0.9


def test_what_is_hidden_belongs_to_epoch_and_batch(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    captioner = make_captioner(readback_mask=ReadbackMask(first=0.5))
    ids = batch["input_ids"]
    first = hide(captioner, ids, step=3, batch_idx=3)
    # Accumulated batches belong to one step of the optimizer.
    assert (hide(captioner, ids, step=3, batch_idx=4) != first).any()
    assert (hide(captioner, ids, step=3, batch_idx=3, epoch=1) != first).any()
    assert torch.equal(hide(captioner, ids, step=3, batch_idx=3), first)


@pytest.mark.parametrize("shares", [{"first": 1.1}, {"until": -0.1}, {"then": float("nan")}])
def test_shares_outside_0_to_1_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UserError, match=rf"readback_mask\.{next(iter(shares))}=.*expected 0 to 1"):
        ReadbackMask(**shares)


def test_checkpoint_can_be_made_without_a_trainer(make_captioner: MakeCaptioner) -> None:
    checkpoint: dict[str, Any] = {}
    make_captioner().on_save_checkpoint(checkpoint)
    assert checkpoint["blippose"]["metrics"] == {}


def test_hiding_leaves_the_batch_alone(make_captioner: MakeCaptioner, batch: PoseBatch) -> None:
    before = {name: batch[name].clone() for name in ("input_ids", "labels")}
    hide(make_captioner(readback_mask=ReadbackMask()), batch["input_ids"])
    assert all(torch.equal(batch[name], was) for name, was in before.items())


def test_perfect_logits_say_the_target(
    make_captioner: MakeCaptioner, tokenizer: BertTokenizer, batch: PoseBatch
) -> None:
    captioner = make_captioner()
    following = batch["input_ids"].roll(-1, dims=1)
    logits = 50.0 * F.one_hot(following, len(tokenizer)).float()
    states = captioner.look(batch["image"])
    _, parsed = captioner.reader.teacher_forced(states, batch["input_ids"], logits)
    poses = [each.pose.xy for each in parsed]
    target = batch["xy_input"].numpy().clip(0, SIZE - 1)
    np.testing.assert_allclose(np.stack(poses), target, atol=0.5 + 1e-4)


def test_pixel_values_are_blips_own(make_captioner: MakeCaptioner) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = BlipImageProcessorPil()(image, return_tensors="pt").pixel_values
    pixels = torch.tensor(Crop.of_image(640, 480, 384).cut(image)).permute(2, 0, 1)[None]
    actual = make_captioner().pixel_values(pixels)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_pixel_values_of_photos_are_blips_own(
    make_captioner: MakeCaptioner, mpii_images: list[Path]
) -> None:
    processor = BlipImageProcessorPil()
    for path in mpii_images:
        with Image.open(path) as image:
            expected = processor(image, return_tensors="pt").pixel_values
            pixels = torch.tensor(Crop.of_image(*image.size, 384).cut(image))
        actual = make_captioner().pixel_values(pixels.permute(2, 0, 1)[None])
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"readback_mask": ReadbackMask()},
        {"number_sigma": 1.0, "fixed_weight": 0.2},
        {"patch_weight": 0.5},
        {"patch_weight": 0.5, "patch_cells": 4},
        {"scheduler": warmup_cosine},
    ],
)
def test_one_step_lowers_the_loss_of_its_batch(
    make_captioner: MakeCaptioner, batch: PoseBatch, tmp_path: Path, settings: dict[str, Any]
) -> None:
    captioner = make_captioner(**settings)
    before = forward_loss(captioner, batch)
    fit_once(captioner, batch, tmp_path)
    assert forward_loss(captioner, batch) < before


def test_a_schedule_without_an_end_is_one_line(
    make_captioner: MakeCaptioner, batch: PoseBatch, tmp_path: Path
) -> None:
    captioner = make_captioner(scheduler=warmup_cosine)
    with pytest.raises(UserError, match=r"no end: give the Trainer max_epochs or max_steps, or"):
        trainer(tmp_path, max_epochs=-1).fit(captioner, DataLoader([batch], batch_size=None))


class NormsAtSteps(torch.optim.AdamW):
    """Keeps the norm of the gradients that each step is taken by."""

    norms: ClassVar[list[float]] = []

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        self.norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        super().step()
        return loss


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_fused_step_is_clipped_in_bfloat16_too(
    make_captioner: MakeCaptioner, batch: PoseBatch, tmp_path: Path, precision: Any
) -> None:
    captioner = make_captioner(optimizer=partial(NormsAtSteps, lr=1e-3, fused=True))
    before = forward_loss(captioner, batch)
    training = trainer(
        tmp_path, max_steps=1, limit_val_batches=0, precision=precision, gradient_clip_val=1e-3
    )
    training.fit(captioner, DataLoader([batch], batch_size=None))
    assert NormsAtSteps.norms.pop() == pytest.approx(1e-3, rel=1e-3)
    assert forward_loss(captioner, batch) < before


def test_no_gradients_lie_beside_the_next_step(
    make_captioner: MakeCaptioner, batch: PoseBatch, tmp_path: Path
) -> None:
    captioner, held = make_captioner(), []
    captioner.blip.text_decoder.bert.register_forward_hook(
        lambda *_: held.append(sum(p.grad is not None for p in captioner.parameters()))
    )
    training = trainer(tmp_path, max_steps=2, limit_val_batches=0, accumulate_grad_batches=2)
    training.fit(captioner, DataLoader([batch] * 4, batch_size=None))
    some = held[1]  # what the first half of a step has gathered stays for the second
    assert some > 0
    assert held == [0, some, 0, some]


class Seen(L.Callback):
    """The persons of each training batch, by epoch."""

    def __init__(self) -> None:
        self.indices: dict[int, list[int]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, _: int) -> None:
        self.indices.setdefault(trainer.current_epoch, []).extend(batch["index"].tolist())


def test_each_epoch_sees_every_person_in_the_samplers_order(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    data, seen = make_data(), Seen()
    training = trainer(tmp_path, max_epochs=3, limit_val_batches=0, callbacks=[seen])
    training.fit(make_captioner(), data)
    for epoch in range(3):
        sampler = EpochSampler(len(data.train_set), data.seed)
        sampler.set_epoch(epoch)
        expected = [data.train_set[item].index for item in sampler]
        assert seen.indices[epoch] == expected
    assert len({tuple(order) for order in seen.indices.values()}) == 3


def test_validation_logs_both_ways_of_reading(
    make_captioner: MakeCaptioner, make_data: MakeData, tmp_path: Path
) -> None:
    captioner, data = make_captioner(), make_data()
    (logged,) = trainer(tmp_path).validate(captioner, data, verbose=False)
    expected = {f"{way}/{name}" for way in ("val", "val_tf") for name in PoseMetrics.NAMES}
    assert set(logged) == expected | {"val/loss"}
    assert logged["val/parse_rate"] == 0  # random weights write no captions
    assert np.isfinite(logged["val/loss"])


def test_validation_beside_the_true_captions_is_that_of_hugging_face(
    make_captioner: MakeCaptioner, make_data: MakeData
) -> None:
    captioner = make_captioner(decoding=Constrained(expectation=True)).eval()
    with torch.no_grad():
        for parameter in captioner.blip.parameters():
            parameter.mul_(3)  # strong views: the images differ, and what stands before a number
    batch: PoseBatch = next(iter(make_data().val_dataloader()))
    numbers, pad = number_ids(captioner.tokenizer, SIZE), captioner.tokenizer.pad_token_id
    hook = captioner.blip.text_decoder.register_forward_hook(
        sure_of_words(numbers, pad), with_kwargs=True
    )
    with torch.no_grad():
        captioner.validation_step(batch, 0)
    hook.remove()
    pixels, ids = captioner.pixel_values(batch["image"]), batch["input_ids"].tolist()
    expected = [
        stock_xy(captioner.blip, one, row, numbers, expectation=True)
        for one, row in zip(pixels, ids, strict=True)
    ]
    off = np.linalg.norm(np.stack(expected) - batch["xy_input"].numpy(), axis=-1)
    found = captioner.validation.forced.compute()
    assert float(found["epe"]) == pytest.approx(off.mean(), rel=1e-4)
    assert float(found["parse_rate"]) == 1


def test_captions_of_untrained_weights_are_missing_joints(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    captioner = make_captioner()
    parsed = captioner.say(batch["image"]).parsed
    assert len(parsed) == 8
    assert not any(each.pose.valid.any() for each in parsed)


def test_a_checkpoint_says_all_that_is_needed_to_read_it(
    make_captioner: MakeCaptioner, batch: PoseBatch, tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    captioner = make_captioner(resize=Resize.LETTERBOX, crop="person")
    training = fit_once(captioner, batch, tmp_path)
    training.save_checkpoint(tmp_path / "some.ckpt")
    checkpoint = torch.load(tmp_path / "some.ckpt", weights_only=True)
    said = checkpoint["blippose"]
    frame = {"input_size": SIZE, "num_bins": None, "resize": "letterbox", "crop": "person"}
    assert said["frame"] == frame
    assert json.loads(said["blip_config"])["text_config"]["num_attention_heads"] == 2
    assert Tokenizer.from_str(said["tokenizer"]).get_vocab() == tokenizer.get_vocab()
    captioner.load_state_dict(checkpoint["state_dict"])


def test_a_checkpoint_has_no_buffers_that_code_makes_again(make_captioner: MakeCaptioner) -> None:
    names = make_captioner(number_sigma=1.0).state_dict().keys()
    assert all(name.startswith("blip.") for name in names)


def test_pretrained_weights_are_trained_in_training_mode(
    blip: BlipForConditionalGeneration, make_captioner: MakeCaptioner
) -> None:
    assert not blip.training  # as `from_pretrained` leaves it
    assert all(module.training for module in make_captioner().modules())


@pytest.mark.parametrize("name", ["number_sigma", "fixed_weight", "patch_weight"])
@pytest.mark.parametrize("value", [-0.5, float("inf"), float("nan")])
def test_a_weight_or_width_that_cannot_be_is_refused(
    make_captioner: MakeCaptioner, name: str, value: float
) -> None:
    with pytest.raises(UserError, match=rf"captioner\.{name}={value}: expected 0 or more"):
        make_captioner(**{name: value})


def test_a_frozen_tower_is_not_told_of_patches(make_captioner: MakeCaptioner) -> None:
    with pytest.raises(UserError, match=r"patch_weight=0\.3 trains .*freeze_vision=true keeps"):
        make_captioner(patch_weight=0.3, freeze_vision=True)


def test_a_weight_that_the_plain_loss_would_ignore_is_refused(
    make_captioner: MakeCaptioner,
) -> None:
    with pytest.raises(UserError, match=r"fixed_weight=0\.5 needs captioner\.number_sigma > 0"):
        make_captioner(fixed_weight=0.5)


def test_soft_numbers_need_one_token_a_number(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer
) -> None:
    with pytest.raises(UserError, match="only 32 of 0 to 63"):
        PoseCaptioner(
            blip, tokenizer, CaptionFormat(SIZE, 64), torch.optim.AdamW, number_sigma=1.0
        )


def test_mask_shares_by_progress() -> None:
    mask = ReadbackMask(first=0.9, until=0.5, then=0.1)
    assert [mask.share(progress) for progress in (0.0, 0.49, 0.5, 1.0)] == [0.9, 0.9, 0.1, 0.1]
    assert replace(mask, until=0.0).share(0.0) == 0.1


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_smoothing_is_that_of_torch_over_the_vocabulary(
    make_captioner: MakeCaptioner, batch: PoseBatch, smoothing: float
) -> None:
    captioner = make_captioner(label_smoothing=smoothing)
    logits = captioner.blip(
        pixel_values=captioner.pixel_values(batch["image"]),
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
    ).logits[:, :-1]
    logp, labels = logits.log_softmax(-1), batch["labels"][:, 1:]
    kept = labels != -100
    hard = -logp[kept].gather(1, labels[kept][:, None]).mean()
    expected = (1 - smoothing) * hard - smoothing * logp[kept].mean()
    assert step_of(captioner, batch)[0] == pytest.approx(float(expected), rel=1e-5)


def test_smoothing_and_dropout_that_are_not_set_or_zero_change_no_bit(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    default = step_of(make_captioner(), batch)
    zero = step_of(make_captioner(label_smoothing=0.0, dropout=0.0), batch)
    assert zero[0] == default[0]
    assert all(torch.equal(one, other) for one, other in zip(zero[1], default[1], strict=True))


def test_label_smoothing_of_soft_numbers_is_refused(make_captioner: MakeCaptioner) -> None:
    with pytest.raises(UserError, match=r"label_smoothing=0\.1 needs captioner\.number_sigma=0"):
        make_captioner(label_smoothing=0.1, number_sigma=1.0)


def test_label_smoothing_that_leaves_nothing_is_refused(make_captioner: MakeCaptioner) -> None:
    with pytest.raises(UserError, match=r"captioner\.label_smoothing=1\.0: expected 0 to below 1"):
        make_captioner(label_smoothing=1.0)


def test_a_frozen_vision_tower_drops_nothing(
    make_captioner: MakeCaptioner, batch: PoseBatch
) -> None:
    captioner = make_captioner(dropout=0.2, freeze_vision=True).train()
    assert torch.equal(captioner.look(batch["image"]), captioner.look(batch["image"]))


def test_a_model_may_be_validated_before_it_is_trained(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    tmp_path: Path,
) -> None:
    captioner, data = make_captioner(), make_data()
    [before] = trainer(tmp_path).validate(captioner, data, verbose=False)
    trainer(tmp_path, max_steps=1).fit(captioner, data)
    assert np.isfinite(before["val/loss"])


@pytest.mark.parametrize("own", [{"resize": "letterbox"}, {"crop": "person"}])
def test_data_of_another_frame_are_refused(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    tmp_path: Path,
    own: dict[str, str],
) -> None:
    [(key, value)] = own.items()
    training = trainer(tmp_path, max_steps=1)
    for ask in (training.fit, training.validate, training.test):
        with pytest.raises(UserError, match=f"{key} is {value} there and"):
            ask(make_captioner(), make_data(**own))
    training.validate(make_captioner(), make_data(), verbose=False)  # not that of the fit before


def test_a_share_alone_is_no_mask(tokenizer: BertTokenizer, caption_format: CaptionFormat) -> None:
    """Users have no check of annotations, which would be before it here."""
    grammar = TokenGrammar.of(tokenizer, caption_format)
    with pytest.raises(UserError, match="to read back: expected ReadbackMask"):
        inspect.unwrap(Readback.__init__)(object.__new__(Readback), grammar, 211, 0.5)


@pytest.mark.parametrize("own", [{"resize": "letterboxed"}, {"crop": "persons"}])
def test_a_frame_that_nobody_could_read_again_is_refused(
    make_captioner: Callable[..., PoseCaptioner], own: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"expected one of (stretch, letterbox|full, person)"):
        make_captioner(**own)


def test_a_checkpoint_with_the_patches_loss_says_what_a_captioner_lacks(
    make_captioner: Callable[..., PoseCaptioner],
) -> None:
    checkpoint = {"state_dict": make_captioner(patch_weight=0.3).state_dict()}
    with pytest.raises(UserError, match="with patch_weight, and this one has none"):
        make_captioner().on_load_checkpoint(checkpoint)
    make_captioner(patch_weight=0.1).on_load_checkpoint(checkpoint)
    with pytest.raises(UserError, match="with other patch_cells: give it those"):
        make_captioner(patch_weight=0.1, patch_cells=2).on_load_checkpoint(checkpoint)


@pytest.mark.parametrize("patch_weight", [0.0, 0.3])
def test_cells_of_a_patch_are_checked_with_a_head_or_without(
    make_captioner: MakeCaptioner, patch_weight: float
) -> None:
    with pytest.raises(UserError, match=r"captioner\.patch_cells=0: expected 1 or more"):
        make_captioner(patch_weight=patch_weight, patch_cells=0)


@pytest.mark.parametrize("decoding", ["best", Constrained])
def test_a_decoding_that_was_not_made_is_refused_at_once(
    tokenizer: BertTokenizer, decoding: Any
) -> None:
    """Users have no check of annotations, which would be before it here."""
    reader = object.__new__(CaptionReader)
    with pytest.raises(UserError, match="expected one that was made"):
        inspect.unwrap(CaptionReader.__init__)(
            reader, load_blip("tiny"), tokenizer, CaptionFormat(SIZE), decoding
        )


def test_pixels_that_are_no_bytes_are_refused() -> None:
    """Of 0..1 the model would see nearly nothing, and say something all the same."""
    forward = inspect.unwrap(ClipNormalization.forward)
    with pytest.raises(ValueError, match="float32: expected uint8"):
        forward(ClipNormalization(), torch.rand(1, 3, SIZE, SIZE))


def test_augmented_loaders_of_ones_own_and_overfit_batches_train(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    tmp_path: Path,
) -> None:
    data = make_data(augmentation=Augmentation())
    for own, how in ((data.train_dataloader(), {}), (data, {"overfit_batches": 1})):
        training = trainer(tmp_path, max_steps=1, **how)
        training.fit(make_captioner(), own)
        assert training.global_step == 1
