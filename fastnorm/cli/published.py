"""What the published pipelines do with one image and two models: the values to equal, and the time to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from fastnorm import reference
from fastnorm._normalization import Normalization

Branches = list[torch.Tensor]  # one (N, 3, H, W) tensor per target


class Published:
    """torchvision's `ToTensor` + `Normalize`, once per branch: torchvision itself where it can be imported.

    Without torchvision the same steps are taken in eager torch, by `fastnorm.reference`; `name` says which it is.
    """

    def __init__(self, targets: Sequence[Normalization]) -> None:
        self.targets = tuple(targets)
        self._pipelines: list[Callable[[object], torch.Tensor]] | None = None
        try:
            import torchvision
            from torchvision.transforms import Compose, Normalize, ToTensor
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
            why = "is not installed" if isinstance(error, ModuleNotFoundError) else "cannot be imported"
            self.name = f"torchvision's formula in eager torch (torchvision {why})"
            return
        self._pipelines = [Compose([ToTensor(), Normalize(t.mean, t.std)]) for t in self.targets]
        self.name = f"torchvision {torchvision.__version__.partition('+')[0]}"

    def values(self, pixels: torch.Tensor, dtype: torch.dtype) -> Branches:
        """Every branch of a uint8 NHWC batch on the CPU, the published float32 rounded once to `dtype`."""
        return self.on_cpu(pixels, dtype)()

    def on_cpu(self, pixels: torch.Tensor, dtype: torch.dtype) -> Callable[[], Branches]:
        """A call that does the work of `values`, with the PIL images made beforehand."""
        pipelines = self._pipelines
        if pipelines is None:
            return self.eager(pixels.cpu(), dtype)
        from PIL import Image

        images = [Image.fromarray(image.numpy()) for image in pixels.cpu()]

        def run() -> Branches:
            return [torch.stack([pipeline(image) for image in images]).to(dtype) for pipeline in pipelines]

        return run

    def eager(self, pixels: torch.Tensor, dtype: torch.dtype) -> Callable[[], Branches]:
        """A call that takes the same steps in eager torch where `pixels` is, each branch from the start."""

        def run() -> Branches:
            return [reference.normalize(pixels, [t], dtype=dtype, layout="NHWC")[0] for t in self.targets]

        return run

    def timed(self, pixels: torch.Tensor, dtype: torch.dtype) -> tuple[Callable[[], Branches], str]:
        """The published work on the device where `pixels` is, and a description of it."""
        cast = "" if dtype is torch.float32 else f", .to({dtype})"
        if pixels.device.type == "cpu" and self._pipelines is not None:
            return self.on_cpu(pixels, dtype), f"{self.name}: ToTensor, Normalize per PIL image; torch.stack{cast}"
        return self.eager(pixels, dtype), f"eager torch on {pixels.device}: / 255, - mean, / std per branch{cast}"
