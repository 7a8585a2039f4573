"""The CPU backend: Pillow or torch resizes, and torch normalises piece by piece."""
