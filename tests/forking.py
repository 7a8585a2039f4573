"""Commands in processes of their own that do without importing torch: they are forks of one process that has.

It has imported none of fastnorm and computed nothing. Where a test is about what importing does, or about how Python
itself begins or ends, it starts a new Python instead: `new_python` in place of `run`.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "pandas", "pytest", "rich.console"])


def run(kind, name, *arguments, cwd=None, env=os.environ):
    """What `python -c PROGRAM` and `python -m MODULE` do: an exit status, and what was written to both streams."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, stream) for stream in ("out", "err")]
        given = (kind, name, arguments, streams, cwd or Path.cwd(), dict(env))
        process = CONTEXT.Process(target=_begin, args=given)
        process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, *(path.read_text() for path in streams))


def new_python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)


def _begin(kind, name, arguments, streams, folder, environment):
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [str(folder), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        exec(name, {"__name__": "__main__"})
