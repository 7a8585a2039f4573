"""The whole suite on this machine, then its report: `python -m benchmarks`, or `fastnorm bench`.

Exit status 0: everything ran and was verified; 1: something was not; 2: the suite could not be run.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.rows import ROOT
from fastnorm.cli._ending import INTERRUPTED, WRONG_CALL, quietly
from fastnorm.cli._progress import Bar, progress


class Follow:
    """A pytest plugin that moves the bar from cell to cell, and keeps what failed."""

    def __init__(self, bar: Bar) -> None:
        self.bar, self.failed, self.interrupted = bar, [], False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.bar.total(len(session.items))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.bar.name(nodeid.partition("[")[2].rstrip("]") or nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        if report.when == "teardown":
            self.bar.advance(1)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo) -> None:
        self.interrupted = excinfo.type is KeyboardInterrupt  # pytest raises a subclass where it stops by itself


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cells and few rounds: minutes, not hours")
    parser.add_argument("--output", type=Path, default=Path("fastnorm-bench"), metavar="FOLDER", help="where rows go")
    parser.add_argument("--rows-only", action="store_true", help="write the rows, and draw nothing")
    parser.add_argument("--only", default="", metavar="WORDS", help="cells that these words choose, as in pytest -k")
    parser.add_argument("--cells", default=str(ROOT / "benchmarks"), help="the folder or test file to run")
    options = parser.parse_args(argv)
    output = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    arguments = [options.cells, "--rows", str(output), "-k", options.only, "-p", "no:cacheprovider", "--color=no"]
    arguments += ["--quick"] * options.quick
    # While tests run, pytest holds the standard streams: what it says goes to a file, the bar to a stream of its own.
    with os.fdopen(os.dup(2), "w") as terminal, (output / "pytest.log").open("w+", encoding="utf-8") as log:
        with progress(None, "measuring", terminal) as bar, contextlib.redirect_stdout(log):
            follow = Follow(bar)
            ended = pytest.main(arguments, plugins=[follow])
        log.seek(0)
        last_lines = log.read().splitlines()[-60:]
    if follow.interrupted:
        print(f"interrupted; to draw the rows so far: python -m benchmarks.report {output}", file=sys.stderr)
        return INTERRUPTED
    status = {pytest.ExitCode.OK: 0, pytest.ExitCode.TESTS_FAILED: 1}.get(ended, WRONG_CALL)
    if status != WRONG_CALL and not options.rows_only:
        status = max(status, report.make(output, output, follow.failed))
    if status:
        print("\n".join(last_lines), file=sys.stderr)  # pytest's summary, which names what failed
    return status


if __name__ == "__main__":
    sys.exit(quietly("benchmarks", main))
