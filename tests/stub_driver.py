"""Triton's real launcher on CPU tensors, over a CUDA driver that only remembers (stub_libcuda.c).

`environment(folder)` builds the driver and says what a child process needs to find it; `install()`, in that process,
makes Triton compile for sm_90 and fastnorm serve CPU tensors with kernels; `last_launch()` is what the driver saw.
"""

import ctypes
import os
import pathlib
import shutil
import subprocess

SOURCE = pathlib.Path(__file__).with_name("stub_libcuda.c")
ROOT = SOURCE.parent.parent


def environment(folder):
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "Triton's launcher needs a C compiler, and so does this test: apt-get install gcc"
    library = pathlib.Path(folder) / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
    library.with_name("libcuda.so").symlink_to(library.name)
    return without_interpreter() | {"LD_LIBRARY_PATH": str(folder), "TRITON_LIBCUDA_PATH": str(folder)}


def without_interpreter():
    """This environment for a child process that compiles: the checkout's packages, and Triton's interpreter off."""
    paths = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def install():
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.driver import CudaDriver

    from fastnorm.backends.cuda import backend

    driver = CudaDriver()
    driver.get_current_target = lambda: GPUTarget("cuda", 90, 32)
    driver.get_device_capability = lambda _: (9, 0)
    driver.get_current_device = lambda: 0
    driver.get_current_stream = lambda _: 0
    triton.runtime.driver.set_active(driver)
    backend.serves = lambda _: True  # CPU tensors too
    return driver


def expect(pointers, integers):
    _library().stub_expect(pointers, integers)


def last_launch(pointers, integers):
    """How many launches there were; function, grid, pointers and integers of the last one."""
    values = (ctypes.c_int64 * 16)()
    _library().stub_last(values)
    return values[0], values[1], values[2], list(values[3 : 3 + pointers]), list(values[3 + pointers :])[:integers]


def unloads():
    """How many modules have been unloaded."""
    return _library().stub_unloads()


def _library():
    return ctypes.CDLL("libcuda.so.1")
