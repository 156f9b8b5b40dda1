"""Loading BLIP: what is quietly wrong elsewhere is an error here."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import BertTokenizer, BlipForConditionalGeneration

from blippose.blip import load_blip, load_tokenizer
from blippose.errors import UserError

Architecture = dict[str, dict[str, Any]]


@pytest.fixture
def folder(blip: BlipForConditionalGeneration, tmp_path: Path) -> Path:
    blip.save_pretrained(tmp_path)
    return tmp_path


def reconfigure(folder: Path, part: str, **settings: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config[part].update(settings)
    path.write_text(json.dumps(config))


def test_random_vision_weights_are_large_enough_to_see(blip: BlipForConditionalGeneration) -> None:
    weights = [p for p in blip.vision_model.parameters() if p.dim() > 1]
    for weight in weights:
        assert 0.012 < weight.detach().std() < 0.028


def test_another_init_range_can_be_asked_for(architecture: Architecture) -> None:
    vision = {**architecture["vision"], "initializer_range": 0.5}
    blip = load_blip("random", {**architecture, "vision": vision})
    assert blip.vision_model.embeddings.patch_embedding.weight.detach().std() > 0.4


def test_random_weights_without_an_architecture_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.architecture"):
        load_blip("random")


def test_an_impossible_architecture_is_refused(architecture: Architecture) -> None:
    text = {**architecture["text"], "num_attention_heads": 5}
    with pytest.raises(UserError, match="not a multiple of the number of attention heads"):
        load_blip("random", {**architecture, "text": text})


def test_saved_weights_come_back_in_float32(
    blip: BlipForConditionalGeneration, folder: Path, architecture: Architecture
) -> None:
    blip.bfloat16().save_pretrained(folder)
    loaded = load_blip(str(folder), architecture)
    for name, weight in blip.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32
        assert torch.equal(loaded.state_dict()[name], weight.float())


def test_eight_text_heads_are_refused_where_twelve_are_asked(tmp_path: Path) -> None:
    shared = {"hidden_size": 24, "intermediate_size": 8, "num_hidden_layers": 1}
    vision = {**shared, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    text = {**shared, "vocab_size": 8, "encoder_hidden_size": 24, "num_attention_heads": 12}
    load_blip("random", {"vision": vision, "text": text}).save_pretrained(tmp_path)
    reconfigure(tmp_path, "text_config", num_attention_heads=8)  # the same shapes
    load_blip(str(tmp_path))
    with pytest.raises(UserError, match=r"text num_attention_heads = 8, expected 12"):
        load_blip(str(tmp_path), {"vision": vision, "text": text})


def test_an_unknown_setting_is_no_match(folder: Path) -> None:
    with pytest.raises(UserError, match="text num_haeds = None, expected 12"):
        load_blip(str(folder), {"text": {"num_haeds": 12}})


def test_weights_that_the_config_has_no_tensors_for_are_refused(folder: Path) -> None:
    reconfigure(folder, "text_config", num_hidden_layers=2)
    with pytest.raises(UserError, match=r"lack 26 tensors.*would be random"):
        load_blip(str(folder))


def test_weights_of_other_shapes_are_refused(folder: Path) -> None:
    reconfigure(folder, "text_config", intermediate_size=48)
    with pytest.raises(UserError, match="cannot load BLIP weights"):
        load_blip(str(folder))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_cut_off_file_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot load BLIP weights from .*model\.weights=FOLDER"):
        load_blip(str(folder))


@pytest.mark.parametrize("load", [load_blip, load_tokenizer])
def test_a_folder_that_is_not_there_is_refused(load: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no/such") as caught:
        load(str(tmp_path / "no/such"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("load", [load_blip, load_tokenizer])
def test_an_empty_folder_is_refused(load: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=tmp_path.name):
        load(str(tmp_path))


def test_a_cut_off_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot load a tokenizer.*model\.tokenizer=FOLDER"):
        load_tokenizer(str(tmp_path))


def test_plain_bert_gets_blips_special_tokens(bert_tokenizer: BertTokenizer) -> None:
    assert bert_tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [30522, 30523]
    assert bert_tokenizer.bos_token_id == 30522
    assert len(bert_tokenizer) == 30524


def test_a_tokenizer_that_reads_everything_as_unknown_is_refused(tmp_path: Path) -> None:
    trap = BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4})
    trap.save_pretrained(tmp_path)
    assert trap.tokenize("ankle") == ["[UNK]"]
    with pytest.raises(UserError, match="knows no words"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("load", [load_blip, load_tokenizer])
def test_retries_of_the_hub_are_not_told(
    load: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(hub, "level", hub.level)  # put back at the end
    hub.setLevel(logging.WARNING)
    client = logging.getLogger("huggingface_hub.utils._http")
    assert client.isEnabledFor(logging.WARNING)
    load("tiny")
    assert not client.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("load", [load_blip, load_tokenizer])
def test_a_hub_out_of_reach_is_asked_once(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def out_of_reach(name: str, **_: Any) -> str:
        calls.append(name)
        raise LocalEntryNotFoundError("Got: ConnectError: no network\nand more")

    monkeypatch.setattr("blippose.blip.snapshot_download", out_of_reach)
    with pytest.raises(UserError, match=r"'some/model'.*hub name within reach.*no network"):
        load("some/model")
    assert calls == ["some/model"]


@pytest.mark.parametrize("load", [load_blip, load_tokenizer])
def test_a_connection_that_breaks_is_one_line(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP client's own errors are no OSError."""

    class ProtocolError(Exception):
        pass

    def broken(name: str, **_: Any) -> str:
        raise ProtocolError("peer closed connection")

    monkeypatch.setattr("blippose.blip.snapshot_download", broken)
    with pytest.raises(UserError, match=r"'some/model'.*peer closed connection"):
        load("some/model")


def test_settings_without_weights_are_told_as_such(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cache holds them where the network went before the weights came."""
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr("blippose.blip.snapshot_download", lambda *_, **__: str(folder))
    with pytest.raises(UserError, match=r"has no weights, or cannot be reached for them"):
        load_blip("some/model")


@pytest.mark.parametrize("has_new_weights", [True, False], ids=["safetensors", "bin alone"])
def test_of_a_hub_one_format_of_the_weights_is_fetched(
    blip: BlipForConditionalGeneration,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_new_weights: bool,
) -> None:
    torch.save(blip.state_dict(), folder / "pytorch_model.bin")
    if not has_new_weights:
        (folder / "model.safetensors").unlink()
    cache = folder / "cache"

    def fetch(name: str, allow_patterns: list[str], ignore_patterns: str) -> str:
        assert ignore_patterns == "*/*"
        cache.mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for path in folder.glob(pattern):
                shutil.copy(path, cache)
        return str(cache)

    monkeypatch.setattr("blippose.blip.snapshot_download", fetch)
    loaded = load_blip("some/model").state_dict()
    assert all(torch.equal(weight, loaded[name]) for name, weight in blip.state_dict().items())
    fetched = {path.suffix for path in cache.iterdir()} & {".safetensors", ".bin"}
    assert fetched == {".safetensors" if has_new_weights else ".bin"}


def test_loading_a_tokenizer_twice_adds_nothing(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert again.get_vocab() == tokenizer.get_vocab()
