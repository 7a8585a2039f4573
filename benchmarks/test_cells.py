"""uint8 batches normalised, images preprocessed, and one small call, beside every peer, in turns within one run.

If ours differs from the reference in one bit, nothing is timed. "out" writes into the tensors of an earlier call;
"fresh" returns new ones, as peers do, and drops them, as a loop does. Preprocessing on a CPU runs on one thread, and on
as many as torch has. On a GPU, images are in device memory, as (N, H, W, 3), or one by one (in one buffer for ours)
where their sizes differ, and a large copy is timed in the same turns.

Host time is that of one small call, from Python to the driver's launch, beside Triton's own launch. With a GPU the
launches are real, and torch.compile, eager torch and torchvision v2 are measured too. Without one they go to a driver
that does nothing (tests/stub_libcuda.c), so that what is timed is all of the host's work but the driver's. torch's own
calls cannot be launched there: they would compute on the CPU, which is another thing to time.
"""

import dataclasses
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
import triton

import fastnorm
from benchmarks import timing
from benchmarks.cells import HOST, NORMALIZE, PAIR, PREPROCESS, SMALL, SMALL_IMAGES
from benchmarks.peers import Job, Missing, Timing, make, mismatches, normalize, preprocess
from benchmarks.pixels import batch, photographs
from benchmarks.rows import OURS
from benchmarks.timing import Candidate
from fastnorm_kernels.normalize import choose, plans_of
from tests import stub_driver


def of_ours(calls, expected_of, device, how, name=OURS):
    """Ours as a candidate, if every value of each call is the reference's."""
    for index, call in enumerate(calls):
        assert mismatches(call(), expected_of(index)) == 0, "not verified, not timed"
    return timing.candidate(name, fastnorm.__version__, calls, device, how, 0)


def of_peers(peers, job, sets, expected, changed=None, resolutions=1):
    """Each peer as a candidate, verified; or missing, with its reason."""
    for peer in peers:
        made, differing = make(peer, job), None
        if not isinstance(made, Missing):
            calls, how = [partial(made, images) for images in sets], (changed or {}).get(peer.timing, peer.timing)
            note = f"has compiled for {resolutions} resolutions" if peer.note and resolutions > 1 else peer.note
            if peer.compared:
                with peer.within():
                    differing = mismatches(made(job.example), expected)
            assert not (peer.name.startswith(OURS) and differing), "not verified, not timed"
            try:
                made = timing.candidate(peer.name, peer.version(), calls, job.device, how, differing, note)
                made.within = peer.within
            except RuntimeError as error:  # out of memory, or a compiled function that fails for another size
                made = Missing(peer.name, f"{type(error).__name__}: {str(error).splitlines()[0]}")
        yield made


def left_out(cell, every, where):
    """Peers that a cell does not measure, so that their absence shows."""
    where = "beside busy processes" if cell.busy else where
    return [Missing(peer.name, f"left out of this cell, {where}") for peer in every if peer not in cell.peers]


def name_of(cell):
    return f"{cell.device}: {cell.columns().cell}"


@pytest.mark.parametrize("cell", NORMALIZE, ids=name_of)
def test_normalize(suite, cell):
    device, first = timing.device(cell.device), cell is NORMALIZE[0]
    if suite.verify_only:
        cell = dataclasses.replace(cell, images=SMALL[0], sizes=(SMALL[1],) * len(cell.sizes))
    walks = -(-timing.sets_needed(cell.columns().bytes_moved, device) // len(cell.sizes))
    sizes = cell.sizes * walks  # each as often as the others
    batches = [batch(cell.images, size, cell.layout, device, seed) for seed, size in enumerate(sizes)]
    options = {"normalizations": cell.targets, "dtype": cell.dtypes}

    def expected_of(index):
        return fastnorm.reference.normalize(batches[index], **options)

    calls = []
    for index, images in enumerate(batches):
        out = [torch.full_like(t, float("nan")) for t in expected_of(index)] if cell.memory == "out" else None
        calls.append(partial(fastnorm.fused_normalize, images, **options, out=out))
    # Fresh memory is part of what is timed there, for ours and for peers alike.
    changed = {Timing.GRAPH: Timing.EVENTS} if cell.memory == "fresh" else {}
    entries = [of_ours(calls, expected_of, device, changed.get(Timing.GRAPH, Timing.GRAPH))]
    # A compilation takes as long as all the rest: where nothing is timed, once is enough.
    peers = [peer for peer in cell.peers if first or not suite.verify_only or peer not in normalize.COMPILED]
    job = Job(batches[0], cell.targets, device, cell.layout, cell.dtypes, cell.memory)
    entries += of_peers(peers, job, batches, expected_of(0), changed, len(cell.sizes))
    where = "16x512x512 and 8x224x224" if cell.device == "cpu" else "64x512x512 and 1x224x224"
    entries += timing.bandwidth(device, ["copy"])
    entries += left_out(cell, normalize.ALL, f"measured at {where}, float32 pairs")
    suite.compare(cell.columns(), entries, cell.rounds, device, cell.busy)


@pytest.mark.parametrize("cell", PREPROCESS, ids=name_of)
def test_preprocess(suite, cell):
    device, on_gpu = timing.device(cell.device), cell.device == "cuda"
    if suite.verify_only:
        cell = dataclasses.replace(cell, sizes=SMALL_IMAGES)
    torch.set_num_threads(1 if cell.one_thread else torch.get_num_threads())
    images, columns = photographs(cell.sizes), cell.columns()
    own = theirs = [images]
    if on_gpu:
        count = timing.sets_needed(columns.bytes_moved, device)
        own, theirs = zip(*(_on_device(images, device, cell.uniform) for _ in range(count)), strict=True)
    expected = fastnorm.reference.preprocess(own[0], PAIR)
    ours = partial(of_ours, [partial(fastnorm.fused_dual_preprocess, one) for one in own], lambda _: expected, device)
    entries = [ours(Timing.EVENTS), *of_peers(cell.peers, Job(theirs[0], PAIR, device), theirs, expected)]
    if on_gpu:  # a graph would replay the upload of a call's records from memory that has long been used again
        entries += [ours(Timing.QUEUED, f"{OURS}, device only"), *timing.bandwidth(device, ["copy", "fill"])]
    entries += left_out(cell, preprocess.ALL, "which has one thread")
    suite.compare(columns, entries, cell.rounds, device, cell.busy)


def _on_device(images, device, uniform):
    """The same images as ours takes them and as peers do."""
    packed = fastnorm.PackedImages.pack(images).to(device)
    if not uniform:
        return packed, [packed[index] for index in range(len(packed))]
    one = packed.buffer.view(len(packed), *packed.sizes[0], 3)
    return one, one


@pytest.mark.parametrize("cell", HOST, ids=name_of)
def test_host_time(suite, request, tmp_path, cell):
    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        if "TRITON_LIBCUDA_PATH" not in os.environ:  # the driver has to be there when a process starts
            arguments = ["--quick"] * suite.quick + ["--verify-only"] * suite.verify_only
            arguments += [f"--rows={suite.rows}"] * bool(suite.rows)
            command = [sys.executable, "-m", "pytest", "-q", "-s", *arguments, request.node.nodeid]
            subprocess.run(command, env=stub_driver.environment(tmp_path), cwd=request.config.rootpath, check=True)
            return
        stub_driver.install()
    device, dtype = torch.device("cuda" if has_gpu else "cpu"), cell.dtypes[0]
    images = batch(cell.images, *cell.sizes, "NHWC", device)
    planes = images.permute(0, 3, 1, 2)
    outputs = tuple(torch.empty(planes.shape, dtype=dtype, device=device) for _ in cell.targets)
    launch = choose(planes, outputs, plans_of([(target.mean, target.std) for target in cell.targets]))
    given = outputs if cell.memory == "out" else None
    where = "" if has_gpu else "; driver that does nothing"
    timed = partial(Candidate, timing=Timing.HOST, repeats=50)
    ours = partial(fastnorm.fused_dual_normalize, images, dtype=dtype, out=given)
    entries = [
        timed(OURS, fastnorm.__version__, ours, note="checks, outputs, launch" + where),
        timed("Triton kernel[grid]", triton.__version__, launch.run, note="launch only" + where),
    ]
    for peer in cell.peers if has_gpu and cell.memory == "fresh" else ():
        made = make(peer, Job(images, cell.targets, device, dtypes=cell.dtypes))
        if not isinstance(made, Missing):
            made = timed(peer.name, peer.version(), partial(made, images), note="outputs, launch")
        entries.append(made)
    suite.compare(cell.columns()._replace(suite="host", bytes_moved=None), entries, cell.rounds, device)
