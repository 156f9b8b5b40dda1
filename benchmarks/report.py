"""What `blippose report` takes for the study's 18 runs: seconds waited, and of the processor.

    python benchmarks/report.py             7 times, one thread
    python benchmarks/report.py --times 21  more often, on a machine that others use

The runs are made up and written by the real Run and CSVLogger (tests/example_grid.py). The first
report is left out: it compiles and reads files that the later ones find in memory. Fails if the
median of the waits is 5 s or more, or if torch was imported. What a loaded machine makes of the
waits says nothing; the processor's seconds say more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

TESTS = Path(__file__).parents[1] / "tests"
MOST_SECONDS = 5.0
CODE = """
import sys
from blippose.cli import main
status = main(["report", "grid"])
sys.exit(status or ("torch was imported" if "torch" in sys.modules else 0))
"""


def once(folder: Path) -> tuple[float, float, float]:
    """Seconds waited, of the processor, and of the system's part of it."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    waited, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return waited, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def measure(times: int) -> int:
    """Print what was measured; 1 if it is too much."""
    sys.path.insert(0, str(TESTS))
    # Of the tests, and imports torch.
    write_grid = importlib.import_module("example_grid").write_grid

    with tempfile.TemporaryDirectory() as name:
        write_grid(Path(name) / "grid")
        once(Path(name))
        rows = [once(Path(name)) for _ in range(times)]
    print("18 runs   waited s  user s  system s")
    for title, pick in (("least", min), ("median", median), ("most", max)):
        waited, user, system = (pick(column) for column in zip(*rows, strict=True))
        print(f"{title:8}  {waited:8.2f}  {user:6.2f}  {system:8.2f}")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(median(row[0] for row in rows) >= MOST_SECONDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=7, help="how often")
    sys.exit(measure(parser.parse_args().times))
