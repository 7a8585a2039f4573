"""Options of the benchmark suite: `pytest benchmarks [--quick] [--rows FOLDER] [--verify-only] [-s]`."""

import gc
from pathlib import Path

import pytest
import torch

from benchmarks.timing import Suite


def pytest_addoption(parser):
    parser.addoption("--rows", type=Path, help="append every measurement to CSV files in this folder")
    parser.addoption("--quick", action="store_true", help="few cells and few rounds: about a minute on a CPU")
    parser.addoption("--verify-only", action="store_true", help="run everything once on small inputs; time nothing")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore")  # peers' warnings fail no measurement


def pytest_collection_modifyitems(config, items):
    def kept(item):
        cell = item.callspec.params["cell"]
        return (not config.getoption("--quick") or cell.quick) and (cell.device != "cuda" or torch.cuda.is_available())

    config.hook.pytest_deselected(items=[item for item in items if not kept(item)])
    items[:] = filter(kept, items)


@pytest.fixture
def suite(request):
    """Every cell starts with all threads, and from an empty device: graphs keep the memory that they captured."""
    option, threads = request.config.getoption, torch.get_num_threads()
    yield Suite(option("--verify-only"), option("--quick"), option("--rows"))
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()
