"""How far a predicted pose lies from the annotated one: functions and torchmetrics classes.

Each metric is a pair, as in torchmetrics: a function for tensors in hand, and a class that gathers
batches and processes. `PoseMetrics` computes all of them in one update. Knows nothing of captions,
files or models: a joint that the caption lacks arrives as NaN.
"""

from blippose.metrics.functional import (
    epe,
    mae_all,
    oks,
    parse_rate,
    pck,
    pckh,
    pckh_auc,
    pckh_groups,
    pckh_per_joint,
    pixel_accuracy,
    pixel_mae,
    torso_size,
)
from blippose.metrics.modular import (
    EPE,
    OKS,
    PCK,
    MAEAll,
    ParseRate,
    PCKh,
    PCKhAUC,
    PCKhPerJoint,
    PixelAccuracy,
    PixelMAE,
)
from blippose.metrics.pose_metrics import PoseMetrics

__all__ = [
    "EPE",
    "OKS",
    "PCK",
    "MAEAll",
    "PCKh",
    "PCKhAUC",
    "PCKhPerJoint",
    "ParseRate",
    "PixelAccuracy",
    "PixelMAE",
    "PoseMetrics",
    "epe",
    "mae_all",
    "oks",
    "parse_rate",
    "pck",
    "pckh",
    "pckh_auc",
    "pckh_groups",
    "pckh_per_joint",
    "pixel_accuracy",
    "pixel_mae",
    "torso_size",
]
