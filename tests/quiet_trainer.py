"""A Trainer that prints nothing and keeps nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812  the field's own convention


def trainer(root: Path, **settings: Any) -> L.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(default_root_dir=root, **{**quiet, **settings})
