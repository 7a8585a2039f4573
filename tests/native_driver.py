"""Programs in C around the native code's sources, for sanitizers."""

import functools
import subprocess
import tempfile
from pathlib import Path

from fastnorm_native import building


def compiled(source, folder, sanitizer, *flags):
    """`source`, a file beside this one, as a program with all sources of the library."""
    program, library = folder / "driver", _library(sanitizer)
    run("-o", str(program), str(Path(__file__).with_name(source)), *flags, *library, "-lm", sanitizer=sanitizer)
    return program


@functools.cache
def _library(sanitizer):
    """The library's object files, once for all programs."""
    folder = tempfile.TemporaryDirectory()
    run("-c", *map(str, building.sources()), sanitizer=sanitizer, folder=folder.name)
    return _Objects(folder)


class _Objects(list):
    """Files that are removed when nobody knows of them any more."""

    def __init__(self, folder):
        super().__init__(map(str, sorted(Path(folder.name).glob("*.o"))))
        self.folder = folder


def run(*arguments, sanitizer, folder=None):
    command = [*building.compiler(), *building.FLAGS, *building.WARNINGS, "-g", "-O0", f"-I{building.SOURCES}"]
    command += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
