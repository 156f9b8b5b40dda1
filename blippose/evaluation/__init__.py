"""What a model's numbers are worth: the truth, the baselines, the trust report."""

from blippose.evaluation.baselines import mean_pose, mean_pose_baseline, results

__all__ = ["mean_pose", "mean_pose_baseline", "results"]
