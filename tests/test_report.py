"""What is made of benchmark rows: ratios, goals, charts, the report, the README's table, the scaling page."""

import ast
import dataclasses
import html.parser
import os
import pathlib
import re
import subprocess
import sys

import pytest

from benchmarks import blocks, comparisons, goals, plots, readme_table, report, scaling
from benchmarks.comparisons import COPY, Spread, cells, load, roof
from benchmarks.rows import Row, append
from fastnorm.backends import eager

CPU = Row(
    date="2026-01-02", commit="abc1234567", device="A <CPU> & co", driver="", threads=2, python="3.11.0",
    torch="2.15.0", triton="3.9.0", run="1", suite="normalize", cell="16x512x512 NHWC fp32+fp32 out",
    name="fastnorm", version="0.9", shape="16x512x512x3", layout="NHWC", targets=2, dtypes="fp32+fp32", memory="out",
    p20_ms=9.0, p50_ms=10.0, p80_ms=11.0, gb_per_s=11.3, mismatches=0,
)  # fmt: skip
GPU = dataclasses.replace(
    CPU, device="A GPU", driver="570.1", run="g", cell="64x512x512 NHWC fp32+fp32 out", shape="64x512x512x3",
    p20_ms=0.1, p50_ms=0.11, p80_ms=0.12, gb_per_s=4000.0, copy_fraction=0.93, peak_mib=288.0,
)  # fmt: skip
CALL = dataclasses.replace(CPU, suite="host", cell="1x224x224 fresh", shape="1x224x224x3", memory="fresh", p50_ms=0.009)
LOADED = dataclasses.replace(CPU, suite="end to end", layout="JPEG", shape="64 ragged", gb_per_s=None)
LOADER = "IP-Adapter dataset {} workers"


def peer(of, name, p50_ms, **columns):
    return dataclasses.replace(
        of, name=name, version="7.7", p50_ms=p50_ms, gb_per_s=None, copy_fraction=None, **columns
    )


def missing(of, name, reason):
    return peer(of, name, None, p20_ms=None, p80_ms=None, mismatches=None, note=f"not run: {reason}")


def loaded(name, images_per_s, workers, **columns):
    values = {"cell": LOADER.format(workers), "images_per_s": images_per_s, "p50_ms": 1e3 / images_per_s, **columns}
    return dataclasses.replace(LOADED, name=name, **values)


ROWS = [
    CPU,
    peer(CPU, "torchvision v2", 80.0, mismatches=5),
    peer(CPU, "DALI CPU", 9.0, mismatches=7),
    missing(CPU, "CV-CUDA", "needs a <GPU>"),
    dataclasses.replace(CPU, run="2", p50_ms=20.0),
    peer(CPU, "torchvision v2", 200.0, run="2", mismatches=5),
    CALL,
    peer(CALL, "Triton kernel[grid]", 0.018, mismatches=None),
    peer(CALL, "torch.compile (dynamic=False)", 0.027, mismatches=None),
    *(
        loaded(name, speed * workers, workers, mismatches=differing)
        for workers in (1, 2)
        for name, speed, differing in (
            ("before (Pillow backend)", 20.0, 0), ("fastnorm, in workers", 40.0, 0), ("fastnorm, in main", 50.0, 0),
            ("decode alone", 80.0, None),
        )
    ),
]  # fmt: skip
ON_GPU = [
    GPU,
    peer(GPU, "torch.compile (dynamic=False)", 0.121, mismatches=3),
    dataclasses.replace(
        GPU, suite="bandwidth", cell=COPY, name="torch copy_", p50_ms=1.0, gb_per_s=4300.0, copy_fraction=None
    ),
    dataclasses.replace(
        GPU, suite="bandwidth", cell="device fill", name="torch fill_", p50_ms=1.0, gb_per_s=4700.0, copy_fraction=None
    ),
]


@pytest.fixture
def folder(tmp_path):
    return write_rows(tmp_path)


def write_rows(folder):
    append(folder / "rows" / "cpu.csv", ROWS)
    append(folder / "rows" / "gpu.csv", ON_GPU)
    return folder / "rows"


def test_the_roof_is_what_copies_reach():
    assert roof(ON_GPU, "A GPU").median == 4300.0
    assert roof(ROWS, CPU.device) is None


def entry_of(rows, name, cell=0):
    return next(entry for entry in cells(rows)[cell].entries if entry.name == name)


# Rows side by side


def test_ratios_are_taken_within_a_run_then_their_median_and_range():
    assert entry_of(ROWS, "torchvision v2").ratio == Spread(median=9.0, low=8.0, high=10.0, runs=2)
    assert entry_of(ROWS, "DALI CPU").ratio == Spread(0.9, 0.9, 0.9, 1)


def test_a_run_without_ours_gives_no_ratio():
    rows = [CPU, peer(CPU, "torchvision v2", 80.0, run="another")]
    entry = entry_of(rows, "torchvision v2")
    assert entry.ratio is None
    assert entry.p50_ms == Spread(80.0, 80.0, 80.0, 1)


def test_the_same_cell_on_two_devices_is_two_cells():
    assert len(cells([CPU, dataclasses.replace(CPU, device="another")])) == 2


def test_a_peer_that_ran_in_one_run_has_no_reason():
    rows = [CPU, missing(CPU, "kornia", "was not there"), peer(CPU, "kornia", 80.0, run="2")]
    assert entry_of(rows, "kornia").reason == ""
    assert entry_of(ROWS, "CV-CUDA").reason == "needs a <GPU>"
    assert not entry_of(ROWS, "CV-CUDA").ran


def test_decoding_alone_is_not_a_rival():
    assert next(e for e in cells(ROWS)[2].entries if e.name == "decode alone").ratio is None


def test_a_call_that_the_cpu_executes_is_no_rival_of_launches_that_do_nothing():
    """Host time without a GPU: torch.compile computes there, while launches reach a driver that does nothing."""
    of_call = next(cell for cell in cells(ROWS) if cell.suite == "host")
    ratios = {entry.name: entry.ratio for entry in of_call.entries}
    assert ratios["torch.compile (dynamic=False)"] is None
    assert ratios["Triton kernel[grid]"].median == 2.0
    on_gpu = dataclasses.replace(CALL, driver="570.1")
    (cell,) = cells([on_gpu, peer(on_gpu, "torch.compile (dynamic=False)", 0.027)])
    assert cell.peers[0].ratio.median == 3.0


def test_no_published_row_of_host_time_was_executed_on_the_cpu():
    rows = [row for row in load() if row.suite == "host" and not row.driver]
    assert rows
    assert {row.name for row in rows} == {"fastnorm", "Triton kernel[grid]"}


def test_host_time_on_a_gpu_is_beside_torch_compile_s(tmp_path):
    on_gpu = dataclasses.replace(CALL, driver="570.1", device="A GPU")
    append(tmp_path / "host.csv", [on_gpu, peer(on_gpu, "torch.compile (dynamic=False)", 0.027)])
    assert "| 9.00 us; 3.00x torch.compile (dynamic=False) (goal 2) |" in readme_table.render(tmp_path)


def test_files_with_other_columns_are_refused(folder):
    assert load(folder) == ROWS + ON_GPU
    assert load(folder / "nowhere") == []
    (folder / "old.csv").write_text("date,commit\n2026-01-01,abc\n")
    with pytest.raises(ValueError, match=r"old\.csv"):
        load(folder)


def test_goals_are_judged_cell_by_cell():
    judged = {(item.cell.on_gpu, item.goal.text): item for item in goals.judge(cells(ROWS + ON_GPU))}
    assert judged[False, "at least 8x as fast as torchvision v2"].reached is True
    assert judged[False, "at least 1x as fast as DALI CPU"].reached is False
    assert judged[True, "at least 92% of the device's own copy bandwidth"].reached is True
    assert judged[True, "at most 1.03x the time of torch.compile (dynamic=False)"].reached is True
    assert len(judged) == 4


# The report


class Reader(html.parser.HTMLParser):
    """The page's text, its elements' attributes, and whether every element is closed."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.links, self.elements, self.ids = [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name.removeprefix("xlink:") in ("href", "src", "srcset")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of charts and page; drawn once."""
    folder = tmp_path_factory.mktemp("report")
    report.write(load(write_rows(folder)), folder / "out", ["test_x: <b>wrong</b>"])
    return folder / "out"


@pytest.fixture
def page(drawn):
    return (drawn / "report.html").read_text(encoding="utf-8")


def test_the_page_is_whole_and_needs_nothing_from_outside(page):
    reader = Reader(page)
    assert reader.open == []
    assert reader.links
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert not {tag for tag, _ in reader.elements} & {"script", "link", "iframe", "object", "img"}
    for outside in re.findall(r"url\((?!#)[^)]*\)|@import", page):
        pytest.fail(outside)


def test_host_time_without_a_gpu_is_labelled_for_what_it_is(page):
    reader = Reader(page)
    captions = [attributes["aria-label"] for _, attributes in reader.elements if "aria-label" in attributes]
    about_calls = [caption for caption in captions if caption.startswith("Host time")]
    assert len(about_calls) == 3, "the chart, the figure around it and the table"
    assert all(caption.startswith("Host time, driver that does nothing: ") for caption in about_calls)


def test_the_page_says_where_its_figures_come_from_and_shows_every_cell(page):
    text = " ".join(Reader(page).text)
    for row in ROWS + ON_GPU:
        for value in (row.device, row.commit, row.date, row.torch, row.python, row.triton, row.cell, row.name):
            assert value in text
    assert "570.1" in text
    assert "needs a <GPU>" in text
    assert "test_x: <b>wrong</b>" in text
    assert "9.00x (8.00 to 10.0)" in text
    assert "not reached" in text


def test_charts_can_be_read_without_seeing_them_and_follow_the_theme(page):
    reader = Reader(page)
    charts = [attributes for tag, attributes in reader.elements if tag == "svg"]
    assert len(charts) == 6
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)
    assert any("torchvision v2 9.00x" in attributes["aria-label"] for attributes in charts)
    after_the_style_sheet = page[page.index("<svg") :]
    assert "var(--ours)" in after_the_style_sheet
    assert "#0072b2" not in after_the_style_sheet
    tables = [attributes for tag, attributes in reader.elements if tag == "th"]
    assert all("scope" in attributes for attributes in tables)


def test_charts_are_written_as_files(drawn):
    assert {path.name for path in drawn.glob("*.png")} == {
        "cpu-roofline.png", "cpu-normalize-speed-ups.png", "cpu-host-speed-ups.png", "cpu-end-to-end.png",
        "gpu-roofline.png", "gpu-normalize-speed-ups.png",
    }  # fmt: skip


def test_cells_beyond_a_few_are_folded_away():
    more = [
        row for n in range(5)
        for row in (dataclasses.replace(CPU, cell=f"cell {n}", shape="1x2x3x3"),
                    peer(dataclasses.replace(CPU, cell=f"cell {n}"), "kornia", 90.0))
    ]  # fmt: skip
    (machine,) = report.machines([*ROWS, *more])
    folded = {chart.name: chart.folded for chart in report.charts(machine)}
    assert folded["cpu-normalize-speed-ups"] is False
    assert folded["cpu-normalize-speed-ups-others"] is True


def test_the_verdict_counts_values():
    values = 16 * 512 * 512 * 3 * 2
    good, line = report.verdict([CPU, peer(CPU, "kornia", 1.0, mismatches=9)])
    assert good
    assert line == f"Exactness: 0 values of fastnorm differ from the contract in 1 row ({values:,} values)."
    bad, line = report.verdict([dataclasses.replace(CPU, mismatches=2)])
    assert not bad
    assert "2 values of fastnorm differ" in line
    assert report.verdict([CALL, dataclasses.replace(CPU, mismatches=None)])[0] is True
    assert report.verdict([dataclasses.replace(CPU, mismatches=None)]) == (False, "Exactness: no value was compared.")


def test_the_command_writes_beside_the_rows_and_prints_a_short_table(folder, capsys):
    assert report.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"torchvision v2 +9\.00x +8\.00 to 10\.0 +5\n", out)
    assert f"report: {folder / 'report.html'}" in out


def test_the_command_wants_rows(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 1
    assert "no measurement in its CSV files; wanted some; run: fastnorm bench" in capsys.readouterr().err


# Generated parts of Markdown files


@pytest.mark.parametrize("module", [readme_table, scaling], ids=["README.md", "SCALING.md"])
def test_the_text_says_what_the_rows_say(module):
    """Where this fails, the rows have changed, or the text was edited: run the command that the marker names."""
    block = module.block()
    assert not block.drifted(), f"{block.path.name} is out of date: {block.start}"


def test_the_readme_table_shows_ratios_ranges_and_goals(folder):
    text = readme_table.render(folder)
    assert "9.00x torchvision v2 (8.00 to 10.0; goal 8), 0.90x DALI CPU (goal 1)" in text
    assert "| 93% of copy bandwidth, 1.10x torch.compile (dynamic=False) |" in text
    assert "| 9.00 us, driver that does nothing |" in text
    assert "40.0 before (Pillow backend), **80.0 fastnorm, in workers**, **100 fastnorm, in main**" in text
    assert "CPU: A <CPU> & co, 2 threads, torch 2.15.0" in text
    assert "GPU: A GPU, driver 570.1" in text


def test_without_gpu_rows_the_gpu_column_says_only_that(tmp_path):
    append(tmp_path / "cpu.csv", ROWS)
    rows = [line.split(" | ") for line in readme_table.render(tmp_path).splitlines() if line.startswith("| ")][1:]
    assert [row[-1] for row in rows] == ["not yet measured |"] * len(readme_table.LINES)


def test_without_rows_nothing_is_claimed(tmp_path):
    assert readme_table.render(tmp_path).count("not yet measured") == 2 * len(readme_table.LINES)
    assert "x torchvision" not in readme_table.render(tmp_path)


def test_a_row_of_ours_that_differs_is_not_published(tmp_path):
    append(tmp_path / "cpu.csv", [dataclasses.replace(CPU, mismatches=1)])
    with pytest.raises(ValueError, match="1 values of ours differ from the contract in run 1"):
        readme_table.render(tmp_path)


def test_a_block_is_written_once_and_drifts_when_edited(tmp_path, capsys):
    path = tmp_path / "TEXT.md"
    path.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    block = blocks.Block(path, "<!-- a -->", "<!-- b -->", lambda: "new")
    assert blocks.run(block, "some.module", write=False) == 1
    assert "python -m some.module --write" in capsys.readouterr().err
    assert blocks.run(block, "some.module", write=True) == 0
    assert path.read_text() == "before\n<!-- a -->\n\nnew\n\n<!-- b -->\nafter\n"
    assert blocks.run(block, "some.module", write=False) == 0
    path.write_text("without marks")
    with pytest.raises(ValueError, match="wanted one each; add both lines"):
        block.drifted()


# The scaling page


def test_bytes_are_those_that_the_code_counts():
    from fastnorm_kernels import _normalize_kernels as kernels

    assert f"add up to {scaling.eager_bytes(2)}" in " ".join(eager.normalized.__doc__.split())
    assert scaling.fused_bytes(2) == kernels.bytes_moved(1, [4, 4])
    assert scaling.outputs() == 3 * 512 * 512 + 3 * 224 * 224


def test_rates_are_the_formulas_and_the_smallest_bounds_the_run():
    given = scaling.Inputs(jpeg_bytes=1e6, decode_ms=10, resize_ms=30, cores=8, disk=1, bus=10, memory=1000)
    today, _, pictures = scaling.WAYS
    assert scaling.rates(today, given) == {"disk": 1e3, "cores": 200.0, "bus": 10e9 / (4 * 936_960)}
    assert scaling.rates(pictures, given)["cores"] == 800.0
    assert scaling.narrowest(pictures, given) == "cores"
    wide = dataclasses.replace(given, cores=1000)
    assert scaling.narrowest(pictures, wide) == "disk"
    assert scaling.order(today, given).startswith("cores 200, disk 1,000")


def test_measured_values_replace_assumptions_and_own_values_both():
    assert "assumption" in scaling.from_rows([]).where_from("decode_ms")
    given = scaling.from_rows(ROWS + ON_GPU)
    assert (given.decode_ms, given.resize_ms, given.memory) == (1e3 / 80, 1e3 / 20 - 1e3 / 80, 4300.0)
    assert given.where_from("decode_ms").startswith("row")
    own = scaling.from_rows(ROWS, {"decode_ms": 5.0})
    assert (own.decode_ms, own.where_from("decode_ms")) == (5.0, "yours")


def test_hours_per_million_pictures_come_from_rows_only(folder, tmp_path):
    assert "1e6 / 40.0 / 3600 = 6.94" in scaling.render(folder)
    assert scaling.render(tmp_path / "nowhere").count("not yet measured") == 2


def test_the_calculator_takes_the_reader_s_numbers(capsys):
    assert scaling.main(["--images", "1e6", "--jpeg-bytes", "1e6", "--cores", "4"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"disk to worker +every way +J +1\.00 MB +1\.00 TB", out)
    with pytest.raises(SystemExit):
        scaling.main(["--cores", "none"])
    assert "got 'none', wanted a number above 0" in capsys.readouterr().err


def test_a_reader_that_leaves_early_causes_no_traceback():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.scaling"],
        env=environment,
        cwd=blocks.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 141
    assert err == b""


def test_matplotlib_is_imported_only_to_draw():
    top = ast.parse(pathlib.Path(plots.__file__).read_text()).body
    imported = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module for node in top if isinstance(node, ast.ImportFrom)]
    assert "benchmarks.comparisons" in imported
    assert not [name for name in imported if name.startswith("matplotlib")]


def test_what_is_ours():
    assert comparisons.is_ours("fastnorm, in workers")
    assert not comparisons.is_ours("fastnormal")
