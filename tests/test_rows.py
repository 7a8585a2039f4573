"""Benchmark rows: what is written is read back, and says where it comes from."""

import contextlib
import csv
import resource

import pytest
from pandas.testing import assert_frame_equal

from benchmarks.cells import CPU_NORMALIZE, GPU_NORMALIZE, PAIR, PREPROCESS, PreprocessCell, preprocess_bytes
from benchmarks.rows import COLUMNS, NOT_RUN, RESULTS, Cell, Sample, append, frame, load, read, row

CELL = Cell("normalize", "2x4x4 NHWC fp32+bf16 out", "2x4x4x3", "NHWC", 2, "fp32+bf16", "out", 2, 672)


def measured(**options):
    samples = [Sample(3e-3, 4e-3), Sample(1e-3, 6e-3), Sample(2e-3, 5e-3)]
    return row(CELL, "fastnorm", "0.1.0", samples, 0, run="a run", **options)


def missing(reason):
    return row(CELL, "CV-CUDA", note=NOT_RUN + reason, run="run")


def test_a_row_survives_the_file(tmp_path):
    rows = [
        measured(copy_gb_per_s=0.5, peak_mib=1.5, note='with "quotes", a comma\nand a line'),
        missing("cvcuda is not installed"),
    ]
    append(tmp_path / "new folder" / "rows.csv", rows[:1])
    append(tmp_path / "new folder" / "rows.csv", rows[1:])
    assert_frame_equal(read(tmp_path / "new folder" / "rows.csv"), frame(rows))


def test_every_column_of_a_measurement_is_filled_but_the_device_s_on_a_cpu():
    columns = measured(copy_gb_per_s=0.5, peak_mib=1.5, note="a note")
    empty = {name for name, value in columns.items() if value in ("", None)}
    assert empty <= {"driver", "triton"}
    assert columns["p20_ms"] <= columns["p50_ms"] <= columns["p80_ms"]
    assert columns["gb_per_s"] == pytest.approx(672 / 2e-3 / 1e9)
    assert columns["cpu_ms"] == 5
    assert columns["images_per_s"] == pytest.approx(1000)
    assert columns["copy_fraction"] == pytest.approx(columns["gb_per_s"] / 0.5)


def test_what_did_not_run_has_no_times_and_a_reason():
    line = missing("needs a GPU")
    assert line["note"] == "not run: needs a GPU"
    assert (line["p20_ms"], line["p50_ms"], line["gb_per_s"], line["mismatches"]) == (None,) * 4


def test_files_with_other_columns_are_refused(tmp_path):
    path = tmp_path / "old.csv"
    path.write_text("date,commit\n2026-01-01,abc\n")
    with pytest.raises(ValueError, match=r"old\.csv: got the columns date,commit; expected date,commit,device"):
        append(path, [measured()])
    with pytest.raises(ValueError, match="use another file"):
        read(path)


@contextlib.contextmanager
def a_disk_with_room_for(size):
    """Files cannot grow beyond `size` bytes: a write stops in the middle, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_a_file_as_it_was(tmp_path):
    path = tmp_path / "rows.csv"
    rows = [measured(), measured()]
    for before in (0, 1):
        with a_disk_with_room_for(before * 500 + 40), pytest.raises(OSError, match="File too large"):
            append(path, rows)
        assert len(load(tmp_path)) == 2 * before
        if not before:
            append(path, rows)
    append(path, rows)
    assert_frame_equal(read(path), frame(rows * 2))


@pytest.mark.parametrize(
    "torn",
    ["2026-11-22,4fcab", ",".join(["x"] * 26) + ',"checks, out', ",".join(["x"] * 28)],
    ids=["few columns", "open quote", "no numbers"],
)
def test_a_line_that_is_no_row_is_refused_and_costs_no_other_row(tmp_path, torn):
    path = tmp_path / "rows.csv"
    good = [measured(note="first"), measured(note="second"), measured(note="third")]
    append(path, good[:2])
    whole = path.read_text()
    path.write_text(whole + torn)
    for refused in (lambda: read(path), lambda: append(path, good[2:])):
        with pytest.raises(ValueError, match=r"rows\.csv.*: got .*expected .*; fix or remove that line"):
            refused()
    assert path.read_text() == whole + torn
    path.write_text(whole)
    append(path, good[2:])
    assert_frame_equal(read(path), frame(good))


def test_columns_stand_in_the_published_order(tmp_path):
    append(tmp_path / "rows.csv", [measured()])
    with (tmp_path / "rows.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert tuple(header) == COLUMNS
    assert header[:3] + header[-3:] == ["date", "commit", "device", "images_per_s", "mismatches", "note"]


def test_quantiles_lie_between_neighbours():
    line = row(CELL, "fastnorm", samples=[Sample(ms / 1e3, 0) for ms in (5, 1, 4, 2, 3)], run="run")
    assert [line[name] for name in ("p20_ms", "p50_ms", "p80_ms")] == pytest.approx([1.8, 3, 4.2])


def test_the_published_rows_are_read_as_they_are_written():
    """Reading and writing changes nothing, whatever wrote them."""
    for path in RESULTS.glob("*.csv"):
        header = path.read_text().partition("\n")[0].split(",")
        assert read(path).to_csv(index=False, lineterminator="\n", columns=header) == path.read_text()
    assert len(load()) > 200


def test_cells_have_names_of_their_own():
    for cells in (CPU_NORMALIZE, GPU_NORMALIZE, PREPROCESS):
        names = [cell.columns().cell for cell in cells]
        assert len(names) == len(set(names))
    assert CPU_NORMALIZE[0].columns().cell == "16x512x512 NHWC fp32+fp32 out"


def test_bytes_are_the_least_that_must_be_moved():
    assert CPU_NORMALIZE[0].columns().bytes_moved == 16 * 512 * 512 * 3 * (1 + 4 + 4)
    varying = next(cell for cell in GPU_NORMALIZE if len(cell.sizes) > 1)
    codes = sum(varying.images * 3 * height * width for height, width in varying.sizes)
    assert varying.columns().bytes_moved * len(varying.sizes) == pytest.approx(
        codes * (1 + sum(dtype.itemsize for dtype in varying.dtypes)), abs=100
    )
    assert preprocess_bytes(((600, 600), (512, 2048)), PAIR) < 3 * (600 * 600 + 512 * 2048) + 2 * 4 * 3 * (
        512**2 + 224**2
    )
    columns = PreprocessCell(((1024, 1024),) * 32, device="cuda").columns()
    assert columns.bytes_moved == 32 * 3 * (1024 * 1024 + 4 * (512 * 512 + 224 * 224))
