"""Shared set-up: which devices there are, and Triton's interpreter where there is no GPU."""

import os

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which happens after this line

DEVICES = ["cpu", "cuda"] if HAS_GPU else ["cpu"]


def pytest_collection_modifyitems(config, items):
    if HAS_GPU:
        return
    gpu_only = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_only:
        config.hook.pytest_deselected(items=gpu_only)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)
