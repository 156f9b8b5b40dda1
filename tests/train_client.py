"""Trains in processes that can be killed; see train_server.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


def tiny(release: Path, logger: str = "csv") -> list[str]:
    """Settings of a run that draws all that can be drawn, and takes a second."""
    vision, text = "model.architecture.vision", "model.architecture.text"
    layer = ("num_hidden_layers=1", "hidden_size=24", "intermediate_size=24")
    words = [f"{side}.{setting}" for side in (vision, text) for setting in layer]
    words += ["model.weights=random", "model.caption.input_size=32", f"{vision}.image_size=32"]
    words += [f"{text}.encoder_hidden_size=24", f"+{text}.hidden_dropout_prob=0.1"]
    words += [f"data.root={release}", "data.synthetic=null", "data.batch_size=4"]
    words += ["trainer.max_epochs=2", "trainer.log_every_n_steps=1", "optimizer.lr=1e-2"]
    return [*words, f"logger={logger}", "keep_last=true", "ema_decay=0.9"]


class Server:
    """Trains in forked processes, one after the other; see train_server.py."""

    def __init__(self, log: Path, common: list[str]) -> None:
        self.log, self.common = log, common
        script = Path(__file__).with_name("train_server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def train(
        self,
        *words: str,
        kill_after: float | None = None,
        die_at: int = 0,
        ask_at: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """The exit status; negative is the signal that ended it."""
        arguments = ["train", *self.common, *words]
        fate = {"at": die_at or ask_at, "signal": signal.SIGKILL if die_at else signal.SIGTERM}
        job = {"arguments": arguments, **fate, "environment": dict(environment or {})}
        job |= {"log": str(self.log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        pid = int(self._answer())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)  # one that has ended is a zombie until the server waits
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._answer())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
