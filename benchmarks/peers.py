"""The other ways to get the same two tensors, each written as its users write it, from its own package.

A peer takes a uint8 NHWC batch and the targets once, and gives a call that returns one float32 NCHW tensor per target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

import torch

from fastnorm import CLIP, VAE, Normalization

Call = Callable[[], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Peer:
    name: str
    distribution: str
    make: Callable[[torch.Tensor, Sequence[Normalization]], Call]

    def version(self) -> str:
        return metadata.version(self.distribution)


@dataclass(frozen=True)
class Missing:
    """A peer that cannot run here, and why: listed, never dropped."""

    name: str
    reason: str


def _eager(batch: torch.Tensor, targets: Sequence[Normalization]) -> Call:
    branches = eager_branches(batch.device, targets)

    def call():
        return branches(batch)

    return call


def eager_branches(
    device: torch.device, targets: Sequence[Normalization] = (VAE, CLIP), dtype: torch.dtype = torch.float32
) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """The formula as people write it: one chain a branch; also what torch.compile is given."""
    constants = [[torch.tensor(v, device=device).view(3, 1, 1) for v in (t.mean, t.std)] for t in targets]

    def branches(batch):
        return [((batch.permute(0, 3, 1, 2).float() / 255 - mean) / std).to(dtype) for mean, std in constants]

    return branches


def _torchvision_v2(batch: torch.Tensor, targets: Sequence[Normalization]) -> Call:
    from torchvision.transforms import v2

    branches = [
        v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(t.mean), list(t.std))]) for t in targets
    ]

    def call():
        return [branch(batch.permute(0, 3, 1, 2)) for branch in branches]

    return call


def _torchvision_v1(batch: torch.Tensor, targets: Sequence[Normalization]) -> Call:
    from torchvision import transforms

    branches = [transforms.Compose([transforms.ToTensor(), transforms.Normalize(t.mean, t.std)]) for t in targets]
    images = list(batch.numpy())

    def call():
        return [torch.stack([branch(image) for image in images]) for branch in branches]

    return call


def _dali_cpu(batch: torch.Tensor, targets: Sequence[Normalization]) -> Call:
    """crop_mirror_normalize once per target, on as many threads as torch has; its outputs live in its own buffers."""
    from nvidia.dali import fn, pipeline_def

    images = list(batch.numpy())

    @pipeline_def(
        batch_size=len(images),
        num_threads=torch.get_num_threads(),
        device_id=None,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    def pipeline():
        pixels = fn.external_source(lambda: images, batch=True, no_copy=True)
        return tuple(
            fn.crop_mirror_normalize(
                pixels, mean=[255 * m for m in t.mean], std=[255 * s for s in t.std], output_layout="CHW"
            )
            for t in targets
        )

    built = pipeline()
    built.build()

    def call():
        return built.run()

    return call


def as_tensors(result: Sequence[object]) -> list[torch.Tensor]:
    """A call's result as torch tensors; DALI's tensor lists are copied."""
    return [r if isinstance(r, torch.Tensor) else torch.from_numpy(r.as_array()) for r in result]


CPU_PEERS = (
    Peer("eager torch, two branches", "torch", _eager),
    Peer("torchvision v2", "torchvision", _torchvision_v2),
    Peer("torchvision ToTensor + Normalize", "torchvision", _torchvision_v1),
    Peer("DALI CPU crop_mirror_normalize", "nvidia-dali-cuda120", _dali_cpu),
)


def make_all(
    peers: Sequence[Peer], batch: torch.Tensor, targets: Sequence[Normalization]
) -> tuple[dict[Peer, Call], list[Missing]]:
    """Every peer's call, and those that cannot run here."""
    calls, missing = {}, []
    for peer in peers:
        try:
            calls[peer] = peer.make(batch, targets)
            calls[peer]()
        except (ImportError, RuntimeError, OSError) as error:  # noqa: PERF203
            calls.pop(peer, None)
            missing.append(Missing(peer.name, f"{type(error).__name__}: {error}".splitlines()[0]))
    return calls, missing
