"""Targets with arithmetic="torch": the pixels of antialiased `interpolate` of uint8 tensors, on every path.

torch shows no table. But it adds up integers and cuts off a known number of bits, so that among random rows there are
some for each coefficient whose sum lies at the edge of a code: one unit more or less shows.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import resize as torchvision_resize

import fastnorm
from fastnorm import CLIP_224, Border, Crop, Halve, Normalization, Pad, Resize, Sides, Square, Target
from fastnorm.backends.cpu import torch_resize
from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec.filters import FRACTION_BITS, HALF, TORCH_FILTERS, coefficients, int16_precision, weights
from fastnorm.spec.geometry import Size
from fastnorm.spec.options import FILTER_NAMES
from helpers import PREPROCESS, assert_same_bits, cpu_path, noise, preprocess_by_kernel, random_pixels, whole
from test_preprocess_cpu import FORMS, plans
from torch_interpolation import MEMORY, interpolated, torchs_filters

pytestmark = pytest.mark.compat

ROOT = Path(__file__).resolve().parents[1]

IDENTITY = Normalization(0, 1 / 255)  # outputs are close enough to pixel values for a message to be read


HAS = torchs_filters()
every_filter = pytest.mark.parametrize("kernel", HAS.values(), ids=HAS)


def test_torch_has_the_filters_that_it_is_known_to_have():
    version = tuple(map(int, torch.__version__.split(".")[:2]))
    assert set(HAS) == ({"bilinear", "bicubic", "lanczos"} if version >= (2, 12) else {"bilinear", "bicubic"})


# --- the reference

lengths = st.integers(1, 4) | st.integers(1, 60) | st.integers(1, 300)


@every_filter
@given(source=st.builds(Size, lengths, lengths), new=st.builds(Size, lengths, lengths), memory=st.sampled_from(MEMORY))
@example(source=Size(64, 96), new=Size(32, 48), memory="NCHW")
@example(source=Size(50, 41), new=Size(50, 20), memory="NHWC")  # an axis that keeps its size
@example(source=Size(50, 41), new=Size(20, 41), memory="NHWC")
@example(source=Size(50, 41), new=Size(50, 41), memory="NCHW")
@example(source=Size(300, 7), new=Size(2, 5), memory="NCHW")  # where Pillow 13 takes the columns first
@example(source=Size(1, 1), new=Size(200, 300), memory="NCHW")
@example(source=Size(2500, 3), new=Size(1, 2), memory="NHWC")
@example(source=Size(3, 70_000), new=Size(3, 2), memory="NCHW")  # 22 fraction bits
def test_pixels_are_torchs(kernel, source, new, memory):
    if new == (1, 1):
        memory = "NHWC"  # torch's vector code fails on the others
    pixels = noise(source, seed=source.width)
    got = resize_and_crop(pixels, whole(source, new), kernel)
    assert torch.equal(got, interpolated(pixels, new, kernel, memory))


@every_filter
@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
def test_flat_images_stay_flat(kernel, value):
    """The int16 weights of an output pixel do not add up to one exactly; torch's flat images are what shows it."""
    for source, new in ((Size(97, 61), Size(45, 200)), (Size(600, 600), Size(7, 5))):
        pixels = torch.full((*source, 3), value, dtype=torch.uint8)
        assert torch.equal(resize_and_crop(pixels, whole(source, new), kernel), interpolated(pixels, new, kernel))


AXES = [(30, 11), (50, 9), (100, 7), (300, 47)]


@every_filter
@pytest.mark.parametrize("axis", AXES, ids=lambda axis: f"{axis[0]}to{axis[1]}")
def test_each_coefficient_is_torchs_to_a_unit(kernel, axis):
    source, resized = axis
    table = coefficients(source, resized, kernel)
    unit = 1 << (FRACTION_BITS - int16_precision(float(weights(source, resized, kernel).weight.max())))
    rows = np.random.default_rng(0).integers(0, 256, (20_000, source), dtype=np.uint8)
    image = torch.from_numpy(rows)[:, :, None].repeat(1, 1, 3)
    theirs = interpolated(image, (len(rows), resized), kernel)[..., 0].numpy()
    for pixel in range(resized):
        taps = rows[:, table.first[pixel] :][:, : table.count[pixel]].astype(np.int64)
        fixed = table.fixed[pixel, : table.count[pixel]].astype(np.int64)
        assert (fixed % unit == 0).all()
        total = HALF + taps @ fixed
        assert np.array_equal((total >> FRACTION_BITS).clip(0, 255), theirs[:, pixel])
        rest = total & ((1 << FRACTION_BITS) - 1)
        for other, edge in ((-unit, rest < 255 * unit), (unit, rest >= (1 << FRACTION_BITS) - 255 * unit)):
            moved = total[edge, None] + other * taps[edge]  # by one coefficient after the other; elsewhere none shows
            shows = ((moved >> FRACTION_BITS).clip(0, 255) != theirs[edge, pixel, None]).any(0)
            assert shows.all(), (pixel, shows)


def test_the_precision_is_what_the_largest_weight_leaves_room_for():
    assert int16_precision(1.0) == 14
    assert int16_precision(32767 / 2**15) == 15
    assert int16_precision(32767.49 / 2**16) == 16
    assert int16_precision(32767.5 / 2**16) == 15  # would round to 2**15
    assert int16_precision(1e-9) == 22


@pytest.mark.parametrize("kernel", TORCH_FILTERS.values(), ids=TORCH_FILTERS)
@given(source=st.integers(1, 3000), resized=st.integers(1, 3000))
@example(source=4, resized=5)
@example(source=2**18, resized=1)
@settings(max_examples=settings().max_examples // 8)
@pytest.mark.once
def test_coefficients_fit_int16_and_their_sums_int32(kernel, source, resized):
    table = coefficients(source, resized, kernel)
    exact = weights(source, resized, kernel)
    bits = int16_precision(float(exact.weight.max()))
    short = table.fixed >> (FRACTION_BITS - bits)
    assert np.array_equal(short << (FRACTION_BITS - bits), table.fixed)
    assert np.abs(short).max() < 2**15
    assert bits == FRACTION_BITS or short.max() >= 2**14, "no room is left"
    assert (np.abs(short - exact.weight * (1 << bits)) <= 0.5).all()
    codes = 255 * table.fixed.astype(np.int64)
    assert HALF + np.maximum(codes, 0).sum(1).max() < 2**31
    assert np.minimum(codes, 0).sum(1).min() > -(2**31)
    assert (np.abs(table.fixed) < 2**23).all(), "the kernels keep three bytes of a coefficient"


def test_the_largest_reduction_is_the_largest_that_is_taken():
    image = torch.zeros(1, 2**18, 3, dtype=torch.uint8)
    (got,) = fastnorm.fused_preprocess([image], [Target(IDENTITY, (1, 1), arithmetic="torch")])
    assert (got == 0).all()
    with pytest.raises(ValueError, match="expected at most 262,144 pixels for one with arithmetic='torch'"):
        fastnorm.fused_preprocess([image.new_zeros(1, 2**18 + 1, 3)], [Target(IDENTITY, (1, 1), arithmetic="torch")])


# --- torch's other code


def test_each_of_torchs_instruction_sets_gives_these_pixels():
    """In processes of their own; `torch.backends.cpu` names the one that a CPU has."""
    known = ["default", "avx2", "avx512"]
    capabilities = known[: 1 + known.index(torch.backends.cpu.get_cpu_capability().lower())]
    cases = settings().max_examples // 5  # 16, or 400 in the nightly run: sizes of two kinds, each in every memory
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels"), str(ROOT / "tests")])}
    command = [sys.executable, str(ROOT / "tests" / "torch_interpolation.py"), str(cases), *capabilities]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(capabilities)
    for capability, line in zip(capabilities, lines, strict=True):
        values, differing, torchvisions = map(int, line.split())
        assert values > 1000 * cases
        assert differing == 0
        # Without AVX2, torchvision takes bilinear by way of floats, and rounds to even where integers round up.
        assert (torchvisions > 0) == (capability == "default")


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
@given(source=st.builds(Size, st.integers(8, 500), st.integers(8, 500)), short=st.integers(2, 120))
@settings(max_examples=settings().max_examples // 2)
def test_sizes_are_torchvisions(name, source, short):
    """`Resize(int)` of a uint8 tensor: the long side in proportion, rounded down."""
    pixels = noise(source)
    theirs = torchvision_resize(pixels.permute(2, 0, 1), [short], InterpolationMode[name.upper()], antialias=True)
    (ours,) = fastnorm.fused_preprocess([pixels], [Target(IDENTITY, short, name, arithmetic="torch")])
    assert torch.equal(ours[0].round().to(torch.uint8), theirs)


@pytest.mark.parametrize("form", ["PIL", "CHW", "HWC"])
def test_torchvision_on_tensors(form):
    """Resize, CenterCrop, then the crop's rule for half a pixel."""
    published = v2.Compose([v2.Resize(40, InterpolationMode.BICUBIC), v2.CenterCrop(33)])
    for size in ((70, 101), (101, 70), (40, 43), (33, 35)):
        pixels = noise(size)
        image = {"PIL": Image.fromarray(pixels.numpy()), "CHW": pixels.permute(2, 0, 1), "HWC": pixels}[form]
        (ours,) = fastnorm.fused_preprocess([image], [Target(IDENTITY, 40, "bicubic", 33, arithmetic="torch")])
        assert torch.equal(ours[0].round().to(torch.uint8), published(pixels.permute(2, 0, 1)))


# --- the CPU path without native code


@pytest.mark.parametrize("kernel", TORCH_FILTERS.values(), ids=TORCH_FILTERS)
@given(plan=plans(), form=st.sampled_from(sorted(FORMS)))
@example(plan=whole(Size(9, 7), Size(1, 1)), form="planes")
@example(plan=whole(Size(1, 7), Size(1, 1)), form="planes")
@example(plan=whole(Size(7, 1), Size(1, 1)), form="planes")
@example(plan=whole(Size(1, 1), Size(1, 1)), form="pil")
def test_torch_gives_the_references_pixels(kernel, plan, form):
    plan = dataclasses.replace(plan, vertical_first=False)
    pixels = noise(plan.source)
    output = np.full((*plan.output, 3), 77, np.uint8)
    torch_resize.resize_into(output, FORMS[form](pixels), plan, kernel)
    assert torch.equal(torch.from_numpy(output), resize_and_crop(pixels, plan, kernel))


def test_rows_and_columns_that_the_crop_leaves_out_are_not_resized(monkeypatch):
    calls, interpolate = [], torch.nn.functional.interpolate

    def counted(batch, size, **options):
        calls.append((tuple(batch.shape[2:]), tuple(size)))
        return interpolate(batch, size, **options)

    torch_resize._has("bilinear")
    monkeypatch.setattr(torch.nn.functional, "interpolate", counted)
    image = random_pixels(400, 100, 3)
    target = Target(IDENTITY, (200, 50), crop=(20, 10), arithmetic="torch")
    with cpu_path("torch"):
        fastnorm.fused_preprocess([image], [target])
    (rows, wide), (columns, tall) = calls
    assert rows[0] <= 2 * 20 + 4
    assert wide == (rows[0], 50)
    assert columns == (400, 10)
    assert tall == (200, 10)
    calls.clear()
    with cpu_path("torch"):
        fastnorm.fused_preprocess([image], [Target(IDENTITY, (400, 50), crop=(20, 10), arithmetic="torch")])
    assert calls == [((20, 100), (20, 50))]


@pytest.mark.parametrize("missing", ["a CPU that nobody has compared", "a torch without lanczos"])
def test_where_torch_may_not_be_called_the_reference_is(missing, monkeypatch):
    def unknown(*_, **__):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes")

    image, targets = noise((60, 80)), [Target(IDENTITY, 20, "lanczos", 18, arithmetic="torch")]
    expected = fastnorm.reference.preprocess([image], targets)[0]
    if missing.startswith("a CPU"):
        monkeypatch.setattr(torch_resize.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(torch.nn.functional, "interpolate", unknown)
    torch_resize._has.cache_clear()
    try:
        with cpu_path("torch"):
            assert_same_bits(fastnorm.fused_preprocess([image], targets)[0], expected)
    finally:
        torch_resize._has.cache_clear()


# --- the kernels

small = st.integers(1, 5) | st.integers(1, 70)


@given(
    sizes=st.lists(st.tuples(small, small), min_size=3, max_size=6),
    names=st.tuples(*[st.sampled_from(sorted(TORCH_FILTERS))] * 2),
    crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    flip=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
@settings(max_examples=settings().max_examples // 2)
def test_the_kernels_give_the_references_pixels(sizes, names, crop, flip, dtype):
    images = [Image.fromarray(noise(size, seed).numpy()) for seed, size in enumerate(sizes)]
    targets = [
        Target(IDENTITY, 24, names[0], crop, arithmetic="torch", dtype=dtype),
        Target(IDENTITY, (20, 33), names[1], Crop((9, 35), (3, -1)), arithmetic="torch"),
        Target(IDENTITY, 24, names[0], crop),  # Pillow's tables beside torch's
    ]
    expected = fastnorm.reference.preprocess(images, targets, flip=flip)
    for got, value in zip(preprocess_by_kernel(images, targets, flip=flip), expected, strict=True):
        assert_same_bits(got, value)


def test_plans_that_are_kept_tell_the_arithmetics_apart():
    images = [noise((40, 60)), noise((60, 40))]
    one = Target(IDENTITY, 24, "bicubic", 24)
    outputs = {}
    for arithmetic in ("pillow", "torch", "pillow", "torch"):
        target = dataclasses.replace(one, arithmetic=arithmetic)
        (outputs[arithmetic],) = preprocess_by_kernel(images, [target])
        assert_same_bits(outputs[arithmetic], fastnorm.reference.preprocess(images, [target])[0])
    assert not torch.equal(outputs["pillow"], outputs["torch"])


# --- the argument


def test_either_arithmetic_in_one_call():
    images = [noise((90, 130)), noise((130, 90))]
    targets = [dataclasses.replace(CLIP_224, size=48, arithmetic=arithmetic) for arithmetic in ("pillow", "torch")]
    pillow, torchs = fastnorm.fused_preprocess(images, targets)
    assert_same_bits(pillow, fastnorm.fused_preprocess(images, targets[:1])[0])
    assert_same_bits(torchs, fastnorm.fused_preprocess(images, targets[1:])[0])
    different = pillow != torchs
    assert 0.001 < different.float().mean() < 0.9


def test_the_columns_never_come_first():
    """Whichever Pillow's order a call asks for."""
    image = noise((400, 3))
    target = Target(IDENTITY, (20, 2), arithmetic="torch")
    expected = interpolated(image, (20, 2), TORCH_FILTERS["bilinear"])
    for version in ("12", "12.2", "13", None):
        for preprocess in (fastnorm.fused_preprocess, fastnorm.reference.preprocess):
            (got,) = preprocess([image], [target], pillow_version=version)
            assert torch.equal(got[0].round().to(torch.uint8).permute(1, 2, 0), expected)


@pytest.mark.parametrize("name", sorted(set(FILTER_NAMES) - set(TORCH_FILTERS)))
def test_filters_that_torch_lacks_are_refused(name):
    with pytest.raises(
        ValueError, match=rf"resample: got '{name}' with arithmetic='torch', expected one of 'bilinear'"
    ):
        Target(fastnorm.CLIP, 224, name, arithmetic="torch")
    with pytest.raises(ValueError, match="arithmetic='pillow'"):
        dataclasses.replace(Target(fastnorm.CLIP, 224, name), arithmetic="torch")


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("reducing_gap: got 2 with", {"reducing_gap": 2.0}),
        (r"before\[0\]: got Halve", {"before": Halve(16)}),
        (r"before\[1\]: got Resize", {"before": [Crop(40), Resize(32)]}),
    ],
)
def test_what_pillow_alone_does_is_refused(said, options):
    Target(IDENTITY, 24, **options)
    with pytest.raises(ValueError, match=rf"{said}.*arithmetic='torch', expected .*arithmetic='pillow'"):
        Target(IDENTITY, 24, arithmetic="torch", **options)


def test_boxes_are_refused():
    target = Target(IDENTITY, 24, arithmetic="torch")
    with pytest.raises(ValueError, match=r"boxes\[0\]: got boxes .* arithmetic='torch', expected None"):
        fastnorm.fused_preprocess([noise((40, 40))], [target], boxes=[[(0, 0, 20, 20)]])


# --- with the rest of geometry

GEOMETRIES = {
    "a rule": {"size": Sides(longest=40, multiple_of=8), "batch": False},
    "a letterbox": {"size": Sides(within=32, rule="timm"), "crop": 32, "pad": Pad(fill=(1, 2, 3))},
    "reflected": {"size": 24, "crop": Crop((40, 24), (-9, 3)), "pad": Pad(mode="reflect")},
    "edges": {"size": (20, 30), "crop": Crop((24, 40), "transformers"), "pad": Pad(mode="edge")},
    "values around": {"size": Sides(within=32, rule="timm"), "crop": 32, "pad": Pad(value=0.5)},
    "steps before": {"size": 24, "crop": 24, "before": [Crop(Square("shortest")), Border(3, 4, -2, 0)]},
    "as it is": {"crop": Crop("batch", (0, 0))},
}


@pytest.mark.parametrize("case", GEOMETRIES)
@pytest.mark.parametrize("arithmetic", ["torch", "pillow"])
@pytest.mark.parametrize("path", PREPROCESS)
def test_every_path_gives_the_references_pixels_in_every_geometry(path, arithmetic, case):
    images = [noise((50, 71)), noise((70, 33), 1), noise((20, 20), 2)]
    target = Target(IDENTITY, resample="bicubic", arithmetic=arithmetic, **GEOMETRIES[case])
    for flips in ({}, {"flip": True, "vertical_flip": [True, False, True]}):
        (expected,) = fastnorm.reference.preprocess(images, [target], **flips)
        (got,) = PREPROCESS[path](images, [target], **flips)
        for one, other in zip(got, expected, strict=True):
            assert_same_bits(one, other)


def test_padding_and_cutting_do_not_change_what_torch_resizes():
    """The reference itself: what is cut and padded by hand, then resized by torch."""
    pixels = noise((50, 71))
    target = Target(
        IDENTITY,
        24,
        "bicubic",
        before=Crop(Square("shortest")),
        crop=Crop(40),
        arithmetic="torch",
        pad=Pad(fill=(7, 8, 9)),
    )
    square = pixels[:, 10:60].contiguous()  # half the margin of 21, 10.5, to even
    resized = interpolated(square, (24, 24), TORCH_FILTERS["bicubic"])
    expected = torch.tensor([7, 8, 9], dtype=torch.uint8).expand(40, 40, 3).clone()
    expected[8:32, 8:32] = resized
    (got,) = fastnorm.reference.preprocess([pixels], [target])
    assert torch.equal(got[0].round().to(torch.uint8).permute(1, 2, 0), expected)


@pytest.mark.parametrize("wrong", ["PIL", "float32", None, 1, torch])
def test_unknown_arithmetics_are_refused(wrong):
    with pytest.raises(ValueError, match=r"arithmetic: got .*, expected 'pillow' .* or 'torch' .*DINOv3"):
        Target(fastnorm.CLIP, 224, arithmetic=wrong)


def test_targets_with_torchs_arithmetic_are_values():
    target = dataclasses.replace(CLIP_224, arithmetic="torch")
    assert target != CLIP_224
    assert hash(target) != hash(CLIP_224)
    assert dataclasses.replace(target, arithmetic="pillow") == CLIP_224
    assert CLIP_224.arithmetic == "pillow"
