"""A trust report as `trust_report` returns it, made by hand: what rendering is tested on."""

from __future__ import annotations

from typing import Any

from blippose.evaluation.quantities import QUANTITIES
from blippose.pose import JOINTS

ROWS = {  # name: kind, MAE px, share within 5 px
    "model, free-running": ("model", 3.8251, 0.6552),
    "model, teacher-forced": ("model", 2.5512, 0.7741),
    "mean pose of training": ("baseline", 13.6212, 0.0463),
    "median pose of training": ("baseline", 13.4012, 0.0474),
    "random training pose": ("baseline", 18.9312, 0.0212),
    "nearest neighbour by image features": ("baseline", 9.1312, 0.2012),
    "blank image": ("control", 14.2012, 0.0412),
    "shuffled images": ("control", 17.3312, 0.0301),
    "whole pixels of the image": ("ceiling", 0.0012, 1.0),
    "resize: whole pixels of the input": ("ceiling", 0.2512, 1.0),
    "caption format (quantisation)": ("ceiling", 0.2512, 1.0),
}
GROUPS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def interval(value: float | None, half: float = 0.03) -> dict[str, float | None]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {
        "value": value,
        "low": value * (1 - half),
        "high": value + half * min(value, 1 - value),
    }


def distance(value: float) -> dict[str, float | None]:
    low, high = sorted((0.94 * value, 1.07 * value))
    return {"value": value, "low": low, "high": high}


def metrics(mae: float, share: float) -> dict[str, Any]:
    """Every metric of a row: distances from `mae`, shares from `share`."""
    values = {q.name: distance(mae) if q.unit == "px" else interval(share) for q in QUANTITIES}
    return {**values, "parse_rate": interval(1.0, 0.0), "pck_0.2": interval(None)}


def example_report() -> dict[str, Any]:
    """A new one each time, to be changed at will."""
    manifest = "045ceb118da68f7309fd26b3c10e0591a35b6e4e1e44edc1bcc8dad5ae1ad2c7"
    rows = [
        {"name": name, "kind": kind, "metrics": metrics(mae, share)}
        for name, (kind, mae, share) in ROWS.items()
    ]
    joint = {
        **{"mae": distance(3.1), "epe": distance(5.2)},
        **{"acc_1px": interval(0.1), "acc_5px": interval(0.6), "pckh_0.5": interval(None)},
    }
    shown = ("model, free-running", "model, teacher-forced", "mean pose of training")
    return {
        "about": {
            "source": "runs/demo/best.ckpt",
            "run": "runs/demo",
            "epoch": 5,
            "subset": "val",
            "split": "video",
            "manifest": manifest,
            "synthetic": True,
            "frame": {"input_size": 96, "num_bins": None, "resize": "stretch", "crop": "full"},
            "num_images": 300,
            "num_videos": 61,
            "num_train": 1200,
            "interval": {"level": 0.95, "unit": "video", "samples": 1000, "seed": 0},
            "decoding": "free",
            "versions": {"blippose": "0.1.0", "torch": "2.13.0", "commit": "d2e88f7"},
        },
        "rows": rows,
        "groups": {
            name: {
                key: {group: interval(share) for group in GROUPS}
                for key in ("pckh_0.5", "pckh_0.1", "pckh_auc")
            }
            for name, (_, _, share) in ROWS.items()
        },
        "per_joint": {name: {joint_: dict(joint) for joint_ in JOINTS} for name in shown},
        "captions": {
            "parse_rate": interval(0.9958),
            "absent": interval(0.0021),
            "no_number": interval(0.0),
            "twice": interval(0.0),
            "out_of_range": interval(0.0021),
            "truncated": interval(0.0033),
            "num_captions": 300,
        },
        "tokens": {
            "coordinate_accuracy": interval(0.2213),
            "all_accuracy": interval(0.8013),
        },
        "diagnostics": {
            "swap_rate": interval(0.0312),
            "truth_gap": {"acc_1px": interval(0.041), "acc_5px": interval(-0.012)},
            "num_pairs_found": 717,
            "share_1_to_5px": interval(0.5071),
            "outside_input": interval(0.0),
            "input_pixel": {"width": 6.7, "height": 3.8},
            "train_gap": {
                "train": metrics(2.9, 0.75),
                "val": metrics(3.8251, 0.6552),
                "difference": metrics(-0.9251, 0.0948),
                "num_train_scored": 300,
            },
        },
        "leaks": {
            "manifest": manifest,
            "shared_video": {"num_images": 0, "num_left": 300},
            "near_duplicates": {
                "num_images": 4,
                "num_left": 296,
                "threshold": 6,
                "pairs": [{"val": "000003.jpg", "train": "000801.jpg", "distance": 4}],
            },
            "rows": [
                {
                    "name": "without near-duplicates",
                    "num_images": 296,
                    "metrics": metrics(3.9, 0.64),
                }
            ],
        },
        "warnings": [
            {
                "kind": "synthetic people",
                "text": "The people are drawn: the numbers say that the machinery works.",
            },
            {
                "kind": "teacher forcing",
                "text": "Shown the true joints, the model scores .774; free-running, .655.",
            },
        ],
    }
