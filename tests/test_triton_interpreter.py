"""The kernels run in Triton's interpreter too, which is what a user debugs with; most tests run what is compiled."""

import pathlib

import pytest

import forking
import stub_driver

pytestmark = pytest.mark.compat

TESTS = pathlib.Path(__file__).parent
CHOSEN = (
    "test_exactness.py::test_one_target_in_each_dtype",
    "test_shapes.py::test_out_takes_any_memory_and_leaves_the_rest_alone",
    "test_resize_kernels.py::test_pixels_are_pillows",
    "test_resize_kernels.py::test_three_targets_of_three_dtypes",
)


def run_module(*command):
    # Neither a GPU nor whatever plugins of pytest are installed.
    environment = stub_driver.without_interpreter() | {
        "CUDA_VISIBLE_DEVICES": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return forking.run("-m", *command, cwd=TESTS, env=environment)


def test_chosen_tests_pass_in_it():
    # Of the tests that run on every path, those of the kernels' path: the interpreter changes no other. It computes one
    # operation after the other, whatever stands beside it; so one target is enough for the second layout.
    words = "kernel and (NHWC or vae or not test_one_target)"
    result = run_module(
        "pytest", "-q", "--device=interpreter", "-p", "no:cacheprovider", "-k", words, "--each-value", *CHOSEN
    )
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_nothing_outside_an_image_is_read():
    """Images at the very start and end of readable memory; reading past either would end the process."""
    result = run_module("images_at_page_ends")
    assert (result.returncode, result.stdout.split()) == (0, ["same"] * 4), result.stderr
