"""Seconds of the processor from `blippose train` to its first step, against its imports alone.

    python benchmarks/startup.py              7 rounds, one thread
    python benchmarks/startup.py --rounds 15  more, on a machine that others use

The default run with `logger=csv`, stopped where its first batch is about to be learned from; its
release is drawn and its pixels are cut before. Each measurement is a process of its own; the two
sides take turns, and medians are compared, of the processor, as waits on a loaded machine say
nothing. Fails where the first step takes more than 1.3 times the imports.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from statistics import median

MOST = 1.3
SECONDS = "import os\nprint(sum(os.times()[:2]), flush=True)\nos._exit(0)"
IMPORTS = f"""
import hydra, omegaconf
from blippose import blip, callbacks, data, loggers, model, training
{SECONDS}
"""
FIRST_STEP = f"""
from blippose.__main__ import main
from blippose.model import PoseCaptioner

def stop(*_):
    exec({SECONDS!r})

PoseCaptioner.training_step = stop
main(["train", "logger=csv"])
raise SystemExit("there was no step")
"""


def once(code: str, folder: str) -> float:
    """Seconds of the processor that a process says it has taken."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return float(done.stdout.splitlines()[-1])


def measure(rounds: int) -> int:
    """Print what was measured; 1 if it is too much."""
    with tempfile.TemporaryDirectory() as folder:
        once(FIRST_STEP, folder)  # draws and cuts
        rows = [(once(IMPORTS, folder), once(FIRST_STEP, folder)) for _ in range(rounds)]
    imports, first_step = zip(*rows, strict=True)
    print("processor s  imports  first step  share")
    for title, pick in (("least", min), ("median", median), ("most", max)):
        one, other = pick(imports), pick(first_step)
        print(f"{title:11}  {one:7.2f}  {other:10.2f}  {other / one:5.2f}")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(median(first_step) > MOST * median(imports))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="processes of each side")
    sys.exit(measure(parser.parse_args().rounds))
