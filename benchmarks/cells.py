"""What the suite measures, one table per device and kind of call, and the pixels that it is fed: never zeros.

Not the full product of sizes, layouts, dtypes, targets and peers, which would take hours: two sizes meet every peer and
every option, and the other cells say which peers they leave out. The largest cells leave out eager torch and most
packages: a pair takes 1.2 to 1.6 GB, each of a package's temporaries half as much.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

import torch
from PIL import Image, ImageOps

from benchmarks.peers import Peer, ours, preprocess
from benchmarks.peers import normalize as peers
from benchmarks.rows import Cell
from fastnorm import CLIP, CLIP_224, DINOV2, VAE, VAE_512, Normalization, Target
from fastnorm.backends.cuda.backend import launch_preprocess
from fastnorm.data.decode import read_rgb
from fastnorm.data.files import shipped_photographs
from fastnorm.ops.preprocess import run
from fastnorm_kernels import resize
from fastnorm_kernels._normalize_kernels import bytes_moved

FP32, BF16 = torch.float32, torch.bfloat16
SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
TARGETS: dict[int, tuple[Normalization, ...]] = {1: (CLIP,), 2: (VAE, CLIP), 3: (VAE, CLIP, DINOV2)}
PAIR = (VAE_512, CLIP_224)  # the targets of a preprocess call

Size = tuple[int, int]  # height, width


def batch(images: int, size: Size, layout: str, device: torch.device | str, seed: int = 0) -> torch.Tensor:
    """Random uint8 pixels; "NCHW view" has the shape of NCHW and the memory of NHWC, as image decoders return."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (images, 3, *size) if layout == "NCHW" else (images, *size, 3)
    memory = torch.randint(0, 256, shape, dtype=torch.uint8, device=device, generator=generator)
    return memory.permute(0, 3, 1, 2) if layout == "NCHW view" else memory


def photographs(sizes: Sequence[Size]) -> list[Image.Image]:
    """One image per size: the shipped photographs in turn, cropped to the shape and resized."""
    shipped = [read_rgb(path).image for path in shipped_photographs()]
    return [ImageOps.fit(shipped[index % len(shipped)], (w, h)) for index, (h, w) in enumerate(sizes)]


# With --verify-only: everything runs and is verified on these, and nothing is timed.
SMALL, SMALL_IMAGES = (2, (24, 40)), ((96, 130), (130, 96))


@dataclass(frozen=True, kw_only=True)
class _Cell:
    peers: tuple[Peer, ...] = ()
    rounds: int = 15
    quick: bool = False
    device: str = "cpu"
    busy: int = 0  # processes that compute beside it, for each core

    def named(self, suite: str, name: str, *columns) -> Cell:
        beside = f", {self.busy} busy a core" if self.busy else ""
        return Cell("contended" if self.busy else suite, name + beside, *columns)


@dataclass(frozen=True)
class NormalizeCell(_Cell):
    images: int
    sizes: tuple[Size, ...]  # several: one call after the other, each with another
    dtypes: tuple[torch.dtype, ...] = (FP32, FP32)
    layout: str = "NHWC"
    memory: str = "out"

    @property
    def targets(self) -> tuple[Normalization, ...]:
        return TARGETS[len(self.dtypes)]

    def columns(self) -> Cell:
        """What its rows share; bytes are those of an average call."""
        values = self.images * 3 * sum(height * width for height, width in self.sizes) // len(self.sizes)
        several = f"{self.images} of {len(self.sizes)} resolutions" if len(self.sizes) > 1 else ""
        size = several or "x".join(map(str, (self.images, *self.sizes[0])))
        dtypes, moved = "+".join(map(SHORT.get, self.dtypes)), bytes_moved(values, [t.itemsize for t in self.dtypes])
        like = (several or f"{size}x3", self.layout, len(self.dtypes), dtypes, self.memory, self.images, moved)
        return self.named("normalize", f"{size} {self.layout} {dtypes} {self.memory}", *like)


@dataclass(frozen=True)
class PreprocessCell(_Cell):
    sizes: tuple[Size, ...]  # of each image
    one_thread: bool = False  # else as many as torch has

    def columns(self) -> Cell:
        count, on_cpu, uniform = len(self.sizes), self.device == "cpu", len(set(self.sizes)) == 1
        size = "x".join(map(str, (count, *self.sizes[0]))) if uniform else f"{count} ragged"
        threads = (" 1 thread" if self.one_thread else " all threads") if on_cpu else ""
        name, shape = f"{size} fp32+fp32 fresh{threads}", f"{size}x3" if uniform else size
        layout = "PIL" if on_cpu else "NHWC" if uniform else "HWC"
        moved = preprocess_bytes(self.sizes, PAIR)
        return self.named("preprocess", name, shape, layout, 2, "fp32+fp32", "fresh", count, moved)


@functools.cache
def preprocess_bytes(sizes: tuple[Size, ...], targets: tuple[Target, ...]) -> int:
    """The least that any implementation moves, as the kernels' own count has it: a call is planned, not run."""
    images = [torch.zeros(1, 1, 3, dtype=torch.uint8).expand(height, width, 3) for height, width in sizes]
    with mock.patch.object(resize, "preprocess") as planned:
        run(images, targets, functools.partial(launch_preprocess, resize), layout="HWC")
    return resize.bytes_moved(planned.call_args.args[1])


def _square(images: int, side: int, **options) -> NormalizeCell:
    return NormalizeCell(images, ((side, side),), **options)


# Beside the pair of float32 from NHWC.
_OPTIONS = (
    {"dtypes": (BF16, BF16)}, {"dtypes": (FP32, BF16)}, {"layout": "NCHW"}, {"layout": "NCHW view"},
    {"dtypes": (FP32,)}, {"dtypes": (FP32, FP32, FP32)},
)  # fmt: skip
_MEMORIES = ("out", "fresh")
_ONE_SHAPE = (*peers.PACKAGES, peers.COMPILED_STATIC)
_LARGE = (peers.EAGER, peers.TORCHVISION_V2, peers.DALI_CPU, peers.COMPILED_STATIC)
_PATHS = (ours.TORCH_PATH, ours.AVX2)
_CONTENDED = {"peers": (peers.EAGER, peers.TORCHVISION_V2, ours.TORCH_PATH), "rounds": 9}

CPU_NORMALIZE = (
    *(_square(16, 512, memory=memory, peers=(*peers.ALL, *_PATHS), quick=True) for memory in _MEMORIES),
    *(_square(8, 224, memory=memory, peers=peers.ALL, rounds=31, quick=memory == "out") for memory in _MEMORIES),
    *(_square(16, 512, peers=_ONE_SHAPE, rounds=11, **options) for options in _OPTIONS),
    *(_square(8, 224, peers=_ONE_SHAPE, rounds=31, **options) for options in _OPTIONS),
    *(_square(1, 224, memory=memory, peers=(*_ONE_SHAPE, *_PATHS), rounds=101) for memory in _MEMORIES),
    *(_square(64, 512, memory=memory, peers=_LARGE, rounds=9) for memory in _MEMORIES),
    *(
        _square(*n, memory=memory, peers=_LARGE[1:], rounds=3)
        for n in ((64, 1024), (1024, 224))
        for memory in _MEMORIES
    ),
    *(_square(16, 512, memory=memory, busy=busy, **_CONTENDED) for memory in _MEMORIES for busy in (1, 2)),
    *(_square(images, 224, memory="fresh", busy=busy, **_CONTENDED) for images in (1, 8) for busy in (1, 2)),
)

# Sizes of multi-resolution training: 512 x 512 pixels in buckets of many aspect ratios, sides in steps of 64.
RESOLUTIONS = (
    (512, 512), (448, 576), (576, 448), (384, 640), (640, 384), (384, 704), (704, 384), (320, 768), (768, 320),
    (320, 832), (256, 1024), (1024, 256),
)  # fmt: skip
_PAIRS = ((FP32, FP32), (BF16, BF16), (FP32, BF16))
_FEW = (peers.EAGER, peers.TORCHVISION_V2, peers.COMPILED_STATIC)
_STATIC = (peers.COMPILED_STATIC,)
_VARYING = (peers.EAGER, peers.TORCHVISION_V2, peers.COMPILED_AUTO)
_on_gpu = functools.partial(_square, rounds=31, device="cuda")
GPU_NORMALIZE = (
    _on_gpu(64, 512, peers=peers.ALL, quick=True),
    *(_on_gpu(64, 512, dtypes=pair, peers=(*_FEW, peers.COMPILED_AUTO), quick=True) for pair in _PAIRS[1:]),
    _on_gpu(1, 224, peers=peers.ALL),
    *(_on_gpu(1, 224, dtypes=pair, peers=_STATIC) for pair in _PAIRS[1:]),
    *(_on_gpu(*size, dtypes=p, peers=_STATIC) for size in ((8, 224), (64, 1024), (1024, 224)) for p in _PAIRS),
    *(_on_gpu(64, 225, dtypes=pair, peers=_STATIC) for pair in _PAIRS[:2]),
    *(_on_gpu(64, 512, dtypes=p, layout=way, peers=_STATIC) for way in ("NCHW", "NCHW view") for p in _PAIRS),
    *(_on_gpu(64, 512, dtypes=(dtype,) * count, peers=_STATIC) for count in (1, 3) for dtype in (FP32, BF16)),
    *(_on_gpu(64, 512, dtypes=pair, memory="fresh", peers=_FEW) for pair in _PAIRS[:2]),
    _on_gpu(1, 224, memory="fresh", peers=_FEW),
    NormalizeCell(64, RESOLUTIONS, _PAIRS[0], peers=_VARYING, **_on_gpu.keywords),
    NormalizeCell(64, RESOLUTIONS, _PAIRS[1], peers=(*_VARYING, peers.COMPILED_STATIC), quick=True, **_on_gpu.keywords),
)
NORMALIZE = (*CPU_NORMALIZE, *GPU_NORMALIZE)

# Photographs as cameras and the web have them.
RAGGED = ((1024, 1536), (1536, 1024), (800, 1200), (1080, 1920), (480, 640), (1024, 768), (1600, 900), (1365, 2048))
_ONE_SIZE, _PHOTOGRAPH = ((1024, 1024),), ((1024, 1536),)
_ALONE = tuple(peer for peer in preprocess.ALL if peer not in preprocess.THREADED)
_one_thread = functools.partial(
    PreprocessCell, one_thread=True, peers=(*_ALONE, *_PATHS, ours.VNNI, ours.TWO_THREADS), rounds=11
)
_all_threads = functools.partial(PreprocessCell, peers=(*preprocess.ALL, *_PATHS), rounds=11)
CPU_PREPROCESS = (
    _one_thread(_PHOTOGRAPH, quick=True),
    _one_thread(((3000, 4000),)),
    _one_thread(((480, 640),), rounds=31),
    _one_thread(_ONE_SIZE * 8),
    _all_threads(_ONE_SIZE * 8, quick=True),
    _one_thread(RAGGED),
    _all_threads(RAGGED),
    *(_all_threads(_PHOTOGRAPH, peers=(*preprocess.SERIAL, ours.TORCH_PATH), busy=busy) for busy in (1, 2)),
)
_on_gpu = functools.partial(PreprocessCell, peers=preprocess.ALL, rounds=11, device="cuda")
PREPROCESS = (*CPU_PREPROCESS, _on_gpu(_ONE_SIZE * 32, quick=True), _on_gpu(RAGGED))

# One small call: with a GPU it is launched; without one, a driver that does nothing takes it.
_CALL = (peers.COMPILED_STATIC, peers.COMPILED_AUTO, peers.EAGER, peers.TORCHVISION_V2)
HOST = tuple(
    _square(images, 224, dtypes=(dtype, dtype), memory=memory, peers=_CALL, rounds=200, quick=True)
    for images, dtype in (((1, BF16), (1, FP32), (8, BF16), (8, FP32)) if torch.cuda.is_available() else ((1, BF16),))
    for memory in ("fresh", "out")
)
