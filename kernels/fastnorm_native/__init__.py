"""The native CPU engine: C for the inner loops, called through ctypes. Only torch and numpy are needed.

library()  # None where there is no native code; status() says why
"""

from .loading import Library, library, status
from .records import Instructions

__all__ = ["Instructions", "Library", "library", "status"]
