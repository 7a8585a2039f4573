"""What is installed: the wheel's files, built as pip builds them."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import forking
from fastnorm_native import building

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the sources: a build leaves its library beside them."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("fastnorm", "kernels", "pyproject.toml", "README.md", "LICENSE", "hatch_build.py"):
        source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__", "libfastnorm.so*")
        shutil.copytree(source, copy / name, ignore=ignored) if source.is_dir() else shutil.copy(source, copy)
    return copy


def build(checkout, folder, **environment):
    """The wheel that pip builds, with these environment variables."""
    variables = {key: value for key, value in os.environ.items() if key not in ("CC", "FASTNORM_WHEEL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=checkout,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return next(folder.glob("*.whl"), None), done


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    wheel, done = build(checkout, tmp_path_factory.mktemp("wheel"))
    assert wheel is not None, done.stderr
    return wheel


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def run_installed(wheel, folder, program, start=forking.run):
    """A program with the wheel's packages in place of this checkout's."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    variables = {**os.environ, "PYTHONPATH": str(folder), "FASTNORM_CACHE_DIR": str(folder / "cache")}
    done = start("-c", program, cwd=folder, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


NORMALIZE = """
import torch, fastnorm, fastnorm_native
batch = torch.arange(2 * 9 * 8 * 3, dtype=torch.int32).to(torch.uint8).view(2, 9, 8, 3)
for got, expected in zip(
    fastnorm.fused_dual_normalize(batch), fastnorm.reference.normalize(batch, [fastnorm.VAE, fastnorm.CLIP])
):
    assert torch.equal(got, expected)
library = fastnorm_native.library()
print(library.path if library else fastnorm_native.status())
"""


def test_the_wheel_brings_its_library_and_serves_every_python(wheel, tmp_path):
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    library = tmp_path / "fastnorm_native" / "libfastnorm.so"
    assert run_installed(wheel, tmp_path, NORMALIZE, forking.new_python) == f"{library}\n"


def test_without_a_compiler_the_wheel_is_pure_and_works(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    wheel, done = build(checkout, tmp_path / "dist")
    assert "a pure wheel, which is slower on the CPU: no C compiler found" in done.stderr + done.stdout
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "no C compiler found" in run_installed(wheel, tmp_path / "installed", NORMALIZE)


def test_a_pure_wheel_can_be_asked_for(checkout, tmp_path):
    wheel, _ = build(checkout, tmp_path, FASTNORM_WHEEL_PLATFORM="any")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.endswith(".so")] == []


@pytest.mark.parametrize("asked", [{"CC": "/no/compiler"}, {"CC": "false"}])
def test_a_compiler_that_was_asked_for_has_to_work(checkout, tmp_path, asked):
    wheel, done = build(checkout, tmp_path, **asked)
    assert wheel is None
    assert done.returncode != 0
    assert "no native code, which CC or FASTNORM_WHEEL_PLATFORM asks for" in done.stderr


def test_release_wheels_run_on_old_systems(checkout, tmp_path):
    """The documented recipe: manylinux_2_17 promises symbols of glibc 2.17 and older. Clang has nothing to warn of."""
    compiler = f"{sys.executable} -m ziglang cc -target x86_64-linux-gnu.2.17 {' '.join(building.WARNINGS)}"
    wheel, done = build(checkout, tmp_path / "dist", CC=compiler, FASTNORM_WHEEL_PLATFORM="manylinux_2_17_x86_64")
    assert wheel is not None, done.stderr
    assert wheel.name.endswith("-py3-none-manylinux_2_17_x86_64.whl")
    assert run_installed(wheel, tmp_path, NORMALIZE) == f"{tmp_path / 'fastnorm_native' / 'libfastnorm.so'}\n"
    library = (tmp_path / "fastnorm_native" / "libfastnorm.so").read_bytes()
    versions = {tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_([0-9.]+)", library)}
    assert versions
    assert max(versions) <= (2, 17)
    needed = set(re.findall(rb"\0(lib[\w+-]+\.so[.0-9]*)", library))
    assert needed <= {b"libc.so.6", b"libm.so.6", b"libpthread.so.0"}
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        assert b"Root-Is-Purelib: false\nTag: py3-none-manylinux_2_17_x86_64\n" in archive.read(name)


def test_the_wheel_has_the_three_packages_with_their_typing_markers_and_nothing_beside_them(names):
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "fastnorm",
        "fastnorm_kernels",
        "fastnorm_native",
        "fastnorm_triton",
    }
    typed = {f"{package}/py.typed" for package in ("fastnorm", "fastnorm_kernels", "fastnorm_native")}
    assert {*typed, "fastnorm/__init__.py"} <= set(names)


def test_every_file_of_the_packages_is_in_the_wheel(names):
    tracked = subprocess.run(
        ["git", "ls-files", "fastnorm", "kernels"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode:
        pytest.fail("this test compares the wheel with the files that git tracks; run it in a checkout")
    expected = {name.removeprefix("kernels/") for name in tracked.stdout.split()}
    assert expected <= set(names)


def test_the_example_runs():
    photos = ROOT / "fastnorm" / "photos"
    done = forking.run("-m", "ip_adapter_loader", str(photos), cwd=ROOT / "examples")
    assert "5 images: (5, 3, 512, 512) (5, 3, 224, 224)" in done.stdout, done.stderr
