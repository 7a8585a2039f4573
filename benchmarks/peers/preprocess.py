"""Peers for pictures of any sizes: the VAE's batch and the CLIP encoder's, resized, cropped and normalised.

The published chains are those of IP-Adapter's tutorial_train.py (tencent-ailab/IP-Adapter), whose dataset prepares one
picture at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from benchmarks.gpu_timing import Timing
from benchmarks.peers import CannotRun, Function, Peer, PreprocessJob
from benchmarks.peers.dali import preprocess_on_cpu, preprocess_on_gpu
from fastnorm import Target

Chain = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]


def published_chain(backend: str, size: int = 512) -> Chain:
    """One PIL image to the VAE's (3, 512, 512) and CLIP's (3, 224, 224), as the tutorial's dataset computes them.

    `backend` is transformers': "Pillow", whose pixels are the contract's, or "torchvision", which is what plain
    CLIPImageProcessor means since transformers 5.
    """
    from torchvision import transforms

    if backend == "Pillow":
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    else:
        from transformers import CLIPImageProcessor as Processor
    transform = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    processor = Processor()

    def chain(image):
        return transform(image), processor(images=image, return_tensors="pt")["pixel_values"][0]

    return chain


def _published(backend: str, threaded: bool) -> Callable[[PreprocessJob], Function]:
    def make(job: PreprocessJob) -> Function:
        if job.device.type != "cpu":
            raise CannotRun("works on the CPU only")
        chain = published_chain(backend)
        if not threaded:
            return lambda pictures: _stacked([chain(picture) for picture in pictures])
        pool = ThreadPoolExecutor(torch.get_num_threads())
        return lambda pictures: _stacked(list(pool.map(chain, pictures)))

    return make


def _torchvision_v2(job: PreprocessJob) -> Function:
    """v2 on the tensors' device: a batch at once, pictures of different sizes one by one."""
    _require_gpu(job)
    chains = [_v2_chain(target) for target in job.targets]

    def call(pictures):
        return [_apply(chain, pictures) for chain in chains]

    return call


def _v2_and_transformers(job: PreprocessJob) -> Function:
    """The VAE's branch as above, CLIP's by transformers' torchvision backend on the tensors' device."""
    _require_gpu(job)
    from transformers import CLIPImageProcessor

    chain, processor = _v2_chain(job.targets[0]), CLIPImageProcessor()

    def call(pictures):
        images = [picture.permute(2, 0, 1) for picture in pictures]
        clip = processor(images=images, device=job.device, return_tensors="pt")["pixel_values"]
        return [_apply(chain, pictures), clip]

    return call


def _v2_chain(target: Target) -> Callable[[torch.Tensor], torch.Tensor]:
    from torchvision.transforms import InterpolationMode, v2

    constants = target.normalization
    return v2.Compose(
        [
            v2.Resize(target.size, interpolation=InterpolationMode(target.resample), antialias=True),
            v2.CenterCrop(target.crop.size),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(constants.mean), list(constants.std)),
        ]
    )


def _apply(chain: Callable[[torch.Tensor], torch.Tensor], pictures: torch.Tensor | Sequence[torch.Tensor]):
    if isinstance(pictures, torch.Tensor):
        return chain(pictures.permute(0, 3, 1, 2))
    return torch.stack([chain(picture.permute(2, 0, 1)) for picture in pictures])


def _stacked(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.stack(branch) for branch in zip(*pairs, strict=True)]


def _require_gpu(job: PreprocessJob) -> None:
    if job.device.type != "cuda":
        raise CannotRun("needs a GPU" if not torch.cuda.is_available() else "measured beside GPU peers")


_DALI = ("nvidia-dali-cuda120", "nvidia-dali-cuda130")

_PILLOW = "torchvision + transformers (Pillow backend)"
_TORCHVISION = "torchvision + transformers (torchvision backend)"
THREADED = (
    Peer(f"{_PILLOW}, ThreadPoolExecutor", ("transformers",), _published("Pillow", threaded=True)),
    Peer(f"{_TORCHVISION}, ThreadPoolExecutor", ("transformers",), _published("torchvision", threaded=True)),
)
ALL = (
    Peer(f"{_PILLOW}, serial", ("transformers",), _published("Pillow", threaded=False)),
    Peer(f"{_TORCHVISION}, serial", ("transformers",), _published("torchvision", threaded=False)),
    *THREADED,
    Peer("DALI CPU", _DALI, preprocess_on_cpu),
    Peer("torchvision v2 on the GPU", ("torchvision",), _torchvision_v2),
    Peer(f"{_TORCHVISION} on the GPU", ("transformers",), _v2_and_transformers),
    Peer("DALI GPU", _DALI, preprocess_on_gpu, timing=Timing.WALL),
)
