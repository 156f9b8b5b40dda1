"""The README of an exported model: how to use it without blippose, and what it is worth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from blippose import __version__
from blippose.caption import CaptionFormat
from blippose.decoding import Decoding, Free
from blippose.evaluation.markdown import bullets, table
from blippose.identity import first_weights
from blippose.pose import JOINTS
from blippose.predictor import PosePredictor
from blippose.summary import teacher_forced

_COLUMNS = {
    "mae": "MAE px",
    "epe": "EPE px",
    "acc_1px": "@1 px",
    "acc_5px": "@5 px",
    "acc_25px": "@25 px",
    "mae_img": "MAE image px",
    "pckh_0.5": "PCKh@0.5",
    "parse_rate": "parsed",
}
_VERSIONS = ("blippose", "commit", "torch", "transformers")
_HEAD = """\
---
library_name: transformers
pipeline_tag: image-to-text
tags: [blip, human-pose-estimation, keypoint-detection, mpii, blippose]
"""
_USE = """\
```python
import re

from PIL import Image, ImageOps
from transformers import BlipForConditionalGeneration, BlipProcessor

folder = "."  # where this file is
model = BlipForConditionalGeneration.from_pretrained(folder)
processor = BlipProcessor.from_pretrained(folder)

image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
inputs = processor(images=image, return_tensors="pt")
tokens = model.generate(**inputs)
caption = processor.decode(tokens[0], skip_special_tokens=True)

joints = {  # pixels of the image, 0-based, x right, y down
    name: tuple(
        (int(number) + 0.5) / BINS * side - 0.5
        for number, side in zip((x, y), image.size)
    )
    for name, x, y in re.findall(r"(\\w[\\w ]*) \\( NUMBER, NUMBER \\)", caption)
}
```

BLIP's own `generate` does not look into `generation_config.json`, so that the length of a caption
stands in `config.json` too, under `text_config`. Where it stops after 21 tokens all the same, add
`generation_config=model.generation_config`. With torchvision installed, transformers resizes a
little differently from what the model was trained on; without it, the tokens are those that
blippose itself writes of opaque images of eight bits a colour."""
_PREDICTOR = """\
```python
from pathlib import Path

from blippose.images import read_image
from blippose.predictor import PosePredictor

predictor = PosePredictor.from_pretrained(".")  # where this file is
[prediction] = predictor([read_image(Path("photo.jpg"))])MORE
prediction.pose.xy  # (16, 2), pixels of the image
```"""
_LESS_EXACT = """\
**The figures below are not of plain `generate`.** They are of blippose's own decoding (NAME).
`generate` is less exact, and the code above may find few joints in what it says, or none. What
was measured is this:

"""
_ONLY_BLIPPOSE = """\
**`BlipProcessor` cannot prepare images for this model.** It stretches the whole image into the
square; the model was trained on WHAT. Its settings here are right but for that, and what
`generate` says of stretched images is worse than it needs to be. blippose does it right:

"""
_WHAT = {
    "letterbox": "images whose longer side fits, with a mean-coloured border",
    "person": "square crops round a person (MPII's objpos, 200 x scale x 1.25 px)",
}


def model_card(
    title: str,
    predictor: PosePredictor,
    record: Mapping[str, Any],
    run: Mapping[str, Any],
    has_split: bool,
) -> str:
    """The card, as Markdown.

    Args:
        title: name of the model.
        predictor: the model.
        record: what its checkpoint says.
        run: the record of its run; empty where it is not known.
        has_split: whether `split.json` lies beside the card.
    """
    blocks = [
        f"{_head(run)}\n# {title}",
        "BLIP, fine-tuned by blippose until its caption of an image is the pose of the person in "
        f"it: {len(JOINTS)} joints, each with the bins of x and y.",
        *_warning(predictor),
        f"    {_example(predictor.caption_format)}",
        "## Use",
        _use(predictor),
        "## Coordinates",
        bullets(_frame_lines(predictor)),
        "## Figures",
        *_figures(record, run, predictor.stated.decoding),
        "## Trained on",
        bullets(_origin_lines(record, run, has_split)),
    ]
    return "\n\n".join(blocks) + "\n"


def _head(run: Mapping[str, Any]) -> str:
    """What the hub reads."""
    base = _base_model(run)
    return _HEAD + (f"base_model: {base}\n" if base else "") + "---\n"


def _base_model(run: Mapping[str, Any]) -> str | None:
    """The name of its first weights on the hub, if they are BLIP's; others may be folders."""
    weights = first_weights(run.get("config", {})) or ""
    return weights if re.fullmatch(r"Salesforce/[\w.-]+", weights) else None


def _example(form: CaptionFormat) -> str:
    """Three joints at made-up places, as shares of the image's sides."""
    first, second, *_, last = (JOINTS[j] for j in form.joint_order)
    places = {first: (0.43, 0.92), second: (0.45, 0.73), last: (0.63, 0.47)}
    said = [
        f"{name} ( {', '.join(form.number(int(share * form.bins)) for share in xy)} )"
        for name, xy in places.items()
    ]
    return f"{said[0]}, {said[1]}, ... {said[2]}"


def _warning(predictor: PosePredictor) -> Iterator[str]:
    if predictor.synthetic:
        yield "**It has seen drawn people only. On photos its poses are wrong.**"


def _use(predictor: PosePredictor) -> str:
    frame = predictor.frame
    kind = "person" if frame.crop == "person" else frame.resize
    if kind in _WHAT:
        more = "  # crops=[Crop.of_person(...)]" if kind == "person" else ""
        only = _ONLY_BLIPPOSE.replace("WHAT", _WHAT[kind])
        return only + _PREDICTOR.replace("MORE", more)
    caption_format = predictor.caption_format
    code = _USE.replace("NUMBER", caption_format.number(r"(\d+)"))
    code = code.replace("BINS", str(caption_format.bins))
    decoding = predictor.stated.decoding
    if decoding is None or decoding == Free():
        return code
    less_exact = _LESS_EXACT.replace("NAME", decoding.name)
    return f"{code}\n\n{less_exact}{_PREDICTOR.replace('MORE', '')}"


def _frame_lines(predictor: PosePredictor) -> Iterator[str]:
    frame, form, bins = predictor.frame, predictor.caption_format, predictor.caption_format.bins
    yield (
        f"input: {frame.input_size} x {frame.input_size} px, resize={frame.resize}, "
        f"crop={frame.crop}, bicubic, CLIP's mean and deviation"
    )
    yield (
        f"caption: `name ({form.number('x')},{form.number('y')}), ...`; of {bins} bins a side, "
        f"bin b is the pixel (b + 0.5) / {bins} x side - 0.5, side being the width or height of "
        "what fills the input"
    )
    yield "a joint may be missing or come twice: believe neither then"
    yield "`blippose.json` says the same for programs"


def _figures(
    record: Mapping[str, Any], run: Mapping[str, Any], decoding: Decoding | None
) -> Iterator[str]:
    metrics = record.get("metrics", {})
    if not metrics:
        yield (
            "None: a checkpoint to go on from may have learned on since its last validation, or "
            "was validated by averages. `blippose eval ckpt=` measures it."
        )
        return
    how = _own_name(run) if decoding is None else decoding.name
    rows = [
        [name, *(_cell(key, metrics.get(f"{prefix}/{key}")) for key in _COLUMNS)]
        for name, prefix in (("free-running", "val"), (teacher_forced(how or ""), "val_tf"))
    ]
    if blind := run.get("results", {}).get("mean_pose"):
        rows.append(["mean pose", *(_cell(key, blind.get(key)) for key in _COLUMNS)])
    yield table(["validation", *_COLUMNS.values()], rows)
    yield (
        f"Of these weights, after epoch {record.get('epoch', 0) + 1}; px are pixels of the input "
        f"unless it says image. Free-running is {_free_running(decoding, run)}. Missing joints "
        "are misses at every threshold. `blippose eval` gives intervals, baselines and leaks."
    )


def _free_running(decoding: Decoding | None, run: Mapping[str, Any]) -> str:
    if decoding is None:
        return f"the run's own decoding ({_own_name(run) or 'which its record does not say'})"
    if decoding == Free():
        return "what `generate` does"
    return (
        f"blippose's own decoding ({decoding.name}); `generate`, as in plain code, is less exact"
    )


def _own_name(run: Mapping[str, Any]) -> str | None:
    name: str | None = run.get("results", {}).get("decoding")
    return name


def _split(manifest: str | None) -> str:
    return "not known" if manifest is None else f"`{manifest}`"


def _origin_lines(
    record: Mapping[str, Any], run: Mapping[str, Any], has_split: bool
) -> Iterator[str]:
    config, results = run.get("config", {}), run.get("results", {})
    if results:
        yield (
            f"{results['num_train']:,} persons, validated on {results['num_val']:,}, "
            f"split={results['split']}, "
            f"{'drawn people' if results['synthetic'] else 'real images'}"
        )
    manifest = record.get("manifest")
    where = "; its images are in `split.json`" if has_split else ""
    yield f"split manifest: {_split(manifest)}{where}"
    if earlier := record.get("earlier_manifests"):
        yield f"its first weights had learned from: {', '.join(map(_split, earlier))}"
    if config:
        yield f"first weights: `{first_weights(config)}`"
    if base := _base_model(run):
        yield f"licence: that of the base model, `{base}`, whose page on the hub names it"
    if command := run.get("command"):
        yield f"command: `{command}`"
    if versions := run.get("versions"):
        named = (f"{name} {versions[name]}" for name in _VERSIONS if versions.get(name))
        yield f"versions: {', '.join(named)}"
    yield f"exported by blippose {__version__}"


def _cell(key: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.2f}" if key in ("mae", "epe", "mae_img") else f"{value:.3f}"
