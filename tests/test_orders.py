"""The published orders of normalising: every code, in every dtype, on every path, against the libraries themselves.

`fastnorm.reference` defines the values; here it is compared with torchvision and transformers as they are installed,
and everything else with it.
"""

import dataclasses
import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from transformers import CLIPImageProcessor

import fastnorm
from fastnorm import Normalization
from fastnorm.ops import torch_op
from fastnorm.spec.options import ORDERS
from fastnorm.verification import oracle
from fastnorm_kernels import division
from fastnorm_kernels.division import Form, Start
from helpers import (
    CPU_PATHS,
    DTYPES,
    PATHS,
    PREPROCESS,
    PRESETS,
    assert_same_bits,
    cpu_path,
    dtype_name,
    every_code,
    poisoned,
    preprocess_by_kernel,
    random_pixels,
)

pytestmark = pytest.mark.compat

# The constants of published models beyond the presets, and what is far from them.
CONSTANTS = (
    *PRESETS,
    Normalization((0.430, 0.411, 0.296), (0.213, 0.156, 0.143), "dinov3 sat"),
    Normalization(0.7931, 0.1738, "unimer"),
    Normalization(0.0, 1.0, "rescale only"),
    Normalization((0.1, 0.2, 0.3), (1e-38, 1e-3, 2.0), "small std"),
    Normalization((-3.0, 7.0, 0.25), (0.125, 512.0, 3.0), "far from 1", allow_unusual=True),
    Normalization((1e-40, 1e-38, 0.5), (1e-42, 0.5, 0.5), "needs a true division"),
)
HALVES = Normalization(0.5, 0.5, "halves", order="scale_shift")


def targets_of(order):
    if order == "scale_shift":
        return (HALVES,)
    return tuple(dataclasses.replace(constants, order=order) for constants in CONSTANTS)


EVERY = tuple(target for order in ORDERS for target in targets_of(order))
every_target = pytest.mark.parametrize("target", EVERY, ids=lambda t: f"{t.order} {t.name}")

# --- the published libraries


def all_codes():
    """(3, 16, 16): every code of every channel."""
    return torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)


def by_to_tensor(target):
    from torchvision import transforms

    published = transforms.Compose([transforms.ToTensor(), transforms.Normalize(target.mean, target.std)])
    return published(all_codes().permute(1, 2, 0).numpy())


def by_to_dtype(target):
    published = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(target.mean, target.std)])
    return published(all_codes())


def by_transformers(target):
    processor = CLIPImageProcessor(
        do_resize=False, do_center_crop=False, image_mean=list(target.mean), image_std=list(target.std)
    )
    return processor(all_codes(), return_tensors="pt").pixel_values[0]


def by_formula(_):
    return all_codes() / 127.5 - 1  # torch's own, on a CPU


PUBLISHED = {"to_tensor": by_to_tensor, "to_dtype": by_to_dtype, "fused": by_transformers, "scale_shift": by_formula}


@every_target
def test_the_reference_is_the_published_code(target):
    published = PUBLISHED[target.order](target)
    (got,) = fastnorm.reference.normalize(all_codes(), [target], layout="CHW")
    assert_same_bits(got, published)


@pytest.mark.parametrize("target", [t for t in EVERY if t.order == "fused"], ids=lambda t: t.name)
def test_transformers_has_one_value_for_a_code_in_any_image(target):
    """Of two images in a batch, from uint8 memory of either layout."""
    processor = CLIPImageProcessor(
        do_resize=False, do_center_crop=False, image_mean=list(target.mean), image_std=list(target.std)
    )
    batch = every_code("NHWC")
    published = processor(list(batch.numpy()), return_tensors="pt").pixel_values
    (got,) = fastnorm.fused_normalize(batch, [target])
    assert_same_bits(got, published)


def test_the_orders_differ_as_far_as_is_documented():
    """In the last bits, and in no preset's case by more than 1e-6."""
    for constants in PRESETS:
        one = fastnorm.reference.normalize(all_codes(), [constants], layout="CHW")[0]
        for order in ("to_dtype", "fused"):
            target = dataclasses.replace(constants, order=order)
            other = fastnorm.reference.normalize(all_codes(), [target], layout="CHW")[0]
            assert 200 < int((one != other).sum()) < 700
            assert (one - other).abs().max() < 1e-6


def test_scale_shift_is_another_spelling_of_to_tensor():
    plain = dataclasses.replace(HALVES, order="to_tensor")
    got = fastnorm.reference.normalize(all_codes(), [HALVES, plain], layout="CHW")
    assert_same_bits(*got)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@every_target
def test_exact_rational_arithmetic_has_the_same_values(target, dtype):
    (wanted,) = fastnorm.reference.normalize(all_codes(), [target], dtype=dtype, layout="CHW")
    assert_same_bits(oracle.table(target, dtype), wanted.view(3, 256))


# --- every path


FORMATS = (torch.contiguous_format, torch.channels_last)
# A kernel takes a second to compile for so many targets: each of the four in one dtype, the other paths in all. A last
# bit shows in float32 alone: that is for the flat kernel, which chooses constants by itself, and for one of the others.
EVERY_CODE = [
    ("kernel", "NHWC", torch.float16, torch.contiguous_format),
    ("kernel", "NCHW", torch.bfloat16, torch.contiguous_format),
    ("kernel", "NHWC", torch.float32, torch.channels_last),
    ("kernel", "NCHW", torch.float32, torch.channels_last),
    *itertools.product([path for path in PATHS if path != "kernel"], ("NHWC", "NCHW"), DTYPES, FORMATS),
]


@pytest.mark.parametrize(("path", "layout", "dtype", "memory_format"), EVERY_CODE, ids=str)
def test_every_code_of_every_order(path, layout, dtype, memory_format, device):
    """All orders in one call, between each other: of each, every form that the kernels have for it."""
    batch = every_code(layout, device)
    targets = [target for row in itertools.zip_longest(*map(targets_of, ORDERS)) for target in row if target]
    if path == "kernel":
        seen, kinds = set(), [division.plan(t.mean, t.std, t.order).flat()[0] for t in targets]
        targets = [t for t, kind in zip(targets, kinds, strict=True) if kind not in seen and not seen.add(kind)]
        assert len(targets) >= 7
    outputs = [poisoned((2, 3, 16, 32), dtype, device, memory_format) for _ in targets]
    PATHS[path](batch, targets, outputs, layout)
    expected = fastnorm.reference.normalize(batch, targets, dtype=dtype, layout=layout)
    for output, value in zip(outputs, expected, strict=True):
        assert_same_bits(output, value)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_targets_of_any_orders_and_dtypes(path, count, device):
    """Up to three targets' constants are compiled; which output keeps the CPU path's q depends on their dtypes."""
    batch = every_code("NHWC", device)
    draw = random.Random(count)
    for orders in (
        itertools.product(ORDERS, repeat=count) if count < 3 else [draw.choices(ORDERS, k=3) for _ in range(8)]
    ):
        targets = [draw.choice(targets_of(order)) for order in orders]
        dtypes = [draw.choice(DTYPES) for _ in orders]
        outputs = [poisoned((2, 3, 16, 32), dtype, device) for dtype in dtypes]
        PATHS[path](batch, targets, outputs, "NHWC")
        expected = fastnorm.reference.normalize(batch, targets, dtype=dtypes, layout="NHWC")
        for output, value in zip(outputs, expected, strict=True):
            assert_same_bits(output, value)


@pytest.mark.parametrize("path", CPU_PATHS)
def test_large_batches_on_the_cpu_path(path):
    """More than one piece, and more than one order in each."""
    batch = random_pixels(3, 300, 401, 3)
    targets = [dataclasses.replace(fastnorm.CLIP, order=order) for order in ("fused", "to_tensor", "to_dtype", "fused")]
    for dtypes in ([torch.float32] * 4, [torch.bfloat16] * 4, [torch.float32, torch.float16] * 2):
        with cpu_path(path):
            got = fastnorm.fused_normalize(batch, targets, dtype=dtypes)
        expected = fastnorm.reference.normalize(batch, targets, dtype=dtypes)
        for output, value in zip(got, expected, strict=True):
            assert_same_bits(output, value)


@pytest.mark.parametrize("path", ["kernel", *CPU_PATHS])
def test_preprocessing_in_every_order(path):
    images = [random_pixels(40, 61, 3), random_pixels(61, 40, 3, seed=1)]
    targets = [
        fastnorm.Target(target, 24, crop=24, dtype=dtype)
        for target, dtype in zip(EVERY[:: len(EVERY) // 6], itertools.cycle(DTYPES), strict=False)
    ]
    assert {target.normalization.order for target in targets} >= {"to_tensor", "to_dtype", "fused"}
    expected = fastnorm.reference.preprocess(images, targets)
    for output, value in zip(PREPROCESS[path](images, targets), expected, strict=True):
        assert_same_bits(output, value)


def test_plans_that_are_kept_tell_the_orders_apart():
    images = [random_pixels(40, 61, 3)]
    for order in ("fused", "to_tensor", "to_dtype", "fused"):
        target = fastnorm.Target(dataclasses.replace(fastnorm.CLIP, order=order), 24, crop=24)
        (got,) = preprocess_by_kernel(images, [target])
        assert_same_bits(got, fastnorm.reference.preprocess(images, [target])[0])


def test_traced_calls_keep_the_order():
    batch, targets = every_code("NHWC"), [dataclasses.replace(fastnorm.CLIP, order=order) for order in ORDERS[:3]]
    traced = torch.compile(lambda x: fastnorm.fused_normalize(x, targets), backend="eager", fullgraph=True)
    for output, value in zip(traced(batch), fastnorm.reference.normalize(batch, targets), strict=True):
        assert_same_bits(output, value)


def test_the_operator_takes_orders_or_leaves_them_out():
    planes = every_code("NCHW")
    mean, std = list(fastnorm.CLIP.mean), list(fastnorm.CLIP.std)
    (plain,) = torch.ops.fastnorm.normalize(planes, -3, mean, std, [0], [0])
    assert_same_bits(plain, fastnorm.reference.normalize(planes, [fastnorm.CLIP])[0])
    target = dataclasses.replace(fastnorm.CLIP, order="fused")
    (fused,) = torch.ops.fastnorm.normalize(planes, -3, mean, std, [0], [0], [ORDERS.index("fused")])
    assert_same_bits(fused, fastnorm.reference.normalize(planes, [target])[0])
    with pytest.raises(ValueError, match="got 2 orders for 1 dtypes, expected 1 for each, or none"):
        torch.ops.fastnorm.normalize(planes, -3, mean, std, [0], [0], [0, 0])
    with pytest.raises(ValueError, match="got 4 among orders, expected 0 to 3: to_tensor, to_dtype, fused"):
        torch.ops.fastnorm.normalize(planes, -3, mean, std, [0], [0], [4])
    assert torch_op.call(planes, [target], [torch.float32], [torch.contiguous_format])[0].equal(fused)


# --- the kernels' forms


@every_target
def test_the_hosts_form_is_exact(target):
    plan = division.plan(target.mean, target.std, target.order)
    for channel in range(3):
        got = [division.evaluate(plan, channel, code) for code in division.CODES]
        patterns = np.array(got, dtype=np.float32).view(np.uint32).tolist()
        assert patterns == [oracle.steps(target, channel, code).y for code in division.CODES]


@pytest.mark.parametrize("order", ORDERS[:3])
@pytest.mark.parametrize("constants", PRESETS, ids=lambda t: t.name)
def test_presets_need_no_division_instruction(constants, order):
    plan = division.plan(constants.mean, constants.std, order)
    assert plan.form < Form.DIVIDE
    assert plan.start is {"to_tensor": Start.QUOTIENT, "to_dtype": Start.PRODUCT, "fused": Start.CODE}[order]


def test_scale_shift_shares_the_quotient_of_to_tensor():
    plan = division.plan(HALVES.mean, HALVES.std, "scale_shift")
    assert plan == division.plan(HALVES.mean, HALVES.std)
    assert plan.form is Form.FMA


# --- the argument


@pytest.mark.parametrize("wrong", ["torchvision", "TO_TENSOR", None, 3])
def test_unknown_orders_are_refused(wrong):
    with pytest.raises(ValueError, match=r"order: got .*, expected 'to_tensor' .*'to_dtype' .*'fused' .*'scale_shift'"):
        Normalization(0.5, 0.5, order=wrong)


@pytest.mark.parametrize(
    "constants", [fastnorm.CLIP, Normalization(0, 1), Normalization(0.5, (0.5, 0.5, 0.25))], ids=str
)
def test_scale_shift_is_for_halves_alone(constants):
    with pytest.raises(ValueError, match=r"expected Normalization\(0.5, 0.5, order='scale_shift'\), or another order"):
        dataclasses.replace(constants, order="scale_shift")


def test_fused_constants_that_float32_cannot_hold_are_refused():
    large = Normalization(0.5, 3e38, allow_unusual=True)
    with pytest.raises(ValueError, match="order: got 'fused', which multiplies by 255"):
        dataclasses.replace(large, order="fused")


def test_the_order_is_part_of_the_value():
    fused = dataclasses.replace(fastnorm.CLIP, order="fused")
    assert fused != fastnorm.CLIP
    assert len({fused, fastnorm.CLIP, dataclasses.replace(fused, order="to_tensor")}) == 2
    assert pickle.loads(pickle.dumps(fused)) == fused
    assert repr(fused).endswith("name='clip', order='fused')")
    assert eval(repr(fused)) == fused
    assert "order" not in repr(fastnorm.CLIP)
    assert fastnorm.CLIP.order == "to_tensor"
