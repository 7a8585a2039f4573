"""What only a GPU can show: streams, graphs, no synchronisation, sizes past 32 bits, threads. Run with `-m gpu`."""

import math
import random
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import fastnorm
from fastnorm import CLIP, VAE
from fastnorm.backends.cuda import launch_cache
from fastnorm.data.files import shipped_photographs
from helpers import assert_same_bits, poisoned, random_pixels

pytestmark = pytest.mark.gpu


def dual(batch, **options):
    return fastnorm.fused_dual_normalize(batch, dtype=(torch.float32, torch.bfloat16), **options)


def expected_of(batch):
    return fastnorm.reference.normalize(batch.cpu(), [VAE, CLIP], dtype=(torch.float32, torch.bfloat16))


def same(got, expected):
    for output, value in zip(got, expected, strict=True):
        assert_same_bits(output, value)


@pytest.fixture(autouse=True)
def forget_earlier_calls():
    launch_cache.forget()


def test_first_and_repeated_calls_give_the_same_bits():
    for seed in range(4):
        batch = random_pixels(4, 64, 48, 3, device="cuda", seed=seed)
        same(dual(batch), expected_of(batch))
    assert len(launch_cache._calls) == 1


def test_repeats_follow_the_pointer_s_alignment():
    memory = random_pixels(2 * 64 * 64 * 3 + 16, device="cuda")
    for offset in (0, 1, 2, 4, 8, 16, 3, 0, 1):
        batch = memory[offset : offset + 2 * 64 * 64 * 3].view(2, 64, 64, 3)
        same(dual(batch), expected_of(batch))


def test_nothing_synchronises_once_compiled():
    batch = random_pixels(4, 64, 48, 3, device="cuda")
    outputs = [torch.empty(4, 3, 64, 48, device="cuda"), torch.empty(4, 3, 64, 48, device="cuda", dtype=torch.bfloat16)]
    dual(batch)
    fastnorm.fused_dual_normalize(batch, out=outputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        dual(batch)
        fastnorm.fused_dual_normalize(batch, out=outputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_launches_go_to_the_current_stream():
    batch = random_pixels(8, 256, 256, 3, device="cuda")
    dual(batch)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    late = torch.zeros_like(batch)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # a launch on another stream would read the zeros
        late.copy_(batch)
        got = dual(late)
    stream.synchronize()
    same(got, expected_of(batch))


def test_graph_capture_and_replay():
    batch = random_pixels(4, 64, 48, 3, device="cuda")
    dual(batch)  # compiles, which a capture cannot
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = dual(batch)
    for seed in (1, 2):
        batch.copy_(random_pixels(4, 64, 48, 3, seed=seed))
        graph.replay()
        torch.cuda.synchronize()
        same(captured, expected_of(batch))


def test_eight_threads_on_their_own_streams():
    wrong = []

    def work(seed):
        with torch.cuda.stream(torch.cuda.Stream()):
            for round_ in range(20):
                batch = random_pixels(2, 16 + seed, 24, 3, device="cuda", seed=100 * seed + round_)
                got, expected = dual(batch), expected_of(batch)
                if any(not torch.equal(g.cpu(), e) for g, e in zip(got, expected, strict=True)):
                    wrong.append((seed, round_))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_more_than_2_31_elements(layout):
    """Three images around each part's border carry the pixels; a wrapped offset would write elsewhere or not at all."""
    images, height, width = 740, 984, 992  # 2.17e9 codes: launched in two parts
    shape = (images, height, width, 3) if layout == "NHWC" else (images, 3, height, width)
    batch = torch.zeros(shape, dtype=torch.uint8, device="cuda")
    marked = [0, 1, images // 2, images - 2, images - 1]
    for seed, index in enumerate(marked):
        batch[index] = random_pixels(*shape[1:], seed=seed).cuda()
    output = poisoned((images, 3, height, width), torch.bfloat16, "cuda")
    fastnorm.fused_normalize(batch, [CLIP], layout=layout, out=[output])
    for index in marked:
        (expected,) = fastnorm.reference.normalize(batch[index].cpu(), [CLIP], dtype=torch.bfloat16, layout=layout)
        assert_same_bits(output[index], expected)
    black = fastnorm.reference.normalize(torch.zeros(1, 1, 3, dtype=torch.uint8), [CLIP], dtype=torch.bfloat16)[0]
    unmarked = torch.ones(images, dtype=torch.bool, device="cuda")
    unmarked[marked] = False
    assert bool((output == black.cuda()).flatten(1).all(1)[unmarked].all())


def test_one_image_of_more_than_2_31_codes():
    side = 26_800
    batch = torch.zeros(1, side, side, 3, dtype=torch.uint8, device="cuda")
    batch[0, -4:] = random_pixels(4, side, 3).cuda()
    (got,) = fastnorm.fused_normalize(batch, [CLIP], dtype=torch.bfloat16)
    (expected,) = fastnorm.reference.normalize(batch[:, -4:].cpu(), [CLIP], dtype=torch.bfloat16)
    assert_same_bits(got[..., -4:, :], expected)


def test_the_tensor_s_own_device_under_another_current_one():
    if torch.cuda.device_count() == 1:  # one GPU: a current device that is not the tensor's cannot be had
        assert dual(random_pixels(2, 8, 8, 3, device="cuda")).vae.device.index == 0
        return
    batch = random_pixels(2, 64, 64, 3, device="cuda:1")
    for _ in range(2):
        with torch.cuda.device(0):
            got = dual(batch)
        assert got.vae.device == batch.device
        same(got, expected_of(batch))


@pytest.mark.parametrize("dynamic", [None, True, False])
def test_inductor(dynamic):
    torch.compiler.reset()
    function = torch.compile(lambda batch: dual(batch, layout="NHWC"), fullgraph=True, dynamic=dynamic)
    for height, width in ((64, 48), (33, 31), (225, 225)):
        batch = random_pixels(2, height, width, 3, device="cuda")
        same(function(batch), expected_of(batch))


def test_pinned_memory_and_non_blocking_copies():
    pinned = random_pixels(8, 128, 128, 3).pin_memory()
    same(dual(pinned.cuda(non_blocking=True)), expected_of(pinned))


# --- preprocessing


def noise_of(shapes, seed=0):
    return [random_pixels(*shape, 3, seed=seed + index) for index, shape in enumerate(shapes)]


def random_shapes(count, seed):
    """Sides of 1 to 900 pixels, small ones as often as large ones, none more than twelve times as long as the other."""
    generator = random.Random(seed)
    sides = [[round(math.exp(generator.uniform(0, math.log(900)))) for _ in range(2)] for _ in range(4 * count)]
    return [pair for pair in sides if max(pair) <= 12 * min(pair)][:count]


def on_gpu(images):
    return [image.cuda() for image in images]


def test_preprocessing_photographs_gives_the_published_pixels():
    images = [torch.from_numpy(np.array(Image.open(path))) for path in shipped_photographs()]
    expected = fastnorm.fused_dual_preprocess(images)
    same(fastnorm.fused_dual_preprocess(on_gpu(images)), expected)
    same(fastnorm.fused_dual_preprocess(fastnorm.PackedImages.pack(images).to("cuda")), expected)
    same(fastnorm.fused_dual_preprocess([image.permute(2, 0, 1).contiguous() for image in on_gpu(images)]), expected)


@pytest.mark.parametrize("pillow", ["12", "12.3", "13"])
def test_preprocessing_500_random_shapes(pillow):
    for seed in range(10):
        images = noise_of(random_shapes(50, seed), seed)
        expected = fastnorm.fused_dual_preprocess(images, layout="HWC", pillow_version=pillow)
        same(fastnorm.fused_dual_preprocess(on_gpu(images), layout="HWC", pillow_version=pillow), expected)


def test_preprocessing_batches_of_one_size():
    batch = random_pixels(8, 640, 480, 3)
    for images in (batch, batch.permute(0, 3, 1, 2).contiguous(), batch[:, 3:-2, 5:-1]):
        same(fastnorm.fused_dual_preprocess(images.cuda()), fastnorm.fused_dual_preprocess(images))


def test_preprocessing_for_six_targets():
    images = noise_of(random_shapes(20, 3))
    targets = [
        fastnorm.Target(
            CLIP,
            size,
            resample,
            crop=fastnorm.Crop(crop, "transformers"),
            dtype=dtype,
            memory_format=memory_format,
        )
        for size, resample, crop, dtype, memory_format in (
            (256, "bicubic", 224, torch.bfloat16, torch.contiguous_format),
            (225, "lanczos", 225, torch.float32, torch.contiguous_format),
            (96, "box", 100, torch.float16, torch.channels_last),
            ((64, 80), "hamming", 60, torch.float32, torch.channels_last),
            (512, "bilinear", (512, 384), torch.bfloat16, torch.contiguous_format),
            (32, "bicubic", 30, torch.float32, torch.contiguous_format),
        )
    ]
    flips = [index % 3 == 0 for index in range(len(images))]
    expected = fastnorm.fused_preprocess(images, targets, layout="HWC", flip=flips)
    same(fastnorm.fused_preprocess(on_gpu(images), targets, layout="HWC", flip=flips), expected)


def test_preprocessing_does_not_synchronise():
    images = on_gpu(noise_of([(300, 400), (500, 333)]))
    first = fastnorm.fused_dual_preprocess(images)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = fastnorm.fused_dual_preprocess(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    same(again, first)


def test_preprocessing_on_the_current_stream():
    images = noise_of([(600, 800)] * 8)
    expected = fastnorm.fused_dual_preprocess(images)
    batch = torch.stack(images).cuda()
    fastnorm.fused_dual_preprocess(batch)
    late = torch.zeros_like(batch)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # a launch on another stream would read the zeros
        late.copy_(batch)
        got = fastnorm.fused_dual_preprocess(late)
    stream.synchronize()
    same(got, expected)


def test_preprocessing_calls_in_flight_keep_their_records():
    """Each call's records and intermediate are freed while its kernels still wait for the device."""
    batches = [noise_of(random_shapes(6, seed), seed) for seed in range(12)]
    resident = [on_gpu(images) for images in batches]
    torch.cuda.synchronize()
    torch.cuda._sleep(200_000_000)
    got = [fastnorm.fused_dual_preprocess(images, layout="HWC") for images in resident]
    for images, outputs in zip(batches, got, strict=True):
        same(outputs, fastnorm.fused_dual_preprocess(images, layout="HWC"))


def test_preprocessing_to_more_than_2_31_elements():
    target = fastnorm.Target(CLIP, size=(1024, 1024), dtype=torch.bfloat16)
    images = random_pixels(4, 40, 50, 3)
    (expected,) = fastnorm.fused_preprocess(images, [target])
    many = images.cuda().repeat(180, 1, 1, 1)  # 2.26e9 values
    (got,) = fastnorm.fused_preprocess(many, [target])
    assert bool((got.view(180, -1).view(torch.int16) == expected.cuda().view(-1).view(torch.int16)).all())
