"""Executes what Triton compiles for NVIDIA's GPUs, on a CPU: an interpreter of PTX that checks every access to memory.

    compiled launch -> bridge.py -> interpreter.py, on the memory of memory.py and shared_memory.py

A test tool: it knows the instructions that this project's kernels compile to, and names any other that it meets. What
it does not model: time, ordering between programs of a launch (two that touch the same bytes are a fault), and caches.
"""

from ptx.interpreter import Counts, Kernel
from ptx.memory import Fault, Memory

__all__ = ["Counts", "Fault", "Kernel", "Memory"]
