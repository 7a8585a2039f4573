"""The part of `check` that resizes: every filter, on a device, against Pillow and the reference."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image

from fastnorm import reference
from fastnorm.images.packed import PackedImages
from fastnorm.ops import preprocess
from fastnorm.spec.geometry import Size
from fastnorm.spec.normalization import CHANNELS, Normalization
from fastnorm.spec.options import FILTER_NAMES, Layout
from fastnorm.spec.presets import CLIP_224, VAE_512
from fastnorm.spec.steps import Crop
from fastnorm.spec.target import Target
from fastnorm.verification import oracle
from fastnorm.verification.pillow_chain import resize_and_crop

if TYPE_CHECKING:
    from fastnorm.ops.preprocess import AnyImages

# Identity for one of the targets below, one pixel, lines, odd and even sides, both ways from small, and taller than
# 2:1, where Pillow 13 filters the columns first.
SMALL = (
    (48, 48), (1, 1), (1, 9), (9, 1), (2, 3), (24, 24), (40, 41), (47, 49), (97, 31), (31, 97), (100, 45), (160, 120),
    (121, 163),
)  # fmt: skip
MEDIUM = ((512, 512), (224, 224), (300, 451), (900, 380), (600, 777))


class Group(NamedTuple):
    """One row of the report: targets that one call fills, and the sizes of the images that it gets."""

    name: str
    targets: tuple[Target, ...]
    sizes: tuple[Size, ...]


class Call(NamedTuple):
    """One call: what it is made with, and which of the group's images it gets, in order."""

    group: Group
    kind: str
    indices: tuple[int, ...]


class Wrong(NamedTuple):
    """The first wrong value of one target of a call."""

    call: Call
    target: Target
    place: tuple[int, int, int, int]  # image, channel, row, column
    got: float
    by_pillow: float
    by_reference: float

    def __str__(self) -> str:
        image, channel, row, column = self.place
        height, width = self.call.group.sizes[self.call.indices[image]]
        return (
            f"{self.call.group.name}, {self.call.kind}, {height} x {width} to {self.target.normalization.name} "
            f"{self.target.size}, channel {'RGB'[channel]}, row {row}, column {column}: got {self.got!r}, Pillow's "
            f"pixel gives {self.by_pillow!r}, the reference {self.by_reference!r}"
        )


class Result(NamedTuple):
    """What one call gave."""

    values: int
    differing: int
    wrong: list[Wrong]


def groups(normalizations: Sequence[Normalization]) -> list[Group]:
    """Every filter with small images, and both presets with images of an ordinary size.

    The targets of the filters take turns with the normalizations. Their crops equal the resized image's short side,
    cut it, and reach beyond it.
    """
    first, second, third = itertools.islice(itertools.cycle(normalizations), 3)
    found = []
    for name in FILTER_NAMES:
        targets = (
            Target(first, 48, name, 48),
            Target(second, 40, name, Crop((33, 37), "transformers"), dtype=torch.bfloat16),
            Target(third, 29, name, (50, 35), dtype=torch.float16, memory_format=torch.channels_last),
        )
        found.append(Group(name, targets, _sizes(SMALL)))
    return [*found, Group("VAE_512, CLIP_224", (VAE_512, CLIP_224), _sizes(MEDIUM))]


def calls(group: Group, device: torch.device) -> Iterator[Call]:
    """All images at once in every way to pass images of several sizes; then batches of the small ones."""
    everything = tuple(range(len(group.sizes)))
    for kind in _RAGGED:
        if kind != _PIL or device.type == "cpu":
            yield Call(group, kind, everything)
    for index in everything:
        if group.sizes[index] in SMALL:
            yield Call(group, _BATCH, (index, index))


def compare(call: Call, device: torch.device) -> Result:
    """Make the call and compare every value of every target."""
    sources = [images_of(call.group)[index] for index in call.indices]
    layout: Layout = "NCHW" if call.kind == _BATCH else "HWC"  # sizes of 3 pixels could be either
    outputs = preprocess.fused_preprocess(_INPUTS[call.kind](sources, device), call.group.targets, layout=layout)
    values = differing = 0
    wrong = []
    for target, output, by_pillow, by_reference in zip(call.group.targets, outputs, *expected(call.group), strict=True):
        got = output.cpu()
        bits = oracle.bits(got)
        values += got.numel()
        pillows, references = (_chosen(all_of_them, call) for all_of_them in (by_pillow, by_reference))
        if torch.equal(bits, oracle.bits(pillows)) and torch.equal(bits, oracle.bits(references)):
            continue
        unequal = (bits != oracle.bits(pillows)) | (bits != oracle.bits(references))
        differing += int(unequal.sum())
        i, c, y, x = unequal.nonzero()[0].tolist()
        three = [float(tensor[i, c, y, x]) for tensor in (got, pillows, references)]
        wrong.append(Wrong(call, target, (i, c, y, x), *three))
    return Result(values, differing, wrong)


@functools.lru_cache(maxsize=1)  # calls come group by group
def images_of(group: Group) -> list[Image.Image]:
    """Waves that are sharp enough for every filter to overshoot, with noise on them; the channels differ."""
    generator = np.random.default_rng(len(group.sizes))
    found = []
    for height, width in group.sizes:
        y, x, c = np.ogrid[:height, :width, :CHANNELS]
        waves = 128 + 150 * np.sin((y + 2 * c) / 5) * np.cos((x - c) / 7)
        values = (waves + generator.normal(0, 20, waves.shape)).clip(0, 255).astype(np.uint8)
        found.append(Image.fromarray(values))
    return found


@functools.lru_cache(maxsize=1)
def expected(group: Group) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Per target, all images by Pillow and exact arithmetic, and by the reference on the CPU."""
    by_pillow = []
    for target in group.targets:
        values = np.stack([np.asarray(resize_and_crop(image, target)) for image in images_of(group)])
        planes = torch.from_numpy(values).permute(0, 3, 1, 2).long()
        table = oracle.table(target.normalization, target.dtype or torch.float32)
        by_pillow.append(table[torch.arange(CHANNELS).view(CHANNELS, 1, 1), planes])
    return by_pillow, list(reference.preprocess(images_of(group), group.targets))


def _chosen(all_of_them: torch.Tensor, call: Call) -> torch.Tensor:
    everything = tuple(range(len(all_of_them)))
    return all_of_them if call.indices == everything else all_of_them[torch.tensor(call.indices)]


def _sizes(pairs: Sequence[tuple[int, int]]) -> tuple[Size, ...]:
    return tuple(Size(*pair) for pair in pairs)


def _tensors(images: Sequence[Image.Image], device: torch.device) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(image)).to(device) for image in images]


def _packed(images: Sequence[Image.Image], device: torch.device) -> PackedImages:
    return PackedImages.pack(images).to(device)


def _batch(images: Sequence[Image.Image], device: torch.device) -> torch.Tensor:
    return torch.stack(_tensors(images, device)).permute(0, 3, 1, 2).contiguous()


_PIL, _BATCH = "PIL images", "an NCHW batch"
_RAGGED = (_PIL, "a list of tensors", "packed images")
_INPUTS: dict[str, Callable[[Sequence[Image.Image], torch.device], AnyImages]] = {
    _PIL: lambda images, _: list(images),
    "a list of tensors": _tensors,
    "packed images": _packed,
    _BATCH: _batch,
}
