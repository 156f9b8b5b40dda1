"""Asks a model about one batch of persons: captions both ways, and what the answers count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from blippose.data import Collator, PoseBatch, PoseDataset
from blippose.evaluation.stored_predictions import PredictionRow, joints
from blippose.loss import IGNORED
from blippose.model import PoseCaptioner


@contextmanager
def asking(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, without gradients, on one thread of the processor; then as it was.

    Sums come out otherwise on two threads, in the last bits: one process with two of them, and two
    with one each, would not give the same digits. More processes make it faster.
    """
    was_training, num_threads = model.training, torch.get_num_threads()
    model.eval()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(num_threads)
        model.train(was_training)


def ask(
    captioner: PoseCaptioner, dataset: PoseDataset, collator: Collator, positions: range
) -> list[PredictionRow]:
    """What the model says of one batch, which the vision tower sees once."""
    samples = [dataset[position] for position in positions]
    batch = collator(samples)
    image = batch["image"].to(captioner.device)
    states = captioner.look(image)
    said = captioner.say(image, states, with_confidence=True)
    assert said.confidence is not None
    forced, coordinates, tokens = _teacher_forced(captioner, states, batch)
    return [
        PredictionRow(
            image=dataset.persons[position].image_name,
            index=sample.index,
            video=dataset.persons[position].video,
            caption=said.captions[i],
            truncated=bool(said.truncated[i]),
            reasons=tuple(None if reason is None else str(reason) for reason in parsed.reasons),
            xy_input=joints(parsed.pose.xy),
            xy_img=joints(sample.crop.to_img(parsed.pose.xy)),
            confidence=tuple(said.confidence[i].tolist()),
            teacher_forced_caption=forced[i],
            coordinate_tokens=coordinates[i],
            all_tokens=tokens[i],
        )
        for i, (position, sample, parsed) in enumerate(
            zip(positions, samples, said.parsed, strict=True)
        )
    ]


def _teacher_forced(
    captioner: PoseCaptioner, states: Float[Tensor, "batch patch width"], batch: PoseBatch
) -> tuple[list[str], list[tuple[int, int]], list[tuple[int, int]]]:
    """The model's choice of each next token when it is shown the true ones before it.

    As captions, and as counts of right and all: of the coordinates' tokens, and of every token.
    """
    output = captioner.blip.text_decoder(
        input_ids=batch["input_ids"].to(states.device),
        attention_mask=batch["attention_mask"].to(states.device),
        encoder_hidden_states=states,
        use_cache=False,
    )
    said = output.logits[:, :-1].argmax(-1).cpu()  # (B, T)
    shown = batch["labels"][:, 1:]
    every = shown != IGNORED
    coordinates = every & captioner.readback.numbers.cpu()[shown.clamp(min=0)]
    kept = said.masked_fill(~every, captioner.tokenizer.pad_token_id)
    captions = captioner.tokenizer.batch_decode(kept, skip_special_tokens=True)
    return captions, _right(said == shown, coordinates), _right(said == shown, every)


def _right(is_right: Tensor, among: Tensor) -> list[tuple[int, int]]:
    """Right and all of each row."""
    right, total = (is_right & among).sum(dim=1), among.sum(dim=1)
    return list(zip(right.tolist(), total.tolist(), strict=True))
