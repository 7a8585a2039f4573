"""Programs in C around the native code's sources, for sanitizers."""

import subprocess
from pathlib import Path

from fastnorm_native import building


def compiled(source, folder, *flags):
    """`source`, a file beside this one, compiled with all sources of the library."""
    program = folder / "driver"
    command = [*building.compiler(), *building.FLAGS, *building.WARNINGS, "-g", *flags, f"-I{building.SOURCES}"]
    command += ["-o", str(program), str(Path(__file__).with_name(source)), *map(str, building.sources()), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program
