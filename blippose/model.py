"""The LightningModule: BLIP's caption loss to train on, free-running captions to be judged by.

It speaks the input frame and tokens; image pixels enter only where metrics ask for them. Knows
nothing of configs or run folders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypedDict, final

import lightning as L  # noqa: N812  the field's own convention
import torch
from jaxtyping import Float, Int, UInt8
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.bfloat16 import check_precision
from blippose.caption import CaptionFormat, ParsedCaption, xy_said
from blippose.data import PoseBatch, PoseDataModule
from blippose.data.again import closer_of
from blippose.data.batch import ViewsBatch, with_pixels
from blippose.decoding import (
    AskedView,
    CaptionReader,
    ClipNormalization,
    Closer,
    Decoding,
    InputFrame,
    LookAgain,
    Reading,
    Taught,
    from_record,
    to_record,
)
from blippose.errors import UserError
from blippose.lineage import Lineage, lineage_in
from blippose.loss import HardTokens, caption_loss, token_loss
from blippose.param_groups import make_optimizer
from blippose.patch_head import PatchHead, check_cells
from blippose.preparation import check_fit, check_parts, prepare
from blippose.readback import Readback, ReadbackMask, ReadbackNoise
from blippose.seen import SeenImages
from blippose.validation import Validation

LEARN_TO_LOOK = 0.3  # loss weight of the patches for weights that know no poses; docs/recipe.md


class Predicted(TypedDict):
    """What a model says of a batch; plain, as Lightning moves it to the host."""

    index: Int[Tensor, " batch"]  # of the person in the filtered release
    captions: tuple[str, ...]
    xy_input: Float[Tensor, "batch 16 2"]  # input pixels, NaN where a joint is missing
    confidence: Float[Tensor, "batch 16"]  # raw, 0 to 1


class Said(TypedDict):
    """What a validation heard of a batch, for callbacks."""

    index: Int[Tensor, " batch"]  # of the person in the filtered release
    captions: tuple[str, ...]
    parsed: tuple[ParsedCaption, ...]


@final
class PoseCaptioner(L.LightningModule):
    """BLIP that captions a photo with its pose.

    Args:
        blip: the model, for inputs of `caption_format.input_size`; its layers become ours
            (`own_layers.py`).
        tokenizer: its tokenizer.
        caption_format: the grammar's bins and order.
        optimizer: from parameters, or groups of them, to an optimizer.
        scheduler: from (optimizer, total steps) to a learning-rate schedule, stepped per batch.
        readback_mask: coordinates to hide in training; None hides none, as the study.
        readback_noise: coordinates to move in training; None moves none.
        number_sigma: width in bins of the Gaussian target on numbers; 0 trains on the plain loss.
        fixed_weight: weight in the loss of the tokens that the grammar fixes; with the plain loss
            it must be 1.
        label_smoothing: share of the plain loss's target that goes to all tokens alike; None: what
            the weights' own config says.
        patch_weight: weight of an auxiliary loss: which patch holds each joint, 0 or more; None:
            `LEARN_TO_LOOK`, for weights that know no poses.
        patch_cells: that a patch's side is divided into, to be told which of them holds a joint.
        dropout: in training, of what the text decoder's layers say, and of the attention of both
            towers; None: what the weights' own config says.
        layer_decay: factor of the learning rate from each layer to the one below it, through the
            text decoder and the vision tower.
        split_weight_decay: biases, norms and embeddings do not decay.
        freeze_vision: train the text decoder alone; what the vision tower says of an image is kept
            where nothing augments it.
        lora_rank: of additions to the attention's matrices that are trained instead of all
            weights; 0 trains all.
        checkpoint_layers: compute each layer again for its gradients instead of keeping what it
            computed.
        compiled: let torch compile vision tower and text decoder.
        seed: of the hidden coordinates.
        resize: how images fill the input; kept in checkpoints.
        crop: what part of an image does; kept in checkpoints.
        decoding: how free-running captions are decoded, kept in checkpoints; None as `generate`
            does, or as a checkpoint that is loaded says.
    """

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        tokenizer: BertTokenizer,
        caption_format: CaptionFormat,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer, int], Any] | None = None,
        readback_mask: ReadbackMask | None = None,
        readback_noise: ReadbackNoise | None = None,
        number_sigma: float = 0.0,
        fixed_weight: float = 1.0,
        label_smoothing: float | None = None,
        patch_weight: float | None = 0.0,
        patch_cells: int = 1,
        dropout: float | None = None,
        layer_decay: float = 1.0,
        split_weight_decay: bool = False,
        freeze_vision: bool = False,
        lora_rank: int = 0,
        checkpoint_layers: bool = False,
        compiled: bool = False,
        seed: int = 0,
        resize: str = "stretch",
        crop: str = "full",
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        self.blip, self.tokenizer, self.caption_format = blip, tokenizer, caption_format
        self.optimizer, self.scheduler = optimizer, scheduler
        self.patch_weight = LEARN_TO_LOOK if patch_weight is None else patch_weight
        if not 0 <= self.patch_weight < math.inf:
            raise UserError(f"captioner.patch_weight={patch_weight}: expected 0 or more, or null")
        check_cells(patch_cells)
        if freeze_vision and self.patch_weight:
            raise UserError(
                f"captioner.patch_weight={self.patch_weight} trains the vision tower, which "
                "captioner.freeze_vision=true keeps as it is: set patch_weight 0"
            )
        self.seed = seed
        if not 0 < layer_decay <= 1:
            raise UserError(f"captioner.layer_decay={layer_decay}: expected above 0, at most 1")
        self.layer_decay, self.split_weight_decay = layer_decay, split_weight_decay
        # str: a StrEnum in a checkpoint could not be loaded weights_only.
        self.frame = InputFrame.of(caption_format, str(resize), str(crop))
        self.lineage = Lineage()  # of the weights; a training adds itself, checkpoints keep it
        self.reader = CaptionReader(blip, tokenizer, caption_format, decoding)
        self._takes_decoding = decoding is None  # of a checkpoint that it loads
        self.grammar = self.reader.writer.grammar
        check_fit(blip, tokenizer, self.frame.input_size, self.grammar.longest)
        text = blip.text_decoder.config
        self.readback = Readback(self.grammar, text.vocab_size, readback_mask, readback_noise)
        self.token_loss = token_loss(
            self.grammar, text, number_sigma, fixed_weight, label_smoothing
        )
        width = blip.vision_model.config.hidden_size
        size = self.frame.input_size
        self.patch_head = PatchHead(width, size, patch_cells) if self.patch_weight else None
        self.validation = Validation(size)
        self.normalization = ClipNormalization()
        self.seen = SeenImages() if freeze_vision else None
        prepare(
            blip,
            dropout=dropout,
            freeze_vision=freeze_vision,
            lora_rank=lora_rank,
            has_new_tokens=caption_format.location_tokens,
            checkpoint_layers=checkpoint_layers,
            compiled=compiled,
        )
        self.train()  # `from_pretrained` leaves evaluation mode, and Lightning would train in it

    def train(self, mode: bool = True) -> PoseCaptioner:
        """Training mode, or evaluation mode, in which a frozen vision tower always is."""
        super().train(mode)
        if self.seen is not None:
            self.blip.vision_model.train(False)
        return self

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Take in weights, and forget what others have said of images."""
        if self.seen is not None:
            self.seen = SeenImages()
        return super().load_state_dict(*args, **kwargs)

    @property
    def hides_coordinates(self) -> bool:
        """Whether its training hides any of what the decoder reads back."""
        mask = self.readback.mask
        return mask is not None and mask.hides

    def pixel_values(
        self, image: UInt8[Tensor, "batch 3 size size"]
    ) -> Float[Tensor, "batch 3 size size"]:
        """The image as BLIP wants it: from 0..1, normalised by CLIP's mean and deviation."""
        normalized: Tensor = self.normalization(image)
        return normalized

    def _data(self, stage: str) -> PoseDataModule | None:
        """That of this fit, or what else: `trainer.datamodule` may be that of an earlier one."""
        if self._trainer is None:
            return None
        data = getattr(self.trainer, f"{TrainerFn(stage).value}_loop")._data_source.instance
        return data if isinstance(data, PoseDataModule) else None

    def setup(self, stage: str) -> None:
        """See that data and captions are of one frame, before anything is measured or learned.

        Raises:
            UserError: the data module's coordinates are of another frame, or the Trainer's
                precision would round them.
        """
        check_precision(self.trainer.precision)
        if (data := self._data(stage)) is None:
            return
        theirs = InputFrame.of(data.collator.caption_format, str(data.resize), data.crop)
        if differs := self.frame.difference(theirs.record()):
            raise UserError(f"the data module's frame is not the captioner's ({differs})")

    def on_fit_start(self) -> None:
        """Put on record what is learned from here on."""
        data = self._data("fit")
        manifest = single_joints = close_ups = None  # of loaders of the user's own
        if data is not None:
            manifest, single_joints = data.manifest, data.single_joint > 0
            close_ups = data.close_up > 0
        taught = Taught(self.hides_coordinates, single_joints, close_ups)
        self.lineage = self.lineage.then(manifest, taught)

    def training_step(self, batch: PoseBatch | ViewsBatch, batch_idx: int) -> Float[Tensor, ""]:
        """The caption loss of a batch."""
        batch = with_pixels(batch)  # which the data module has done, where it is there
        data = self._data("fit")
        is_augmented = data is not None and data.augmentation is not None  # no image comes twice
        states = (self.look if is_augmented else self.see)(batch["image"])
        decoder = self.blip.text_decoder
        hidden = decoder.bert(
            input_ids=self._hide(batch["input_ids"], batch_idx),
            attention_mask=batch["attention_mask"],
            encoder_hidden_states=states,
            is_decoder=True,
            use_cache=False,
        ).last_hidden_state  # (B, L, W); the head is left to the loss, which needs few of its rows
        loss = caption_loss(self.token_loss, decoder.cls, hidden, batch["labels"])
        self.log("train/loss", loss, batch_size=len(batch["image"]))
        if self.patch_head is None:
            return loss
        patch_loss = self.patch_head.loss(states, batch["xy_input"], batch["valid"])
        self.log("train/patch_loss", patch_loss, batch_size=len(batch["image"]))
        return loss + self.patch_weight * patch_loss

    def _hide(
        self, input_ids: Int[Tensor, "batch length"], batch_idx: int
    ) -> Int[Tensor, "batch length"]:
        """What the decoder reads back: coordinates hidden or moved."""
        if not self.readback.changes:
            return input_ids
        key = (self.seed, self.current_epoch, batch_idx, self.global_rank)
        progress = self.global_step / max(1, self.trainer.estimated_stepping_batches)  # 0 of inf
        shown: Tensor = self.readback(input_ids, key, progress)
        return shown

    @torch.no_grad()
    def say(
        self,
        image: UInt8[Tensor, "batch 3 size size"],
        states: Float[Tensor, "batch patch width"] | None = None,
        closer: LookAgain | None = None,
        *,
        with_confidence: bool = False,
        come_again: bool = False,
    ) -> Reading:
        """Free-running captions and poses of inputs.

        Args:
            image: the inputs.
            states: what `look` says of them, where that is known.
            closer: shows their images again (`closer`), if the decoding asks for close-ups; None:
                one look at the inputs is all.
            with_confidence: also how sure it is of each joint.
            come_again: what a frozen tower says of their views is kept.
        """

        def look(view: AskedView) -> Tensor:
            if states is not None and view == AskedView():
                return states
            return (self.see if come_again else self.look)(view.of(image))

        return self.reader.read(look, closer, with_confidence=with_confidence)

    def closer(self, batch: PoseBatch) -> Closer | None:
        """How the images of a batch are looked at again; None where the decoding does not ask.

        Raises:
            UserError: it asks, and the batch does not say where they are.
        """
        return closer_of(batch, self.look, self.device) if self.reader.decoding.close_up else None

    def look(
        self, image: UInt8[Tensor, "batch 3 size size"]
    ) -> Float[Tensor, "batch patch width"]:
        """What the vision tower says of inputs."""
        states: Tensor = self.blip.vision_model(pixel_values=self.pixel_values(image))[0]
        return states

    def see(self, image: UInt8[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch patch width"]:
        """The same; a frozen tower is asked once of each image."""
        return self.look(image) if self.seen is None else self.seen(self.look, image)

    def continue_truth(
        self,
        states: Float[Tensor, "batch patch width"],
        input_ids: Int[Tensor, "batch length"],
        attention_mask: Int[Tensor, "batch length"],
    ) -> Float[Tensor, "batch length vocabulary"]:
        """Scores of each token when the true ones before it are shown: teacher forcing."""
        logits: Tensor = self.blip.text_decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=states,
            use_cache=False,
        ).logits
        return logits

    def validation_step(self, batch: PoseBatch, batch_idx: int) -> Said:
        """Captions read by the model itself (`val/`), and beside the true ones (`val_tf/`)."""
        states = self.see(batch["image"])
        logits = self.continue_truth(states, batch["input_ids"], batch["attention_mask"])
        loss = caption_loss(HardTokens(), nn.Identity(), logits, batch["labels"])
        free = self.say(batch["image"], states, self.closer(batch), come_again=True)
        _, forced = self.reader.teacher_forced(states, batch["input_ids"], logits)
        self.validation.update(batch, loss, free.parsed, forced)
        return {"index": batch["index"], "captions": free.captions, "parsed": free.parsed}

    def on_validation_epoch_end(self) -> None:
        """Log every metric of both ways of reading."""
        self._log_results("val")

    def test_step(self, batch: PoseBatch, batch_idx: int) -> None:
        """The same of persons that were kept apart (`test/`, `test_tf/`)."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """The same of those."""
        self._log_results("test")

    def _log_results(self, name: str) -> None:
        self.log_dict(self.validation.results(name), sync_dist=False)  # of all processes already

    def predict_step(self, batch: PoseBatch, batch_idx: int) -> Predicted:
        """What the model says of a batch, for `Trainer.predict`."""
        said = self.say(batch["image"], closer=self.closer(batch), with_confidence=True)
        return {
            "index": batch["index"],
            "captions": said.captions,
            "xy_input": torch.from_numpy(xy_said(said.parsed)).float(),
            "confidence": torch.from_numpy(said.confidence).float(),
        }

    def set_mean_pose(self, mean_pose: Float[Tensor, "16 2"]) -> None:
        """Say what `mae_all` takes for a missing joint: the mean training pose, input pixels."""
        self.validation.set_mean_pose(mean_pose)

    def new_optimizer(self) -> torch.optim.Optimizer:
        """One over what is trained, at the highest rate."""
        trained = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        return make_optimizer(self.optimizer, trained, self.layer_decay, self.split_weight_decay)

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trained, and its schedule by steps.

        Raises:
            UserError: a schedule of a training that has no end.
        """
        optimizer = self.new_optimizer()
        if self.scheduler is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise UserError(
                "a schedule spans the whole training, and this one has no end: give the Trainer "
                "max_epochs or max_steps, or the captioner scheduler=None"
            )
        schedule = self.scheduler(optimizer, int(steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, and drop the gradients, which Lightning keeps beside the next step's forward."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip also where a fused optimizer meets bfloat16.

        Lightning refuses that in all mixed precision, for the sake of float16's scaler.
        """
        plugin = self.trainer.precision_plugin
        if getattr(plugin, "scaler", None) is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
        Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0.0, algorithm)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what its weights have learned from, and forget what others have said.

        Raises:
            UserError: its coordinates are of another frame, or its weights of other arguments.
        """
        check_parts(self.state_dict(), checkpoint["state_dict"])
        theirs = checkpoint.get("blippose", {}).get("frame")
        if theirs is not None and (differs := self.frame.difference(theirs)):
            raise UserError(f"a checkpoint of coordinates in another frame ({differs})")
        self.lineage = lineage_in(checkpoint)
        said = checkpoint.get("blippose", {}).get("decoding")
        decoding = None if said is None else from_record(said)
        if self._takes_decoding and decoding is not None:
            self.reader.decoding = decoding

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to load and to read the model without its run, plain data only.

        With it go the metrics logged last, which are of the last validation: of these weights in
        the best checkpoint, and of earlier or averaged ones in one to go on from.
        """
        logged = {} if self._trainer is None else self.trainer.callback_metrics
        # How it padded last is its state too, and depends on where batches are made.
        self.tokenizer.backend_tokenizer.no_padding()
        checkpoint["blippose"] = {
            "epoch": self.current_epoch,
            "metrics": {key: float(value) for key, value in logged.items()},
            "frame": self.frame.record(),
            "decoding": to_record(self.reader.decoding),
            **self.lineage.record(),
            "blip_config": self.blip.config.to_json_string(use_diff=False),
            "tokenizer": self.tokenizer.backend_tokenizer.to_str(),
        }
