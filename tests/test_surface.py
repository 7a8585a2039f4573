"""What is public, what importing costs, and which path serves which device."""

import builtins
import inspect
import pathlib
import subprocess
import sys
import warnings

import pytest
import torch

import fastnorm
from fastnorm.backends import select
from fastnorm.backends.cuda import backend as cuda
from fastnorm.cli._text import plural
from helpers import assert_same_bits, cpu_path, random_pixels

pytestmark = pytest.mark.compat

ROOT = pathlib.Path(__file__).parent.parent


def test_public_names():
    assert sorted(fastnorm.__all__) == [
        "Area",
        "Border",
        "Buckets",
        "CLIP",
        "CLIP_224",
        "CLIP_224_TORCH",
        "CLIP_336",
        "Crop",
        "DINOV2",
        "DINOV2_224",
        "DINOV2_224_HF",
        "DINOV2_224_TORCH",
        "DINOV3_256",
        "DINOV3_SAT",
        "DINOV3_SAT_256",
        "DualOutput",
        "Halve",
        "IMAGENET",
        "IMAGENET_224",
        "Normalization",
        "PackedImages",
        "Pad",
        "PictureError",
        "Prefetcher",
        "Preprocess",
        "Resize",
        "SIGLIP",
        "SIGLIP2_224",
        "SIGLIP2_224_TORCH",
        "SIGLIP_224",
        "SIGLIP_224_TORCH",
        "SIGLIP_384",
        "Sides",
        "Square",
        "Target",
        "VAE",
        "VAE_1024",
        "VAE_1024_IP_ADAPTER",
        "VAE_1024_LANCZOS",
        "VAE_256_ADM",
        "VAE_512",
        "VAE_512_LANCZOS",
        "VAE_IMAGE_PROCESSOR",
        "Verification",
        "collate_image_fn",
        "collate_images",
        "denormalize",
        "empty_host_cache",
        "fused_dual_normalize",
        "fused_dual_preprocess",
        "fused_normalize",
        "fused_preprocess",
        "guard",
        "reference",
        "renormalize",
        "set_host_cache_limit",
        "verify",
    ]
    assert all(hasattr(fastnorm, name) for name in fastnorm.__all__)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (fastnorm.fused_dual_normalize, "batch, *, vae, clip, dtype, layout, memory_format, out"),
        (fastnorm.fused_normalize, "batch, normalizations, *, dtype, layout, memory_format, out"),
        (
            fastnorm.fused_dual_preprocess,
            "images, *, vae, clip, out, positions, sizes, boxes, dtype, device, layout, alpha, exif, flip, "
            "vertical_flip, flip_before_crop, generator, pillow_version, return_offsets",
        ),
        (
            fastnorm.fused_preprocess,
            "images, targets, *, out, positions, sizes, boxes, dtype, device, layout, alpha, exif, flip, "
            "vertical_flip, flip_before_crop, generator, pillow_version, return_offsets",
        ),
        (
            fastnorm.Target,
            "normalization, size, resample, crop, pad, dtype, memory_format, alpha, *, arithmetic, "
            "exif, before, reducing_gap, batch, channel_order",
        ),
        (
            fastnorm.Sides,
            "*, shortest, longest, within, covering, enlarge, minimum, multiple_of, multiple_rounding, rule, rounding",
        ),
        (fastnorm.Area, "multiple_of, *, min_pixels, max_pixels"),
        (fastnorm.Square, "edge, fraction"),
        (fastnorm.Buckets, "sizes"),
        (fastnorm.Border, "top, left, bottom, right"),
        (fastnorm.Resize, "size, resample, reducing_gap"),
        (fastnorm.Halve, "shortest"),
        (fastnorm.Pad, "fill, mode, value"),
        (fastnorm.Crop, "size, position"),
        (fastnorm.PackedImages, "buffer, offsets, sizes"),
        (
            fastnorm.Preprocess,
            "key, *, on_error, alpha, exif, layout, dtype, device, flip, vertical_flip, flip_before_crop, "
            "pillow_version, batch_axis, targets, named_targets",
        ),
        (fastnorm.Preprocess.__call__, "self, sample, *, positions, generator"),
        (fastnorm.collate_images, "key, rest, *, layout, alpha, exif, preprocess"),
        (fastnorm.collate_image_fn, "batch, *, collate_fn_map"),
        (fastnorm.Prefetcher, "loader, preprocess, device, *, depth"),
        (fastnorm.PictureError, "message, index, key"),
        (fastnorm.Normalization, "mean, std, name, *, order, allow_unusual"),
        (fastnorm.Normalization.from_config, "config"),
        (fastnorm.denormalize, "tensor, normalization, *, dtype, out"),
        (fastnorm.renormalize, "tensor, source, target, *, dtype, out"),
        (fastnorm.guard, "tensor, normalization"),
        (fastnorm.verify, "processor, images, target, *, progress"),
        (fastnorm.reference.denormalize, "tensor, normalization, *, dtype"),
        (fastnorm.reference.renormalize, "tensor, source, target, *, dtype"),
        (fastnorm.reference.normalize, "batch, normalizations, *, dtype, layout"),
        (fastnorm.reference.preprocess, "images, targets, options"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_signatures(function, parameters):
    shown, star = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        shown.append(parameter.name)
    assert ", ".join(shown) == parameters


def test_importing_registers_the_operator_and_loads_neither_triton_nor_the_command_line_nor_cuda_nor_native_code():
    """Nor do calls on the CPU load anything but native code."""
    program = """
import sys, fastnorm, torch

def loaded():
    assert not torch.cuda.is_initialized()
    return {name.partition(".")[0] for name in sys.modules}

found = loaded()
assert not found & {"triton", "fastnorm_kernels", "torchvision", "transformers", "PIL"}, found
assert "fastnorm.cli" not in sys.modules
assert sys.modules["fastnorm_native.loading"]._found.cache_info().currsize == 0, "native code"
torch.ops.fastnorm.normalize.default
fastnorm.fused_dual_normalize(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
assert "triton" not in loaded(), "by fused_dual_normalize"
fastnorm.fused_dual_preprocess(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
assert not loaded() & {"triton", "torchvision", "transformers"}, "by fused_dual_preprocess"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=ROOT)


def test_kernels_is_a_source_root_and_not_a_package():
    """An importable top-level `kernels` would shadow the Hugging Face package of that name."""
    assert (ROOT / "kernels" / "fastnorm_kernels" / "__init__.py").exists()
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_imports_run_one_way():
    for path in (ROOT / "kernels").rglob("*.py"):
        text = path.read_text()
        assert "import fastnorm\n" not in text
        assert "from fastnorm " not in text
        assert "from fastnorm." not in text


def test_missing_triton_warns_once_and_names_the_fix(monkeypatch):
    real_import = builtins.__import__

    def without_triton(name, *arguments, **options):
        if name == "fastnorm_kernels":
            raise ModuleNotFoundError("No module named 'triton'")
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_triton)
    cuda.kernels.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="No module named 'triton'.*pip install triton"):
            assert cuda.kernels() is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cuda.kernels() is None
    finally:
        cuda.kernels.cache_clear()


@pytest.mark.parametrize("call", [fastnorm.fused_dual_normalize, fastnorm.fused_dual_preprocess])
def test_the_warning_names_the_line_that_made_the_call(call, monkeypatch):
    batch = random_pixels(1, 8, 8, 3)
    monkeypatch.setattr(cuda, "serves", lambda _: cuda.kernels() is not None)  # of CPU tensors too
    monkeypatch.setitem(sys.modules, "fastnorm_kernels", None)
    cuda.kernels.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="pip install triton") as caught:
            call(batch)
        assert [warning.filename for warning in caught] == [__file__]
    finally:
        cuda.kernels.cache_clear()


def test_the_named_tuple_shows_shapes_not_values():
    assert repr(
        fastnorm.fused_dual_normalize(random_pixels(2, 224, 224, 3), dtype=(torch.float32, torch.bfloat16))
    ) == (
        "DualOutput(vae=float32 tensor of shape (2, 3, 224, 224) on cpu, "
        "clip=bfloat16 tensor of shape (2, 3, 224, 224) on cpu)"
    )


@pytest.mark.gpu
def test_cuda_without_triton_takes_the_torch_path_to_the_same_bits(monkeypatch):
    batch = random_pixels(2, 8, 8, 3, device="cuda")
    expected = fastnorm.fused_dual_normalize(batch)
    monkeypatch.setattr(cuda, "kernels", lambda: None)
    for output, value in zip(fastnorm.fused_dual_normalize(batch), expected, strict=True):
        assert output.is_cuda
        assert_same_bits(output, value)


def test_other_devices_take_the_torch_path():
    """The meta device stands for every device that is neither a CPU nor CUDA: shapes and dtypes come out."""
    vae, clip = fastnorm.fused_dual_normalize(
        torch.zeros(2, 8, 6, 3, dtype=torch.uint8, device="meta"), dtype=(torch.float32, torch.bfloat16)
    )
    assert vae.device.type == clip.device.type == "meta"
    assert vae.shape == clip.shape == (2, 3, 8, 6)
    assert clip.dtype is torch.bfloat16


def test_the_path_s_name():
    threads = torch.get_num_threads()
    with cpu_path("torch"):
        assert select.path_name(torch.device("cpu")) == f"torch on CPU, {plural(threads, 'thread')}"
    with cpu_path("portable"):
        assert select.path_name(torch.device("cpu")) == f"native code (portable) on CPU, {plural(threads, 'thread')}"
    assert select.path_name(torch.device("meta")) == "eager torch on meta"


def test_typing_marker_is_shipped():
    assert (pathlib.Path(fastnorm.__file__).parent / "py.typed").exists()
