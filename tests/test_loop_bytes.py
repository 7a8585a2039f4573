"""What crosses from the workers to the training process, and from there to the device: IP-Adapter's loop, in bytes.

Run with `--loops`, where the extra `loops` is installed.
"""

import pathlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fastnorm
from examples import tiny
from fastnorm.data.prefetch import _to

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "loops.md"

pytestmark = [pytest.mark.loops, pytest.mark.filterwarnings("default")]


def tensors(value):
    """All tensors of a batch; of packed images their buffer."""
    if isinstance(value, fastnorm.PackedImages):
        return [value.buffer]
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in tensors(one)]
    return [value] if isinstance(value, torch.Tensor) else []


def storage(batch):
    """Bytes of memory that a batch's tensors lie in: what a worker shares with the training process."""
    return sum(
        {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors(batch)}.values()
    )


class Copied(TorchDispatchMode):
    """Counts the bytes that are copied to another device."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default:
            self.bytes += args[0].numel() * args[0].element_size()
        return function(*args, **(kwargs or {}))


def copied(move, batch):
    with Copied() as count:
        move(batch, "meta")  # a device like another, as far as what is sent there goes
    return count.bytes


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Of a whole epoch: bytes from the workers, bytes to the device, before and after; and the images' pixels."""
    from accelerate.utils import send_to_device

    from examples.ip_adapter_sd15 import after, before

    folder = tmp_path_factory.mktemp("images")
    tiny.make_images(folder)
    torch.manual_seed(0)
    published = list(before.batches(folder))
    torch.manual_seed(0)
    prefetcher = after.batches(folder)
    ours = list(prefetcher.loader)  # what a Prefetcher reads where the model is on CUDA
    pixels = sum(height * width for batch in ours for height, width in batch["image"].sizes)
    return {
        "workers": (sum(map(storage, published)), sum(map(storage, ours))),
        "device": (sum(copied(send_to_device, one) for one in published), sum(copied(_to, one) for one in ours)),
        "pixels": pixels,
    }


# Beside the images: 77 token ids of int64 a sample.
TOKENS = 77 * 8
FLOATS = 4 * 3 * (512 * 512 + 224 * 224)


@pytest.mark.parametrize("boundary", ["workers", "device"])
def test_uint8_pixels_cross_in_place_of_float32_tensors(counted, boundary):
    before, after = counted[boundary]
    assert before == tiny.COUNT * (FLOATS + TOKENS)
    assert after == 3 * counted["pixels"] + tiny.COUNT * TOKENS
    assert after < before


def test_the_page_says_how_many_bytes_cross(counted):
    rows = ["| bytes a sample | before | after |", "|---|---|---|"]
    for boundary, name in (("workers", "from a worker to the training process"), ("device", "to the device")):
        rows.append(f"| {name} | " + " | ".join(f"{count // tiny.COUNT:,}" for count in counted[boundary]) + " |")
    assert "\n".join(rows) in PAGE.read_text(encoding="utf-8"), "\n".join(rows)


def test_from_which_size_on_an_image_s_pixels_are_more():
    """The page's figure: an image of more pixels than this is more bytes as uint8 than both tensors are."""
    most = FLOATS // 3
    assert f"{most:,} pixels" in PAGE.read_text(encoding="utf-8")
