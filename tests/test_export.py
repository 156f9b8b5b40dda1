"""Exports: plain Hugging Face folders that say token for token what the predictor says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L  # noqa: N812  the field's own convention
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import BlipForConditionalGeneration

from blippose.caption import CaptionFormat
from blippose.cli import main
from blippose.decoding import Constrained, Free, Parallel, TokenGrammar
from blippose.errors import UserError
from blippose.export import export_checkpoint
from blippose.images import read_image
from blippose.lineage import Lineage
from blippose.model import PoseCaptioner
from blippose.model_card import _example
from blippose.predictor import PosePredictor
from blippose.synthetic.scene import render_frame

METRICS = {"val/mae": 1.5, "val/acc_5px": 0.75, "val_tf/mae": 1.25}


def save(captioner: PoseCaptioner, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(captioner)
    trainer.save_checkpoint(path, weights_only=True)
    checkpoint = torch.load(path, weights_only=True)
    record = {"metrics": METRICS, "epoch": 4, "manifest": "f" * 64}
    checkpoint["blippose"] |= {**record, "earlier_manifests": ["e" * 64, None]}
    torch.save(checkpoint, path)
    return path


@pytest.fixture
def make_checkpoint(make_captioner: Any, tmp_path: Path) -> Any:
    """Of a random model whose captions differ; keywords go to PoseCaptioner."""

    def make(name: str = "run", **settings: Any) -> Path:
        captioner = make_captioner(**settings)
        torch.manual_seed(0)
        for weight in captioner.blip.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.5)
        return save(captioner, tmp_path / name / "best.ckpt")

    return make


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the shipped model, which knows what to say."""
    predictor = PosePredictor.from_pretrained("tiny")
    captioner = PoseCaptioner(
        predictor.blip,
        predictor.tokenizer,
        CaptionFormat(96),
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
    )
    captioner.lineage = Lineage(synthetic=True)
    return save(captioner, tmp_path_factory.mktemp("tiny") / "best.ckpt")


# As the card has it, in a process that cannot import blippose.
WITHOUT_BLIPPOSE = """
import json, sys
sys.modules["blippose"] = None  # importing it is an error now
from pathlib import Path
names, said = sys.argv[1:], []
card = Path("README.md").read_text()
code = card.partition("```python\\n")[2].partition("```")[0]
for name in names:
    scope = {}
    exec(code.replace("photo.jpg", name), scope)
    said.append((scope["tokens"][0].tolist(), scope["caption"], scope["joints"]))
assert not any(key.startswith("blippose.") for key in sys.modules)
print(json.dumps(said))
"""


def test_transformers_alone_says_the_same_tokens_by_the_code_of_the_card(
    tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "exported"
    export_checkpoint(tiny, out)
    paths = []
    for video in range(4):
        paths.append(tmp_path / f"{video}.png")
        Image.fromarray(render_frame(7, video, 0).image).save(paths[-1])
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone held upright
    Image.fromarray(render_frame(7, 4, 0).image).rotate(90, expand=True).save(
        tmp_path / "turned.png", exif=exif
    )
    paths.append(tmp_path / "turned.png")
    command = [sys.executable, "-W", "error::UserWarning", "-c", WITHOUT_BLIPPOSE]
    done = subprocess.run(
        [*command, *map(str, paths)], cwd=out, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    predictor = PosePredictor.from_checkpoint(tiny)
    predictions = predictor([read_image(path) for path in paths])
    tokenizer = predictor.tokenizer
    for (tokens, caption, joints), prediction in zip(said, predictions, strict=True):
        assert caption == prediction.caption
        expected = tokenizer(prediction.caption, add_special_tokens=False).input_ids
        begin, end = tokenizer.bos_token_id, tokenizer.sep_token_id
        assert tokens == [begin, *expected, end]
        np.testing.assert_allclose(list(joints.values()), prediction.pose.xy, atol=1e-9)
    assert len({prediction.caption for prediction in predictions}) == len(paths)


def test_the_folder_is_a_model_for_predict_and_for_training(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    assert main(["export", f"ckpt={tiny}", f"out={out}"]) == 0
    predictor = PosePredictor.from_pretrained(out)
    original = PosePredictor.from_checkpoint(tiny)
    image = render_frame(7, 1, 0).image
    assert predictor([image])[0].caption == original([image])[0].caption
    assert (predictor.frame, predictor.synthetic) == (original.frame, True)
    few = ["data.synthetic.num_persons=6", f"data.root={tmp_path}/data", "trainer.max_epochs=1"]
    model = [f"model.weights={out}", f"model.tokenizer={out}"]
    words = ["train", "logger=csv", f"runs={tmp_path}/runs", "name=again", *few, *model]
    assert main(words) == 0
    run = tmp_path / "runs/again"
    assert main(["export", f"run={run}", f"out={tmp_path}/next"]) == 0
    checkpoint = torch.load(run / "best.ckpt", weights_only=True)
    earlier = checkpoint["blippose"]["earlier_manifests"]
    assert earlier == ["e" * 64, None, "f" * 64], "or eval could miss leaks"
    results = json.loads((run / "run.json").read_text())["results"]
    split = json.loads((tmp_path / "next/split.json").read_text())
    assert split["hash"] == results["manifest"]
    card = (tmp_path / "next/README.md").read_text()
    assert f"{results['free_running']['mae']:.2f}" in card
    assert f"{results['mean_pose']['mae']:.2f}" in card
    assert results["manifest"] in card
    assert f"blippose train {words[1]}" in card
    assert "It has seen drawn people only" in card


def test_generation_starts_ends_and_is_as_long_as_captions_need(
    tiny: Path, tmp_path: Path
) -> None:
    predictor = export_checkpoint(tiny, tmp_path / "out")
    blip = BlipForConditionalGeneration.from_pretrained(tmp_path / "out")
    settings, tokenizer = blip.generation_config, predictor.tokenizer
    grammar = TokenGrammar.of(tokenizer, predictor.caption_format)
    assert settings.max_new_tokens == grammar.longest - 1
    assert blip.text_decoder.generation_config.max_new_tokens == grammar.longest - 1
    assert settings.bos_token_id == grammar.fixed[0][0] == tokenizer.bos_token_id
    assert settings.eos_token_id == grammar.sep
    assert (settings.pad_token_id, settings.do_sample, settings.num_beams) == (0, False, 1)


def test_the_card_tells_frame_format_figures_and_split(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    path = make_checkpoint("my run")
    export_checkpoint(path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "# my run\n" in card
    assert "32 x 32 px, resize=stretch, crop=full" in card
    assert "32 bins a side" in card
    assert "f" * 64 in card
    assert re.search(r"\| free-running \| 1\.50 \| - \| - \| 0\.750 \|", card)
    assert re.search(r"\| teacher-forced \| 1\.25 \|", card)
    assert "after epoch 5" in card
    assert "drawn people only" not in card
    assert f"its first weights had learned from: `{'e' * 64}`, not known" in card
    record = json.loads((tmp_path / "out/blippose.json").read_text())
    assert record["manifest"] == "f" * 64
    assert record["frame"]["input_size"] == 32


def test_a_checkpoint_to_go_on_from_has_no_figures_of_other_weights_on_its_card(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    path = make_checkpoint()
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "optimizer_states": []}, path.with_name("last.ckpt"))
    export_checkpoint(path.with_name("last.ckpt"), tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "1.50" not in card
    assert "`blippose eval ckpt=` measures" in card
    assert json.loads((tmp_path / "out/blippose.json").read_text())["metrics"] == {}


@pytest.mark.parametrize(
    ("decoding", "is_told"), [(Free(), False), (Constrained(), True), (Parallel(), True)]
)
def test_where_the_figures_are_of_blipposes_own_decoding_the_card_says_so_beside_generates_code(
    make_checkpoint: Any, tmp_path: Path, decoding: Any, is_told: bool
) -> None:
    export_checkpoint(make_checkpoint(decoding=decoding), tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    use = card.partition("## Use")[2].partition("## ")[0]
    assert "model.generate(" in use
    assert ("The figures below are not of plain `generate`" in use) == is_told
    assert ("PosePredictor.from_pretrained" in use) == is_told


@pytest.mark.parametrize(
    ("weights", "is_told"), [("Salesforce/base", True), ("tiny", False), ("./some/base", False)]
)
def test_the_card_names_the_base_model_of_the_hub_and_its_licence(
    make_checkpoint: Any, tmp_path: Path, weights: str, is_told: bool
) -> None:
    path = make_checkpoint()
    record = {"state": "failed", "config": {"model": {"weights": weights}}, "config_hash": ""}
    (path.parent / "run.json").write_text(json.dumps(record))
    export_checkpoint(path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    head = card.split("---\n")[1].splitlines()
    assert head[0] == "library_name: transformers"
    assert ("base_model: Salesforce/base" in head) == is_told == ("base_model" in card)
    assert ("licence: that of the base model, `Salesforce/base`" in card) == is_told


def test_the_card_of_a_run_that_began_with_other_weights_names_those(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    path = make_checkpoint()
    config = {"init_from": "runs/a/best.ckpt", "model": {"weights": "Salesforce/base"}}
    record = {"state": "failed", "config": config, "config_hash": ""}
    (path.parent / "run.json").write_text(json.dumps(record))
    export_checkpoint(path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "first weights: `runs/a/best.ckpt`" in card
    assert "Salesforce" not in card


def test_a_figure_that_is_no_number_leaves_the_exported_record_json(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    path = make_checkpoint()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["blippose"]["metrics"]["val/pckh_0.5"] = float("nan")
    torch.save(checkpoint, path)
    export_checkpoint(path, tmp_path / "out")
    text = (tmp_path / "out/blippose.json").read_text()
    metrics = json.loads(text, parse_constant=pytest.fail)["metrics"]
    assert metrics["val/pckh_0.5"] is None


@pytest.mark.parametrize("bins", [16, 96, 342])
def test_the_cards_example_is_of_bins_that_there_are(bins: int) -> None:
    numbers = [int(number) for number in re.findall(r"\d+", _example(CaptionFormat(bins)))]
    assert len(numbers) == 6
    assert 0 < min(numbers) < max(numbers) < bins


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"resize": "letterbox"}, "longer side fits"), ({"crop": "person"}, "round a person")],
)
def test_where_the_processor_cannot_do_it_the_card_says_so_and_has_no_code_that_would_be_wrong(
    make_checkpoint: Any, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    path = make_checkpoint(**settings)
    export_checkpoint(path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "`BlipProcessor` cannot prepare images for this model" in card
    assert said in card
    assert "BlipProcessor.from_pretrained" not in card
    code = card.partition("```python\n")[2].partition("```")[0]
    Image.fromarray(render_frame(7, 0, 0).image).save(tmp_path / "photo.png")
    scope: dict[str, Any] = {}
    code = code.replace("photo.jpg", f"{tmp_path}/photo.png").replace('"."', f'"{tmp_path}/out"')
    exec(code, scope)
    [expected] = PosePredictor.from_checkpoint(path)([read_image(tmp_path / "photo.png")])
    assert scope["prediction"].caption == expected.caption


def test_an_export_may_be_written_again_but_never_over_other_files(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    path, out = make_checkpoint(), tmp_path / "out"
    out.mkdir()
    export_checkpoint(path, out)
    (out / "split.json").write_text("of another model")
    (out / "mine.txt").write_text("mine")
    first = (out / "model.safetensors").read_bytes()
    (out / ".1.partial").mkdir()
    os.utime(out / ".1.partial", (0, 0))  # of an export that was killed
    export_checkpoint(path, out)
    assert not (out / ".1.partial").exists()
    assert (out / "model.safetensors").read_bytes() == first
    assert (out / "mine.txt").read_text() == "mine"
    assert not (out / "split.json").exists()
    assert {file.stat().st_mode & 0o444 for file in out.iterdir()} == {0o444}
    for foreign in (tmp_path / "run", Path(__file__).parents[1] / "blippose/blip_tiny"):
        before = {file.name: file.read_bytes() for file in foreign.iterdir()}
        with pytest.raises(UserError, match="did not write"):
            export_checkpoint(path, foreign)
        assert {file.name: file.read_bytes() for file in foreign.iterdir()} == before


def test_an_export_that_fails_leaves_the_earlier_one_whole(
    make_checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = make_checkpoint(), tmp_path / "out"
    export_checkpoint(path, out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def full(*_: Any) -> str:
        (out.with_name("filled") / "no").write_text("raises: there is no such folder")
        return ""

    monkeypatch.setattr("blippose.export.model_card", full)
    with pytest.raises(UserError, match="cannot be written"):
        export_checkpoint(path, out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "run"]
    with pytest.raises(UserError, match="cannot be written"):
        export_checkpoint(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_export_that_was_killed_leaves_a_folder_that_takes_another(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    (tmp_path / "out" / ".1.partial").mkdir(parents=True)
    export_checkpoint(make_checkpoint(), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no other file system at hand")
def test_an_export_goes_where_a_link_to_another_disk_leads(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    with TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "out").symlink_to(other)
        export_checkpoint(make_checkpoint(), tmp_path / "out")
        assert (Path(other) / "model.safetensors").is_file()
