"""uint8 batches normalised, images preprocessed, and one small call, beside every peer, in turns: see README.md."""

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
from benchmarks.cells import HOST, NORMALIZE, PAIR, PREPROCESS, SMALL, SMALL_IMAGES, batch, photographs
from benchmarks.peers import Job, Missing, Timing, make, mismatches, normalize, preprocess
from benchmarks.rows import OURS, version_of
from benchmarks.timing import Candidate
from fastnorm_kernels.normalize import choose, plans_of
from tests import stub_driver


def of_ours(calls, expected_of, device, how, name=OURS):
    """Ours as a candidate, if every value of each call is the reference's."""
    for index, call in enumerate(calls):
        assert mismatches(call(), expected_of(index)) == 0, "not verified, not timed"
    return timing.candidate(name, fastnorm.__version__, calls, device, how, mismatches=0)


def of_peers(cell, job, sets, expected, every, where):
    """Each peer as a candidate, verified; or missing, with its reason: also one that the cell leaves out."""
    for peer in cell.peers:
        made, version, several = make(peer, job), version_of(*peer.distributions), len(cell.sizes)
        if not isinstance(made, Missing):
            # Fresh memory is part of what is timed there, for ours and for peers alike.
            how = Timing.EVENTS if peer.timing is Timing.GRAPH and job.memory == "fresh" else peer.timing
            note = f"has compiled for {several} resolutions" if peer.note and several > 1 else peer.note
            with peer.within():
                differing = mismatches(made(job.example), expected) if peer.compared else None
            assert not (peer.name.startswith(OURS) and differing), "not verified, not timed"
            row = {"mismatches": differing, "note": note, "within": peer.within}
            try:
                calls = [partial(made, images) for images in sets]
                made = timing.candidate(peer.name, version, calls, job.device, how, **row)
            except RuntimeError as error:  # out of memory, or a compiled function that fails for another size
                made = Missing(peer.name, f"{type(error).__name__}: {str(error).splitlines()[0]}")
        yield made
    reason = f"left out of this cell, {'beside busy processes' if cell.busy else where}"
    yield from (Missing(peer.name, reason) for peer in every if peer not in cell.peers)


def name_of(cell):
    return f"{cell.device}: {cell.columns().cell}"


@pytest.mark.parametrize("cell", NORMALIZE, ids=name_of)
def test_normalize(suite, cell):
    device = timing.device(cell.device)
    if suite.verify_only:
        # A compilation takes as long as all the rest: where nothing is timed, once is enough.
        peers = tuple(peer for peer in cell.peers if cell is NORMALIZE[0] or peer not in normalize.COMPILED)
        cell = dataclasses.replace(cell, images=SMALL[0], sizes=(SMALL[1],) * len(cell.sizes), peers=peers)
    walks = -(-timing.sets_needed(cell.columns().bytes_moved, device) // len(cell.sizes))
    sizes = enumerate(cell.sizes * walks)  # each as often as the others
    batches = [batch(cell.images, size, cell.layout, device, seed) for seed, size in sizes]
    options = {"normalizations": cell.targets, "dtype": cell.dtypes}

    def expected_of(index):
        return fastnorm.reference.normalize(batches[index], **options)

    calls = []
    for index, images in enumerate(batches):
        out = [torch.full_like(t, float("nan")) for t in expected_of(index)] if cell.memory == "out" else None
        calls.append(partial(fastnorm.fused_normalize, images, **options, out=out))
    entries = [of_ours(calls, expected_of, device, Timing.GRAPH if cell.memory == "out" else Timing.EVENTS)]
    where = f"measured at {'16x512x512 and 8' if cell.device == 'cpu' else '64x512x512 and 1'}x224x224, float32 pairs"
    job = Job(batches[0], cell.targets, device, cell.layout, cell.dtypes, cell.memory)
    entries += of_peers(cell, job, batches, expected_of(0), normalize.ALL, where)
    entries += timing.bandwidth(device, ["copy"])
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
        sets = range(timing.sets_needed(columns.bytes_moved, device))
        own = [fastnorm.PackedImages.pack(images).to(device) for _ in sets]
        theirs = [[packed[index] for index in range(len(packed))] for packed in own]
        if columns.layout == "NHWC":
            own = theirs = [packed.buffer.view(len(packed), *packed.sizes[0], 3) for packed in own]
    expected = fastnorm.reference.preprocess(own[0], PAIR)
    ours = partial(of_ours, [partial(fastnorm.fused_dual_preprocess, one) for one in own], lambda _: expected, device)
    job, where = Job(theirs[0], PAIR, device), "which has one thread"
    entries = [ours(Timing.EVENTS), *of_peers(cell, job, theirs, expected, preprocess.ALL, where)]
    if on_gpu:  # a graph would replay the upload of a call's records from memory that has long been used again
        entries += [ours(Timing.QUEUED, f"{OURS}, device only"), *timing.bandwidth(device, ["copy", "fill"])]
    suite.compare(columns, entries, cell.rounds, device, cell.busy)


@pytest.fixture(scope="module")
def launches(request, tmp_path_factory):
    """Whether calls are launched here: by a GPU's driver, or by one that does nothing, which has to be there when a
    process starts: a child process then measures all of these cells."""
    if torch.cuda.is_available():
        return True
    if "TRITON_LIBCUDA_PATH" in os.environ:
        stub_driver.install()
        return True
    option, cells = request.config.getoption, [i.nodeid for i in request.session.items if "launches" in i.fixturenames]
    arguments = ["--quick"] * option("--quick") + ["--verify-only"] * option("--verify-only")
    arguments += [f"--rows={option('--rows')}"] * bool(option("--rows"))
    command = [sys.executable, "-m", "pytest", "-q", "-s", *arguments, *cells]
    environment = stub_driver.environment(tmp_path_factory.mktemp("driver"))
    subprocess.run(command, env=environment, cwd=request.config.rootpath, check=True)
    return False


@pytest.mark.parametrize("cell", HOST, ids=name_of)
def test_host_time(suite, launches, cell):
    if not launches:
        return
    has_gpu = torch.cuda.is_available()
    device, dtype = torch.device("cuda" if has_gpu else "cpu"), cell.dtypes[0]
    images = batch(cell.images, *cell.sizes, "NHWC", device)
    planes = images.permute(0, 3, 1, 2)
    outputs = tuple(torch.empty(planes.shape, dtype=dtype, device=device) for _ in cell.targets)
    launch = choose(planes, outputs, plans_of([(target.mean, target.std) for target in cell.targets]))
    where = "" if has_gpu else "; driver that does nothing"
    timed = partial(Candidate, timing=Timing.HOST, repeats=50)
    ours = partial(fastnorm.fused_dual_normalize, images, dtype=dtype, out=outputs if cell.memory == "out" else None)
    entries = [
        timed(OURS, fastnorm.__version__, ours, note="checks, outputs, launch" + where),
        timed("Triton kernel[grid]", triton.__version__, launch.run, note="launch only" + where),
    ]
    for peer in cell.peers if has_gpu and cell.memory == "fresh" else ():
        made = make(peer, Job(images, cell.targets, device, dtypes=cell.dtypes))
        if not isinstance(made, Missing):
            made = timed(peer.name, version_of(*peer.distributions), partial(made, images), note="outputs, launch")
        entries.append(made)
    suite.compare(cell.columns()._replace(suite="host", bytes_moved=None), entries, cell.rounds, device)
