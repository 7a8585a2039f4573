"""`fastnorm bench`: runs `python -m benchmarks` in a checkout, because a wheel does not carry the suite."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import fastnorm
from fastnorm.backends.select import path_name
from fastnorm.cli._errors import CommandError

NEEDED = ("pytest", "pandas", "jinja2")
INSTALL = 'pip install -e ".[bench]"'


def run(args: argparse.Namespace) -> int:
    checkout = find_checkout()
    check_packages()
    output: Path = args.output.absolute()
    make_folder(output)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(
        f"fastnorm {fastnorm.__version__} on {path_name(device)}; rows are added to those in {args.output}", flush=True
    )
    command = [sys.executable, "-m", "benchmarks", "--output", str(output)]
    command += ["--quick"] * args.quick + ["--rows-only"] * args.rows_only
    paths = [str(checkout), str(checkout / "kernels"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with subprocess.Popen(command, cwd=checkout, env=environment) as suite:
        try:
            return suite.wait()
        except KeyboardInterrupt:  # a terminal sends Ctrl-C to the suite, too, which then ends by itself
            return suite.wait()


def find_checkout() -> Path:
    """The folder that holds benchmarks/: where this package lies in a checkout, or the current folder."""
    package = Path(fastnorm.__file__).resolve().parent
    for folder in (package.parent, Path.cwd()):
        if (folder / "benchmarks" / "__main__.py").is_file() and (folder / "kernels").is_dir():
            return folder
    raise CommandError(
        f"got no benchmarks folder beside {package} or in {Path.cwd()}, expected a checkout of the project, because "
        f"the suite is not part of the wheel; git clone the project, then in its folder: {INSTALL} && fastnorm bench"
    )


def check_packages() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"{' and '.join(missing)} not installed, expected what the suite needs; in the checkout: {INSTALL}"
        )


def make_folder(path: Path) -> None:
    """Fail now, not after the work, if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise CommandError(
            f"--output {path}: got {error.strerror!r}, expected a folder for rows and report; name another"
        ) from None
