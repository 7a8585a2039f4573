"""A pytest plugin that tells another process how far the suite is: `pytest -p benchmarks.progress` writes one line per
event to the file that FASTNORM_BENCH_EVENTS names. Lines: "total 12", "done", "failed NODEID".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

EVENTS = "FASTNORM_BENCH_EVENTS"


def _tell(event: str) -> None:
    path = os.environ.get(EVENTS)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{event}\n")


def pytest_collection_finish(session: Any) -> None:  # pytest's own type, which is not imported here
    _tell(f"total {len(session.items)}")


def pytest_runtest_logreport(report: Any) -> None:
    if report.failed:
        _tell(f"failed {report.nodeid}")
    if report.when == "teardown":
        _tell("done")
