"""uint8 batches normalised, and images preprocessed, beside every peer, in turns within one run.

If ours differs from the reference in one bit, nothing is timed. "out" writes into the tensors of an earlier call;
"fresh" returns new ones, as peers do, and drops them, as a loop does. Preprocessing on a CPU runs on one thread, and on
as many as torch has. On a GPU, images are in device memory, as (N, H, W, 3), or one by one (in one buffer for ours)
where their sizes differ, and a large copy is timed in the same turns.
"""

import dataclasses
from functools import partial

import pytest
import torch

import fastnorm
from benchmarks import pixels, timing
from benchmarks.cells import NORMALIZE, PAIR, PREPROCESS, SMALL, SMALL_IMAGES
from benchmarks.peers import Job, Missing, Timing, make, mismatches, normalize, preprocess
from benchmarks.rows import OURS


def of_ours(calls, expected_of, device, how, name=OURS):
    """Ours as a candidate, if every value of each call is the reference's."""
    for index, call in enumerate(calls):
        assert mismatches(call(), expected_of(index)) == 0, "not verified, not timed"
    return timing.candidate(name, fastnorm.__version__, calls, device, how, 0)


def of_peers(peers, job, sets, expected, changed=None, resolutions=1):
    """Each peer as a candidate, verified; or missing, with its reason."""
    for peer in peers:
        made = make(peer, job)
        if not isinstance(made, Missing):
            calls, how = [partial(made, batch) for batch in sets], (changed or {}).get(peer.timing, peer.timing)
            note = f"has compiled for {resolutions} resolutions" if peer.note and resolutions > 1 else peer.note
            differing = mismatches(made(job.example), expected)
            try:
                made = timing.candidate(peer.name, peer.version(), calls, job.device, how, differing, note)
            except RuntimeError as error:  # out of memory, or a compiled function that fails for another size
                made = Missing(peer.name, f"{type(error).__name__}: {str(error).splitlines()[0]}")
        yield made


def left_out(chosen, every, where):
    """Peers that a cell does not measure, so that their absence shows."""
    return [Missing(peer.name, f"left out of this cell, {where}") for peer in every if peer not in chosen]


def name_of(cell):
    return f"{cell.device}: {cell.columns().cell}"


@pytest.mark.parametrize("cell", NORMALIZE, ids=name_of)
def test_normalize(suite, cell):
    peers, device = cell.peers, timing.device(cell.device)
    if suite.verify_only:
        if cell is not NORMALIZE[0]:  # a compilation takes as long as all the rest; once is enough
            peers = tuple(peer for peer in peers if peer not in normalize.COMPILED)
        cell = dataclasses.replace(cell, images=SMALL[0], sizes=(SMALL[1],) * len(cell.sizes))
    walks = -(-timing.sets_needed(cell.columns().bytes_moved, device) // len(cell.sizes))
    sizes = cell.sizes * walks  # each as often as the others
    batches = [pixels.batch(cell.images, size, cell.layout, device, seed) for seed, size in enumerate(sizes)]
    options = {"normalizations": cell.targets, "dtype": cell.dtypes}

    def expected_of(index):
        return fastnorm.reference.normalize(batches[index], **options)

    calls = []
    for index, batch in enumerate(batches):
        out = [torch.full_like(t, float("nan")) for t in expected_of(index)] if cell.memory == "out" else None
        calls.append(partial(fastnorm.fused_normalize, batch, **options, out=out))
    # Fresh memory is part of what is timed there, for ours and for peers alike.
    changed = {Timing.GRAPH: Timing.EVENTS} if cell.memory == "fresh" else {}
    entries = [of_ours(calls, expected_of, device, changed.get(Timing.GRAPH, Timing.GRAPH))]
    job = Job(batches[0], cell.targets, device, cell.layout, cell.dtypes)
    entries += of_peers(peers, job, batches, expected_of(0), changed, len(cell.sizes))
    where = "16x512x512 and 8x224x224" if cell.device == "cpu" else "64x512x512 and 1x224x224"
    entries += timing.bandwidth(device, ["copy"])
    entries += left_out(peers, normalize.ALL, f"measured at {where}, float32 pairs")
    suite.compare(cell.columns(), entries, cell.rounds, device)


@pytest.fixture
def threads():
    """Sets how many threads torch uses until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("cell", PREPROCESS, ids=name_of)
def test_preprocess(suite, threads, cell):
    device, on_gpu = timing.device(cell.device), cell.device == "cuda"
    if suite.verify_only:
        cell = dataclasses.replace(cell, sizes=SMALL_IMAGES)
    threads(1 if cell.one_thread else torch.get_num_threads())
    images, columns = pixels.photographs(cell.sizes), cell.columns()
    own = theirs = [images]
    if on_gpu:
        count = timing.sets_needed(columns.bytes_moved, device)
        own, theirs = zip(*(_on_device(images, device, cell.uniform) for _ in range(count)), strict=True)
    expected = fastnorm.reference.preprocess(own[0], PAIR)
    ours = partial(of_ours, [partial(fastnorm.fused_dual_preprocess, one) for one in own], lambda _: expected, device)
    peers = [peer for peer in preprocess.ALL if not (cell.one_thread and peer in preprocess.THREADED)]
    entries = [ours(Timing.EVENTS), *of_peers(peers, Job(theirs[0], PAIR, device), theirs, expected)]
    if on_gpu:  # a graph would replay the upload of a call's records from memory that has long been used again
        entries += [ours(Timing.QUEUED, f"{OURS}, device only"), *timing.bandwidth(device, ["copy", "fill"])]
    entries += left_out(peers, preprocess.ALL, "which has one thread")
    suite.compare(columns, entries, cell.rounds, device)


def _on_device(images, device, uniform):
    """The same images as ours takes them and as peers do."""
    packed = fastnorm.PackedImages.pack(images).to(device)
    if not uniform:
        return packed, [packed[index] for index in range(len(packed))]
    batch = packed.buffer.view(len(packed), *packed.sizes[0], 3)
    return batch, batch
