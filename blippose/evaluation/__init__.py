"""What a model's numbers are worth: the truth, the baselines, the trust report."""
