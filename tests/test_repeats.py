"""Repeated launches do exactly what ordinary ones do: Triton's real launcher, over a driver that remembers."""

import json
import pathlib
import subprocess
import sys

import pytest
import torch

import fastnorm
import stub_driver
from fastnorm.backends.cuda import launch_cache
from fastnorm_kernels import _normalize_kernels

pytestmark = pytest.mark.compat

PROGRAM = pathlib.Path(__file__).with_name("repeat_launches.py")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    environment = stub_driver.environment(tmp_path_factory.mktemp("driver"))
    result = subprocess.run([sys.executable, PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_hundreds_of_random_calls_launch_alike_with_and_without_the_memory(seen):
    assert seen["agree"]["different"] == 0
    assert seen["agree"]["hits"] > 30
    assert seen["agree"]["hits into out"] > 10
    assert seen["agree"]["kept"] > 100


def test_a_remembered_call_does_not_excuse_outputs_that_share_memory(seen):
    assert seen["overlaps"] == [[True, True], [True, True], [True, False]]


def test_autograd_sees_that_outputs_are_written(seen):
    assert seen["versions"] == [0, 1, 2]


def test_a_profiler_s_hook_sees_every_launch_with_its_name_and_bytes(seen):
    hooks = seen["hooks"]
    assert hooks["before"] is True
    assert hooks["during"] is False
    assert hooks["after"] is True
    (name, moved), *more = hooks["seen"]
    assert not more
    assert name == "normalize_dense_bfloat16_bfloat16_2x3x16x24"
    assert moved == 2 * 3 * 16 * 24 * (1 + 2 + 2)


def test_a_knob_set_from_python_is_heeded(seen):
    assert seen["knobs"] == {"during": False, "after": True}


def test_code_stays_loaded_as_long_as_a_call_is_remembered(seen):
    assert seen["code"]["repeats"] is True
    assert seen["code"]["unloaded"] == 0
    # Not every release of Triton unloads anything.
    assert seen["code"]["unloaded when forgotten"] == seen["code"]["unloads"]


def test_another_current_device_takes_the_ordinary_way(seen):
    assert seen["device"] == {"during": False, "after": True}


def test_eight_threads(seen):
    assert seen["threads"]["wrong"] == 0


def test_the_memory_is_bounded(seen):
    assert 0 < seen["bound"]["kept"] <= 10


def test_tensors_without_strides_are_left_to_the_checks():
    sparse = torch.zeros(2, 4, 4, 3, dtype=torch.uint8).to_sparse()
    assert launch_cache.key_of(sparse, (fastnorm.VAE,), None, "auto", None) is None


def test_unhashable_arguments_are_left_to_the_checks():
    batch = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    assert launch_cache.repeat(launch_cache.key_of(batch, (fastnorm.VAE,), None, ["NHWC"], None), batch) is None


@pytest.mark.parametrize(
    ("kernel", "sizes"),
    [
        ("dense", ["groups", "plane_groups", "image_groups", "constants"]),
        ("flat", ["words", "constants"]),
        ("strided", ["rows", "height", "width", "x_strides", "out_strides", "constants"]),
    ],
)
def test_repeats_pass_arguments_by_position_so_their_order_is_fixed(kernel, sizes):
    names = getattr(_normalize_kernels, f"_normalize_{kernel}_kernel").arg_names
    runtime = [name for name in names if not name.isupper()]
    assert runtime == ["x_ptr", "out_ptrs", *sizes]
    assert names[: len(runtime)] == runtime
