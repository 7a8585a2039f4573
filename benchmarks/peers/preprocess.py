"""Peers for images of any sizes: the VAE's batch and the CLIP encoder's, resized, cropped and normalised.

The published chains are those of IP-Adapter's tutorial_train.py (tencent-ailab/IP-Adapter), whose dataset prepares one
image at a time.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch

from benchmarks.peers import Function, Job, Peer, Timing, dali
from fastnorm import CLIP_224, Target


def clip_processor(backend: str) -> Any:
    """transformers' class of this backend: "Pillow", whose pixels are the contract's, or "torchvision", which plain
    CLIPImageProcessor means since transformers 5."""
    if backend == "Pillow":
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    else:
        from transformers import CLIPImageProcessor as Processor
    return Processor


def published_chain(backend: str) -> Callable[[Any], tuple[torch.Tensor, torch.Tensor]]:
    """One PIL image to the VAE's (3, 512, 512) and CLIP's (3, 224, 224), as the tutorial's dataset computes them."""
    from torchvision import transforms

    resize = transforms.Resize(512, interpolation=transforms.InterpolationMode.BILINEAR)
    steps = [resize, transforms.CenterCrop(512), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    transform, processor = transforms.Compose(steps), clip_processor(backend)()
    return lambda image: (transform(image), processor(images=image, return_tensors="pt")["pixel_values"][0])


def stacked(pairs: Sequence[tuple[torch.Tensor, ...]]) -> list[torch.Tensor]:
    return [torch.stack(tensors) for tensors in zip(*pairs, strict=True)]


def _published(_: Job, backend: str, threaded: bool) -> Function:
    chain = published_chain(backend)
    mapped = ThreadPoolExecutor(torch.get_num_threads()).map if threaded else map
    return lambda images: stacked(list(mapped(chain, images)))


def per_target(job: Job, chain: Callable, prepared: Callable = lambda images: images) -> Function:
    """A package's chain per target, of the prepared images; users of a package without the dtype cast behind it."""
    chains = [(chain(target, dtype, job.device), dtype) for target, dtype in zip(job.targets, job.dtypes, strict=True)]

    def call(images):
        pixels = prepared(images)
        return [chain(pixels).to(dtype) for chain, dtype in chains]

    return call


def _resizes(job: Job) -> Function:
    """What the published chain has Pillow do, and nothing else."""
    from torchvision.transforms import InterpolationMode, Resize

    steps = [Resize(target.size, InterpolationMode(target.resample)) for target in job.targets]
    return lambda images: [[step(image) for image in images] for step in steps]


def _v2(target: Target, *_) -> Callable:
    """torchvision v2 on the tensors' device: a batch at once, images of different sizes one by one."""
    from torchvision.transforms import InterpolationMode, v2

    resize = v2.Resize(target.size, interpolation=InterpolationMode(target.resample), antialias=True)
    normalize = v2.Normalize(list(target.normalization.mean), list(target.normalization.std))
    chain = v2.Compose([resize, v2.CenterCrop(target.crop_size), v2.ToDtype(torch.float32, scale=True), normalize])

    return lambda images: (
        chain(images.permute(0, 3, 1, 2))
        if isinstance(images, torch.Tensor)
        else torch.stack([chain(image.permute(2, 0, 1)) for image in images])
    )


def _v2_and_transformers(target: Target, dtype: torch.dtype, device: torch.device) -> Callable:
    """The VAE's by torchvision v2, CLIP's by transformers' torchvision backend on the tensors' device."""
    if target != CLIP_224:
        return _v2(target, dtype, device)
    processor = partial(clip_processor("torchvision")(), device=device, return_tensors="pt")
    return lambda images: processor(images=[image.permute(2, 0, 1) for image in images])["pixel_values"]


_OF = ("transformers",)
_NAMES = {backend: f"torchvision + transformers ({backend} backend)" for backend in ("Pillow", "torchvision")}
SERIAL, THREADED = (
    tuple(
        Peer(f"{name}, {how}", _OF, partial(_published, backend=backend, threaded=how != "serial"), device="cpu")
        for backend, name in _NAMES.items()
    )
    for how in ("serial", "ThreadPoolExecutor")
)
ALL = (
    *SERIAL,
    *THREADED,
    Peer("Pillow's resizes alone", ("pillow",), _resizes, device="cpu", compared=False),
    Peer("DALI CPU", dali.DISTRIBUTIONS, dali.make, device="cpu"),
    Peer("torchvision v2 on the GPU", ("torchvision",), partial(per_target, chain=_v2), device="cuda"),
    Peer(f"{_NAMES['torchvision']} on the GPU", _OF, partial(per_target, chain=_v2_and_transformers), device="cuda"),
    Peer("DALI GPU", dali.DISTRIBUTIONS, dali.make, Timing.WALL, device="cuda"),
)
