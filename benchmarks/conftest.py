"""Options and paths of the benchmark suite; `pytest benchmarks --benchmark-only`."""

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--rows", type=Path, help="append every measurement to this CSV file, with its provenance")


@pytest.fixture
def rows_file(request):
    return request.config.getoption("--rows")
