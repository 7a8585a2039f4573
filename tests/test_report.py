"""What is made of benchmark rows: ratios, goals, charts, the report, the README's table, the scaling page."""

import html.parser
import os
import re
import subprocess
import sys
import types

import pandas as pd
import pytest
from cogapp import Cog
from pandas.testing import assert_frame_equal
from PIL import Image

from benchmarks import cells, comparisons, generated, goals, report, test_end_to_end
from benchmarks.comparisons import entries, peak_bandwidth
from benchmarks.rows import COLUMNS, COPY, ROOT, Cell, Sample, append, frame, load
from benchmarks.rows import row as row_of
from fastnorm.backends import eager
from fastnorm.data.files import shipped_photographs


def changed(row, **columns):
    return row | columns


CPU = changed(dict.fromkeys(COLUMNS),
    date="2026-01-02", commit="abc1234567", device="A <CPU> & co", driver="", threads=2, python="3.11.0",
    torch="2.15.0", triton="3.9.0", run="1", suite="normalize", cell="16x512x512 NHWC fp32+fp32 out",
    name="fastnorm", version="0.9", shape="16x512x512x3", layout="NHWC", targets=2, dtypes="fp32+fp32", memory="out",
    p20_ms=9.0, p50_ms=10.0, p80_ms=11.0, gb_per_s=11.3, mismatches=0, note="",
)  # fmt: skip
GPU = changed(CPU, device="A GPU", driver="570.1", run="g", cell="64x512x512 NHWC fp32+fp32 out", shape="64x512x512x3",
    p20_ms=0.1, p50_ms=0.11, p80_ms=0.12, gb_per_s=4000.0, copy_fraction=0.93, peak_mib=288.0,
)  # fmt: skip
COPIES = changed(GPU, suite="bandwidth", shape="1024", dtypes="", p50_ms=1.0, copy_fraction=None)
CALL = changed(CPU, suite="host", cell="1x224x224 fresh", shape="1x224x224x3", memory="fresh", p50_ms=0.009)
LOADED = changed(CPU, suite="end to end", layout="JPEG", shape="64 ragged", gb_per_s=None)
LOADER = "IP-Adapter dataset {} workers"


def peer(of, name, p50_ms, **columns):
    return changed(of, name=name, version="7.7", p50_ms=p50_ms, gb_per_s=None, copy_fraction=None, **columns)


def missing(of, name, reason):
    return peer(of, name, None, p20_ms=None, p80_ms=None, mismatches=None, note=f"not run: {reason}")


def loaded(name, images_per_s, workers, **columns):
    values = {"cell": LOADER.format(workers), "images_per_s": images_per_s, "p50_ms": 1e3 / images_per_s, **columns}
    return changed(LOADED, name=name, **values)


ROWS = [
    CPU,
    peer(CPU, "torchvision v2", 80.0, mismatches=5),
    peer(CPU, "DALI CPU", 9.0, mismatches=7),
    missing(CPU, "CV-CUDA", "needs a <GPU>"),
    changed(CPU, run="2", p50_ms=20.0),
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
    changed(GPU, suite="bandwidth", cell=COPY, name="torch copy_", p50_ms=1.0, gb_per_s=4300.0, copy_fraction=None),
    changed(
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


def test_peak_bandwidth_is_what_copies_reach():
    table = entries(frame(ROWS + ON_GPU))
    assert peak_bandwidth(table, "A GPU") == 4300.0
    assert peak_bandwidth(table, CPU["device"]) is None


def entry_of(rows, name, cell=CPU["cell"]):
    table = entries(frame(rows))
    return table[(table["name"] == name) & (table["cell"] == cell)].iloc[0]


# Rows side by side


def test_ratios_are_taken_within_a_run_then_their_median_and_range():
    entry = entry_of(ROWS, "torchvision v2")
    assert [entry[c] for c in ("ratio", "ratio_low", "ratio_high", "ratio_runs")] == [9.0, 8.0, 10.0, 2]
    assert entry_of(ROWS, "DALI CPU")["ratio"] == 0.9
    assert pd.isna(entry_of(ROWS, "fastnorm")["ratio"])


def test_the_spread_of_a_ratio_is_that_of_the_rounds_of_both():
    entry = entry_of([CPU, peer(CPU, "kornia", 80.0, p20_ms=70.0, p80_ms=90.0)], "kornia")
    assert (entry["rounds_low"], entry["rounds_high"]) == (70.0 / 11.0, 90.0 / 9.0)


def test_a_run_without_ours_gives_no_ratio():
    entry = entry_of([CPU, peer(CPU, "torchvision v2", 80.0, run="another")], "torchvision v2")
    assert pd.isna(entry["ratio"])
    assert (entry["p50_ms"], entry["runs"]) == (80.0, 1)


def test_the_same_cell_on_two_devices_is_two_cells():
    assert len(entries(frame([CPU, changed(CPU, device="another")]))) == 2


def test_a_peer_that_ran_in_one_run_has_no_reason():
    rows = [CPU, missing(CPU, "kornia", "was not there"), peer(CPU, "kornia", 80.0, run="2")]
    assert entry_of(rows, "kornia")["reason"] == ""
    assert entry_of(ROWS, "CV-CUDA")["reason"] == "needs a <GPU>"
    assert entry_of(ROWS, "CV-CUDA")["runs"] == 0


def test_decoding_alone_is_not_a_rival():
    assert pd.isna(entry_of(ROWS, "decode alone", LOADER.format(1))["ratio"])


def test_a_call_that_the_cpu_executes_is_no_rival_of_launches_that_do_nothing():
    """Host time without a GPU: torch.compile computes there, while launches reach a driver that does nothing."""
    assert pd.isna(entry_of(ROWS, "torch.compile (dynamic=False)", CALL["cell"])["ratio"])
    assert entry_of(ROWS, "Triton kernel[grid]", CALL["cell"])["ratio"] == 2.0
    on_gpu = changed(CALL, driver="570.1")
    rows = [on_gpu, peer(on_gpu, "torch.compile (dynamic=False)", 0.027)]
    assert entry_of(rows, "torch.compile (dynamic=False)", CALL["cell"])["ratio"] == 3.0


def test_no_published_row_of_host_time_was_executed_on_the_cpu():
    rows = load()
    rows = rows[(rows["suite"] == "host") & (rows["driver"] == "")]
    assert set(rows["name"]) == {"fastnorm", "Triton kernel[grid]"}


def test_host_time_on_a_gpu_is_beside_torch_compile_s(tmp_path):
    on_gpu = changed(CALL, driver="570.1", device="A GPU")
    append(tmp_path / "host.csv", [on_gpu, peer(on_gpu, "torch.compile (dynamic=False)", 0.027)])
    text = generated.readme_table(tmp_path)
    assert "driver that does nothing) | not yet measured | 9.00 us |" in text
    assert "| host time of torch.compile over ours, against torch.compile (dynamic=False) | - | 3.00x |" in text


def test_files_with_other_columns_are_refused(folder):
    assert_frame_equal(load(folder), frame(ROWS + ON_GPU))
    assert load(folder / "nowhere").empty
    (folder / "old.csv").write_text("date,commit\n2026-01-01,abc\n")
    with pytest.raises(ValueError, match=r"old\.csv"):
        load(folder)


def judged(rows):
    results = goals.judge(frame(rows))
    return {(r["goal"].on_gpu, r["goal"].text): (pytest.approx(r["measured"]), r["reached"]) for r in results}


def test_goals_are_judged_cell_by_cell():
    assert judged(ROWS + ON_GPU) == {
        (False, "at least 10x as fast as torchvision v2"): (9.0, False),
        (False, "at least 1.3x as fast as DALI CPU"): (0.9, False),
        (False, "at least 2.2x as fast as before (Pillow backend) (fastnorm, in workers)"): (2.0, False),
        (False, "at least 1x as fast as before (Pillow backend) (fastnorm, in main)"): (2.5, True),
        (True, "at least 92% of the device's own copy bandwidth"): (0.93, True),
        (True, "at most 1.03x the time of torch.compile (dynamic=False)"): (1.1, True),
    }
    assert len(goals.judge(frame(ROWS + ON_GPU))) == 8, "the loader's twice: with 1 and with 2 workers"


PHOTOGRAPH = changed(CPU, suite="preprocess", cell="one photograph 1 thread", shape="1x1024x1536x3", layout="PIL",
    p50_ms=2.0, cpu_ms=2.0,
)  # fmt: skip


def test_goals_of_one_thread_are_those_of_their_instructions_and_of_cpu_time():
    rows = [
        PHOTOGRAPH,
        peer(PHOTOGRAPH, "fastnorm, AVX2", 9.0, cpu_ms=2.5),
        peer(PHOTOGRAPH, "fastnorm, 2 threads", 1.25, cpu_ms=2.2),
        peer(PHOTOGRAPH, goals.PUBLISHED, 99.0, cpu_ms=30.0),
        peer(PHOTOGRAPH, "DALI CPU", 99.0, cpu_ms=9.0),
    ]
    assert judged(rows) == {
        (False, f"at least 12x as fast as {goals.PUBLISHED} (fastnorm, AVX2), CPU time"): (12.0, True),
        (False, "at least 5x as fast as DALI CPU, CPU time"): (4.5, False),
        (False, "at least 1.8x as fast as fastnorm (fastnorm, 2 threads)"): (1.6, False),
    }


def test_the_page_shows_what_a_goal_was_judged_by():
    page = report.page(frame([PHOTOGRAPH, peer(PHOTOGRAPH, "DALI CPU", 99.0, cpu_ms=9.0)]))
    assert re.search(r"DALI CPU, CPU time</td><td>4\.50x</td>", page)


def test_goals_beside_busy_processes_are_about_no_other_cell():
    busy = changed(CPU, suite="contended", cell="16x512x512 NHWC fp32+fp32 out, 2 busy a core")
    assert judged([busy, peer(busy, "eager torch", 40.0)]) == {
        (False, "at least 1x as fast as eager torch"): (4.0, True),
        (False, "at least 5x as fast as eager torch"): (4.0, False),
    }


def test_every_goal_and_every_line_of_the_readme_is_about_a_cell_of_the_suite():
    """Cells as they are on a machine with, and on one without a GPU; a name that has changed would find none."""
    rows = [
        changed(CPU | cell.columns()._asdict(), driver="570.1" if cell.device == "cuda" else "")
        for cell in (*cells.NORMALIZE, *cells.PREPROCESS)
    ]
    one_call = cells.HOST[0].columns()._asdict() | {"suite": "host"}
    loader = [changed(LOADED, cell=test_end_to_end.NAME.format(n), driver=d) for n in (0, 1, 2) for d in ("", "570.1")]
    rows = [{name: row.get(name) for name in COLUMNS} for row in (*rows, *loader, CPU | one_call, GPU | one_call)]
    table = entries(frame(rows))
    queries = [(goal.on_gpu, goal.where) for goal in goals.GOALS]
    for _, on_cpu, on_gpu, _ in generated.LINES:
        queries += [(gpu, where.partition(" and name")[0]) for gpu, where in ((False, on_cpu), (True, on_gpu)) if where]
    for gpu, where in queries:
        assert len(table[table["gpu"] == gpu].query(where, engine="python")), where


# The report


class Reader(html.parser.HTMLParser):
    """The page's text, its elements' attributes, and whether every element is closed."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.links, self.elements = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name.removeprefix("xlink:") in ("href", "src", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The page; drawn once."""
    return report.page(load(write_rows(tmp_path_factory.mktemp("report"))), ["test_x: <b>wrong</b>"])


@pytest.fixture
def page(drawn):
    return drawn


def test_the_page_is_whole_and_needs_nothing_from_outside(page):
    reader = Reader(page)
    assert reader.open == []
    assert reader.links == []
    assert not {tag for tag, _ in reader.elements} & {"script", "link", "iframe", "object", "img"}
    assert re.findall(r"url\(|@import", page) == []


def test_host_time_without_a_gpu_is_labelled_for_what_it_is(page):
    reader = Reader(page)
    captions = [attributes["aria-label"] for _, attributes in reader.elements if "aria-label" in attributes]
    assert any(caption.startswith("Host time, driver that does nothing: ") for caption in captions)
    assert "Host time, driver that does nothing: speed-ups" in page
    assert "Host time of one call" not in page


def test_the_page_says_where_its_figures_come_from_and_shows_every_cell(page):
    text = " ".join(Reader(page).text)
    for row in ROWS + ON_GPU:
        for value in (row[c] for c in ("device", "commit", "date", "torch", "python", "triton", "cell", "name")):
            assert value in text
    assert "570.1" in text
    assert "needs a <GPU>" in text
    assert "test_x: <b>wrong</b>" in text
    assert "9.00x (8.00 to 10.0)" in text
    assert "not reached" in text


def test_a_loss_is_marked(page):
    assert re.search(r'class="number lost">0\.90x', page)
    assert "0.90x, differs" in page


def charts_of(page):
    return [attributes["aria-label"] for _, attributes in Reader(page).elements if attributes.get("role") == "img"]


def test_charts_can_be_read_without_seeing_them_and_follow_the_theme(page):
    charts = charts_of(page)
    assert len(charts) == 7, "two of bandwidth, two of normalising, one of host time, two of end to end"
    assert all("is faster" in label or "more is better" in label for label in charts)
    assert any("torchvision v2 9.00x" in label for label in charts)
    assert "#" not in "".join(attributes.get("style", "") for _, attributes in Reader(page).elements)
    tables = [attributes for tag, attributes in Reader(page).elements if tag == "th"]
    assert all("scope" in attributes for attributes in tables)


def ratios(*bars):
    return report.chart(pd.DataFrame(bars, columns=["ratio", "rounds_low", "rounds_high"]), "ratio", "axis")


def test_bars_lie_where_their_values_are():
    """From 1 on a logarithmic axis of 0.1 to 1000, from 0 to a limit otherwise."""
    chart = ratios((10.0, 0.1, 1000.0), (0.1, None, None))
    assert chart["line"] == "left: 25.00%"
    assert [place for _, place, _ in chart["bars"]] == ["left: 25.00%; width: 25.00%", "left: 0.00%; width: 25.00%"]
    assert chart["bars"][0][2] == "left: 0.00%; width: 100.00%"
    assert chart["ticks"][0] == ("0.1x", "left: 0.00%")
    assert chart["ticks"][-1] == ("1000x", "left: 100.00%")
    assert [text for text, _ in chart["ticks"]] == ["0.1x", "1x", "10x", "100x", "1000x"]
    assert [text for text, _ in ratios((9.0, 9.0, 9.0))["ticks"]] == ["1x", "2x", "5x"]
    speed = pd.DataFrame({"gb_per_s": [30.0], "p50_ms": [2.0], "p20_ms_low": [1.5], "p80_ms_high": [3.0]})
    chart = report.chart(speed, "gb_per_s", "axis", limit=50.0)
    assert chart["line"] == "left: 100.00%"
    assert chart["bars"][0][1:] == ("left: 0.00%; width: 60.00%", "left: 40.00%; width: 40.00%")
    assert [text for text, _ in chart["ticks"]] == ["0", "10", "20", "30", "40", "50"]
    assert ratios((1.0, 1.0, 1.0))["line"] == "left: 0.00%"
    assert ratios((None, None, None)) is None


def test_bars_of_inexact_peers_are_hollow():
    exact, differs = (report.page(frame([CPU, peer(CPU, "kornia", 90.0, mismatches=n)])) for n in (0, 3))
    bars = [re.findall(r'class="(bar [^"]*)"', page) for page in (exact, differs)]
    assert bars == [["bar ours", "bar ours"], ["bar ours", "bar ours hollow"]]


def test_cells_are_explained(page):
    assert "16 images of 512 x 512 pixels (height x width), NHWC, to 2 tensors (fp32, fp32), into existing" in page
    assert "JPEG files of 64 photographs" in page


@pytest.mark.parametrize(("slow", "warned"), [(19.0, False), (21.0, True)])
def test_a_cell_whose_rounds_vary_more_than_twofold_is_warned_about(slow, warned):
    page = report.page(frame([CPU, peer(CPU, "kornia", 15.0, p20_ms=10.0, p80_ms=slow)]))
    assert ("Warning: rounds vary more than 2-fold" in page) == warned


def test_cells_beyond_a_few_are_folded_away():
    more = [
        row for n in range(5)
        for row in (changed(CPU, cell=f"cell {n}", shape="1x2x3x3"),
                    peer(changed(CPU, cell=f"cell {n}", shape="1x2x3x3"), "kornia", 90.0))
    ]  # fmt: skip
    page = report.page(frame([*ROWS, *more]))
    assert page.index("<figcaption><b>16x512x512") < page.index("<details>") < page.index("<figcaption><b>cell 3")


def test_the_verdict_counts_values():
    good, line = report.verdict(frame([CPU, peer(CPU, "kornia", 1.0, mismatches=9)]))
    assert good
    assert line == "Exactness: 0 values of fastnorm differ from the contract in 1 row."
    bad, line = report.verdict(frame([changed(CPU, mismatches=2)]))
    assert not bad
    assert "2 values of fastnorm differ" in line
    assert report.verdict(frame([CALL, changed(CPU, mismatches=None)]))[0] is True
    assert report.verdict(frame([changed(CPU, mismatches=None)])) == (False, "Exactness: no value was compared.")


def test_the_command_writes_beside_the_rows_and_prints_a_short_table(folder, capsys):
    assert report.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"torchvision v2 +9\.00x +8\.00 to 10\.0 +5\n", out)
    assert f"report: {folder / 'report.html'}" in out


def test_the_command_needs_rows(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 1
    assert "got no measurement in its CSV files, expected some; run: fastnorm bench" in capsys.readouterr().err


# Generated parts of Markdown files


def test_the_texts_say_what_the_rows_say(capsys):
    """Where this fails, the rows have changed, or a text was edited: see benchmarks/generated.py."""
    texts = [str(ROOT / "README.md"), str(generated.PAGE)]
    assert Cog().main(["cog", "--check", "-P", *texts]) == 0, capsys.readouterr().err


def test_a_text_that_was_edited_is_noticed(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(
        (ROOT / "README.md").read_text(encoding="utf-8").replace("not yet measured", "1x"), encoding="utf-8"
    )
    assert Cog().main(["cog", "--check", "-P", str(copy)]) == 5


def test_the_readme_table_has_one_figure_a_cell_and_names_the_fastest_peer(folder):
    text = generated.readme_table(folder)
    assert "`out=`, against torchvision v2 | 9.00x | not yet measured |" in text
    assert "the same, against DALI CPU (GPU: torch.compile (dynamic=False)) | 0.90x | 1.10x |" in text
    assert "share of copy bandwidth, 64x512x512, fp32 pair, `out=` | - | 93% |" in text
    assert "(CPU: driver that does nothing) | 9.00 us | not yet measured |" in text
    for pipeline, speed in (("before (Pillow backend)", 40.0), ("fastnorm, in main", 100), ("decode alone", 160)):
        assert f"2 workers: {pipeline} | {speed} | not yet measured |" in text
    assert "2 workers: before (torchvision backend) | not yet measured |" in text
    assert "CPU: A <CPU> & co, 2 threads, torch 2.15.0; 2 runs." in text
    assert "GPU: A GPU, driver 570.1, torch 2.15.0; 1 run." in text
    cells = [cell for line in text.splitlines() if line.startswith("| ") for cell in line.split(" | ")[1:]]
    assert all(len(re.findall(r"\d+(?:\.\d+)?", cell)) <= 1 for cell in cells)


def test_the_readme_table_takes_the_first_cell_and_the_fastest_peer_in_it(tmp_path):
    both = [changed(CPU, suite="preprocess", cell=f"{n} all threads") for n in (1, 2)]
    peers = [peer(cell, f"peer {n}", ms) for cell in both for n, ms in enumerate((30.0, 20.0, 5.0 * len(cell["cell"])))]
    peers[-1]["p50_ms"] = 1.0
    variant = peer(both[0], "fastnorm, AVX2", 5.0)
    append(tmp_path / "cpu.csv", [*both, *peers, variant])
    assert "likewise, all threads, against peer 1 | 2.00x |" in generated.readme_table(tmp_path)


def test_the_readme_says_what_one_thread_takes_of_cpu_time(tmp_path):
    append(tmp_path / "cpu.csv", [PHOTOGRAPH, peer(PHOTOGRAPH, goals.PUBLISHED, 99.0, cpu_ms=30.0)])
    assert f"one thread, against {goals.PUBLISHED} | 15.0x | - |" in generated.readme_table(tmp_path)


def test_without_gpu_rows_the_gpu_column_says_only_that(tmp_path):
    append(tmp_path / "cpu.csv", ROWS)
    rows = [line.split(" | ") for line in generated.readme_table(tmp_path).splitlines() if line.startswith("| ")][1:]
    assert {row[-1] for row in rows} == {"not yet measured |", "- |"}


def test_without_rows_nothing_is_claimed(tmp_path):
    assert generated.readme_table(tmp_path).count("not yet measured") == 2 * len(generated.LINES) - 3
    assert "x torchvision" not in generated.readme_table(tmp_path)


def test_a_row_of_ours_that_differs_is_not_published(tmp_path):
    append(tmp_path / "cpu.csv", [changed(CPU, mismatches=1)])
    with pytest.raises(ValueError, match="got 1 values of ours that differ from the contract, expected 0"):
        generated.readme_table(tmp_path)


# The scaling page


def test_a_billion_images_encoded_are_those_of_the_rows(tmp_path, monkeypatch):
    """2 ms of cores an image under way, 1 s before that, where a bare loop takes 1.9 ms: 64 cores give 32,000/s."""
    cell = Cell("encode", "encode: tiny", "1000 of 8x8x3", images=1)
    note = "1,000 images of 20,000 bytes; 500 bytes a row"
    times = {"fastnorm encode": (3e-3, 5e-3), "fastnorm encode, under way": (2e-3, 2e-3), "bare loop": (1.9e-3, 1.9e-3)}
    made = [row_of(cell, name, samples=[Sample(*time)], note=note, run="1") for name, time in times.items()]
    append(tmp_path / "encode.csv", made)
    published = load()
    rows = pd.concat([published[published["suite"] != "encode"], load(tmp_path)], ignore_index=True)
    monkeypatch.setattr("benchmarks.rows.load", lambda: rows)
    (line,) = generated.printed(1).splitlines()[2:]
    cells = line.strip("| ").split(" | ")
    # (1 s + 100,000 * 2 ms) / 190 s; 1e9 / 32,000 / 3600; 2e9 / 40,000 = 50,000 a second and node from the disk
    assert cells[2:] == ["500", "+6%", "500 B", "0.50 TB", "40 TB", "cores", "8.7 h", "0.9 h", "0.1 h"]


@pytest.fixture(scope="module")
def example():
    """The names of the page's program after it has run, and what it prints."""
    given = {}
    printed = generated.printed(0, given)
    return types.SimpleNamespace(**given), printed


def test_bytes_are_those_that_the_code_counts(example):
    from fastnorm_kernels import _normalize_kernels as kernels

    text = " ".join(generated.PAGE.read_text(encoding="utf-8").split())
    assert "add up to 45" in " ".join(eager.normalized.__doc__.split())
    assert "eager torch moves 45 bytes of device memory per element" in text
    assert kernels.bytes_moved(1, [4, 4]) == 9
    assert "one fused pass 1 + 4 + 4 = 9" in text
    assert "E = 936,960" in text
    assert example[0].E == 936_960


def test_rates_are_the_formulas_and_the_smallest_bounds_the_run(example):
    given, printed = example
    for name, core, bus, memory in (
        ("float32 from the workers", given.d + given.r, 4 * given.E, 0),
        ("the same, by fastnorm", given.d + given.r_own, 4 * given.E, 0),
        ("uint8 crops", given.d + given.r, given.E, 5 * given.E),
        ("uint8 images", given.d, 3 * 1536 * 1024, 3 * 1536 * 1024 + 4 * given.E),
    ):
        cells = next(line for line in printed.splitlines() if line.startswith(f"| {name} |")).split(" | ")
        rates = [given.B_disk / given.J, given.C / core, given.B_bus / bus, memory and given.B_mem / memory]
        assert cells[3:7] == [f"{rate:,.0f}" if rate else "-" for rate in rates]
        smallest = min(filter(None, rates))
        assert cells[7] == ["disk", "cores", "bus", "device memory"][rates.index(smallest)]
        assert cells[8].rstrip(" |") == f"{1e9 / smallest / 3600:,.1f}"


def test_what_the_page_calls_measured_is_measured(example):
    given, printed = example
    rows = load()
    one_worker = rows[rows["cell"] == LOADER.format(1)]
    seconds = (one_worker["p50_ms"] / 1e3).groupby(one_worker["name"]).median()
    assert given.d == seconds["decode alone"]
    assert given.r == seconds["before (Pillow backend)"] - given.d
    assert given.r_own == seconds["fastnorm, in workers"] - given.d
    files, pixels = 0, 0
    for path in shipped_photographs():
        with Image.open(path) as image:
            files, pixels = files + path.stat().st_size, pixels + image.width * image.height
    assert pytest.approx(files / pixels, abs=5e-4) == given.J / (given.W * given.H)
    assert ("not yet measured" in printed) != bool(((rows["suite"] == "end to end") & (rows["driver"] != "")).any())


def test_a_reader_that_leaves_early_causes_no_traceback(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.report", str(folder)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 141
    assert err == b""


def test_what_is_ours():
    assert comparisons.is_ours("fastnorm, in workers")
    assert not comparisons.is_ours("fastnormal")
