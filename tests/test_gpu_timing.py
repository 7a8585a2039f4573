"""The GPU benchmarks' arithmetic, and their cells from end to end with the CPU in the device's place."""

import dataclasses

import pytest
import torch
from benchmarks.gpu_timing import Runner, Timing, repeats_needed, sets_needed

from benchmarks import gpu_timing, test_normalize_gpu, test_preprocess_gpu
from benchmarks.cells import GPU_NORMALIZE, GPU_PREPROCESS, SMALL_PICTURES
from benchmarks.peers import normalize
from benchmarks.rows import read


@pytest.mark.parametrize(
    ("set_bytes", "sets"), [(1_354_752, 178), (60_000_000, 4), (452_984_832, 2), (2_000_000_000, 2)]
)
def test_sets_outgrow_the_cache(set_bytes, sets):
    assert sets_needed(set_bytes, l2_bytes=60_000_000) == sets
    assert sets * set_bytes >= 4 * 60_000_000


def test_samples_last_long_enough():
    assert repeats_needed(1e-4) == 20
    assert repeats_needed(1.0) == 1
    assert repeats_needed(0.0) > 1


def test_a_sample_is_seconds_per_call(monkeypatch):
    walks = []
    monkeypatch.setattr(gpu_timing, "event_seconds", lambda _, repeats, __: repeats * 0.6)
    assert Runner(lambda: walks.append(1), calls=3, timing=Timing.GRAPH, repeats=5)() == pytest.approx(0.2)


class Benchmark:
    """What the cells need of pytest-benchmark's fixture."""

    disabled, enabled = False, True

    def __init__(self):
        self.extra_info = {}

    def pedantic(self, target, setup, rounds, warmup_rounds):
        for _ in range(rounds + warmup_rounds):
            setup()
            target()


@pytest.fixture
def cpu_as_device(monkeypatch):
    monkeypatch.setattr(gpu_timing, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(gpu_timing, "l2_bytes", lambda: 50_000)
    monkeypatch.setattr(gpu_timing, "COPY_BYTES", 1 << 10)
    monkeypatch.setattr(gpu_timing, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(gpu_timing, "peak_mib", lambda call: [call(), 1.0][1])
    monkeypatch.setattr(gpu_timing, "event_seconds", lambda run, repeats, _: gpu_timing.wall_seconds(run, repeats))
    monkeypatch.setattr(
        gpu_timing,
        "_captured",
        lambda calls: Runner(lambda: [call() for call in calls], len(calls), Timing.GRAPH),
    )
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def small(cell, **changes):
    sizes = ((16, 24), (24, 16), (8, 40))[: len(cell.sizes)]
    peers = tuple(peer for peer in cell.peers if peer in (normalize.EAGER, normalize.TORCHVISION_V2))
    return dataclasses.replace(cell, images=2, sizes=sizes, peers=peers, **changes)


@pytest.mark.usefixtures("cpu_as_device")
@pytest.mark.parametrize(
    "cell", [small(GPU_NORMALIZE[0]), small(GPU_NORMALIZE[-1]), small(GPU_NORMALIZE[-3])], ids=lambda cell: cell.name
)
def test_a_normalize_cell_gives_its_rows(tmp_path, cell):
    test_normalize_gpu.test_normalize_on_the_gpu(Benchmark(), tmp_path / "rows.csv", lambda _: 3, cell)
    rows = {row.name: row for row in read(tmp_path / "rows.csv")}
    ours, copy = rows["fastnorm"], rows["torch copy_"]
    assert ours.mismatches == 0
    assert ours.cell == cell.name
    assert ours.note == ("graph replay" if cell.memory == "out" else "events")
    assert ours.copy_fraction == pytest.approx(ours.gb_per_s / copy.gb_per_s, rel=1e-3)
    assert copy.suite == "bandwidth"
    assert rows["torchvision v2"].note == "events"
    assert not rows["kornia"].ran
    assert {row.run for row in rows.values()} == {ours.run}
    peers = {peer.name for peer in normalize.ALL}
    assert peers < rows.keys()


@pytest.mark.usefixtures("cpu_as_device")
def test_a_preprocess_cell_gives_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(test_preprocess_gpu, "ALL", ())
    for cell in (
        dataclasses.replace(GPU_PREPROCESS[0], sizes=SMALL_PICTURES[:1] * 2),
        dataclasses.replace(GPU_PREPROCESS[1], sizes=SMALL_PICTURES),
    ):
        test_preprocess_gpu.test_preprocess_on_the_gpu(Benchmark(), tmp_path / "rows.csv", lambda _: 2, cell)
    rows = read(tmp_path / "rows.csv")
    assert [row.name for row in rows[:4]] == ["fastnorm", "fastnorm, device only", "torch copy_", "torch fill_"]
    assert {row.shape for row in rows if row.name == "fastnorm"} == {"2x96x130x3", "2 ragged"}
    assert all(row.ran and row.mismatches in (0, None) for row in rows)
