"""What is installed: the wheel's files, built as pip builds them."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


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
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "ip_adapter_loader.py", photos],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"},
    )
    assert "5 images: (5, 3, 512, 512) (5, 3, 224, 224)" in done.stdout, done.stderr
