"""Which precisions are trained in, and whether a processor multiplies bfloat16 at speed."""

from __future__ import annotations

import time

import torch

from blippose.errors import UserError

_SIDE = 256  # of the matrices multiplied; a millisecond in float32
_MUCH_SLOWER = 2.0
_OF_TRAINER = ("32-true", "bf16-mixed", "16-mixed")


def check_precision(precision: str) -> None:
    """Refuse a Trainer's precision in which coordinates are no float32 any more.

    Lightning's "true" ones cast whole batches: in bfloat16 301 is 302, and pixels leave joints.

    Raises:
        UserError: another than 32-true or a mixed one.
    """
    if precision not in _OF_TRAINER:
        raise UserError(
            f"trainer.precision={precision}: expected one of {', '.join(_OF_TRAINER)}, which "
            "leave coordinates in float32"
        )


def caution(key: str, instead: str) -> str | None:
    """What speaks against bfloat16 on this processor, in a line; None where nothing does.

    Args:
        key: the setting that asks for it, with its value.
        instead: the setting that does not.
    """
    ratio = _time_of(torch.bfloat16) / _time_of(torch.float32)
    if ratio < _MUCH_SLOWER:
        return None
    return f"{key}: this processor takes {ratio:.0f} times as long for it; set {instead}"


def _time_of(dtype: torch.dtype) -> float:
    """Seconds of a product, the least of some; on one thread, as others would wait for each."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return min(_seconds(torch.ones(_SIDE, _SIDE, dtype=dtype)) for _ in range(4))
    finally:
        torch.set_num_threads(num_threads)


def _seconds(matrix: torch.Tensor) -> float:
    began = time.perf_counter()
    torch.matmul(matrix, matrix)
    return time.perf_counter() - began
