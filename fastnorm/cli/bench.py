"""`fastnorm bench`: the benchmark suite of a checkout on this machine, its rows, its charts and its report.

The suite, its peers and its charts are in the checkout's benchmarks folder, which a wheel does not carry. Everything
runs in processes of its own, as the suite's own commands do.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

import fastnorm
from fastnorm.backends.select import path_name
from fastnorm.cli._errors import CommandError
from fastnorm.cli._progress import progress
from fastnorm.cli._text import plural

NEEDED = {"pytest": "pytest", "pytest_benchmark": "pytest-benchmark", "matplotlib": "matplotlib"}
INSTALL = 'pip install -e ".[bench]"'
EVENTS = "FASTNORM_BENCH_EVENTS"  # benchmarks/progress.py writes there
TESTS_FAILED = 1  # pytest's exit status where it ran, and something it ran did not hold
_GRACE = 10  # seconds for a process to end by itself after Ctrl-C
_SHOWN = 60  # lines of a log


class Part(NamedTuple):
    """One process of the suite after pytest, and the file its rows go to."""

    script: str
    rows: str


PARTS = (Part("benchmarks/host_path.py", "host.csv"), Part("benchmarks/end_to_end.py", "end_to_end.csv"))


def run(args: argparse.Namespace) -> int:
    checkout = find_checkout()
    check_packages(() if args.rows_only else ("matplotlib",))
    output: Path = args.output.absolute()
    make_folder(output)
    quick = ["--quick"] if args.quick else []
    print(f"fastnorm {fastnorm.__version__} on {path_name(_device())}; rows are added to those in {args.output}")
    try:
        problems = measure(checkout, output, quick)
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; the rows so far are in {args.output}; to draw them, in {checkout}: "
            f"python -m benchmarks.report {output}",
            file=sys.stderr,
        )
        raise
    if not args.rows_only:
        draw(checkout, output, problems)
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    return 1 if problems else 0


def find_checkout() -> Path:
    """The folder that holds benchmarks/: where this package lies in a checkout, or the current folder."""
    for folder in (Path(fastnorm.__file__).resolve().parent.parent, Path.cwd()):
        if (folder / "benchmarks" / "report.py").is_file() and (folder / "kernels").is_dir():
            return folder
    raise CommandError(
        f"no benchmarks folder beside {Path(fastnorm.__file__).resolve().parent} or in {Path.cwd()}; wanted a checkout "
        f"of the project, because the suite is not part of the wheel; git clone the project, then in its folder: "
        f"{INSTALL} && fastnorm bench"
    )


def check_packages(also: Sequence[str]) -> None:
    wanted = ("pytest", "pytest_benchmark", *also)
    missing = [NEEDED[name] for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"{' and '.join(missing)} not installed; wanted the packages that the suite is run and drawn with; "
            f"in the checkout: {INSTALL}"
        )


def make_folder(path: Path) -> None:
    """Fail now, not after the work, if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise CommandError(
            f"--output {path}: cannot be written to ({error.strerror}); wanted a folder for rows, charts and report; "
            f"name another"
        ) from None


def measure(checkout: Path, output: Path, quick: Sequence[str]) -> list[str]:
    """Run all parts of the suite behind one bar; what did not hold, one line each."""
    rows = output / ("gpu.csv" if torch.cuda.is_available() else "cpu.csv")
    with tempfile.TemporaryDirectory() as folder:
        events = Events(Path(folder) / "events")
        command = ["-m", "pytest", "benchmarks", "-p", "benchmarks.progress", "--rows", str(rows), *quick]
        suite = start(command, checkout, output / "pytest.log", {EVENTS: str(events.path)})
        with ending(suite):
            total = events.total(suite)
            if total is None:
                raise CommandError(_stopped("pytest benchmarks", suite.wait(), output / "pytest.log"))
            with progress(total + len(PARTS), "measuring", "step") as advance:
                status = events.follow(suite, advance)
                if status not in (0, TESTS_FAILED):
                    raise CommandError(_stopped("pytest benchmarks", status, output / "pytest.log"))
                problems = [f"{test}: see {output / 'pytest.log'}" for test in events.failed]
                for part in PARTS:
                    problems += run_part(part, checkout, output, quick)
                    advance(1)
    if events.failed:
        print(_failures(output / "pytest.log"), file=sys.stderr)
    return problems


def run_part(part: Part, checkout: Path, output: Path, quick: Sequence[str]) -> list[str]:
    log = (output / part.rows).with_suffix(".log")
    with ending(start([part.script, "--rows", str(output / part.rows), *quick], checkout, log, {})) as process:
        status = process.wait()
    return [_stopped(part.script, status, log)] if status else []


def draw(checkout: Path, output: Path, problems: Sequence[str]) -> None:
    """Charts, page and the short table, by the checkout's own command."""
    command = [sys.executable, "-m", "benchmarks.report", str(output)]
    for problem in problems:
        command += [f"--problem={problem}"]
    sys.stdout.flush()
    status = subprocess.run(command, cwd=checkout, env=_environment(checkout, {}), check=False).returncode
    if status:
        raise CommandError(
            f"python -m benchmarks.report ended with status {status}; wanted charts and a page; its message is above, "
            f"the rows are in {output}"
        )


def start(command: Sequence[str], checkout: Path, log: Path, extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Python with these arguments in the checkout; all it prints goes to a file."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=checkout,
            env=_environment(checkout, extra),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Leaves no process behind: a terminal's Ctrl-C has reached it, too; one that stays is ended."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Events:
    """What benchmarks/progress.py has written so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failed: list[str] = []
        self._read = 0

    def total(self, process: subprocess.Popen[bytes]) -> int | None:
        """How many tests there are, once pytest has found them; None if it ended without any."""
        while True:
            ended = process.poll() is not None
            for line in self._lines():
                word, _, rest = line.partition(" ")
                if word == "total":
                    return int(rest) or None
            if ended:
                return None
            time.sleep(0.1)

    def follow(self, process: subprocess.Popen[bytes], advance: Callable[[int], object]) -> int:
        """Move the bar until the process ends; its exit status."""
        while True:
            status = process.poll()
            for line in self._lines():
                word, _, rest = line.partition(" ")
                if word == "done":
                    advance(1)
                elif word == "failed":
                    self.failed.append(rest)
            if status is not None:
                return status
            time.sleep(0.1)

    def _lines(self) -> Iterator[str]:
        """Whole lines that were not yet read, one at a time: what is not asked for stays for the next call."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield line.decode().rstrip("\n")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _environment(checkout: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The suite imports the checkout it lies in."""
    paths = [str(checkout), str(checkout / "kernels"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), **extra}


def _stopped(what: str, status: int, log: Path) -> str:
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{what} ended with status {status}; all it said is in {log}; its last line: {said[-1] if said else '-'}"


def _failures(log: Path) -> str:
    """pytest's own account of what did not hold."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((index for index, line in enumerate(lines) if line.strip("= ") in ("FAILURES", "ERRORS")), 0)
    shown = lines[first:]
    left = len(shown) - _SHOWN
    return "\n".join(shown if left <= 0 else [f"({plural(left, 'line')} more in {log})", *shown[left:]])
