"""The compiled library: found, or compiled once into a cache, and trusted after a test of itself."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path

from . import building
from .records import RECORD_SIZES, Instructions


@dataclass(frozen=True, eq=False)
class Library:
    """A loaded library that has passed its self-test."""

    path: Path
    functions: ctypes.CDLL  # calls release the interpreter's lock
    best: Instructions  # that this processor has


class LibraryError(Exception):
    """Why a library that is there cannot be used."""


def library() -> Library | None:
    """The library, loaded on the first call; None where there is none, with one warning where something is broken."""
    return _found()[0]


def status() -> str:
    """For reports: "" where the library is in use, else why it is not, and what would help."""
    return _found()[1]


def load(path: Path) -> Library:
    """Load a library file.

    Raises:
        LibraryError: It cannot be loaded, belongs to other sources, or fails its self-test.
    """
    try:
        functions = ctypes.CDLL(str(path))
        functions.fastnorm_fingerprint.restype = ctypes.c_char_p
        fingerprint = functions.fastnorm_fingerprint().decode()
        if fingerprint != building.fingerprint():
            raise LibraryError(f"{path} was compiled from other sources")
        functions.fastnorm_record_size.restype = ctypes.c_int64
        sizes = [functions.fastnorm_record_size(index) for index in range(len(RECORD_SIZES))]
        failed = functions.fastnorm_self_test()
        best = Instructions(functions.fastnorm_best_instructions())
    except (OSError, AttributeError) as error:  # not for this system, or no library of ours
        raise LibraryError(f"{path} cannot be loaded: {error}") from error
    if sizes != list(RECORD_SIZES):
        raise LibraryError(f"{path} has records of other sizes: {sizes}")
    if failed:
        raise LibraryError(f"{path} fails its self-test (number {failed})")
    return Library(path, functions, best)


@functools.cache
def _found() -> tuple[Library | None, str]:
    why = building.unsupported()
    if why:
        return None, why
    try:
        return _load_or_build(), ""
    except building.NoCompilerError as error:
        return None, str(error)
    except (building.BuildError, LibraryError) as error:
        warnings.warn(f"the CPU takes the slower torch path: {error}", RuntimeWarning, stacklevel=3)
        return None, str(error)


def _load_or_build() -> Library:
    beside = Path(__file__).with_name(building.LIBRARY_NAME)
    if not beside.exists():
        return load(_cached())
    try:
        return load(beside)
    except LibraryError as broken:  # such as an editable install whose sources have changed since
        try:
            return load(_cached())
        except building.NoCompilerError:
            raise broken from None


def _cached() -> Path:
    """The library in the cache, compiled if it is not there yet."""
    path = cache_directory() / _cache_key() / building.LIBRARY_NAME
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise building.BuildError(
                f"no cache for the compiled code ({error}); FASTNORM_CACHE_DIR can name another folder"
            ) from error
        building.build(path)
    return path


def cache_directory() -> Path:
    """Where compiled libraries are kept: FASTNORM_CACHE_DIR, else `fastnorm` in the user's cache folder."""
    own = os.environ.get("FASTNORM_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastnorm"


def _cache_key() -> str:
    """Another one for other sources, flags, compilers and platforms."""
    words = building.compiler()
    compiler = [str(Path(words[0]).resolve()), *words[1:]]
    what = f"{building.fingerprint()} {shlex.join(compiler)} {sysconfig.get_platform()}"
    return hashlib.sha256(what.encode()).hexdigest()[:32]
