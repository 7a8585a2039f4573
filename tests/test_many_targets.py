"""More targets than a few: their constants are arguments of the launch, and one kernel serves every set of them."""

import pytest
import torch

import fastnorm
from fastnorm_kernels.normalize import MAX_COMPILED_TARGETS, choose, plans_of
from helpers import assert_same_bits, every_code, poisoned, random_pixels, run_kernel

pytestmark = pytest.mark.compat

FIVE = (
    fastnorm.VAE,
    fastnorm.CLIP,
    fastnorm.DINOV2,
    fastnorm.Normalization(0.0, 1.0),
    fastnorm.Normalization(0.3, 1e-44),
)
OTHER_FIVE = (
    fastnorm.SIGLIP,
    fastnorm.DINOV2,
    fastnorm.CLIP,
    fastnorm.Normalization((0.25, 0.5, 0.125), 0.5),
    fastnorm.Normalization((0.1, 0.2, 1e-45), (1e-44, 1e-3, 2.0)),
)


@pytest.mark.parametrize("targets", [FIVE, OTHER_FIVE], ids=["five", "another five"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kernel", ["dense", "flat", "strided"])
def test_every_code_of_many_targets(kernel, dtype, targets, device):
    batch = every_code("NHWC", device)
    batch = batch[:, :, :31] if kernel == "strided" else batch
    formats = {"flat": torch.channels_last}
    memory_format = formats.get(kernel, torch.contiguous_format)
    expected = fastnorm.reference.normalize(batch, targets, dtype=[dtype] * 5)
    outputs = [poisoned(value.shape, dtype, device, memory_format) for value in expected]
    planes = batch.movedim(-1, -3)
    assert choose(planes, tuple(outputs), plans_of([(t.mean, t.std) for t in targets])).kernel.__name__ == (
        f"_normalize_{kernel}_kernel"
    )
    run_kernel(batch, targets, outputs)
    for output, value in zip(outputs, expected, strict=True):
        assert_same_bits(output, value)


def test_sets_of_many_targets_share_a_kernel():
    def compiled_for(*normalizations):
        x, y = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8)
        launch = choose(x, (y,) * len(normalizations), plans_of([(n.mean, n.std) for n in normalizations]))
        return launch.constants["PLANS"], launch.sizes[-1]

    a = [fastnorm.Normalization(0.1 * i + 0.05, 0.3) for i in range(MAX_COMPILED_TARGETS + 1)]
    b = [fastnorm.Normalization(0.1 * i + 0.07, 0.4) for i in range(MAX_COMPILED_TARGETS + 1)]
    (plans, constants), (other_plans, other_constants) = compiled_for(*a), compiled_for(*b)
    assert plans == other_plans
    assert constants != other_constants
    assert len(constants) == 9 * len(a)
    assert compiled_for(*a[:-1])[1] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_channel_stacked_outputs_stay_on_the_dense_kernel(layout, dtype, device):
    """Two targets in one tensor of six channels, as OpenVLA's processor stacks them."""
    shape = (3, 16, 24, 3) if layout == "NHWC" else (3, 3, 16, 24)
    batch = random_pixels(*shape, device=device)
    stacked = poisoned((3, 6, 16, 24), dtype, device)
    outputs = [stacked[:, :3], stacked[:, 3:]]
    targets = (fastnorm.DINOV2, fastnorm.SIGLIP)
    planes = batch.movedim(-1, -3) if layout == "NHWC" else batch
    launch = choose(planes, tuple(outputs), plans_of([(t.mean, t.std) for t in targets]))
    assert launch.kernel.__name__ == "_normalize_dense_kernel"
    run_kernel(batch, targets, outputs, layout)
    expected = fastnorm.reference.normalize(batch, targets, dtype=[dtype] * 2, layout=layout)
    assert_same_bits(stacked, torch.cat(expected, dim=1))


def test_images_that_begin_between_groups_take_the_strided_kernel():
    x, memory = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2 * (192 + 2))
    output = memory.as_strided((2, 3, 8, 8), (194, 64, 8, 1))
    plans = plans_of([((0.5,) * 3, (0.5,) * 3)])
    assert choose(x, (output,), plans).kernel.__name__ == "_normalize_strided_kernel"
