"""Each joint asked by its own prompt: sixteen short captions in one batch, none reads another.

    [DEC] left wrist (     ->  201 , 160

Each is what `generate` says after that prompt, greedily, under a `prefix_allowed_tokens_fn` that
allows numbers and the comma alone. Two passes of 3 or 4 tokens where every number is one piece. As
good as reading the whole caption only for a model that has seen captions of single joints in
training (`data.single_joint`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat
from blippose.decoding.cached import CachedDecoder
from blippose.decoding.grammar import TokenGrammar, split_runs
from blippose.decoding.numbers import NumberChoice
from blippose.pose import NUM_JOINTS

_Pieces = tuple[int, ...]


@final
@dataclass(frozen=True)
class JointPrompt:
    """The fixed tokens of a caption of one joint.

    Args:
        before: from [DEC] to the bracket.
        between: x and y.
        behind: y.
    """

    before: _Pieces
    between: _Pieces
    behind: _Pieces

    @staticmethod
    def of(
        tokenizer: BertTokenizer, caption_format: CaptionFormat, number: _Pieces, joint: int
    ) -> JointPrompt:
        """That of a joint, as the tokenizer writes its caption; `number` is what 0 becomes."""
        xy_input = np.full((NUM_JOINTS, 2), np.nan)
        xy_input[joint] = caption_format.dequantize(np.zeros(2, dtype=np.int64))
        tokens = tokenizer(caption_format.encode(xy_input)).input_ids
        tokens[0] = tokenizer.bos_token_id  # `generate` starts from [DEC], not [CLS]
        return JointPrompt(*split_runs(tokens, number))


@torch.no_grad()
def prompted_numbers(
    blip: BlipForConditionalGeneration,
    grammar: TokenGrammar,
    prompts: Sequence[JointPrompt],
    image: Float[Tensor, "batch patch width"],
    *,
    with_probability: bool = False,
) -> tuple[Int[Tensor, "batch 16 2"], Float[Tensor, "batch 16 2 number"] | None]:
    """The numbers of each joint after its own prompt, and how likely each number was.

    Args:
        blip: in evaluation mode.
        grammar: of whole captions.
        prompts: of the joints, in id order.
        image: what the vision tower says of each image.
        with_probability: also say how likely each number was, that of y after the x that is said.
    """
    depth = max(map(len, grammar.numbers))
    longest = max(len(prompt.before) + len(prompt.between) for prompt in prompts)
    decoder = CachedDecoder(blip, image, longest + 2 * depth, per_image=len(prompts))
    choice = NumberChoice(grammar, decoder, image.device)
    row = torch.arange(len(prompts) * len(image), device=image.device)
    root, length = torch.zeros_like(row), torch.zeros_like(row)
    fed = [prompt.before for _ in image for prompt in prompts]
    numbers, log_p = [], []
    for ends in ([p.between[0] for p in prompts], [p.behind[0] for p in prompts]):
        end = torch.tensor(ends, device=image.device).repeat(len(image))
        hidden, length = _read(decoder, fed, length)
        node, _ = choice.step(hidden, root, end)
        numbers.append(choice.say_rest(node, row, length, end))
        if with_probability:
            log_p.append(choice.log_probability(hidden, row, length, end))
        between = [prompt.between for _ in image for prompt in prompts]
        said = numbers[-1].tolist()
        fed = [grammar.numbers[n] + behind for n, behind in zip(said, between, strict=True)]
    shape = (len(image), len(prompts), 2, -1)
    found = torch.stack(log_p, dim=1).view(shape) if with_probability else None
    return torch.stack(numbers, dim=1).view(shape[:3]), found


def _read(
    decoder: CachedDecoder, fed: Sequence[_Pieces], length: Int[Tensor, " row"]
) -> tuple[Float[Tensor, "row width"], Int[Tensor, " row"]]:
    """What the decoder thinks after the tokens of each row, and how many it has now.

    What shorter rows are padded with stands where their next tokens will, and is forgotten then.
    """
    num_fed = torch.tensor([len(pieces) for pieces in fed], device=length.device)
    width = max(map(len, fed))
    padded = [[*pieces, *[0] * (width - len(pieces))] for pieces in fed]
    hidden = decoder.read(torch.tensor(padded, device=length.device), length)
    return hidden[torch.arange(len(fed), device=length.device), num_fed - 1], length + num_fed
