"""Peers for batches that have the models' size already: uint8 in, one normalised tensor per target out."""

import itertools
import types
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.peers import CannotRun, Function, Job, Peer, Timing, dali
from benchmarks.peers.preprocess import clip_processor, per_target
from fastnorm import Normalization

_copies = itertools.count()


def _planes(job: Job) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda batch: batch.permute(0, 3, 1, 2) if job.layout == "NHWC" else batch


def _arrays(job: Job) -> Callable[[torch.Tensor], list]:
    """A list of numpy images."""
    if job.layout != "NHWC":
        raise CannotRun("takes height x width x channels only")
    return lambda batch: list(batch.numpy())


def _eager(job: Job) -> Function:
    """The formula as people write it: one chain a target; also what torch.compile is given."""
    pairs = [(target.mean, target.std) for target in job.targets]
    constants = [[torch.tensor(values, device=job.device).view(3, 1, 1) for values in pair] for pair in pairs]
    channels_last, dtypes = job.layout == "NHWC", job.dtypes  # dynamo guards what the function refers to: keep it small

    def chains(batch):
        planes = batch.permute(0, 3, 1, 2) if channels_last else batch
        steps = zip(constants, dtypes, strict=True)
        return [((planes.float() / 255 - mean) / std).to(dtype) for (mean, std), dtype in steps]

    return chains


def _compiled(job: Job, **options) -> Function:
    """Of a copy that dynamo knows nothing of: what it compiled, and which sizes varied, it keeps per code object."""
    torch._dynamo.config.recompile_limit = 64  # sizes; past its default limit of 8, dynamo would run eagerly
    function = _eager(job)
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_copies)}")
    return torch.compile(types.FunctionType(code, globals(), code.co_name, closure=function.__closure__), **options)


def _after_another_size(job: Job) -> Function:
    """As users of more than one resolution have it: the second size that the function sees makes sizes dynamic."""
    compiled = _compiled(job)
    n, _, height, width = _planes(job)(job.example).shape
    memory = job.example.new_zeros(n, height // 2 + 3, width // 2 + 5, 3)
    planes = memory.permute(0, 3, 1, 2)
    compiled({"NHWC": memory, "NCHW": planes.contiguous(), "NCHW view": planes}[job.layout])
    return compiled


def _torchvision_v2(target: Normalization, dtype: torch.dtype, _: torch.device) -> Callable:
    from torchvision.transforms import v2

    steps = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(target.mean), list(target.std))]
    return v2.Compose(steps if dtype is torch.float32 else [*steps, v2.ToDtype(dtype)])


def _torchvision_v1(target: Normalization, *_) -> Callable:
    from torchvision import transforms

    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(target.mean, target.std)])
    return lambda images: torch.stack([chain(image) for image in images])


def _transformers(target: Normalization, *_, backend: str) -> Callable:
    """The images have their size; constants per target, CLIP's own by default."""
    constants = {"image_mean": list(target.mean), "image_std": list(target.std)}
    processor = clip_processor(backend)(do_resize=False, do_center_crop=False, **constants)
    return lambda images: processor(images=list(images), return_tensors="pt")["pixel_values"]


def _timm(target: Normalization, _: torch.dtype, device: torch.device) -> Callable:
    """timm's PrefetchLoader, which normalises with constants of 0..255, over a loader of this one batch."""
    from timm.data.loader import PrefetchLoader

    labels = torch.zeros(1, device=device)
    loader = PrefetchLoader([], mean=target.mean, std=target.std, device=device)

    def chain(planes):
        loader.loader = [(planes, labels)]
        return next(iter(loader))[0]

    return chain


def _kornia(target: Normalization, _: torch.dtype, device: torch.device) -> Callable:
    from kornia.enhance import Normalize

    step = Normalize(mean=torch.tensor(target.mean), std=torch.tensor(target.std)).to(device)
    return lambda planes: step(planes.float() / 255)


def _opencv(target: Normalization, *_) -> Callable:
    """One blob per target: (pixel - 255 mean) * 1 / (255 std), without swapping the channels."""
    import cv2

    blob = cv2.dnn.Image2BlobParams()
    blob.scalefactor = tuple(1 / (255 * s) for s in target.std)
    blob.mean = tuple(255 * m for m in target.mean)
    return lambda images: torch.from_numpy(cv2.dnn.blobFromImagesWithParams(images, blob))


def _cvcuda(job: Job) -> Function:
    """convertto, normalize, reformat, once per target, on the current stream, as NVIDIA's samples have it."""
    import cvcuda
    import numpy as np

    if job.layout != "NHWC":
        raise CannotRun("normalises NHWC only")

    def chain(target, *_):
        pairs = (torch.tensor(values, device=job.device).view(1, 1, 1, 3) for values in (target.mean, target.std))
        base, scale = (cvcuda.as_tensor(values, "NHWC") for values in pairs)
        step = partial(cvcuda.normalize, base=base, scale=scale, flags=cvcuda.NormalizeFlags.SCALE_IS_STDDEV)
        return lambda pixels: torch.as_tensor(cvcuda.reformat(step(pixels), "NCHW").cuda(), device=job.device)

    call = per_target(job, chain)

    def on_current_stream(batch):
        with cvcuda.as_stream(torch.cuda.current_stream()):
            return call(cvcuda.convertto(cvcuda.as_tensor(batch, "NHWC"), np.float32, scale=1 / 255))

    return on_current_stream


_ANOTHER, _ONE_SHAPE = "has compiled for another resolution before", "compiled for this one shape"
_STATIC, _MAX = partial(_compiled, dynamic=False), partial(_compiled, mode="max-autotune")
_PILLOW, _TORCHVISION = (partial(_transformers, backend=backend) for backend in ("Pillow", "torchvision"))


def _package(name: str, of: tuple[str, ...], chain: Callable, images: Callable = _planes) -> Peer:
    return Peer(name, of, lambda job: per_target(job, chain, images(job)), device="cpu" * (images is _arrays))


EAGER = Peer("eager torch", ("torch",), _eager, Timing.GRAPH)
TORCHVISION_V2 = _package("torchvision v2", ("torchvision",), _torchvision_v2)
COMPILED_AUTO = Peer("torch.compile (auto-dynamic)", ("torch",), _after_another_size, Timing.GRAPH, _ANOTHER)
COMPILED_STATIC = Peer("torch.compile (dynamic=False)", ("torch",), _STATIC, Timing.GRAPH, _ONE_SHAPE)
COMPILED_MAX = Peer("torch.compile (max-autotune)", ("torch",), _MAX, note=_ONE_SHAPE)  # runs CUDA graphs of its own
DALI_CPU = Peer("DALI CPU", dali.DISTRIBUTIONS, dali.make, device="cpu")
COMPILED = (COMPILED_AUTO, COMPILED_STATIC, COMPILED_MAX)
PACKAGES = (
    EAGER,
    TORCHVISION_V2,
    _package("torchvision v1", ("torchvision",), _torchvision_v1, _arrays),
    _package("transformers CLIP (Pillow backend)", ("transformers",), _PILLOW, _arrays),
    _package("transformers CLIP (torchvision backend)", ("transformers",), _TORCHVISION),
    _package("timm PrefetchLoader", ("timm",), _timm),
    _package("kornia", ("kornia",), _kornia),
    _package("OpenCV blobFromImagesWithParams", ("opencv-python-headless", "opencv-python"), _opencv, _arrays),
    DALI_CPU,
    Peer("DALI GPU", dali.DISTRIBUTIONS, dali.make, Timing.WALL, device="cuda"),
    Peer("CV-CUDA", ("cvcuda-cu13", "cvcuda-cu12"), _cvcuda, device="cuda"),
)
ALL = (*PACKAGES, *COMPILED)
