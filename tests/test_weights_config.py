"""What config.json alone tells of weights, before anything is loaded or drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from blippose.blip import TINY
from blippose.cli import main
from blippose.errors import UserError
from blippose.weights_config import check_weights


def model_of(weights: str, **vision: Any) -> dict[str, Any]:
    config = json.loads((TINY / "config.json").read_text())
    architecture = {
        "vision": {"image_size": 96, "hidden_size": 192, **vision},
        "text": {"vocab_size": 9, "hidden_size": config["text_config"]["hidden_size"]},
    }
    return {
        "weights": weights,
        "tokenizer": "tiny",
        "caption": {"input_size": 96},
        "architecture": architecture,
    }


def test_weights_that_fit_are_no_error() -> None:
    for weights in ("tiny", "random", str(TINY)):
        check_weights(model_of(weights))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, r"holds no config\.json; expected a Hugging Face folder"),
        ("{", r"its config\.json cannot be read"),
        ("[]", "expected BLIP, got list"),
        ('{"model_type": "bert"}', "expected BLIP, got bert"),
        (
            '{"vision_config": {"hidden_size": 768}}',
            "have vision hidden_size = 768, expected 192 .model.architecture.vision.hidden_size.",
        ),
    ],
)
def test_a_folder_of_another_model_is_refused(
    tmp_path: Path, config: str | None, said: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=rf"model\.weights={tmp_path}: {said}"):
        check_weights(model_of(str(tmp_path)))


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [("random", "words cannot be random"), ("./nowhere", "no such folder")],
)
def test_a_tokenizer_that_is_not_there_is_refused(tokenizer: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"model\.tokenizer={tokenizer}: {said}"):
        check_weights({**model_of("tiny"), "tokenizer": tokenizer})


def test_how_weights_were_drawn_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vision_config": {"initializer_range": 1e-10}}')
    check_weights(model_of(str(tmp_path), initializer_range=0.02))


def test_what_config_json_leaves_out_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vision_config": {"patch_size": 16}}')
    check_weights(model_of(str(tmp_path)))


def test_a_hub_out_of_reach_is_told_in_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: Any) -> str:
        raise LocalEntryNotFoundError("a long story")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", away)
    with pytest.raises(UserError, match=r"model\.weights=some/model: .*hub is out of reach"):
        check_weights(model_of("some/model"))
    assert capsys.readouterr().out == "asking the hub for some/model ...\n"


def test_a_model_in_the_cache_needs_no_hub(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = str(TINY / "config.json")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: cached)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", None)
    with pytest.raises(UserError, match="have vision hidden_size = 192, expected 768"):
        check_weights(model_of("some/model", hidden_size=768))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.weights=./nowhere", "model.weights=./nowhere: no such folder"),
        ("model.weights=.", "model.weights=.: holds no config.json"),
        ("model.caption.input_size=64", "model.caption.input_size=64: BLIP has image_size = 96"),
        (
            "model.caption.num_bins=1000",
            "model.caption.num_bins=1000: captions take up to 191 tokens, and the model has",
        ),
    ],
)
def test_nothing_is_drawn_for_a_model_that_does_not_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    word: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "logger=csv", "data.synthetic.num_persons=3", word]) == 2
    assert f"blippose: {said}" in capfd.readouterr().err
    assert list(tmp_path.glob("data/*")) == []


def test_a_folder_that_is_not_there_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from blippose.cli import main; "
        "main(['train', 'logger=csv', 'model.weights=./nowhere']); "
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "[]\n"
    assert "no such folder" in done.stderr
