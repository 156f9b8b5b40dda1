"""What captions of each format cost and can reach: tokens, and the truth written and read again.

    python benchmarks/captions.py                   validation persons of the default release
    python benchmarks/captions.py --root FOLDER     of another release, as data.root
    python benchmarks/captions.py --tokenizer NAME  another than the tiny model's

A format is `model.caption`'s keys. Fails where a format loses more than half a bin on an axis of a
joint that lies in the input.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from process import in_one_line

from blippose.blip import load_tokenizer
from blippose.caption import CaptionFormat
from blippose.data import PoseDataModule, Synthetic
from blippose.decoding import TokenGrammar
from blippose.errors import UserError
from blippose.evaluation.ceilings import caption_ceiling, ceiling_figures
from blippose.evaluation.targets import Targets
from blippose.location_tokens import add_location_tokens

DEFAULT = Path("data/synthetic_1500_seed0")  # drawn where it is missing
FORMATS = (
    CaptionFormat(96),
    CaptionFormat(96, 48),
    CaptionFormat(96, 192, location_tokens=True),
    CaptionFormat(96, 384, location_tokens=True),
    CaptionFormat(384),
    CaptionFormat(384, 342),
    CaptionFormat(384, 192, location_tokens=True),
    CaptionFormat(384, 384, location_tokens=True),
    CaptionFormat(384, 768, location_tokens=True),
)
COLUMNS = ("mae", "epe", "acc_1px", "acc_5px", "mae_img", "pckh_0.1")


@dataclass(frozen=True)
class Length:
    """Tokens of captions with all joints, and how many numbers are one token."""

    shortest: int
    longest: int
    single: int

    @staticmethod
    def of(tokenizer_name: str, form: CaptionFormat) -> Length:
        """As a tokenizer writes them."""
        tokenizer = load_tokenizer(tokenizer_name)
        add_location_tokens(tokenizer, form)
        grammar = TokenGrammar.of(tokenizer, form)
        pieces = list(map(len, grammar.numbers))
        less = 32 * (max(pieces) - min(pieces))
        return Length(grammar.longest - less, grammar.longest, pieces.count(1))


def targets_of(root: Path, form: CaptionFormat) -> Targets:
    """The validation persons of a release, stretched to the format's input."""
    drawn = Synthetic(1500, 0) if root == DEFAULT else None
    data = PoseDataModule(load_tokenizer("tiny"), form, str(root), synthetic=drawn, cache=None)
    data.prepare_data()
    data.find_persons()
    return Targets.of(data.val_set, form.input_size)


def check(targets: Targets, form: CaptionFormat) -> None:
    """Fail where more is lost than rounding loses."""
    lost = np.abs(caption_ceiling(targets, form).xy_input - targets.xy_input)
    inside = (np.abs(targets.xy_input + 0.5 - form.input_size / 2) < form.input_size / 2).all(-1)
    half = form.input_size / form.bins / 2
    if lost[targets.valid & inside].max() > half + 1e-9:
        raise SystemExit(f"{form}: loses more than {half} px")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=DEFAULT)
    parser.add_argument("--tokenizer", default="tiny", help="tiny, a folder, or a hub's name")
    asked = parser.parse_args()
    try:
        load_tokenizer(asked.tokenizer)
    except UserError as error:
        why = str(error).partition("; set ")[0]
        raise SystemExit(f"--tokenizer={asked.tokenizer}: {why}") from None
    kept: dict[int, Targets] = {}
    names = ("input", "bins", "numbers", "tokens", "of one token", *COLUMNS)
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for form in FORMATS:
        if form.input_size not in kept:
            kept[form.input_size] = targets_of(asked.root, form)
        targets = kept[form.input_size]
        check(targets, form)
        found, length = ceiling_figures(targets, form), Length.of(asked.tokenizer, form)
        cells = [
            str(form.input_size),
            str(form.bins),
            "location" if form.location_tokens else "digits",
            f"{length.shortest} to {length.longest}",
            f"{length.single} of {form.bins}",
            *(f"{found[name]:.3f}" for name in COLUMNS),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    in_one_line(main)
