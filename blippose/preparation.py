"""BLIP made ready to train: whether it fits its tokenizer, and what of it learns, and how.

Knows nothing of the training itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.caption import CaptionFormat
from blippose.decoding.grammar import TokenGrammar
from blippose.errors import UserError
from blippose.lora import add_lora
from blippose.own_layers import with_own_layers
from blippose.spelling import spelled


def prepare(
    blip: BlipForConditionalGeneration,
    *,
    dropout: float | None,
    freeze_vision: bool,
    lora_rank: int,
    has_new_tokens: bool,
    checkpoint_layers: bool,
    compiled: bool,
) -> None:
    """Change `blip` in place; `PoseCaptioner` says what each is.

    With LoRA the whole table of tokens, which is the head too, is trained beside the additions
    where tokens are new.

    Raises:
        UserError: a value that cannot be, or peft is not installed.
    """
    if lora_rank < 0:
        raise UserError(f"captioner.lora_rank={lora_rank}: expected 0 or more")
    if dropout is not None:
        _set_dropout(blip, dropout)
    if lora_rank:
        add_lora(blip, lora_rank)
        if has_new_tokens:
            blip.text_decoder.bert.embeddings.word_embeddings.requires_grad_(True)
    if freeze_vision:
        blip.vision_model.requires_grad_(False)
    with_own_layers(blip)
    if checkpoint_layers:
        blip.activation_checkpointing_enable()
    if compiled:
        blip.vision_model.compile()
        blip.text_decoder.bert.compile()


def check_length(tokenizer: BertTokenizer, caption_format: CaptionFormat, most: int) -> None:
    """Refuse captions that are longer than a decoder's `most` tokens, before it is loaded.

    Raises:
        UserError: they are; also a tokenizer without the format's location tokens.
    """
    length = TokenGrammar.of(tokenizer, caption_format).longest
    if length > most:
        raise UserError(
            f"model.caption.num_bins={spelled(caption_format.num_bins)}: captions take up to "
            f"{length} tokens, and the model has max_position_embeddings = {most}; set fewer "
            "bins, or model.caption.location_tokens=true, of which one is a number"
        )


def check_fit(
    blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, input_size: int, length: int
) -> None:
    """BLIP, tokenizer and captions belong together, or captions would start or end wrongly.

    Args:
        blip: the model.
        tokenizer: the captions'.
        input_size: side of the images, px.
        length: of the longest caption, tokens.

    Raises:
        UserError: they do not.
    """
    text, vision = blip.text_decoder.config, blip.vision_model.config
    checks = (
        ("image_size", vision.image_size, input_size),
        ("vocab_size", text.vocab_size, max(text.vocab_size, len(tokenizer))),
        ("bos_token_id", text.bos_token_id, tokenizer.bos_token_id),
        ("sep_token_id", text.sep_token_id, tokenizer.sep_token_id),
        ("pad_token_id", text.pad_token_id, tokenizer.pad_token_id),
        (
            "max_position_embeddings",
            text.max_position_embeddings,
            max(text.max_position_embeddings, length),
        ),
    )
    for name, found, wanted in checks:
        if found != wanted:
            raise UserError(
                f"BLIP has {name} = {found}, its tokenizer and captions need {wanted}: "
                "use the model= group that fits them"
            )


def check_parts(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """A captioner has what a checkpoint's had, or none could load.

    Args:
        own: its weights by their names.
        theirs: the checkpoint's.

    Raises:
        UserError: one has additions that the other has not, or a head of other cells.
    """
    ours, others = list(own), list(theirs)
    for mark, argument in ((".lora_A.", "lora_rank"), ("patch_head.", "patch_weight")):
        has, had = (any(mark in name for name in names) for names in (ours, others))
        if has != had:
            raise UserError(
                f"a checkpoint of a captioner {'with' if had else 'without'} {argument}, and this "
                f"one has {'it' if has else 'none'}: give it the {argument} that the other had"
            )
    head = "patch_head.bias"
    if head in own and own[head].shape != theirs[head].shape:
        raise UserError(
            "a checkpoint of a captioner with other patch_cells: give it those that the other had"
        )


def _set_dropout(blip: BlipForConditionalGeneration, share: float) -> None:
    """Have each dropout of `blip` drop `share`."""
    if not 0 <= share < 1:
        raise UserError(f"captioner.dropout={share}: expected 0 to below 1, or null")
    for module in blip.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
