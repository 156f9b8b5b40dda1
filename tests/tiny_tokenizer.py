"""The tiny model's word pieces: the caption grammar's own words, every number one piece.

BLIP's own vocabulary has 30,524 entries, of which a pose caption uses about 360. This one holds
these, and single characters, so that any ASCII text has pieces other than [UNK].
"""

from __future__ import annotations

import string
from pathlib import Path

from transformers import BertTokenizer

from blippose.pose import JOINTS

# BertTokenizer's own, in BERT's order; [DEC] starts a caption in BLIP, [ENC] is its encoder's.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BLIP_SPECIAL = ("[DEC]", "[ENC]")


def tiny_vocabulary(num_numbers: int) -> list[str]:
    """The pieces: special ones, the grammar, the integers 0 .. num_numbers - 1, characters."""
    words = sorted({word for name in JOINTS for word in name.split()})
    numbers = [str(number) for number in range(num_numbers)]
    characters = [c for c in string.punctuation + string.ascii_lowercase if c not in "(,)"]
    letters_and_digits = string.ascii_lowercase + string.digits
    continued = [f"##{c}" for c in letters_and_digits]
    digits = [c for c in string.digits if c not in numbers]
    return [*SPECIAL, *"(,)", *words, *numbers, *digits, *characters, *continued]


def write_tiny_tokenizer(folder: Path, num_numbers: int) -> None:
    """Write the tokenizer as a Hugging Face folder that `BertTokenizer.from_pretrained` loads."""
    pieces = tiny_vocabulary(num_numbers)
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    tokenizer.add_special_tokens({"bos_token": BLIP_SPECIAL[0]})
    tokenizer.add_special_tokens({"additional_special_tokens": [BLIP_SPECIAL[1]]})
    tokenizer.save_pretrained(folder)
