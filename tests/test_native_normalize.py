"""Normalising by the native code, with every instruction set that is here: the reference's bits, and no byte beside.

Of the way back, what concerns memory; its values are compared in test_denormalize.
"""

import dataclasses
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastnorm
from fastnorm import CLIP, VAE, Normalization
from fastnorm.backends.cpu import native, torch_normalization
from fastnorm.verification import oracle
from fastnorm_native import Instructions, library
from fastnorm_native import normalize as native_normalize
from helpers import DTYPES, PRESETS, assert_same_bits, available_instructions, cpu_path, dtype_name, random_pixels
from native_driver import compiled

pytestmark = pytest.mark.compat

# Subnormal, huge and tiny constants: quotients that overflow, vanish or are subnormal in one dtype or another.
HOSTILE = (
    Normalization([0.1, 0.2, 0.3], [1e-40, 1e-10, 2.0]),
    Normalization([1e38, -1e30, 255.0], [1e-3, 1e-38, 1e38], allow_unusual=True),
    Normalization([0.5, 0.25, -0.0], [1e-45, 3e38, 1e-20], allow_unusual=True),
    Normalization([1 / 3, 0.2, 1 / 255], [3e4, 6e4, 1e7], allow_unusual=True),
    Normalization([0.0], [1.0]),
)
INSTRUCTIONS = [native.INSTRUCTIONS[name] for name in available_instructions()]


@pytest.fixture(params=INSTRUCTIONS, ids=lambda instructions: instructions.name.lower())
def instructions(request):
    return request.param


def run(instructions, pixels, targets, outputs, threads=1):
    """One call, exactly as the backend makes it."""
    found = library()
    assert native_normalize.can_normalize(pixels, outputs)
    prepared = [native_normalize.prepared(found, target.mean, target.std, target.order) for target in targets]
    native_normalize.normalize(found, instructions, pixels, prepared, outputs, threads)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_pixel_value_has_the_exact_fractions_bits(instructions, dtype, channels_last):
    codes = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    for target in (*PRESETS, *HOSTILE):
        output = torch.empty((1, 3, 1, 256), dtype=dtype).contiguous(memory_format=memory_format)
        run(instructions, codes, [target], [output])
        assert_same_bits(output.view(3, 256), oracle.table(target, dtype))


def test_published_constants_take_the_fast_form_and_hostile_ones_the_tables():
    def only_by_table(target):
        return native_normalize.prepared(library(), target.mean, target.std, target.order).record.only_by_table

    for order in ("to_tensor", "to_dtype", "fused"):
        assert [only_by_table(dataclasses.replace(t, order=order)) for t in PRESETS] == [0] * len(PRESETS), order
    assert only_by_table(Normalization(0.5, 0.5, order="scale_shift")) == 0
    assert [only_by_table(target) for target in HOSTILE[:3]] == [1] * 3


@st.composite
def tensors(draw, shape, dtype, fill):
    """A tensor of this shape inside of larger memory full of `fill`: contiguous, channels_last, cut out, transposed."""
    order = draw(st.sampled_from([(0, 1, 2, 3), (0, 2, 3, 1), (2, 0, 3, 1), (1, 3, 0, 2)]))
    gaps = draw(st.sampled_from([(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 3, 0), (1, 2, 0, 1)]))
    begin = draw(st.integers(0, 17))
    inner = [shape[axis] for axis in order]
    outer = [size + gap for size, gap in zip(inner, gaps, strict=True)]
    count = outer[0] * outer[1] * outer[2] * outer[3]
    memory = torch.full((begin + count + 17,), fill, dtype=dtype)
    view = memory[begin : begin + count].view(outer)[tuple(map(slice, inner))]
    return memory, view.permute([order.index(axis) for axis in range(4)])


SIDES = st.sampled_from([1, 2, 3, 7, 15, 16, 17, 31, 33, 48, 65, 130])


@given(data=st.data())
def test_random_calls(data):
    shape = (data.draw(st.integers(1, 3)), 3, data.draw(SIDES), data.draw(SIDES | st.sampled_from([511, 1025])))
    _, pixels = data.draw(tensors(shape, torch.uint8, 0))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    if data.draw(st.booleans()):
        pixels.copy_(torch.randint(0, 256, shape, generator=generator))
    else:
        pixels.copy_(torch.randint(0, 2, shape, generator=generator) * 255)  # saturated
    before = pixels.clone()
    count = data.draw(st.sampled_from([1, 2, 3, 17]))
    targets = [data.draw(st.sampled_from((*PRESETS, *HOSTILE))) for _ in range(count)]
    dtypes = [data.draw(st.sampled_from(DTYPES)) for _ in range(count)]
    outputs = [data.draw(tensors(shape, dtype, float("nan"))) for dtype in dtypes]
    expected = fastnorm.reference.normalize(pixels, targets, dtype=dtypes, layout="NCHW")
    for instructions in INSTRUCTIONS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native_normalize, "STREAMING_BYTES", data.draw(st.sampled_from([0, 1 << 40])))
            patch.setattr(native_normalize, "BYTES_PER_THREAD", 1)
            run(instructions, pixels, targets, [view for _, view in outputs], data.draw(st.integers(1, 4)))
        for (memory, view), value in zip(outputs, expected, strict=True):
            assert_same_bits(view, value)
            view.fill_(float("nan"))
            assert bool(memory.isnan().all())  # nothing beside the view has been written
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(2, 3, 300, 400), (1, 3, 3, 100_000), (5, 3, 130, 171), (70, 3, 1, 1)], ids=str)
@pytest.mark.once
def test_units_of_work_cover_everything_once(instructions, shape, threads, monkeypatch):
    """Parts of long rows, bands of rows, whole images, and their remainders."""
    monkeypatch.setattr(native_normalize, "BYTES_PER_THREAD", 1)
    planes = random_pixels(*shape)
    for pixels in (planes, planes.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), planes[..., 1:]):
        if pixels.numel() == 0:
            continue
        outputs = [torch.full(pixels.shape, float("nan"), dtype=dtype) for dtype in DTYPES]
        run(instructions, pixels, [CLIP] * 3, outputs, threads)
        expected = fastnorm.reference.normalize(pixels, [CLIP] * 3, dtype=DTYPES, layout="NCHW")
        for output, value in zip(outputs, expected, strict=True):
            assert_same_bits(output, value)


def test_subnormal_numbers_are_kept(instructions):
    """torch.set_flush_denormal changes how the calling thread computes; the contract's values do not change."""
    codes = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    tiny = Normalization([0.5], [3.3e38], allow_unusual=True)
    (expected,) = fastnorm.reference.normalize(codes, [tiny])
    assert 0 < float(expected.abs().max()) < torch.finfo(torch.float32).tiny
    native_normalize.prepared.cache_clear()
    torch.set_flush_denormal(True)
    try:
        output = torch.empty(codes.shape)
        run(instructions, codes, [tiny], [output])
    finally:
        torch.set_flush_denormal(False)
    assert_same_bits(output, expected)


# --- what takes torch's path, by rule


def took_torch_s_path(monkeypatch, call):
    calls = []

    def observed(*arguments):
        calls.append(arguments)
        normalize(*arguments)

    normalize = torch_normalization.normalize
    monkeypatch.setattr(torch_normalization, "normalize", observed)
    with cpu_path("auto"):
        result = call()
    return result, bool(calls)


def test_ordinary_calls_take_the_native_code(monkeypatch):
    batch = random_pixels(2, 9, 8, 3)
    for pixels in (batch, batch.permute(0, 3, 1, 2), batch[:, ::2, 1:5], batch[0], batch.expand(2, 2, 9, 8, 3)):
        (output,), by_torch = took_torch_s_path(monkeypatch, lambda p=pixels: fastnorm.fused_normalize(p, [CLIP]))
        assert not by_torch
        assert_same_bits(output, fastnorm.reference.normalize(pixels, [CLIP])[0])


def test_outputs_that_begin_between_elements_take_torch_s_path(monkeypatch):
    batch = random_pixels(1, 4, 5, 3)
    memory = torch.zeros(1 + 4 * 60, dtype=torch.uint8).numpy()[1:].view("float32")
    out = torch.from_numpy(memory).view(1, 3, 4, 5)
    _, by_torch = took_torch_s_path(monkeypatch, lambda: fastnorm.fused_normalize(batch, [CLIP], out=[out]))
    assert by_torch
    assert_same_bits(out.clone(), fastnorm.reference.normalize(batch, [CLIP])[0])


# --- beside torch, threads, processes and signals


def test_autograd_learns_of_the_write():
    output = torch.zeros(1, 3, 4, 5)
    product = output * torch.ones(1, requires_grad=True)
    with cpu_path("auto"):
        fastnorm.fused_normalize(random_pixels(1, 4, 5, 3), [VAE], out=[output])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_calls_from_several_threads_at_once(monkeypatch):
    monkeypatch.setattr(native_normalize, "BYTES_PER_THREAD", 1)
    batches = [random_pixels(2, 200, 300, 3, seed=seed) for seed in range(6)]
    expected = [fastnorm.reference.normalize(batch, [VAE, CLIP]) for batch in batches]
    wrong = []

    def work(index):
        for _ in range(10):
            got = fastnorm.fused_dual_normalize(batches[index])
            wrong.extend(index for g, e in zip(got, expected[index], strict=True) if not torch.equal(g, e))

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


class Normalized(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return fastnorm.fused_dual_normalize(random_pixels(40, 50, 3, seed=index)).clip


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.once)])
def test_in_a_loader_s_workers(start, workers):
    fastnorm.fused_dual_normalize(random_pixels(40, 50, 3))  # the library is loaded before the fork
    loader = torch.utils.data.DataLoader(Normalized(), num_workers=workers, multiprocessing_context=start)
    for index, (got,) in enumerate(loader):
        assert_same_bits(got, fastnorm.reference.normalize(random_pixels(40, 50, 3, seed=index), [CLIP])[0])


def test_ctrl_c_ends_the_loop_around_the_call():
    program = """
import threading, torch, fastnorm
torch.set_num_threads(4)
batch = torch.zeros(8, 512, 512, 3, dtype=torch.uint8)
out = fastnorm.fused_dual_normalize(batch)
print("ready", flush=True)
try:
    while True:
        fastnorm.fused_dual_normalize(batch, out=out)
except KeyboardInterrupt:
    print(threading.active_count(), float(out.vae.min()), float(out.vae.max()))
"""
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        # Processes in the background of a shell inherit that they ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert running.stdout.readline() == "ready\n"
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert (output, running.returncode) == ("1 -1.0 -1.0\n", 0)


# --- memory


@pytest.mark.once
def test_nothing_is_read_or_written_beyond_the_memory_of_pixels_and_outputs():
    """Between pages that nobody may touch; the pixels' own pages may only be read."""
    script = Path(__file__).with_name("native_normalize_at_page_ends.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["same"] * (5 * 3 * 3 * 4 * 4 * len(INSTRUCTIONS))


@pytest.mark.parametrize(("sanitizer", "calls"), [("address,undefined", 60), ("thread", 20)])
@pytest.mark.once
def test_sanitizers_find_nothing(sanitizer, calls, tmp_path):
    """Calls and the way back, in memory of exactly the size that is needed, on every instruction set."""
    driver = compiled("native_normalize_driver.c", tmp_path, sanitizer)
    done = subprocess.run([str(driver), str(calls)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{calls} calls\n", "", 0)


def test_the_best_instructions_are_tested():
    assert library().best in INSTRUCTIONS
    assert Instructions.PORTABLE in INSTRUCTIONS
