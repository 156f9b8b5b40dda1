"""How often the intervals of `blippose eval` hold what they promise in 95 of 100 cases.

    blippose data data.synthetic.seed=77
    blippose eval ckpt=runs/demo/best.ckpt data.synthetic.seed=77 data.train_fraction=0.2
    python benchmarks/intervals.py runs/demo/best_eval/per_image.csv

The first two judge many persons that the model has not seen. They stand for all there are: videos
are drawn from them, as many as a validation has, each as a video of its own, and a figure is true
where its interval holds the one of all persons.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from process import in_one_line

from blippose.errors import UserError
from blippose.evaluation.intervals import Bootstrap

METRICS = ("mae", "epe", "acc_1px", "acc_5px", "acc_25px")


def main() -> None:
    """Print a row for each number of videos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="per_image.csv of blippose eval")
    parser.add_argument("--videos", type=int, nargs="+", default=[30, 94])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--samples", type=int, default=1000, help="of each bootstrap")
    options = parser.parse_args()
    with options.table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["answer"] == "model, free-running"]
    if any(not row["video"] or not all(row[name] for name in METRICS) for row in rows):
        raise UserError(f"{options.table}: has persons of no known video, or without figures")
    videos = np.array([int(row["video"]) for row in rows])
    figures = np.array([[float(row[name]) for name in METRICS] for row in rows])
    known = np.unique(videos)
    persons = [np.flatnonzero(videos == video) for video in known]
    truth = figures.mean(axis=0)
    print(f"{len(rows):,} persons in {len(known)} videos; {options.rounds} draws of each")
    print(f"{'videos':>8}" + "".join(f"{name:>26}" for name in METRICS))
    draw = np.random.default_rng(0)
    for num_videos in options.videos:
        ends = []
        for _ in range(options.rounds):
            drawn = draw.integers(len(known), size=num_videos)
            chosen = np.concatenate([persons[video] for video in drawn])
            group = np.repeat(np.arange(num_videos), [len(persons[video]) for video in drawn])
            bootstrap = Bootstrap.of(group, options.samples, seed=0)
            means = bootstrap.ratio(figures[chosen], np.ones((len(chosen), len(METRICS))))
            found = [means[i].interval() for i in range(len(METRICS))]
            ends.append([(each.low, each.high) for each in found])
        low, high = np.moveaxis(np.array(ends), 2, 0)  # (rounds, metrics) each
        below, above = (truth < low).mean(axis=0), (truth > high).mean(axis=0)
        cells = [f"{1 - b - a:.3f} ({b:.3f} below)" for b, a in zip(below, above, strict=True)]
        print(f"{num_videos:>8}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    in_one_line(main)
