"""Attention measured in batches, kept as it goes; the whole is `attention.npz`.

A part file holds batches as text of arrays: what one process measured, until all are there.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from blippose.attention import AttentionReader
from blippose.evaluation import parts
from blippose.evaluation.asking import asking
from blippose.evaluation.attention.arrays import attention_arrays, evidence_of
from blippose.evaluation.attention.evidence import (
    AttentionEvidence,
    Measured,
    grid_of,
    measured,
)
from blippose.evaluation.keyed_arrays import load_keyed
from blippose.progress import tracked
from blippose.whole_file import whole_file

# Another word for each change of what is measured: what was measured before is not used again.
_STUDY = "attention, shares of joints that stand before"


def stored_evidence(
    path: Path,
    origin: Mapping[str, Any],
    reader: AttentionReader,
    images: Callable[[range], UInt8[Tensor, "_ 3 size size"]],
    names: Sequence[str],
    true_xy_input: Float[np.ndarray, "images 16 2"] | None,
    batch_size: int,
    *,
    progress: bool,
) -> tuple[AttentionEvidence | None, bool]:
    """The evidence of every image, kept in `path`; and whether what was there is used again.

    Several processes share the work, as in `parts.kept`: of them the first gets the evidence.

    Args:
        path: of the arrays.
        origin: all that decides them.
        reader: the model.
        images: inputs of the images at some positions.
        names: of all images.
        true_xy_input: their annotated joints, which stand beside them.
        batch_size: images at once.
        progress: whether stderr is told how far it is.

    Raises:
        UserError: another process is at it in that folder.
    """
    every = parts.batches(len(names), batch_size)
    key = json.dumps({**origin, "study": _STUDY, "batch_size": batch_size})

    def save(texts: list[Any]) -> None:
        evidence = AttentionEvidence.of(grid_of(reader), map(_from_text, texts))
        with whole_file(path) as file:
            arrays = attention_arrays(evidence, true_xy_input, names)
            np.savez(file, allow_pickle=False, **arrays, key=np.array(key))

    model: nn.Module = reader.blip
    with asking(model):
        return parts.kept(
            path,
            json.loads(key),
            len(every),
            lambda: load_keyed(path, key, evidence_of),
            lambda number: _as_text(measured(reader, images(every[number]))),
            partial(tracked, description="attention, batches", shown=progress),
            save,
        )


def _as_text(arrays: Measured) -> str:
    """Arrays as one line of text, to the last bit."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _from_text(text: str) -> Measured:
    with np.load(io.BytesIO(base64.b64decode(text))) as arrays:
        return dict(arrays)
