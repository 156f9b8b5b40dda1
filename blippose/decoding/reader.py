"""What a model says of images, read: captions, poses in its input, how sure it is of joints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat, ParsedCaption, xy_said
from blippose.decoding.close_up import CloseUps, Look, LookAgain
from blippose.decoding.confidence import expected_xy, mass_within
from blippose.decoding.grammar import TokenGrammar
from blippose.decoding.modes import Decoded, Decoding, Free, Writer, number_log_probability
from blippose.decoding.views import AskedView, asked_views, averaged, most_likely
from blippose.decoding.written import written
from blippose.errors import DivergedError, UserError
from blippose.pose import Pose

TrueCaptions = Callable[[AskedView], Int[Tensor, "batch length"]]


@dataclass(frozen=True, eq=False)
class Reading:
    """What was said of a batch of images.

    Args:
        tokens: [DEC] ... [SEP] [PAD]...
        captions: the same as text.
        parsed: the pose of each in input pixels, and why joints are missing. With a decoding by
            expectation its joints lie between the bins that are written.
        confidence: of each joint, raw, 0 to 1 (`decoding.confidence`); None unless asked for.
        truncated: whose caption reached the longest length before its end; of several views that
            of the first, of two looks that of the second.
        close_ups: what was looked at again; None of one look.
    """

    tokens: Int[Tensor, "batch length"]
    captions: tuple[str, ...]
    parsed: tuple[ParsedCaption, ...]
    confidence: Float[np.ndarray, "batch 16"] | None
    truncated: Bool[np.ndarray, " batch"]
    close_ups: CloseUps | None = None


@final
class CaptionReader:
    """Lets a model say what it sees, and reads it.

    Args:
        blip: the model; in evaluation mode while it is asked.
        tokenizer: the model's.
        caption_format: of its captions.
        decoding: how captions are decoded.

    Raises:
        UserError: a decoding by name, or one that was not made.
    """

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        tokenizer: BertTokenizer,
        caption_format: CaptionFormat,
        decoding: Decoding | None = None,
    ) -> None:
        if isinstance(decoding, str | type):
            raise UserError(
                f"decoding={decoding!r}: expected one that was made, as "
                "blippose.decoding.Parallel(expectation=True)"
            )
        grammar = TokenGrammar.of(tokenizer, caption_format)
        self.writer = Writer(blip, tokenizer, caption_format, grammar)
        self.decoding = Free() if decoding is None else decoding

    @torch.no_grad()
    def read(
        self,
        look: Look,
        closer: LookAgain | None = None,
        *,
        with_confidence: bool = False,
    ) -> Reading:
        """What the model says of images.

        Args:
            look: what its vision tower says of a view of them; called once for each that the
                decoding asks for, or before a second look for the image as it is.
            closer: shows them again, close up, if the decoding asks for that; None: there is one
                look at what there is.
            with_confidence: also say how sure it is.

        Raises:
            DivergedError: the vision tower says what is no number; a pose would be read of it.
        """
        writer, views, close_ups = self.writer, self._views, None
        if closer is not None and self.decoding.close_up:
            close_ups = closer(self._found(look))
            together, has_end = self._together(views, close_ups.look)
            decoded = self._written(close_ups.read_back(together, self._bin_px), has_end)
        elif len(views) == 1:
            with_probability = with_confidence or self.decoding.expectation
            states = _finite(look(views[0]))
            decoded = self.decoding(writer, states, with_probability=with_probability)
        else:
            decoded = self._written(*self._together(views, look))
        captions, parsed = self._read(decoded)
        log_p, confidence = decoded.log_probability, None
        if with_confidence and log_p is not None:
            mass = mass_within(_numbers(log_p), _xy(parsed, log_p), writer.caption_format)
            confidence = mass.cpu().double().numpy()
        ends = (decoded.tokens == writer.grammar.sep).any(dim=1)
        return Reading(
            decoded.tokens,
            captions,
            parsed,
            confidence,
            (~ends).cpu().numpy(),
            close_ups,
        )

    @torch.no_grad()
    def teacher_forced(
        self,
        states: Float[Tensor, "batch patch width"],
        input_ids: Int[Tensor, "batch length"],
        logits: Float[Tensor, "batch length vocabulary"],
    ) -> tuple[tuple[str, ...], tuple[ParsedCaption, ...]]:
        """The model's choice of each next token when it is shown the true ones before it.

        As captions and as poses in input pixels, by expectation if the decoding is; of one look at
        the image alone, whatever else the decoding asks (`teacher_forced_in_all_looks`).

        Args:
            states: what its vision tower says of the images.
            input_ids: the true captions, [DEC] ... [SEP] [PAD]...
            logits: of each token after those before it, as the model gave them for `input_ids`.
        """
        writer, pad = self.writer, self.writer.grammar.pad
        said = logits[:, :-1].argmax(-1).masked_fill(input_ids[:, 1:] == pad, pad)
        if not self.decoding.expectation:
            return self._parsed(said)
        log_p = number_log_probability(writer, states, input_ids, logits)
        return self._read(Decoded(said, log_p))

    @torch.no_grad()
    def teacher_forced_in_all_looks(
        self, look: Look, close_ups: CloseUps | None, true_captions: TrueCaptions
    ) -> tuple[ParsedCaption, ...]:
        """Poses that it says beside the truth when it looks as it does free-running.

        Each view that the decoding asks for is shown with its own true caption, and what the
        views say is put together as it is without the truth: of numbers alone, so that each true
        joint gets some.

        Args:
            look: as for `read`.
            close_ups: what was looked at again then (`Reading.close_ups`).
            true_captions: of views of the images or, where there are any, of the close-ups: [DEC]
                ... [SEP] [PAD]... A joint outside is written on the border.
        """
        answers = []
        for view in self._views:
            states = _finite((look if close_ups is None else close_ups.look)(view))
            log_p = number_log_probability(self.writer, states, true_captions(view))
            answers.append(view.read_back(log_p, self._bin_px))
        log_p = averaged(answers)
        if close_ups is not None:
            log_p = close_ups.read_back(log_p, self._bin_px)
        has_end = torch.ones(len(log_p), dtype=torch.bool, device=log_p.device)
        return self._read(self._written(log_p, has_end))[1]

    def _read(self, decoded: Decoded) -> tuple[tuple[str, ...], tuple[ParsedCaption, ...]]:
        """Captions, and poses: between bins where the decoding is by expectation."""
        captions, parsed = self._parsed(decoded.tokens)
        log_p = decoded.log_probability
        if log_p is None or not self.decoding.expectation:
            return captions, parsed
        xy_written = _xy(parsed, log_p)
        xy = expected_xy(_numbers(log_p), xy_written, self.writer.caption_format)
        return captions, tuple(map(_moved, parsed, xy.cpu().double().numpy()))

    def _parsed(
        self, tokens: Int[Tensor, "batch length"]
    ) -> tuple[tuple[str, ...], tuple[ParsedCaption, ...]]:
        captions = tuple(self.writer.tokenizer.batch_decode(tokens, skip_special_tokens=True))
        return captions, tuple(map(self.writer.caption_format.decode, captions))

    @property
    def _bin_px(self) -> float:
        return self.writer.caption_format.bin_px

    @property
    def _views(self) -> tuple[AskedView, ...]:
        patch_px = self.writer.blip.vision_model.config.patch_size
        return asked_views(self.decoding.test_views, int(patch_px))  # type: ignore[arg-type]  # square

    def _found(self, look: Look) -> Float[np.ndarray, "batch 16 2"]:
        """The persons, as one look at the whole finds them, input pixels."""
        states = _finite(look(AskedView()))
        first = self.decoding(self.writer, states, with_probability=False)
        return xy_said(self._parsed(first.tokens)[1])

    def _together(
        self, views: tuple[AskedView, ...], look: Look
    ) -> tuple[Float[Tensor, "batch 16 2 number"], Bool[Tensor, " batch"]]:
        """What the views say together, and whose first caption ends."""
        sep, answers = self.writer.grammar.sep, []
        has_end: list[Tensor] = []
        for first in range(0, len(views), 2):  # two at once cost less than twice
            some = views[first : first + 2]
            states = _finite(torch.cat([look(view) for view in some]))
            said = self.decoding(self.writer, states, with_probability=True)
            assert said.log_probability is not None
            for view, log_p in zip(some, said.log_probability.chunk(len(some)), strict=True):
                answers.append(view.read_back(log_p, self._bin_px))
            has_end += (said.tokens == sep).any(dim=1).chunk(len(some))
        return averaged(answers), has_end[0]

    def _written(
        self,
        log_p: Float[Tensor, "batch 16 2 number"],
        has_end: Bool[Tensor, " batch"],
    ) -> Decoded:
        """As captions. One that was cut keeps no end."""
        writer = self.writer
        tokens = written(writer.tokenizer, writer.caption_format, *most_likely(log_p))
        tokens[(tokens == writer.grammar.sep) & ~has_end[:, None]] = writer.grammar.pad
        return Decoded(tokens, log_p)


def _finite(states: Float[Tensor, "batch patch width"]) -> Float[Tensor, "batch patch width"]:
    if not states.isfinite().all():
        raise DivergedError(
            "the model says nan of an image: its weights are no numbers, as after a training that "
            "diverged"
        )
    return states


def _numbers(log_p: Float[Tensor, "batch 16 2 number"]) -> Float[Tensor, "batch 16 2 number"]:
    """Something to compute with where a caption has no joint; it is left out afterwards."""
    return log_p.nan_to_num(neginf=-torch.inf)


def _xy(parsed: tuple[ParsedCaption, ...], like: Tensor) -> Float[Tensor, "batch 16 2"]:
    return torch.from_numpy(xy_said(parsed)).to(like)


def _moved(parsed: ParsedCaption, xy_input: Float[np.ndarray, "16 2"]) -> ParsedCaption:
    return replace(parsed, pose=Pose.of(xy_input))
