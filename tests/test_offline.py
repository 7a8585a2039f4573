"""What the compiled kernels hold, for GPUs that are not here: the offline compiler's machine code, counted."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import torch

import forking
import stub_driver
from compile_variants import EVERYWHERE, VARIANTS
from fastnorm_kernels.inspection import normalize as offline
from fastnorm_kernels.inspection import resize as offline_resize
from fastnorm_kernels.inspection.compiling import compiling_for
from fastnorm_kernels.normalize import choose, plans_of

TESTS = pathlib.Path(__file__).parent
WHOLE_WORDS = [name for name in EVERYWHERE if "225" not in name and "crop" not in name]


@pytest.fixture(scope="module")
def rows(archs):
    """One process without the interpreter compiles every variant."""
    done = forking.run("-m", "compile_variants", *archs, cwd=TESTS, env=stub_driver.without_interpreter())
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def reports(rows):
    return {(row["arch"], row["variant"]): row for row in rows if "variant" in row}


@pytest.mark.parametrize("variant", WHOLE_WORDS)
@pytest.mark.every_arch
def test_fast_paths_move_whole_words_and_nothing_else(reports, arch, variant):
    row = reports[arch, variant]
    assert row["kernel"] in ("_normalize_dense_kernel", "_normalize_flat_kernel")
    assert row["calls"] == 0, "a slow-path call"
    assert row["spills"] == 0
    assert row["shared_bytes"] == 0
    assert row["barriers"] == 0
    assert set(row["stores"]) == {"128"}
    assert set(row["loads"]) == {"32" if "fp32" in variant else "64"}


@pytest.mark.parametrize(
    ("variant", "most"),
    [("NHWC bf16 pair", 14), ("NHWC fp32 pair", 15), ("NCHW bf16 pair", 16), ("NCHW fp32 pair", 18)],
)
def test_instructions_per_element_on_sm_90(reports, variant, most):
    """A memory-bound bf16 pair has room for about 33 on an H200; the fewer there are, the more memory is the bound."""
    assert reports["sm_90", variant]["instructions_per_element"] <= most


@pytest.mark.every_arch
def test_every_architecture_keeps_to_its_registers_and_rounds_to_nearest(reports, arch):
    rows = [row for (name, _), row in reports.items() if name == arch]
    assert len(rows) >= len(EVERYWHERE)
    for row in rows:
        assert (row["spills"], row["inexact"], row["float64"]) == (0, 0, {}), row
        assert row["loads"]
        assert row["stores"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_calls(reports, variant):
    row = reports["sm_90", variant]
    # IEEE division has a slow path for subnormal numbers; only targets that no reciprocal gets right pay for it.
    assert (row["calls"] > 0) == (variant == "NHWC true division")


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_no_operation_is_merged_with_another(reports, layout, dtype):
    """Per element of a VAE and CLIP pair: x / 255 is a multiply and an FMA, VAE an FMA, CLIP a subtraction, a multiply

    and an FMA. Had the compiler merged a multiply and an addition, there would be fewer of both.
    """
    row = reports["sm_90", f"{layout} {dtype} pair"]
    elements = round(row["instructions"] / row["instructions_per_element"])  # of one thread
    counted = row["arithmetic"]
    assert counted["FADD"] == elements
    # The integer division that finds a pixel's image may take one more of each.
    assert 0 <= counted["FMUL"] - 2 * elements <= 1
    assert 0 <= counted["FFMA"] - 3 * elements <= 1


def test_mixed_dtypes_keep_values_in_their_threads(reports):
    """Beside a float32 target, a bf16 store is 64 bits wide, and still whole sectors: 128 would need twice the pixels

    in a thread, and the float32 values would then have to change threads through shared memory to lie side by side.
    """
    row = reports["sm_90", "NHWC fp32 and bf16"]
    assert row["stores"] == {"128": 3, "64": 3}
    assert row["shared_bytes"] == row["barriers"] == row["spills"] == 0


@pytest.mark.parametrize("target", ["VAE", "CLIP"])
def test_equal_targets_share_their_arithmetic(reports, target):
    once, twice = reports["sm_90", f"NHWC {target}"], reports["sm_90", f"NHWC {target} twice"]
    assert twice["stores"] == {width: 2 * count for width, count in once["stores"].items()}
    assert twice["arithmetic"] == once["arithmetic"]


def test_six_targets_of_three_kinds_compute_three(reports):
    row = reports["sm_90", "NHWC six targets"]
    assert row["instructions_per_element"] < 2 * reports["sm_90", "NHWC bf16 pair"]["instructions_per_element"]
    assert row["stores"] == {"128": 18}


@pytest.mark.parametrize(("arch", "block"), [("gfx90a", 256), ("gfx942", 256), ("gfx1100", 128)])
def test_a_program_has_a_word_for_each_thread_on_amd(arch, block, monkeypatch):
    """64 threads a wave on CDNA, 32 on RDNA, where twice the words would make values change threads."""
    monkeypatch.setattr(torch.version, "hip", "6.4")
    x, outputs, targets = VARIANTS["NHWC to channels_last bf16 pair"]
    with compiling_for(offline.ARCHS[arch]):
        assert choose(x, outputs, plans_of(targets)).constants["BLOCK"] == block


def test_past_32_bits_only_the_strided_kernel_counts_in_64(reports):
    """Batches of more than 2^31 codes are launched in parts; one image of that size takes the strided kernel."""
    assert reports["sm_90", "NHWC one image of more than 2^31 codes"]["kernel"] == "_normalize_strided_kernel"


def test_the_command_line_reports(rows):
    (row,) = (row for row in rows if "variant" not in row)
    assert row["layout"] == "NHWC"
    assert row["arch"] == "sm_90"
    assert row["stores"] == {"128": 6}


@pytest.mark.parametrize("tool", ["normalize", "resize"])
def test_a_reader_that_leaves_early_causes_no_traceback(tool):
    command = [sys.executable, "-m", f"fastnorm_kernels.inspection.{tool}", "--arch", "sm_90"]
    environment = stub_driver.without_interpreter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (err, process.wait(timeout=120)) == (b"", -signal.SIGPIPE)


def one_line(text):
    assert text.count("\n") == 1, text
    return text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--arch", "sm_1"], "invalid choice: 'sm_1'"),
        (["--dtypes", "fp64"], "got 'fp64', expected dtypes of fp32, fp16, bf16, one per target, such as fp32,bf16"),
        (["--dtypes", "fp32"], "got 'fp32' for 2 targets, expected one dtype per target"),
        (["--targets", '{"a":'], "expected JSON such as [[[0.5,0.5,0.5],[0.5,0.5,0.5]]]"),
        (["--targets", '{"a": 1}'], "expected JSON such as"),
        (["--targets", "[]"], "expected JSON such as"),
        (["--targets", "[[[0.5,0.5,0.5],[0.5,0.5]]]"], "expected JSON such as"),
        (["--targets", "[[[0.5,0.5,0.5],[0.5,0.5,0]]]"], "expected JSON such as"),
        (["--targets", "[[[0.5,0.5,NaN],[0.5,0.5,0.5]]]"], "expected JSON such as"),
        (["--targets", '[[[0.5,0.5,"x"],[0.5,0.5,0.5]]]'], "expected JSON such as"),
        (["--size", "0", "5", "5"], "got '0', expected a whole number of at least 1"),
        (["--size", "1", "x", "5"], "got 'x', expected a whole number of at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_that_cannot_work_are_one_line(arguments, expected, capsys):
    with pytest.raises(SystemExit) as exit_:
        offline._main(arguments)
    assert exit_.value.code == 2
    assert expected in one_line(capsys.readouterr().err)


def test_arguments_of_the_resizing_tool_that_cannot_work_are_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        offline_resize._main(["--dtype", "fp64"])
    assert exit_.value.code == 2
    assert "invalid choice: 'fp64'" in one_line(capsys.readouterr().err)


@pytest.fixture
def without_triton(tmp_path):
    """The environment of a child process in which Triton cannot be imported."""
    (tmp_path / "triton.py").write_text("raise ModuleNotFoundError(\"No module named 'triton'\", name='triton')\n")
    environment = stub_driver.without_interpreter()
    return environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])}


def test_without_triton_a_tool_says_so_in_one_line(without_triton):
    """The package does, for each of them."""
    result = forking.run("-m", "fastnorm_kernels.inspection.normalize", env=without_triton)
    assert result.returncode == 2
    assert one_line(result.stderr).endswith("error: Triton is not installed; pip install triton\n")


def test_without_triton_importing_the_kernels_raises_an_import_error(without_triton):
    program = "try: import fastnorm_kernels\nexcept ModuleNotFoundError as error: print(error.name)"
    assert forking.run("-c", program, env=without_triton).stdout == "triton\n"
