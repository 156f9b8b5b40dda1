"""The state of everything that draws: Python, NumPy, torch and its GPUs. Plain data only."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import distributed


def random_state() -> dict[str, Any]:
    """The state of this process's global generators, such that `torch.load` takes it."""
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002  libraries may draw from it
    return {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the global generators; those of GPUs where there are as many as there were."""
    inner = state["numpy"]["state"]
    key = np.array(inner["key"], dtype=np.uint32)
    numpy = {**state["numpy"], "state": {**inner, "key": key}}
    random.setstate(state["python"])
    np.random.set_state(numpy)  # noqa: NPY002  libraries may draw from it
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def of_all_processes(state: dict[str, Any]) -> list[dict[str, Any]]:
    """The states of all that train together, by rank; each draws its own."""
    if not distributed.is_available() or not distributed.is_initialized():
        return [state]
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states
