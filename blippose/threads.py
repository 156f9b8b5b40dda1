"""How many threads torch may take."""

from __future__ import annotations

import os

import torch

from blippose.machine import num_cores


def limit_threads() -> None:
    """No more threads than this process has processors, unless OMP_NUM_THREADS says how many.

    torch counts those of the machine, also in a container that has two of them.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), num_cores()))
