"""The version, for those who cannot import the whole package."""

__version__ = "0.1.0"
