"""What the compiled resizing kernels hold, for GPUs that are not here: the offline compiler's machine code, counted."""

import json
import pathlib

import pytest

import forking
import stub_driver

TESTS = pathlib.Path(__file__).parent

every_arch = pytest.mark.every_arch
INTERLEAVED, PLANAR, STRIDED = "_along_lines_kernel 0", "_along_lines_kernel 1", "_along_lines_kernel 2"
FP32, FP16, BF16 = (f"_across_lines_kernel {name}" for name in ("float32 4", "float16 8", "bfloat16 8"))
FP32_STRIDED, BF16_STRIDED = "_across_lines_kernel float32 1", "_across_lines_kernel bfloat16 1"
TABLES = "_tables_kernel"


@pytest.fixture(scope="module")
def rows(archs):
    """One process without the interpreter compiles every variant; last come those of the command."""
    done = forking.run("-m", "compile_resize_variants", *archs, cwd=TESTS, env=stub_driver.without_interpreter())
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def reports(rows):
    """By architecture and the kernel's name with what makes its variants: kinds of pixels, dtype and vector."""
    found = {}
    for row in rows[:-3]:
        if "kernel" in row:
            kind = [
                *row["dtypes"][1:],
                *(str(row["constants"][k]) for k in ("PIXELS", "VECTOR") if k in row["constants"]),
            ]
            name = row["kernel"] if row["kernel"] == TABLES else " ".join([row["kernel"], *kind])
            found[row["arch"], name] = row
    return found


@every_arch
def test_every_variant_was_compiled(reports, arch):
    variants = {variant for name, variant in reports if name == arch}
    assert variants == {INTERLEAVED, PLANAR, STRIDED, FP32, FP16, BF16, FP32_STRIDED, BF16_STRIDED, TABLES}


@every_arch
def test_nothing_spills(reports, arch):
    for (name, _), row in reports.items():
        if name == arch:
            assert row["spills"] == 0


@every_arch
@pytest.mark.parametrize("variant", [INTERLEAVED, PLANAR, FP32, FP16, BF16])
def test_values_keep_to_their_threads(reports, arch, variant):
    row = reports[arch, variant]
    assert row["shared_bytes"] == row["barriers"] == row["calls"] == 0


@every_arch
@pytest.mark.parametrize("variant", [INTERLEAVED, PLANAR])
def test_the_first_pass_reads_words(reports, arch, variant):
    """Four or eight bytes at a time; a pixel of the intermediate is one store."""
    row = reports[arch, variant]
    assert not set(row["loads"]) & {"8", "16"}
    assert set(row["stores"]) == {"32"}


@every_arch
@pytest.mark.parametrize("variant", [FP32, FP16, BF16])
def test_the_second_pass_reads_and_writes_16_bytes(reports, arch, variant):
    """Four pixels of two lines a load, whole vectors a store; single numbers are looked up."""
    row = reports[arch, variant]
    threads = 256 if arch in ("gfx90a", "gfx942") else 128  # the same tile for twice the threads leaves four pixels
    stored = {"128"} if variant == FP32 or threads == 128 else {"64"}
    assert set(row["stores"]) == stored
    assert row["loads"]["128" if threads == 128 or variant == FP32 else "64"] >= 2
    assert row["loads"]["16" if variant != FP32 else "32"] >= 3 * 1024 // threads


@every_arch
def test_the_tables_are_pillows_arithmetic(reports, arch):
    """Every float64 operation rounds by itself, and the divisions are IEEE's."""
    row = reports[arch, TABLES]
    assert "fma" not in row["float64"]
    assert row["float64"]["div"] > 0
    assert row["float64"]["mul"] > 0
    assert row["inexact"] == 0


def test_outputs_are_addressed_in_64_bits_on_amd(rows, archs):
    """An offset from an argument is narrowed to 32 bits there, which does not reach from one output to another."""
    found = {row["arch"]: (row["narrowed_stores"], row["wide_stores"]) for row in rows if "narrowed_stores" in row}
    assert found == {arch: (0, 3) for arch in archs if arch.startswith("gfx")}


# Of a multiprocessor's 64 K registers, 64 a thread leave room for 8 programs of 4 warps, 72 for 7, 88 and 96 for 5: the
# loads of one are hidden behind the work of the others, of which the first pass needs less, with 15 or more loads of a
# thread under way at a time. The tables take a few programs in all. Of AMD's GPUs, CDNA has 512 for each lane: 100
# leave room for 5 waves, 115 for 4; and RDNA has 1,536: 144, which Triton 3.6 takes, leave room for 10.
@every_arch
@pytest.mark.parametrize(
    ("variant", "most"), [(INTERLEAVED, 96), (PLANAR, 96), (FP32, 96), (FP16, 64), (BF16, 64), (TABLES, 80)]
)
def test_registers_leave_room_for_other_programs(reports, arch, variant, most):
    if arch.startswith("gfx"):
        most = 144 if arch == "gfx1100" else 115 if variant == PLANAR else 100
    assert reports[arch, variant]["registers"] <= most


def test_instructions_of_the_inner_loops_on_sm_90(reports):
    """A first-pass step is twice four taps of four pixels.

    That is 72 dot products, 24 words cut out of two, and 27 loads; of interleaved pixels, 48 steps that sort channels,
    and loads of two words at a time, 15 in all, of which 24 steps choose.

    A second-pass step is two taps: of eight pixels in float32, 48 dot products; else of four, 24 bytes and products.
    """

    def inner(variant):
        found = reports["sm_90", variant]["loops"]
        return [loop["instructions"] for loop in found if loop["depth"] == max(loop["depth"] for loop in found)]

    assert max(inner(INTERLEAVED)) <= 212
    assert max(inner(PLANAR)) <= 163
    assert max(inner(FP32)) <= 92
    assert sum(inner(BF16)) <= 130


@pytest.mark.parametrize(("layout", "most"), [("NHWC", 99.5e6), ("NCHW", 94e6)])
def test_instructions_of_an_image_on_sm_90(rows, layout, most):
    """1024 x 1024 to the VAE's 512 and CLIP's 224: about 26 million products, of which the first pass
    makes four with three instructions."""
    totals = [row["total"] for row in rows if "total" in row and (row["arch"], row["layout"]) == ("sm_90", layout)]
    assert len(totals) == 2
    assert max(totals) <= most


def test_the_command_line_reports(rows):
    assert [row["kernel"] for row in rows[-3:]] == ["_tables_kernel", "_along_lines_kernel", "_across_lines_kernel"]
    assert rows[-1]["stores"] == {"128": 3}
