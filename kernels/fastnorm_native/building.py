"""The one command that compiles the native code, for wheels, for the cache of a bare checkout and for tests.

The build hook loads this file by its path, in an environment without torch and numpy: only the standard library is
imported here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
LIBRARY_NAME = "libfastnorm.so"

# -ffp-contract=off: a compiler that fuses multiplications with additions computes other bits.
# -fno-trapping-math: nobody looks at the processor's exception flags, for which gcc would keep branches in loops. It
# changes no value.
FLAGS = ("-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-trapping-math", "-pthread")
STRIPPED = ("-g0", "-Wl,-s")
WARNINGS = ("-Wall", "-Wextra", "-Werror")


class BuildError(Exception):
    """Why there is no library; the text says what would help."""


class NoCompilerError(BuildError):
    """Nothing is broken: this machine cannot compile."""


def unsupported() -> str:
    """Why this platform has no native code, or "": it is compiled only where it has been tested."""
    system, machine = platform.system(), platform.machine().lower()
    if system != "Linux" or machine not in ("x86_64", "amd64") or sys.maxsize < 2**32:
        return f"native code exists for Linux on x86-64, not for {system} on {machine}"
    return ""


def sources() -> list[Path]:
    """The C files, which are compiled together."""
    return sorted(SOURCES.glob("*.c"))


def fingerprint() -> str:
    """What the native code is: a digest of its sources and flags, which every library carries in itself."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted((*SOURCES.glob("*.c"), *SOURCES.glob("*.h"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def compiler() -> list[str]:
    """The C compiler: the environment variable CC, else cc, else clang.

    Raises:
        NoCompilerError: There is none.
    """
    chosen = os.environ.get("CC")
    for name in [chosen] if chosen else ["cc", "clang"]:
        words = shlex.split(name)
        found = shutil.which(words[0]) if words else None
        if found:
            return [found, *words[1:]]
    if chosen:
        raise NoCompilerError(f"CC: got {chosen!r}, which is not installed; expected a C compiler such as cc")
    raise NoCompilerError("no C compiler found (cc or clang); install one, or a wheel that was built with one")


def command(compiler: Sequence[str], output: Path, extra: Sequence[str] = ()) -> list[str]:
    """The command that compiles all sources into the shared library `output`; `extra` flags come last."""
    identity = f'-DFASTNORM_FINGERPRINT="{fingerprint()}"'
    return [*compiler, *FLAGS, identity, *extra, "-shared", "-o", str(output), *map(str, sources()), "-lm"]


def build(output: Path, extra: Sequence[str] = STRIPPED) -> None:
    """Compile the library `output`, which appears at once and in full.

    Raises:
        BuildError: There is no compiler, or it failed.
    """
    words = compiler()
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.unfinished")
    try:
        done = subprocess.run(command(words, unfinished, extra), capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{shlex.join(words)} cannot compile the native code: {done.stderr.strip()[-2000:]}")
        unfinished.replace(output)
    except OSError as error:
        raise BuildError(f"{shlex.join(words)} cannot compile the native code: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
