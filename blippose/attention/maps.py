"""The decoder's attention over finished captions, from tokens to joints, a few images at a time.

One more pass of the text decoder reads a whole caption that the model wrote before. Attention is
causal, so that each row is what it was when the caption was written. Knows nothing of truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.attention.segments import Segments
from blippose.caption import CaptionFormat, ParsedCaption
from blippose.decoding import ClipNormalization, TokenGrammar, free_tokens

# When a joint's numbers are looked at: one token before each, where the model says which number
# it will be, and at the numbers themselves, which it reads to go on.
STEPS = ("written", "read")
_BYTES = 2**28  # of maps and logits that one pass of the decoder may hold


@final
@dataclass(frozen=True, eq=False)
class Attention:
    """Of a few captions, by layer and head. What belongs to a joint without tokens is NaN.

    Args:
        self_joint: how a joint's tokens share their attention, on average: the first entry is
            what goes to no joint ([DEC]), the others what goes to each joint. Rows sum to 1.
        self_entropy: mean entropy of the joint's tokens over the tokens before them, bits.
        cross: mean attention of the joint's numbers on [CLS] and the patches, at both `STEPS`.
        uniform_joint, uniform_entropy: the same where all tokens so far are looked at alike.
        parsed: what the captions say.
        captions: as the model wrote them.
    """

    self_joint: Float[Tensor, "batch layer head 16 17"]
    self_entropy: Float[Tensor, "batch layer head 16"]
    cross: Float[Tensor, "batch 2 layer head 16 patch"]
    uniform_joint: Float[Tensor, "batch 16 17"]
    uniform_entropy: Float[Tensor, "batch 16"]
    parsed: list[ParsedCaption]
    captions: list[str]


@final
class AttentionReader:
    """Writes captions of inputs and reads them again, attention kept.

    Args:
        blip: in evaluation mode.
        tokenizer: its tokenizer.
        caption_format: of its captions.
    """

    def __init__(
        self,
        blip: BlipForConditionalGeneration,
        tokenizer: BertTokenizer,
        caption_format: CaptionFormat,
    ) -> None:
        self.blip, self.tokenizer, self.caption_format = blip, tokenizer, caption_format
        self.grammar = TokenGrammar.of(tokenizer, caption_format)
        self._normalization = ClipNormalization().to(blip.device)

    @property
    def num_layers(self) -> int:
        """Layers of the text decoder."""
        return int(self.blip.text_decoder.config.num_hidden_layers)

    @property
    def num_heads(self) -> int:
        """Heads a layer."""
        return int(self.blip.text_decoder.config.num_attention_heads)

    @torch.no_grad()
    def __call__(self, image: UInt8[Tensor, "batch 3 size size"]) -> Iterator[Attention]:
        """What the decoder looks at in each image, in their order, as many at once as fit."""
        pixels = self._normalization(image.to(self.blip.device))
        states = self.blip.vision_model(pixel_values=pixels)[0]  # (B, 1 + P, W)
        tokens = free_tokens(self.blip, self.grammar, states, self.grammar.longest)
        num_rows = self._num_rows(tokens.shape[1], states.shape[1])
        for first in range(0, len(tokens), num_rows):
            part = slice(first, first + num_rows)
            with torch.no_grad():  # a generator's callers have their own mode
                yield self._read(tokens[part], states[part])

    def _num_rows(self, length: int, num_patches: int) -> int:
        """Images whose maps fit into memory together."""
        maps = self.num_layers * self.num_heads * length * (length + num_patches)
        logits = length * self.blip.text_decoder.config.vocab_size
        return max(1, _BYTES // (4 * (maps + logits)))

    def _read(
        self, tokens: Int[Tensor, "batch length"], states: Float[Tensor, "batch patch width"]
    ) -> Attention:
        output: Any = self.blip.text_decoder(
            input_ids=tokens,
            attention_mask=(tokens != self.grammar.pad).long(),
            encoder_hidden_states=states,
            output_attentions=True,
            use_cache=False,
        )
        captions = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        parsed = [self.caption_format.decode(caption) for caption in captions]
        segments = Segments.of(tokens, self.tokenizer, self.caption_format)
        return joint_attention(
            segments, output.attentions, output.cross_attentions, parsed, captions
        )


def joint_attention(
    segments: Segments,
    self_maps: tuple[Tensor, ...],
    cross_maps: tuple[Tensor, ...],
    parsed: list[ParsedCaption],
    captions: list[str],
) -> Attention:
    """From tokens to joints.

    Args:
        segments: of the captions.
        self_maps: (batch, head, token, token) of each layer; a row's tokens sum to 1.
        cross_maps: (batch, head, token, patch) of each layer, [CLS] first.
        parsed: what the captions say.
        captions: as they were written.
    """
    members = segments.members()  # (B, 16, T)
    outside = ~members.any(dim=1, keepdim=True)
    keys = torch.cat([outside, members], dim=1).to(self_maps[0].dtype)  # (B, 17, T)
    queries = _mean_over(members, self_maps[0])  # (B, 16, T)
    is_number = members & segments.is_number[:, None]
    steps = torch.stack([_one_before(is_number), is_number], dim=1)  # (B, 2, 16, T), as STEPS
    numbers = _mean_over(steps, cross_maps[0])
    uniform = _uniform(self_maps[0])  # (1, T, T)
    return Attention(
        self_joint=torch.stack([_summed(queries, each, keys) for each in self_maps], dim=1),
        self_entropy=torch.stack([_entropy(queries, each) for each in self_maps], dim=1),
        cross=torch.stack(
            [torch.einsum("bsjt,bhtp->bshjp", numbers, each) for each in cross_maps], dim=2
        ),
        uniform_joint=_summed(queries, uniform[:, None], keys)[:, 0],
        uniform_entropy=_entropy(queries, uniform[:, None])[:, 0],
        parsed=parsed,
        captions=captions,
    )


def _mean_over(members: Tensor, like: Tensor) -> Tensor:
    """Weights that average over the members; NaN where there is none."""
    weights = members.to(like.dtype)
    return weights / weights.sum(dim=-1, keepdim=True)


def _one_before(marked: Tensor) -> Tensor:
    """The token before each marked one; before the first there is none."""
    return torch.nn.functional.pad(marked[..., 1:], (0, 1))


def _summed(queries: Tensor, attention: Tensor, keys: Tensor) -> Tensor:
    """Mean over a joint's tokens of what they give to all tokens of another: (B, H, 16, 17)."""
    return queries[:, None] @ (attention @ keys.transpose(1, 2)[:, None])


def _entropy(queries: Tensor, attention: Tensor) -> Tensor:
    """Mean over a joint's tokens of the entropy of their attention, bits: (B, H, 16)."""
    entropy = torch.special.entr(attention).sum(dim=-1) / torch.log(torch.tensor(2.0))
    return torch.einsum("bjt,bht->bhj", queries, entropy.expand(len(queries), -1, -1))


def _uniform(like: Tensor) -> Float[Tensor, "1 length length"]:
    """Every token so far alike."""
    allowed = torch.ones_like(like[0, 0]).tril()
    return (allowed / allowed.sum(dim=-1, keepdim=True))[None]
