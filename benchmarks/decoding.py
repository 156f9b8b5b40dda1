"""Ways of decoding against `generate`: seconds from pixels to captions, memory, and accuracy.

    python benchmarks/decoding.py                               the tiny model, 1 and 64 images
    python benchmarks/decoding.py --model base --batch 1 8      BLIP base, random weights
    python benchmarks/decoding.py --threads 1                   as OMP_NUM_THREADS=1
    python benchmarks/decoding.py --ways "parallel 1"           some, `generate` and the limit
    python benchmarks/decoding.py --bf16                        weights of all ways in bfloat16
    python benchmarks/decoding.py --device cuda --bf16 --model base --batch 1 8 64
    python benchmarks/decoding.py --run runs/demo               how right each way is

`generate` is transformers' own, greedy, on a BLIP that nothing of blippose has touched, with the
same weights and images. The limit is the vision tower and one pass of the decoder over a whole
caption. Each measurement is a process of its own; ways take turns, and the medians are compared.
Seconds are of the clock; of the processor where one thread is asked of it. Fails where, with one
image on a processor, `constrained` is not three times, `parallel` not six (refine 0) or five times
(refine 1) as fast as `generate`, or `parallel` not within 1.15 and 1.5 of the limit, or any way
but `best` holds more memory than `generate`. `best` looks twice, the second time at parts that are
cut from images of 1280 x 720 pixels, and at their mirror images.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from process import check_device, in_one_line

CONF = Path(__file__).parents[1] / "conf" / "model"
_PARALLEL = ("parallel 0", "parallel 1", "parallel end")
WAYS = ("generate", "limit", "free", "constrained", *_PARALLEL, "best")
FASTER = {"constrained": 3.0, "parallel 0": 6.0, "parallel 1": 5.0}  # than generate
WITHIN = {"parallel 0": 1.15, "parallel 1": 1.5}  # of the limit


def stock(model: str) -> tuple[Any, int]:
    """A BLIP as transformers makes it, and the side of its input; the same in every process."""
    import torch  # noqa: PLC0415
    import yaml  # noqa: PLC0415
    from transformers import BlipConfig, BlipForConditionalGeneration  # noqa: PLC0415

    from blippose.blip import TINY  # noqa: PLC0415

    torch.manual_seed(0)
    settings = yaml.safe_load((CONF / f"blip_{model}.yaml").read_text())
    size = settings["caption"]["input_size"]
    if model == "tiny":
        return BlipForConditionalGeneration.from_pretrained(TINY, dtype=torch.float32).train(
            False
        ), size
    vision, text = (settings["architecture"][part] for part in ("vision", "text"))
    # The tiny tokenizer's ids: BERT's vocabulary is not at hand, and its captions are as long.
    special = {"bos_token_id": 209, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        vision_config={"initializer_range": 0.02, **vision}, text_config={**text, **special}
    )
    blip = BlipForConditionalGeneration(config).train(False)
    for name, weight in blip.named_parameters():
        if "position_embeddings" in name or "crossattention" in name:
            weight.data *= 4  # what is said changes along the caption, and with the image
    return blip, size


def drawn(num: int, size: int) -> Any:
    """Images of drawn people as BLIP wants them."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    from blippose.decoding import ClipNormalization  # noqa: PLC0415
    from blippose.geometry import Crop  # noqa: PLC0415
    from blippose.synthetic.scene import render_frame  # noqa: PLC0415

    images = [render_frame(seed=5, video=video, frame=0).image for video in range(num)]
    cut = [Crop.of_image(i.shape[1], i.shape[0], size).cut(Image.fromarray(i)) for i in images]
    return ClipNormalization()(torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2))


def captions_of(way: str, blip: Any, size: int) -> Callable[[Any], Any]:
    """From pixels to tokens."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    from blippose.blip import load_tokenizer  # noqa: PLC0415
    from blippose.caption import CaptionFormat  # noqa: PLC0415
    from blippose.decoding import (  # noqa: PLC0415
        CaptionReader,
        Closer,
        Parallel,
        TokenGrammar,
        constrained_tokens,
        free_tokens,
        parallel_tokens,
    )
    from blippose.decoding.cached import CachedDecoder  # noqa: PLC0415
    from blippose.geometry import Crop  # noqa: PLC0415
    from blippose.own_layers import with_own_layers  # noqa: PLC0415

    tokenizer, caption_format = load_tokenizer("tiny"), CaptionFormat(size, 96)
    grammar = TokenGrammar.of(tokenizer, caption_format)
    if way == "generate":
        settings = {"max_new_tokens": grammar.longest - 1, "do_sample": False, "num_beams": 1}
        # Random weights say no [SEP]: both sides write a caption's length, whatever they say.
        shortest = {} if size == 96 else {"min_new_tokens": grammar.longest - 1}
        return lambda pixels: blip.generate(pixel_values=pixels, **settings, **shortest)
    with_own_layers(blip)

    def pass_over(image: Any) -> Any:
        whole = torch.full((len(image), grammar.longest - 1), 7, device=image.device)
        start = torch.zeros(len(image), dtype=torch.long, device=image.device)
        return CachedDecoder(blip, image, grammar.longest).read(whole, start)

    def in_parallel(most: int | None, image: Any) -> Any:
        return parallel_tokens(blip, grammar, image, most)

    if way == "best":
        best = CaptionReader(
            blip,
            tokenizer,
            caption_format,
            Parallel(expectation=True, test_views=2, close_up=True),
        )
        photo = Image.new("RGB", (1280, 720))  # of MPII's size
        whole = Crop.of_image(*photo.size, size)

        def look_twice(pixels: Any) -> Any:
            def see(part: Any) -> Any:
                return blip.vision_model(pixel_values=part.to(pixels))[0]

            def cut(parts: Any) -> Any:
                return np.stack([part.cut(photo) for part in parts])

            closer = Closer([whole] * len(pixels), cut, see, pixels.device)
            return best.read(lambda view: see(view.of(pixels)), closer)

        return look_twice

    refine = {"parallel 0": 0, "parallel 1": 1, "parallel end": None}
    read: dict[str, Callable[[Any], Any]] = {
        "limit": pass_over,
        "free": lambda image: free_tokens(blip, grammar, image, grammar.longest),
        "constrained": lambda image: constrained_tokens(blip, grammar, image),
        **{name: partial(in_parallel, most) for name, most in refine.items()},
    }
    return lambda pixels: read[way](blip.vision_model(pixel_values=pixels)[0])


def measure(given: argparse.Namespace) -> None:
    """One way in this process: its seconds, and the most that it held."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(given.threads)
    blip, size = stock(given.model)
    to = {"device": given.device, "dtype": torch.bfloat16 if given.bf16 else torch.float32}
    pixels = drawn(given.batch[0], size).to(**to)
    says = captions_of(given.way, blip.to(**to), size)
    # Of one thread the processor's time, which other work on the machine disturbs less.
    clock = (
        time.process_time if given.threads == 1 and given.device == "cpu" else time.perf_counter
    )
    with torch.no_grad():
        says(pixels)
        seconds = []
        for _ in range(given.repeats):
            began = clock()
            says(pixels)
            if given.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(clock() - began)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if given.device == "cuda":
        megabytes = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({"seconds": statistics.median(seconds), "megabytes": megabytes}))


def measured(given: argparse.Namespace, way: str, batch: int) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--way", way, "--batch", str(batch)]
    for name in ("model", "threads", "device", "repeats"):
        command += [f"--{name}", str(getattr(given, name))]
    command += ["--bf16"] if given.bf16 else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def compare(given: argparse.Namespace, batch: int) -> bool:
    """A table of all ways with a batch; whether what is asked of one image is kept."""
    asked = {"generate", "limit", *given.ways}
    asked -= set() if given.model == "tiny" else {"free"}  # noise says no grammar
    ways = [way for way in WAYS if way in asked]
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        for way in ways:
            rounds[way].append(measured(given, way, batch))
    median = {
        way: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for way, found in rounds.items()
    }
    kind = "bf16" if given.bf16 else "fp32"
    print(f"\nBLIP {given.model}, {kind}, {given.device}, {given.threads} threads, batch {batch}")
    print(f"{'':<14}{'s':>8}{'x generate':>12}{'of limit':>10}{'peak MB':>10}")
    generate, limit = (median[way]["seconds"] for way in ("generate", "limit"))
    for way, found in median.items():
        seconds = found["seconds"]
        print(
            f"{way:<14}{seconds:>8.3f}{generate / seconds:>12.2f}{seconds / limit:>10.2f}"
            f"{found['megabytes']:>10.0f}",
            flush=True,
        )
    if batch > 1 or given.device != "cpu":
        return True
    faster = {
        way: generate / median[way]["seconds"] >= least
        for way, least in FASTER.items()
        if way in ways
    }
    near = {
        way: median[way]["seconds"] / limit <= most for way, most in WITHIN.items() if way in ways
    }
    most = 1.01 * median["generate"]["megabytes"]  # processes differ by that much
    # `best` looks at two images at once.
    small = {way: of["megabytes"] <= most for way, of in median.items() if way != "best"}
    promises = {"faster than generate": faster, "near the limit": near, "no more memory": small}
    for promise, kept in promises.items():
        told = ", ".join(f"{way} {'yes' if is_kept else 'NO'}" for way, is_kept in kept.items())
        print(f"{promise}: {told}")
    return all(is_kept for kept in promises.values() for is_kept in kept.values())


def accuracy(run: str) -> None:
    """How right each way is on the validation images of a run, and the truth's own words."""
    import numpy as np  # noqa: PLC0415

    from blippose.caption import xy_said  # noqa: PLC0415
    from blippose.decoding import Constrained, Decoding, Free, Parallel  # noqa: PLC0415
    from blippose.evaluation.asking import asking  # noqa: PLC0415
    from blippose.evaluation.predictions import predict  # noqa: PLC0415
    from blippose.evaluation.subject import Subject  # noqa: PLC0415
    from blippose.evaluation.targets import Targets  # noqa: PLC0415

    subject = Subject.of_run(Path(run), {})
    captioner, data = subject.captioner, subject.data
    persons = data.subset("val")
    targets = Targets.of(persons, captioner.frame.input_size)
    ways: list[Decoding] = [Free(), Constrained(), *map(Parallel, (0, 1, 2, None))]
    ways += [Constrained(expectation=True), Parallel(0, expectation=True)]
    for test_views in (2, 4):
        ways += [way(test_views=test_views) for way in (Free, Constrained, Parallel)]
        ways += [way(expectation=True, test_views=test_views) for way in (Constrained, Parallel)]
        ways += [Parallel(1, expectation=True, test_views=test_views)]
    for test_views in (1, 2, 4):
        close_up: dict[str, Any] = {
            "expectation": True,
            "test_views": test_views,
            "close_up": True,
        }
        ways += [way(**close_up) for way in (Free, Constrained, Parallel)]
    print(f"\n{run}: {len(persons)} validation images")
    print(f"{'':<58}{'MAE px':>8}{'EPE px':>8}{'@1 px':>8}{'@5 px':>8}{'@25 px':>8}{'parsed':>8}")

    def tell(name: str, said: Any) -> None:
        off = said - targets.xy_input
        off, known = off[targets.valid], ~np.isnan(off[targets.valid]).any(axis=-1)
        away = np.linalg.norm(off, axis=-1)
        within = [float((away <= px).mean()) for px in (1, 5, 25)]
        figures = [np.abs(off[known]).mean(), away[known].mean(), *within, known.mean()]
        print(f"{name:<58}" + "".join(f"{figure:>8.3f}" for figure in figures), flush=True)

    with asking(captioner):
        at_once = [range(at, min(at + 64, len(persons))) for at in range(0, len(persons), 64)]
        parts = [[persons[i] for i in some] for some in at_once]
        asked = [data.collator(part) for part in parts]
        for way in ways:
            captioner.reader.decoding = way
            said = [captioner.say(each["image"], closer=captioner.closer(each)) for each in asked]
            tell(way.name, xy_said([each for reading in said for each in reading.parsed]))
        for test_views, close in ((1, False), (1, True), (2, True)):
            beside = Parallel(0, expectation=True, test_views=test_views, close_up=close)
            captioner.reader.decoding = beside
            forced, *_ = predict(
                captioner, persons, data.collator, 64, progress=False
            ).teacher_forced()
            tell(f"beside the truth: {beside.name}", forced.xy_input)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=("tiny", "base"), default="tiny")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way")
    parser.add_argument("--repeats", type=int, default=3, help="batches in each process")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--run", help="a run folder: print the accuracy of each way instead")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    check_device(parser, given.device)
    if given.way:
        measure(given)
    elif given.run:
        accuracy(given.run)
    else:
        kept = [compare(given, batch) for batch in given.batch]
        if not all(kept):
            raise SystemExit("slower than asked")


if __name__ == "__main__":
    in_one_line(main)
