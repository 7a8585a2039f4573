"""What the suite measures: one table per device and kind of call.

Not the full product of sizes, layouts, dtypes, targets and peers, which would take hours: everything meets everything
at the sizes named here, and other cells say which peers they leave out.

normalize on the CPU
    16x512x512, 8x224x224   every option (layout, dtypes, 1 to 3 targets) with every package and torch.compile for one
                            shape; the float32 pair, out= and fresh, with all modes of torch.compile
    1x224x224               float32 pair, out= and fresh, every package
    64x512x512              float32 pair, out= and fresh, beside eager torch, torchvision v2, DALI and torch.compile
    64x1024x1024, 1024x224x224
                            the same without eager torch: a pair takes 1.2 to 1.6 GB, each of a package's temporaries
                            half as much, and the slower packages seconds a call

normalize on a GPU
    all sizes               float32, bfloat16 and mixed pairs, NHWC, out=, beside torch.compile for one shape
    64x512x512              every layout, 1 to 3 targets, fresh memory; beside eager torch and torchvision v2
    64x512x512, 1x224x224   float32 pair: every package and all modes of torch.compile
    64x225x225              sides that no word divides
    64 of 12 resolutions    one after the other, beside torch.compile with dynamic sizes and compiled for each size

preprocess (resize, crop, normalise; see peers/preprocess.py for the chains)
    CPU                     8 pictures, of one size and of eight sizes, on one thread and on all, every chain
    GPU                     32 pictures of one size, and 8 of eight sizes
"""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.peers import Peer
from benchmarks.peers import normalize as peers
from benchmarks.rows import Cell
from fastnorm import CLIP, CLIP_224, DINOV2, VAE, VAE_512, Normalization, Target
from fastnorm.backends.cuda.backend import launch_preprocess
from fastnorm.ops.preprocess import run
from fastnorm_kernels import resize
from fastnorm_kernels._normalize_kernels import bytes_moved

FP32, BF16 = torch.float32, torch.bfloat16
SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
TARGETS: dict[int, tuple[Normalization, ...]] = {1: (CLIP,), 2: (VAE, CLIP), 3: (VAE, CLIP, DINOV2)}

PAIR = (VAE_512, CLIP_224)  # the targets of a preprocess call

Size = tuple[int, int]

# With --benchmark-disable: everything runs and is verified on this, and nothing is timed.
SMALL = (2, (24, 40))


@dataclass(frozen=True)
class NormalizeCell:
    images: int
    sizes: tuple[Size, ...]  # (height, width); several: one call after the other, each with another
    dtypes: tuple[torch.dtype, ...] = (FP32, FP32)
    layout: str = "NHWC"
    memory: str = "out"
    peers: tuple[Peer, ...] = ()
    rounds: int = 15
    quick: bool = False

    @property
    def targets(self) -> tuple[Normalization, ...]:
        return TARGETS[len(self.dtypes)]

    @property
    def name(self) -> str:
        if len(self.sizes) > 1:
            size = f"{self.images} of {len(self.sizes)} resolutions"
        else:
            size = "x".join(map(str, (self.images, *self.sizes[0])))
        return f"{size} {self.layout} {dtypes_text(self.dtypes)} {self.memory}"

    def columns(self) -> Cell:
        """What its rows share; bytes are those of an average call."""
        codes = self.images * 3 * sum(height * width for height, width in self.sizes) // len(self.sizes)
        one_size = "x".join(map(str, (self.images, *self.sizes[0], 3)))
        return Cell(
            suite="normalize",
            name=self.name,
            shape=one_size if len(self.sizes) == 1 else f"{self.images} of {len(self.sizes)} resolutions",
            layout=self.layout,
            targets=len(self.dtypes),
            dtypes=dtypes_text(self.dtypes),
            memory=self.memory,
            images=self.images,
            bytes_moved=bytes_moved(codes, [dtype.itemsize for dtype in self.dtypes]),
        )


@dataclass(frozen=True)
class PreprocessCell:
    sizes: tuple[Size, ...]  # (height, width) of each picture
    one_thread: bool = False  # else as many as torch has
    rounds: int = 11
    quick: bool = False

    @property
    def uniform(self) -> bool:
        return len(set(self.sizes)) == 1

    @property
    def shape(self) -> str:
        count = len(self.sizes)
        return "x".join(map(str, (count, *self.sizes[0], 3))) if self.uniform else f"{count} ragged"

    def columns(self, device: torch.device) -> Cell:
        threads = "" if device.type == "cuda" else (" 1 thread" if self.one_thread else " all threads")
        return Cell(
            suite="preprocess",
            name=f"{self.shape.removesuffix('x3')} fp32+fp32 fresh{threads}",
            shape=self.shape,
            layout="PIL" if device.type == "cpu" else ("NHWC" if self.uniform else "HWC"),
            targets=2,
            dtypes="fp32+fp32",
            memory="fresh",
            images=len(self.sizes),
            bytes_moved=preprocess_bytes(self.sizes, PAIR),
        )


@functools.cache
def preprocess_bytes(sizes: tuple[Size, ...], targets: tuple[Target, ...]) -> int:
    """The least that any implementation moves, as the kernels' own count has it: a call is planned, not run."""
    counts: list[int] = []
    counter: Any = types.SimpleNamespace(
        Branch=resize.Branch, preprocess=lambda _, branches, __: counts.append(resize.bytes_moved(branches))
    )
    images = [torch.zeros(1, 1, 3, dtype=torch.uint8).expand(height, width, 3) for height, width in sizes]
    run(images, targets, functools.partial(launch_preprocess, counter), layout="HWC")
    return counts[0]


def dtypes_text(dtypes: tuple[torch.dtype, ...]) -> str:
    return "+".join(SHORT[dtype] for dtype in dtypes)


def _square(images: int, side: int, **options) -> NormalizeCell:
    return NormalizeCell(images, ((side, side),), **options)


# Beside the pair of float32 from NHWC.
_OPTIONS = (
    {"dtypes": (BF16, BF16)},
    {"dtypes": (FP32, BF16)},
    {"layout": "NCHW"},
    {"layout": "NCHW view"},
    {"dtypes": (FP32,)},
    {"dtypes": (FP32, FP32, FP32)},
)
_MEMORIES = ("out", "fresh")
_ONE_SHAPE = (*peers.PACKAGES, peers.COMPILED_STATIC)
_LARGE = (peers.EAGER, peers.TORCHVISION_V2, peers.DALI_CPU, peers.COMPILED_STATIC)
_LARGEST = _LARGE[1:]

CPU_NORMALIZE = (
    *(_square(16, 512, memory=memory, peers=peers.ALL, quick=True) for memory in _MEMORIES),
    *(_square(8, 224, memory=memory, peers=peers.ALL, rounds=31, quick=memory == "out") for memory in _MEMORIES),
    *(_square(16, 512, peers=_ONE_SHAPE, rounds=11, **options) for options in _OPTIONS),
    *(_square(8, 224, peers=_ONE_SHAPE, rounds=31, **options) for options in _OPTIONS),
    *(_square(1, 224, memory=memory, peers=_ONE_SHAPE, rounds=101) for memory in _MEMORIES),
    *(_square(64, 512, memory=memory, peers=_LARGE, rounds=9) for memory in _MEMORIES),
    *(_square(64, 1024, memory=memory, peers=_LARGEST, rounds=5) for memory in _MEMORIES),
    *(_square(1024, 224, memory=memory, peers=_LARGEST, rounds=5) for memory in _MEMORIES),
)

_PAIRS = ((FP32, FP32), (BF16, BF16), (FP32, BF16))
_GPU_FEW = (peers.EAGER, peers.TORCHVISION_V2, peers.COMPILED_STATIC)
_GPU_ROUNDS = {"rounds": 31}

# Sizes of multi-resolution training: 512 x 512 pixels in buckets of many aspect ratios, sides in steps of 64.
RESOLUTIONS = (
    (512, 512),
    (448, 576),
    (576, 448),
    (384, 640),
    (640, 384),
    (384, 704),
    (704, 384),
    (320, 768),
    (768, 320),
    (320, 832),
    (256, 1024),
    (1024, 256),
)

GPU_NORMALIZE = (
    _square(64, 512, peers=peers.ALL, quick=True, **_GPU_ROUNDS),
    *(
        _square(64, 512, dtypes=pair, peers=(*_GPU_FEW, peers.COMPILED_AUTO), quick=True, **_GPU_ROUNDS)
        for pair in _PAIRS[1:]
    ),
    _square(1, 224, peers=peers.ALL, **_GPU_ROUNDS),
    *(_square(1, 224, dtypes=pair, peers=(peers.COMPILED_STATIC,), **_GPU_ROUNDS) for pair in _PAIRS[1:]),
    *(
        _square(images, side, dtypes=pair, peers=(peers.COMPILED_STATIC,), **_GPU_ROUNDS)
        for images, side in ((8, 224), (64, 1024), (1024, 224))
        for pair in _PAIRS
    ),
    *(_square(64, 225, dtypes=pair, peers=(peers.COMPILED_STATIC,), **_GPU_ROUNDS) for pair in _PAIRS[:2]),
    *(
        _square(64, 512, dtypes=pair, layout=layout, peers=(peers.COMPILED_STATIC,), **_GPU_ROUNDS)
        for layout in ("NCHW", "NCHW view")
        for pair in _PAIRS
    ),
    *(
        _square(64, 512, dtypes=(dtype,) * count, peers=(peers.COMPILED_STATIC,), **_GPU_ROUNDS)
        for count in (1, 3)
        for dtype in (FP32, BF16)
    ),
    *(_square(64, 512, dtypes=pair, memory="fresh", peers=_GPU_FEW, **_GPU_ROUNDS) for pair in _PAIRS[:2]),
    _square(1, 224, memory="fresh", peers=_GPU_FEW, **_GPU_ROUNDS),
    NormalizeCell(
        64, RESOLUTIONS, dtypes=(FP32, FP32), peers=(peers.EAGER, peers.TORCHVISION_V2, peers.COMPILED_AUTO), rounds=31
    ),
    NormalizeCell(
        64,
        RESOLUTIONS,
        dtypes=(BF16, BF16),
        peers=(peers.EAGER, peers.TORCHVISION_V2, peers.COMPILED_AUTO, peers.COMPILED_PER_SIZE),
        rounds=31,
        quick=True,
    ),
)

# Photographs as cameras and the web have them.
RAGGED = ((1024, 1536), (1536, 1024), (800, 1200), (1080, 1920), (480, 640), (1024, 768), (1600, 900), (1365, 2048))
SMALL_PICTURES = ((96, 130), (130, 96))

CPU_PREPROCESS = (
    PreprocessCell(((1024, 1024),) * 8, one_thread=True),
    PreprocessCell(((1024, 1024),) * 8, quick=True),
    PreprocessCell(RAGGED, one_thread=True),
    PreprocessCell(RAGGED),
)
GPU_PREPROCESS = (PreprocessCell(((1024, 1024),) * 32, quick=True), PreprocessCell(RAGGED))
