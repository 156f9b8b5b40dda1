"""Asks a model about one batch of persons: captions both ways, and what the answers count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from blippose.caption import ParsedCaption
from blippose.data import Collator, PoseBatch, PoseDataset, Sample
from blippose.decoding import AskedView, CloseUps, Look, LookAgain
from blippose.evaluation.stored_predictions import PredictionRow, joints
from blippose.loss import IGNORED
from blippose.model import PoseCaptioner
from blippose.pose import Pose


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
    """What the model says of one batch; its vision tower sees each view once."""
    samples = [dataset[position] for position in positions]
    batch = collator(samples)
    image = batch["image"].to(captioner.device)

    @cache
    def look(view: AskedView) -> Float[Tensor, "batch patch width"]:
        return captioner.look(view.of(image))

    states, closer = look(AskedView()), _remembering(captioner.closer(batch))
    said = captioner.reader.read(look, closer, with_confidence=True)
    assert said.confidence is not None
    input_ids = batch["input_ids"].to(captioner.device)
    attention_mask = batch["attention_mask"].to(captioner.device)
    logits = captioner.continue_truth(states, input_ids, attention_mask)
    captions, forced = captioner.reader.teacher_forced(states, input_ids, logits)
    in_all_looks = _in_all_looks(captioner, samples, collator, look, said.close_ups)
    coordinates, tokens = _right(captioner, batch, logits[:, :-1].argmax(-1).cpu())
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
            teacher_forced_caption=captions[i],
            teacher_forced_xy_input=joints(forced[i].pose.xy),
            teacher_forced_all_looks_xy_input=(
                None if in_all_looks is None else joints(in_all_looks[i].pose.xy)
            ),
            coordinate_tokens=coordinates[i],
            all_tokens=tokens[i],
        )
        for i, (position, sample, parsed) in enumerate(
            zip(positions, samples, said.parsed, strict=True)
        )
    ]


def _remembering(closer: LookAgain | None) -> LookAgain | None:
    if closer is None:
        return None

    def look_again(xy_input: Float[np.ndarray, "batch 16 2"]) -> CloseUps:
        close_ups = closer(xy_input)
        return replace(close_ups, look=cache(close_ups.look))

    return look_again


def _in_all_looks(
    captioner: PoseCaptioner,
    samples: Sequence[Sample],
    collator: Collator,
    look: Look,
    close_ups: CloseUps | None,
) -> tuple[ParsedCaption, ...] | None:
    """What it says beside the truth in as many looks as free-running; None where that is one."""
    if close_ups is None and captioner.reader.decoding.test_views == 1:
        return None
    parts = [one.crop for one in samples] if close_ups is None else close_ups.parts

    def true_captions(view: AskedView) -> Int[Tensor, "batch length"]:
        xy_view = [
            view.pose(part.to_input(one.pose_img.xy), part.size)
            for one, part in zip(samples, parts, strict=True)
        ]
        shown = [
            replace(one, pose_input=Pose.of(xy)) for one, xy in zip(samples, xy_view, strict=True)
        ]
        return collator(shown)["input_ids"].to(captioner.device)

    reader = captioner.reader
    return reader.teacher_forced_in_all_looks(look, close_ups, true_captions)


def _right(
    captioner: PoseCaptioner, batch: PoseBatch, said: Int[Tensor, "batch next"]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """How many next tokens are right, and all, of each person: of the coordinates', of every."""
    shown = batch["labels"][:, 1:]
    is_right = said == shown
    every = shown != IGNORED
    coordinates = every & captioner.readback.numbers.cpu()[shown.clamp(min=0)]
    return _counts(is_right, coordinates), _counts(is_right, every)


def _counts(is_right: Tensor, among: Tensor) -> list[tuple[int, int]]:
    right, total = (is_right & among).sum(dim=1), among.sum(dim=1)
    return list(zip(right.tolist(), total.tolist(), strict=True))
