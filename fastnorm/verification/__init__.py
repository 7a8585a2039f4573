"""Proof that values are the published ones: exact arithmetic, the published pipelines themselves, and the checks."""

from fastnorm.verification.causes import Cause
from fastnorm.verification.checks import Report, check
from fastnorm.verification.differences import Difference
from fastnorm.verification.verifying import Compared, Verification, verify

__all__ = ["Cause", "Compared", "Difference", "Report", "Verification", "check", "verify"]
