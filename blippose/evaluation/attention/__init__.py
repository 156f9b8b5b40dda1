"""Attention held against the truth and against controls: evidence, report, pictures, files."""
