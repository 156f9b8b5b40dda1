"""BLIP's attention through torch's fused kernels, which never hold a map of tokens by tokens.

In bfloat16 on a processor through plain products, which take half the time there and less.
transformers has only the eager matrix products for BLIP. Where maps are asked for
(`output_attentions=True`), dropout draws, or a cache grows, the eager path does it. A vision
layer's norm is given to its attention, which computes it again (`computed_again.py`).
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own convention
from transformers.models.blip.modeling_blip import BlipAttention
from transformers.models.blip.modeling_blip_text import BlipTextSelfAttention

# Private, but the one place that knows whether somebody records maps: BLIP's text layers do not
# hand `output_attentions` down to their attention.
from transformers.utils.output_capturing import _active_collector

from blippose.computed_again import projected


# Plain types: where torch compiles a caller, jaxtyping's check of a traced tensor fails, whatever
# its shape (`test_a_compiled_step_is_the_same`).
def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Of each query the mean of `value`, weighted by how its key fits: float[B, H, S, D].

    Args:
        query: float[B, H, S, D], what is asked for; H heads of depth D.
        key: float[B, H, T, D], what is there; products with it are divided by the root of D.
        value: float[B, H, T, D], what it says.
        mask: what broadcasts to [B, H, S, T]: which tokens a query may look at, as truths or as
            what is added to the products.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        is_kept = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -torch.inf) if is_kept else scores + mask
    context: Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
    return context


@final
class VisionAttention(BlipAttention):
    """Of patches."""

    def forward(
        self, hidden_states: Tensor, norm: nn.Module | None = None, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        """As the stock layer's, of `norm(hidden_states)` where a norm is given."""
        norm = norm or nn.Identity()
        if _records_maps() or _drops(self):
            output: tuple[Tensor, Any] = super().forward(norm(hidden_states), **kwargs)
            return output
        qkv = projected(self.qkv, norm, hidden_states)
        heads = qkv.view(*qkv.shape[:-1], 3, self.num_heads, self.head_dim)  # (B, T, 3, H, D)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        context = attend(query, key, value)
        return self.projection(context.transpose(1, 2).flatten(2)), None


@final
class TextAttention(BlipTextSelfAttention):
    """Of tokens to tokens, or to patches where `encoder_hidden_states` are given."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Any]:
        """As the stock layer's."""
        if past_key_values is not None or _records_maps() or _drops(self):
            output: tuple[Tensor, Any] = super().forward(
                hidden_states,
                attention_mask,
                encoder_hidden_states,
                encoder_attention_mask,
                past_key_values,
                **kwargs,
            )
            return output
        states, mask = hidden_states, attention_mask  # of the eager path: 0 or the least float
        if encoder_hidden_states is not None:
            states, mask = encoder_hidden_states, encoder_attention_mask
        query, key, value = (
            project(of).unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)
            for project, of in (
                (self.query, hidden_states),
                (self.key, states),
                (self.value, states),
            )
        )  # (B, H, T, D)
        context = attend(query, key, value, mask)
        return context.transpose(1, 2).flatten(2), None


def _records_maps() -> bool:
    recorded = _active_collector.get() or {}  # type: ignore[no-untyped-call]  # not annotated
    return "attentions" in recorded or "cross_attentions" in recorded


def _drops(attention: Any) -> bool:
    return bool(attention.training and attention.dropout.p > 0)
