"""Options of the benchmark suite: `pytest benchmarks [--quick] [--rows FILE] [-s]`.

Benchmarks marked gpu run where there is one. With --benchmark-disable everything runs once on small inputs and is
verified, and nothing is timed.
"""

import gc
from pathlib import Path

import pytest
import torch

from benchmarks.measure import sampled_time


def pytest_addoption(parser):
    parser.addoption("--rows", type=Path, help="append every measurement to this CSV file, with its provenance")
    parser.addoption("--quick", action="store_true", help="few cells and few rounds: about a minute on a CPU")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore")  # peers' warnings fail no measurement


def pytest_collection_modifyitems(config, items):
    def kept(item):
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            return False
        return not config.getoption("--quick") or item.callspec.params["cell"].quick

    removed = [item for item in items if not kept(item)]
    if removed:
        config.hook.pytest_deselected(items=removed)
        items[:] = [item for item in items if kept(item)]
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=sampled_time))


@pytest.fixture
def rows_file(request):
    return request.config.getoption("--rows")


@pytest.fixture
def rounds(request):
    """How many rounds a cell of so many gets."""
    return (lambda wanted: min(wanted, 5)) if request.config.getoption("--quick") else (lambda wanted: wanted)


@pytest.fixture
def free_memory():
    """Every cell starts from an empty device: graphs keep the memory that they were captured with."""
    yield
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()
