"""LoRA: what is trained, and that checkpoints of it are read as a plain BLIP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIZE
from torch import Tensor

from blippose.blip import load_tokenizer
from blippose.caption import CaptionFormat
from blippose.errors import UserError
from blippose.export import export_checkpoint
from blippose.location_tokens import add_location_tokens, grow_vocabulary
from blippose.lora import is_addition, merged
from blippose.model import PoseCaptioner
from blippose.predictor import PosePredictor, load_checkpoint
from blippose.trained_weights import load_weights

pytest.importorskip("peft")


@pytest.fixture
def trained(make_captioner: Any, make_data: Any) -> PoseCaptioner:
    """With additions that are no longer 0."""
    captioner: PoseCaptioner = make_captioner(lora_rank=4)
    torch.manual_seed(0)
    for name, weight in captioner.named_parameters():
        if is_addition(name):
            torch.nn.init.normal_(weight, std=0.3)
    return captioner.eval()


def write(captioner: PoseCaptioner, path: Path) -> Path:
    checkpoint: dict[str, Any] = {"state_dict": captioner.state_dict()}
    captioner.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return path


def logits(blip: Any) -> Tensor:
    torch.manual_seed(1)
    pixels, tokens = torch.randn(2, 3, 32, 32), torch.randint(1, 60, (2, 20))
    with torch.no_grad():
        found: Tensor = blip(pixel_values=pixels, input_ids=tokens).logits
    return found


def test_only_additions_are_trained_and_they_begin_as_nothing(
    make_captioner: Any, blip: Any
) -> None:
    before = logits(blip)
    captioner = make_captioner(lora_rank=4)
    trained = [name for name, weight in captioner.named_parameters() if weight.requires_grad]
    assert trained
    assert all(is_addition(name) for name in trained)
    assert torch.equal(logits(captioner.blip), before)


def test_tokens_that_are_new_are_trained_beside_the_additions(
    blip: Any, tokenizer_folder: Path
) -> None:
    caption_format = CaptionFormat(SIZE, num_bins=64, location_tokens=True)
    tokenizer = load_tokenizer(str(tokenizer_folder))
    add_location_tokens(tokenizer, caption_format)
    grow_vocabulary(blip, tokenizer, caption_format)
    captioner = PoseCaptioner(blip, tokenizer, caption_format, torch.optim.AdamW, lora_rank=2)
    trained = [name for name, weight in captioner.named_parameters() if weight.requires_grad]
    [table] = [name for name in trained if not is_addition(name)]
    assert table == "blip.text_decoder.bert.embeddings.word_embeddings.weight"


def test_merged_weights_are_the_same_model(trained: PoseCaptioner, blip: Any) -> None:
    plain = merged(trained.blip.state_dict())
    fresh = type(blip)(blip.config)
    fresh.load_state_dict(plain)
    torch.testing.assert_close(logits(fresh.eval()), logits(trained.blip), rtol=1e-4, atol=1e-5)
    without = {key: value for key, value in plain.items() if not is_addition(key)}
    for key, weight in trained.blip.state_dict().items():
        if ".base_layer.weight" in key:
            without[key.replace(".base_layer.", ".")] = weight
    fresh.load_state_dict(without)
    assert not torch.allclose(logits(fresh), logits(trained.blip), atol=1e-2)


def test_a_checkpoint_is_predicted_with_and_exported_without_peft(
    trained: PoseCaptioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = logits(trained.blip)
    path = write(trained, tmp_path / "best.ckpt")
    monkeypatch.setitem(sys.modules, "peft", None)
    found = PosePredictor.of_checkpoint(load_checkpoint(path), path).blip
    torch.testing.assert_close(logits(found), expected, rtol=1e-4, atol=1e-5)
    export_checkpoint(path, tmp_path / "exported")
    again = PosePredictor.from_pretrained(tmp_path / "exported").blip
    torch.testing.assert_close(logits(again), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 2, 4])
def test_training_goes_on_from_a_checkpoint_with_other_additions(
    trained: PoseCaptioner, architecture: Any, rank: int, tmp_path: Path
) -> None:
    from blippose.blip import load_blip  # noqa: PLC0415

    path = write(trained, tmp_path / "best.ckpt")
    torch.manual_seed(5)
    other = PoseCaptioner(
        load_blip("random", architecture),
        trained.tokenizer,
        trained.caption_format,
        torch.optim.AdamW,
        lora_rank=rank,
    ).eval()
    load_weights(other, path)
    torch.testing.assert_close(logits(other.blip), logits(trained.blip), rtol=1e-4, atol=1e-5)


def test_additions_go_on_from_plain_weights(
    make_captioner: Any, architecture: Any, tmp_path: Path
) -> None:
    from blippose.blip import load_blip  # noqa: PLC0415

    plain = make_captioner().eval()
    path = write(plain, tmp_path / "best.ckpt")
    torch.manual_seed(5)
    other = PoseCaptioner(
        load_blip("random", architecture),
        plain.tokenizer,
        plain.caption_format,
        torch.optim.AdamW,
        lora_rank=2,
    ).eval()
    load_weights(other, path)
    torch.testing.assert_close(logits(other.blip), logits(plain.blip))


def test_without_peft_the_remedy_is_named(
    make_captioner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'blippose\[lora\]'"):
        make_captioner(lora_rank=4)


def test_a_negative_rank_is_refused(make_captioner: Any) -> None:
    with pytest.raises(UserError, match=r"lora_rank=-1: expected 0 or more"):
        make_captioner(lora_rank=-1)
