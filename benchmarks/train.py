"""A training step against the plain loop: seconds, memory at its peak, wait for data, the losses.

    python benchmarks/train.py                                 the tiny model, 16 persons a step
    python benchmarks/train.py --model base --batch 1 2 4      BLIP base, random weights
    python benchmarks/train.py --curves --steps 50             hold the losses together as well
    python benchmarks/train.py --threads 1                     as OMP_NUM_THREADS=1
    python benchmarks/train.py --device cuda --batch 4 16 64 --model base

The plain loop is what one would write instead: PIL and BlipProcessor for each sample in a
DataLoader, transformers' forward with labels, torch's AdamW, float32, nothing clipped. Ours is the
same work by Lightning's Trainer, PoseDataModule and PoseCaptioner, with the heap as `blippose
train` has it: same weights, order and rate.
Each measurement is a process of its own; the sides take turns, and the medians are compared: of
the clock, and of the processor, which other work on the machine disturbs less. The peak is of what
training holds; what imports took before it (those of both sides, in either) is told apart, as on a
GPU, which holds none: a whole process's peak is both. What ours does once, cutting the images, is
not in its steps. The images are as large as most of MPII's; `--drawn` leaves them as they are
drawn, 216 to 480 px wide, which costs the plain loop less.

Fails, with a line for each, where less comes out than was asked: tiny 1.5 times as fast, base as
fast, and 1.15 times from batch 4 on; at most .9 of the memory, of training and of whole processes;
at most 2 % of a step waiting; with `--curves` losses within 1e-4.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from process import check_device, held_mb, in_one_line

CONF = Path(__file__).parents[1] / "conf" / "model"
RATE, SEED = 2e-5, 0
MOST_MEMORY, MOST_WAIT = 0.9, 0.02
MOST_DIFFERENCE = 1e-4


class Clock:
    """Seconds of each step, by the clock and of the processor."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._ends: list[tuple[float, float]] = []

    def tick(self) -> None:
        """A step ends, or the first one begins."""
        synchronize(self.device)
        self._ends.append((time.perf_counter(), time.process_time()))

    def seconds(self) -> dict[str, list[float]]:
        """Of the steps."""
        clock, processor = zip(*self._ends, strict=True)
        return {
            name: [end - begin for begin, end in itertools.pairwise(ends)]
            for name, ends in (("clock", clock), ("processor", processor))
        }


def synchronize(device: str) -> None:
    """Wait until a GPU is done."""
    if device == "cuda":
        import torch  # noqa: PLC0415

        torch.cuda.synchronize()


class Waited:
    """A loader that counts how long it was waited for."""

    def __init__(self, loader: Any, steps: int) -> None:
        self.loader, self.steps = loader, steps
        self.seconds: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        while True:
            batches = iter(self.loader)
            while len(self.seconds) < self.steps:
                began = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                self.seconds.append(time.perf_counter() - began)
                yield batch
            if len(self.seconds) >= self.steps:
                return


def architecture(model: str) -> tuple[str, dict[str, Any], int]:
    """Weights, their architecture, and the side of the input."""
    import yaml  # noqa: PLC0415

    settings = yaml.safe_load((CONF / f"blip_{model}.yaml").read_text())
    weights = "tiny" if model == "tiny" else "random"
    return weights, settings["architecture"], settings["caption"]["input_size"]


def data_of(root: str, size: int, batch_size: int) -> Any:
    from blippose.blip import load_tokenizer  # noqa: PLC0415
    from blippose.caption import CaptionFormat  # noqa: PLC0415
    from blippose.data import PoseDataModule  # noqa: PLC0415

    # BERT's own vocabulary is not at hand; the tiny one writes captions of the same length.
    tokenizer, caption_format = load_tokenizer("tiny"), CaptionFormat(size, 96)
    return PoseDataModule(tokenizer, caption_format, root, batch_size=batch_size, seed=SEED)


def fits(architecture: dict[str, Any]) -> dict[str, Any]:
    """With the special tokens of the tiny tokenizer."""
    special = {"bos_token_id": 209, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    return {**architecture, "text": {**architecture["text"], **special}}


def random_blip(architecture: dict[str, Any]) -> Any:
    """A BLIP of transformers' own, with random weights."""
    from transformers import BlipConfig, BlipForConditionalGeneration  # noqa: PLC0415

    shape = fits(architecture)
    vision = {"initializer_range": 0.02, **shape["vision"]}
    config = BlipConfig(vision_config=vision, text_config=shape["text"])
    return BlipForConditionalGeneration(config)


def ours(given: argparse.Namespace) -> dict[str, list[float]]:
    """Losses, and the seconds of each step and of its data."""
    import torch  # noqa: PLC0415
    from lightning import Callback, Trainer  # noqa: PLC0415

    from blippose import heap, training  # noqa: PLC0415
    from blippose.blip import load_blip  # noqa: PLC0415
    from blippose.model import PoseCaptioner  # noqa: PLC0415

    heap.keep_freed()
    training.seed(SEED)
    weights, shape, size = architecture(given.model)
    data = data_of(given.root, size, given.batch[0])
    data.setup()
    training.seed(SEED)
    captioner = PoseCaptioner(
        load_blip(weights, fits(shape)),
        data.collator.tokenizer,
        data.collator.caption_format,
        lambda weights: torch.optim.AdamW(weights, lr=RATE, fused=True),
    )
    losses: list[Any] = []
    clock = Clock(given.device)

    class Steps(Callback):
        def on_train_start(self, *_: Any) -> None:
            clock.tick()

        def on_train_batch_end(self, _: Any, __: Any, outputs: Any, *___: Any) -> None:
            losses.append(outputs["loss"].detach())
            clock.tick()

    trainer = Trainer(
        accelerator="gpu" if given.device == "cuda" else "cpu",
        devices=1,
        precision=given.precision,
        max_steps=given.steps,
        limit_val_batches=0,
        logger=False,
        callbacks=[Steps()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    loader = Waited(data.train_dataloader(), given.steps)
    trainer.fit(captioner, loader)
    return {"losses": [float(loss) for loss in losses], "wait": loader.seconds, **clock.seconds()}


def plain(given: argparse.Namespace) -> dict[str, list[float]]:
    """The same of the loop that one would write."""
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415
    from transformers import BlipForConditionalGeneration, BlipProcessor  # noqa: PLC0415
    from transformers.models.blip.image_processing_pil_blip import (  # noqa: PLC0415
        BlipImageProcessorPil,
    )

    from blippose.blip import TINY  # noqa: PLC0415
    from blippose.data import EpochSampler  # noqa: PLC0415

    weights, shape, size = architecture(given.model)
    data = data_of(given.root, size, given.batch[0])
    data.find_persons()
    encode, tokenizer = data.collator.caption_format.encode, data.collator.tokenizer
    processor = BlipProcessor(  # type: ignore[no-untyped-call]
        BlipImageProcessorPil(size={"height": size, "width": size}), tokenizer
    )
    samples = [
        (data.release_source.images / person.image_name, encode(xy_input, person.pose.valid))
        for person, xy_input in zip(
            data.train_set.persons, data.train_set.poses_input(), strict=True
        )
    ]

    class Captions(torch.utils.data.Dataset[Any]):
        def __getitem__(self, index: int) -> Any:
            path, caption = samples[index]
            return processor(images=Image.open(path).convert("RGB"), text=caption)

        def __len__(self) -> int:
            return len(samples)

    def collate(items: list[Any]) -> dict[str, Any]:
        text = [{key: item[key] for key in ("input_ids", "attention_mask")} for item in items]
        tokens = tokenizer.pad(text, return_tensors="pt")
        tokens["input_ids"][:, 0] = tokenizer.bos_token_id
        labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)
        pixels = torch.stack(
            [torch.as_tensor(item["pixel_values"]).view(3, size, size) for item in items]
        )
        return {**tokens, "labels": labels, "pixel_values": pixels}

    order = [position for _, position in EpochSampler(len(samples), SEED)]
    loader = Waited(
        torch.utils.data.DataLoader(
            Captions(),
            batch_size=given.batch[0],
            sampler=order,
            collate_fn=collate,
            num_workers=given.workers,
        ),
        given.steps,
    )
    torch.manual_seed(SEED)
    if weights == "tiny":
        model = BlipForConditionalGeneration.from_pretrained(TINY, dtype=torch.float32)
    else:
        model = random_blip(shape)
    model.to(given.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    losses, clock = [], Clock(given.device)
    clock.tick()
    for on_host in loader:
        batch = {key: value.to(given.device) for key, value in on_host.items()}
        with torch.autocast(given.device, torch.bfloat16, enabled=given.precision != "32-true"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        clock.tick()
    return {"losses": [float(loss) for loss in losses], "wait": loader.seconds, **clock.seconds()}


def run(given: argparse.Namespace) -> dict[str, Any]:
    """One side, with the MB that imports took and those that training held on top at most."""
    import torch  # noqa: PLC0415
    from transformers import BlipProcessor  # noqa: F401, PLC0415
    from transformers.models.blip.image_processing_pil_blip import (  # noqa: PLC0415
        BlipImageProcessorPil,  # noqa: F401
    )

    from blippose import training  # noqa: F401, PLC0415

    imports = held_mb()
    found = {"plain": plain, "ours": ours}[given.side](given)
    on_gpu = given.device == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else held_mb("VmHWM") - imports
    return {**found, "imports": imports, "peak": peak}


def enlarge(folder: Path) -> None:
    """Give the images the size of most of MPII's; the annotated points stay where they are."""
    from PIL import Image  # noqa: PLC0415

    for path in folder.iterdir():
        with Image.open(path) as image:
            image.resize((1280, 720)).save(path, quality=90)


def measure(given: argparse.Namespace, side: str, batch: int) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--batch", str(batch)]
    for key in ("model", "steps", "root", "device", "precision", "workers"):
        command += [f"--{key}", str(getattr(given, key))]
    threads = {} if given.threads is None else {"OMP_NUM_THREADS": str(given.threads)}
    done = subprocess.run(
        command, env={**os.environ, **threads}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(given: argparse.Namespace, batch: int) -> list[str]:
    """Print a line of the table; in what ours is not what was asked for."""
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": []}
    for turn in range(given.rounds):
        for side in list(found)[:: -1 if turn % 2 else 1]:  # neither is always the first
            found[side].append(measure(given, side, batch))
    sides = found.items()
    clock, processor = (
        {side: statistics.median(s for run in runs for s in run[of][1:]) for side, runs in sides}
        for of in ("clock", "processor")
    )
    memory = {side: statistics.median(run["peak"] for run in runs) for side, runs in sides}
    imports = statistics.median(run["imports"] for runs in found.values() for run in runs)
    wait = {
        side: sum(sum(run["wait"][1:]) for run in runs)
        / sum(sum(run["clock"][1:]) for run in runs)
        for side, runs in sides
    }
    losses = {side: np.array([run["losses"] for run in runs]) for side, runs in sides}
    # NaN where one is, which is not fine.
    difference = float(np.abs(losses["plain"] - losses["ours"]).max())
    print(
        f"{given.model:>5} {batch:>5} | {_pair(clock, 3)} | {_pair(processor, 3)} "
        f"| {_pair(memory, 0)} | {imports:>7.0f} "
        f"| {wait['plain']:>5.1%} {wait['ours']:>5.1%}   | {difference:.1e}",
        flush=True,
    )
    asked = {"tiny": 1.5}.get(given.model, 1.15 if batch >= 4 else 1.0)
    speed = clock["plain"] / clock["ours"]
    whole = (imports + memory["ours"]) / (imports + memory["plain"])
    held = memory["ours"] / memory["plain"]
    missed = {
        f"{speed:.2f} times as fast as the plain loop; asked {asked:g}": speed < asked,
        f"memory of training {held:.2f} of its; asked {MOST_MEMORY:g}": held > MOST_MEMORY,
        f"of whole processes {whole:.2f} of its; asked {MOST_MEMORY:g}": whole > MOST_MEMORY,
        f"{wait['ours']:.1%} of a step is waiting; asked {MOST_WAIT:.0%}": wait["ours"]
        > MOST_WAIT,
        f"losses differ by {difference:.1e}; asked {MOST_DIFFERENCE:g}": given.curves
        and not difference <= MOST_DIFFERENCE,
    }
    return [f"{given.model} {batch}: {what}" for what, is_missed in missed.items() if is_missed]


def _pair(of: dict[str, float], digits: int) -> str:
    """Both sides, and ours as a share of the plain loop's."""
    share = of["ours"] / of["plain"]
    return f"{of['plain']:>7.{digits}f} {of['ours']:>7.{digits}f} {share:>5.2f}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=("tiny", "base", "large"), default="tiny")
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    parser.add_argument(
        "--steps", type=int, default=8, help="of each process; the first is left out"
    )
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side")
    parser.add_argument("--curves", action="store_true", help="fail where losses differ")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--workers", type=int, default=0, help="of the plain loop's DataLoader")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--root", help="a release; default: one that is drawn")
    parser.add_argument("--drawn", action="store_true", help="do not enlarge the drawn images")
    parser.add_argument("--side", choices=("plain", "ours"), help="this one alone, as JSON")
    given = parser.parse_args()
    check_device(parser, given.device)
    return given


def main() -> None:
    given = parsed()
    if given.side:
        print(json.dumps(run(given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if given.root is None:
            from blippose.synthetic import write_release  # noqa: PLC0415

            given.root = str(write_release(Path(folder) / "root", 160, progress=False))
            if not given.drawn:
                enlarge(Path(given.root) / "images")
        print("            |  seconds a step, clock | seconds of processor  ", end="")
        print("| MB of training, peak  | imports | wait for data | losses")
        print("model batch |   plain    ours share |   plain    ours share ", end="")
        print("|   plain    ours share |      MB | plain  ours   | differ")
        missed = [line for batch in given.batch for line in compare(given, batch)]
    if missed:
        raise SystemExit("\n".join(missed))


if __name__ == "__main__":
    in_one_line(main)
