"""Run by test_repeats.py under the stub driver: prints one JSON object with what each experiment saw."""

import gc
import itertools
import json
import math
import random
import threading

import torch
import triton

import fastnorm
import stub_driver
from fastnorm import CLIP, VAE
from fastnorm.backends.cuda import launch_cache
from fastnorm_kernels import _normalize_kernels

FP32, BF16 = torch.float32, torch.bfloat16
MEMORY = torch.arange(1 << 20).to(torch.uint8)
OUTPUTS = torch.zeros(2, 1 << 20, dtype=torch.uint8)

# Few kinds, because each is compiled, in every alignment that occurs: of memory, and of strides where there are views.
SHAPES = [(2, 16, 24, 3), (3, 3, 16, 24), (2, 7, 9, 3), (2, 3, 8, 8, 3), (64, 64, 3)]
CROPPED = SHAPES[:2]
TARGETS = [(VAE, CLIP), (CLIP,)]
DTYPES = [FP32, BF16]
FORMATS = [torch.contiguous_format, torch.channels_last]


def random_call(draw):
    """Arguments of one call; few enough kinds that most occur again."""
    shape, targets = draw.choice(SHAPES), draw.choice(TARGETS)
    offset = draw.choice([0, 0, 0, 4, 16])
    batch = MEMORY[offset : offset + math.prod(shape)].view(shape)
    if draw.random() < 0.3 and shape in CROPPED:  # out of larger memory: the same shape with other strides
        axis = 1 if shape[-1] == 3 else 3
        larger = [size + (dim == axis) for dim, size in enumerate(shape)]
        batch = MEMORY[offset : offset + math.prod(larger)].view(larger).narrow(axis, 0, shape[axis])
    options = {
        "dtype": draw.choice(DTYPES) if draw.random() < 0.7 else DTYPES[: len(targets)],
        "layout": "NHWC" if shape[-1] == 3 else "NCHW",
        "memory_format": draw.choice(FORMATS),
        "out": None,
    }
    if draw.random() < 0.4:
        options["out"] = outputs_of_our_own(draw, batch, len(targets), options["layout"])
        options["dtype"] = options["memory_format"] = None
    return batch, targets, options


def outputs_of_our_own(draw, batch, count, layout):
    planes = batch.movedim(-1, -3) if layout == "NHWC" else batch
    outputs = []
    for index in range(count):
        last = index == count - 1  # of one target too: only that one is laid out in several ways
        dtype, offset = draw.choice(DTYPES), draw.choice([0, 0, 2]) if last else 0
        memory = OUTPUTS[index][: 4 * (planes.numel() + offset)].view(dtype)
        output = memory[offset : offset + planes.numel()].view(planes.shape)
        if last and draw.random() < 0.3:
            output = memory[: planes.numel()].view(*planes.shape[:-3], *planes.shape[-2:], 3).movedim(-1, -3)
        outputs.append(output)
    return outputs


def launch_of(batch, targets, options):
    """What the driver is asked to do for one call; new outputs lie elsewhere each time, so they are only checked."""
    count = len(targets)
    stub_driver.expect(1 + count, 1)
    outputs = fastnorm.fused_normalize(batch, targets, **options)
    launches, function, grid, pointers, integers = stub_driver.last_launch(1 + count, 1)
    assert pointers == [batch.data_ptr(), *(output.data_ptr() for output in outputs)]
    described = [(str(output.dtype), list(output.shape), list(output.stride())) for output in outputs]
    return launches, [function, grid, integers, described]


def uncached_and_cached_calls_agree():
    draw = random.Random(0)
    different = hits = own = 0
    for _ in range(250):
        call = random_call(draw)
        key = launch_cache.key_of(call[0], call[1], *call[2].values())
        hit = launch_cache.repeat(key, call[0], call[2]["out"]) is not None
        hits += hit
        own += hit and call[2]["out"] is not None
        _, repeated = launch_of(*call)
        kept, launch_cache._calls = launch_cache._calls, {}
        _, ordinary = launch_of(*call)
        launch_cache._calls = kept
        different += repeated != ordinary
    return {"different": different, "hits": hits, "hits into out": own, "kept": len(launch_cache._calls)}


def overlapping_outputs_go_to_the_checks():
    """A remembered call, repeated with outputs that share memory with the batch or with one another."""
    batch, targets, _ = fixed_call()
    shape = (2, 3, 16, 24)
    first, second = torch.zeros(shape, dtype=BF16), torch.zeros(shape, dtype=BF16)
    fastnorm.fused_normalize(batch, targets, out=(first, second))
    inside = MEMORY[: batch.numel() * 2].view(BF16).view(shape)
    refused = []
    for out in ((first, first), (first, inside), (second, first)):
        known = launch_cache.key_of(batch, targets, None, "auto", None, out) in launch_cache._calls
        try:
            fastnorm.fused_normalize(batch, targets, out=out)
        except ValueError as error:
            refused.append([known, "shares memory" in str(error)])
        else:
            refused.append([known, False])
    return refused


def versions_of_outputs():
    """Autograd's count of writes to an output, before and after an ordinary and a repeated call."""
    batch, targets, _ = fixed_call()
    out = [torch.zeros(2, 3, 16, 24) for _ in range(2)]
    launch_cache.forget()
    counts = []
    for _ in range(3):
        counts.append(out[1]._version)
        fastnorm.fused_normalize(batch, targets, out=out)
    return counts


def fixed_call():
    return MEMORY[: 2 * 16 * 24 * 3].view(2, 16, 24, 3), (VAE, CLIP), {"dtype": BF16}


def repeats(call):
    """Whether this call goes round Triton's ordinary launch."""
    batch, targets, options = call
    before = stub_driver.last_launch(1, 0)[0]
    repeated = (
        launch_cache.repeat(launch_cache.key_of(batch, targets, options["dtype"], "auto", None), batch) is not None
    )
    assert stub_driver.last_launch(1, 0)[0] - before == int(repeated)
    return repeated


def hooks_are_called():
    call = fixed_call()
    launch_of(*call)
    seen = []

    def hook(metadata):
        seen.append(metadata.get())

    before = repeats(call)
    triton.knobs.runtime.launch_enter_hook.add(hook)
    during = repeats(call)
    launch_of(*call)
    triton.knobs.runtime.launch_enter_hook.remove(hook)
    return {"before": before, "during": during, "after": repeats(call), "seen": [[s["name"], s["bytes"]] for s in seen]}


def knobs_are_heeded():
    call = fixed_call()
    launch_of(*call)
    triton.knobs.compilation.always_compile = True
    during = repeats(call)
    del triton.knobs.compilation.always_compile
    return {"during": during, "after": repeats(call)}


def a_repeated_call_keeps_its_code_loaded():
    """Also when Triton forgets its kernels, which unloads those that nobody else holds."""
    call = fixed_call()
    launch_cache.forget()
    clear_tritons_caches()
    launch_of(*call)
    before = stub_driver.unloads()
    clear_tritons_caches()
    kept = repeats(call), stub_driver.unloads() - before
    launch_cache.forget()
    gc.collect()
    return {
        "repeats": kept[0],
        "unloaded": kept[1],
        "unloaded when forgotten": stub_driver.unloads() - before,
        "unloads": int(hasattr(triton.compiler.CompiledKernel, "__del__")),
    }


def clear_tritons_caches():
    for kernel in vars(_normalize_kernels).values():
        if isinstance(kernel, triton.JITFunction):
            kernel.device_caches.clear()
    gc.collect()


def another_current_device_takes_the_ordinary_way(driver):
    call = fixed_call()
    launch_of(*call)
    driver.get_current_device = lambda: 1
    during = repeats(call)
    driver.get_current_device = lambda: 0
    return {"during": during, "after": repeats(call)}


def threads_do_not_disturb_each_other():
    """The same calls in every thread, each in an order of its own; they have been compiled before."""
    wrong, draw = [], random.Random(0)
    calls = [random_call(draw) for _ in range(200)]
    calls = [call for call in calls if call[2]["out"] is None][:100]

    def work(seed):
        for batch, targets, options in random.Random(seed).sample(calls, len(calls)):
            outputs = fastnorm.fused_normalize(batch, targets, **options)
            dtypes = options["dtype"] if isinstance(options["dtype"], list) else [options["dtype"]] * len(targets)
            if [output.dtype for output in outputs] != dtypes:
                wrong.append(seed)

    launch_cache.forget()
    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"wrong": len(wrong)}


def the_memory_of_calls_is_bounded():
    most, launch_cache.MAX_CALLS = launch_cache.MAX_CALLS, 10
    launch_cache.forget()
    for height, width in itertools.product(range(1, 7), range(8, 12)):
        fastnorm.fused_normalize(MEMORY[: height * width * 3].view(1, height, width, 3), [VAE], layout="NHWC")
    launch_cache.MAX_CALLS = most
    return {"kept": len(launch_cache._calls)}


def main():
    driver = stub_driver.install()
    print(
        json.dumps(
            {
                "agree": uncached_and_cached_calls_agree(),
                "overlaps": overlapping_outputs_go_to_the_checks(),
                "versions": versions_of_outputs(),
                "hooks": hooks_are_called(),
                "knobs": knobs_are_heeded(),
                "threads": threads_do_not_disturb_each_other(),
                "code": a_repeated_call_keeps_its_code_loaded(),  # Triton forgets its kernels
                "device": another_current_device_takes_the_ordinary_way(driver),
                "bound": the_memory_of_calls_is_bounded(),
            }
        )
    )


if __name__ == "__main__":
    main()
