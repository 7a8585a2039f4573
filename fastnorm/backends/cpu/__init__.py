"""The CPU backend: Pillow resizes, and torch normalises piece by piece."""
