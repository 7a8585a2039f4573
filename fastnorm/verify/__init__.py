"""Proof that values are the published ones: exact arithmetic, the published pipelines themselves, and the checks."""
