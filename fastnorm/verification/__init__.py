"""Proof that values are the published ones: exact arithmetic, the published pipelines themselves, and the checks."""

from fastnorm.verification.checks import Report, check

__all__ = ["Report", "check"]
