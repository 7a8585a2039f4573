"""How the benchmarks time: beside busy processes, by a chosen path, GPU cells with the CPU in the device's place."""

import contextlib
import dataclasses
import multiprocessing
import pathlib
import resource
import time
import types

import pytest
import torch

import fastnorm
import forking
from benchmarks import test_cells, timing
from benchmarks.cells import GPU_NORMALIZE, PREPROCESS, SMALL_IMAGES
from benchmarks.peers import Job, Missing, Timing, make, mismatches, normalize, ours, preprocess
from benchmarks.rows import ROOT, Cell, Sample, read
from benchmarks.timing import Candidate, Suite, repeats_needed, sets_needed
from fastnorm import CLIP, VAE
from fastnorm.backends.cpu import native
from tests.helpers import available_instructions

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("set_bytes", "sets"), [(1_354_752, 178), (60_000_000, 4), (452_984_832, 2), (2_000_000_000, 2)]
)
def test_sets_outgrow_the_cache(set_bytes, sets, monkeypatch):
    properties = types.SimpleNamespace(L2_cache_size=60_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert sets_needed(set_bytes, CUDA) == sets
    assert sets * set_bytes >= 4 * 60_000_000
    assert sets_needed(set_bytes, CPU) == 1


def test_samples_last_long_enough():
    assert repeats_needed(1e-4) == 20
    assert repeats_needed(1.0) == 1
    assert repeats_needed(0.0) > 1


@pytest.mark.parametrize(("how", "order"), [(Timing.WALL, "s1234s"), (Timing.HOST, "s1234")])
def test_only_the_wall_clock_waits_for_the_device(how, order, monkeypatch):
    now, seen = [0.0], []

    def step(name, seconds):
        seen.append(name)
        now[0] += seconds

    monkeypatch.setattr(timing, "synchronize", lambda: step("s", 100.0))
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(timing, "cpu_seconds", lambda: 0.0)
    candidate = Candidate("name", "1", lambda: step(str(len(seen)), 1.0), calls=2, timing=how, repeats=4)
    assert candidate.sample().wall == (104.0 if how is Timing.WALL else 4.0) / 8
    assert "".join(seen) == order


def busy():
    begun = time.process_time()
    while time.process_time() - begun < 0.2:
        pass


def test_cpu_time_is_that_of_this_process_and_its_workers():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        sample = Candidate("name", "1", lambda: (busy(), pool.apply(busy))).sample()
        idle = Candidate("name", "1", lambda: time.sleep(0.1)).sample()
    assert 0.4 <= sample.cpu < 0.5
    assert idle.cpu < 0.05


BUSY = """
import os, subprocess, sys
from benchmarks import timing
os.sched_getaffinity = lambda _: {0, 1}
started, popen = [], subprocess.Popen
subprocess.Popen = lambda *arguments: [started.append(popen(*arguments)), started[-1]][1]
with timing.busy(1):
    print([process.pid for process in started], flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
    raise SystemExit(3)
"""


def is_running(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # empty once it has ended
    return False


@pytest.mark.parametrize(("end", "status"), [("by an error", 3), ("killed", -9)])
def test_busy_processes_end_with_their_block_or_with_the_suite(end, status):
    done = forking.run("-c", BUSY, end, cwd=ROOT)
    assert done.returncode == status
    pids = [int(pid) for pid in done.stdout.strip("[]\n").split(",")]
    assert len(pids) == 2
    until = time.monotonic() + 20
    while any(map(is_running, pids)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_busy_processes_compute():
    with timing.busy(1):
        time.sleep(0.5)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before + 0.05


def test_beside_busy_processes_a_sample_is_as_many_calls_as_take_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "busy", lambda count: contextlib.nullcontext(asked.append(count)))
    asked, entries = [], [Candidate(name, "1", None) for name in ("fastnorm", "slow")]
    entries[0].seconds = lambda: 0.02 * entries[0].repeats
    entries[1].seconds = lambda: 0.5 * entries[1].repeats
    Suite(rows=tmp_path).compare(Cell("contended", "cell", "1x2x2x3"), entries, 3, busy_per_core=2)
    assert asked == [2]
    assert [entry.repeats for entry in entries] == [5, 1]
    assert list(read(tmp_path / "cpu.csv")["p50_ms"]) == [20.0, 500.0]


def test_what_a_candidate_is_timed_within_is_not_timed():
    @contextlib.contextmanager
    def slow():
        time.sleep(0.1)
        yield
        time.sleep(0.1)

    assert Candidate("name", "1", lambda: None, within=slow).sample().wall < 0.1


@pytest.mark.parametrize("peer", [ours.TORCH_PATH, ours.AVX2, ours.VNNI, ours.TWO_THREADS], ids=lambda peer: peer.name)
def test_a_choice_holds_for_its_peer_alone(peer):
    def state():
        return native.path_name(), torch.get_num_threads()

    images, before = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8), state()
    made = make(peer, Job(images, (VAE, CLIP), CPU, dtypes=(torch.float32,) * 2, memory="out"))
    assert state() == before
    if isinstance(made, Missing):
        assert peer.name.split(", ")[1].lower() not in available_instructions()
        assert "native code" in made.reason or "this processor lacks" in made.reason
        return
    with contextlib.suppress(KeyError), peer.within():
        name, threads = state()
        raise KeyError
    assert state() == before
    expected = {"torch path": "torch", "AVX2": "native code (avx2)", "VNNI": "native code (vnni)"}
    assert name == expected.get(peer.name.removeprefix("fastnorm, "), before[0])
    assert threads == (2 if peer is ours.TWO_THREADS else before[1])
    assert mismatches(made(images), fastnorm.reference.normalize(images, [VAE, CLIP])) == 0
    assert made(images)[0].data_ptr() == made(images)[0].data_ptr(), "into the same tensors"


def of_samples(name, sample, **columns):
    made = Candidate(name, "1", None, **columns)
    made.sample = sample
    return made


def test_candidates_take_turns_and_the_warm_up_is_not_counted(tmp_path):
    order = []

    def candidate(name, first):
        times = iter([first, 2.0, 4.0, 6.0])
        return of_samples(name, lambda: [order.append(name), Sample(next(times), 1.0)][1])

    entries = [candidate("fastnorm", 100.0), candidate("a", 50.0), Missing("b", "needs a GPU"), candidate("c", 1.0)]
    Suite(rows=tmp_path).compare(Cell("normalize", "cell", "1x2x2x3"), entries, rounds=3)
    assert order == ["a", "c", "fastnorm"] * 4
    rows = read(tmp_path / "cpu.csv").set_index("name")
    assert rows["p50_ms"].dropna().to_dict() == {"fastnorm": 4000.0, "a": 4000.0, "c": 4000.0}
    assert rows["note"]["b"] == "not run: needs a GPU"
    assert rows["run"].nunique() == 1


def test_where_nothing_is_timed_a_peer_that_is_called_wrongly_is_an_error(tmp_path):
    suite, cell = Suite(verify_only=True, rows=tmp_path), Cell("normalize", "cell", "1x2x2x3")
    ours = of_samples("fastnorm", lambda: Sample(1.0, 1.0))
    suite.compare(cell, [ours, Missing("a", "no compiler")], rounds=3)
    with pytest.raises(AssertionError, match="peers whose calls need fixing"):
        suite.compare(cell, [ours, Missing("a", "TypeError: x", broken=True)], rounds=3)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def cpu_as_device(monkeypatch):
    """CUDA's own calls do nothing; what is launched runs on the CPU."""

    def candidate(name, version, calls, _on, how, note="", **shown):
        note = "; ".join(filter(None, [how.value, note]))
        monkeypatch.setattr(Candidate, "seconds", lambda self: 1e-3 + 0.0 * len(str(self.run())))
        walk = lambda: [call() for call in calls]  # noqa: E731
        return Candidate(name, version, walk, len(calls), how, note=note, peak_mib=1.0, **shown)

    def bandwidth(_on, kinds):
        columns = [
            Cell("bandwidth", {"copy": "device copy"}.get(kind, kind), "1024", bytes_moved=2048) for kind in kinds
        ]
        return [
            of_samples(f"torch {k}_", lambda: Sample(1e-3, 0.0), cell=c) for k, c in zip(kinds, columns, strict=True)
        ]

    monkeypatch.setattr(timing, "device", lambda _: CPU)
    monkeypatch.setattr(timing, "sets_needed", lambda *_: 3)
    monkeypatch.setattr(timing, "candidate", candidate)
    monkeypatch.setattr(timing, "bandwidth", bandwidth)


def small(cell):
    sizes = ((16, 24), (24, 16), (8, 40))[: len(cell.sizes)]
    peers = tuple(peer for peer in cell.peers if peer in (normalize.EAGER, normalize.TORCHVISION_V2))
    return dataclasses.replace(cell, images=2, sizes=sizes, peers=peers)


@pytest.mark.usefixtures("cpu_as_device")
@pytest.mark.parametrize("cell", [small(GPU_NORMALIZE[i]) for i in (0, -1, -3)], ids=lambda cell: cell.columns().cell)
def test_a_normalize_cell_gives_its_rows(tmp_path, cell):
    test_cells.test_normalize(Suite(rows=tmp_path, quick=True), cell)
    rows = read(tmp_path / "cpu.csv").set_index("name")
    ours = rows.loc["fastnorm"]
    assert ours["mismatches"] == 0
    assert ours["cell"] == cell.columns().cell
    assert ours["note"] == ("graph replay" if cell.memory == "out" else "events")
    assert ours["copy_fraction"] == pytest.approx(ours["gb_per_s"] / rows.loc["torch copy_"]["gb_per_s"], rel=1e-3)
    assert rows.loc["torch copy_"]["suite"] == "bandwidth"
    assert rows.loc["torchvision v2"]["note"] == "events"
    assert rows.loc["kornia"]["note"].startswith("not run: left out of this cell, measured at 64x512x512")
    assert rows["run"].nunique() == 1
    assert {peer.name for peer in normalize.ALL} < set(rows.index)


@pytest.mark.usefixtures("cpu_as_device")
def test_a_wrong_value_of_ours_is_not_timed(tmp_path, monkeypatch):
    right = test_cells.fastnorm.fused_normalize

    def wrong(*arguments, **options):
        outputs = right(*arguments, **options)
        outputs[1][-1, 2, 3, 4] += 1
        return outputs

    monkeypatch.setattr(test_cells.fastnorm, "fused_normalize", wrong)
    with pytest.raises(AssertionError, match="not verified, not timed"):
        test_cells.test_normalize(Suite(rows=tmp_path, quick=True), small(GPU_NORMALIZE[0]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("cpu_as_device")
def test_a_preprocess_cell_gives_its_rows(tmp_path):
    one_size, ragged = (cell for cell in PREPROCESS if cell.device == "cuda")
    for cell in (
        dataclasses.replace(one_size, sizes=SMALL_IMAGES[:1] * 2, peers=()),
        dataclasses.replace(ragged, sizes=SMALL_IMAGES, peers=()),
    ):
        test_cells.test_preprocess(Suite(rows=tmp_path, quick=True), cell)
    rows = read(tmp_path / "cpu.csv")
    assert list(rows["name"][:4]) == ["fastnorm", "fastnorm, device only", "torch copy_", "torch fill_"]
    assert set(rows[rows["name"] == "fastnorm"]["shape"]) == {"2x96x130x3", "2 ragged"}
    left_out = rows["note"].str.startswith("not run: left out of this cell")
    assert set(rows[left_out]["name"]) == {peer.name for peer in preprocess.ALL}
    assert rows[~left_out]["p50_ms"].notna().all()
    assert rows["mismatches"].fillna(0).sum() == 0
